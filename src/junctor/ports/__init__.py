"""What the core needs of the world, in the core's words. Adapters make these protocols real."""
