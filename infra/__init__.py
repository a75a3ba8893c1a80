"""What Junctor is built and run with besides its source."""
