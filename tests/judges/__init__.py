"""Clients that others made judge a running server (`poe judges`)."""
