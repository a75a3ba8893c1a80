"""The tables of a deployment: from these the tables are made, and template.yaml is held to them by a test.

Which items lie in which table, and by which keys they are found, is in infra/tables.md.
"""

from junctor.ports.table import IndexSpec, TableSpec

OPEN_LEASES = IndexSpec(name="open-leases", partition="open_shard", sort="open_until")
"""Leases that are OPEN, by the instant after which anyone may close them. A closed lease loses both attributes."""

CORE = TableSpec(name="core", indexes=(OPEN_LEASES,), stream=True)
"""Accounts, keys, purses, limits, leases and slots: all that one transaction may have to span."""

HEALTH = TableSpec(name="health")
"""What instances tell each other about endpoints, and the snapshot made of it."""

USAGE = TableSpec(name="usage", ttl=None)
"""Rollups of what was used, by account and time."""

CATALOG = TableSpec(name="catalog", ttl=None)
"""What an organisation adds to the packaged catalogue or changes in it, by version."""

ALL_TABLES = (CORE, HEALTH, USAGE, CATALOG)
"""Every table, as a store's `create` wants them."""
