"""Where request lines, counts and incidents go."""
