"""The table port on DynamoDB, SQLite, and a simulation that is the readable statement of what the port promises."""
