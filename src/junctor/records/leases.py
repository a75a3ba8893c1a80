"""A lease's META as an item: the journal entry of a sum that one instance took (ledger.md)."""

from collections.abc import Mapping
from typing import cast

import msgspec

from junctor.domain.lease import Lease
from junctor.ports.table import Item, Value
from junctor.records import keys

OPEN_SHARDS = 16
"""Partitions of the index of OPEN leases, so that no reader or writer meets a hot one."""


def item(lease: Lease) -> Item:
    """Return an OPEN lease as an item, with the attributes that put it into the index of OPEN leases."""
    fields = cast("Mapping[str, Value]", msgspec.to_builtins(lease))
    kept = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items() if value is not None}
    return {**keys.attributes(keys.lease(lease.account, lease.id)), **kept, **_open(lease)}


def lease_of(found: Item) -> Lease:
    """Return the lease in an item."""
    return msgspec.convert(found, Lease)


def _open(lease: Lease) -> dict[str, str]:
    shard = sum(lease.id.encode()) % OPEN_SHARDS
    return {"open_shard": f"{shard:02d}", "open_until": f"{lease.exp_ms:015d}"}
