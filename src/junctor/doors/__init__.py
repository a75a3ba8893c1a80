"""What callers meet. Doors translate between wire and use case, and decide nothing."""
