"""From other people's lists of models and prices to one snapshot: pure, used when a release is built, never at run time."""
