"""The packaged catalogue snapshot and its parser."""
