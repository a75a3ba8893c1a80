"""The real clock and real dice."""
