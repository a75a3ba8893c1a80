"""Junctor: an organisation's own LLM router. protos/ says what it answers; architecture is in infra/README.md."""
