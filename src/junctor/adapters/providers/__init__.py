"""Providers: a row of providers.toml each, a dialect for each wire API, one gateway in front."""
