"""The small model on this machine: its weights, and its server in a child process."""
