"""Generated from protos/ by `poe generate`; never edited."""
