"""The command line: junctor up, serve, chat."""
