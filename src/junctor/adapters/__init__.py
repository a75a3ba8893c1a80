"""What makes the ports real: tables, providers, catalogue, secrets, telemetry, time."""
