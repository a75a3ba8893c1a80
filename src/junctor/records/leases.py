"""A lease's META as an item: the journal entry of a sum that one instance took (ledger.md)."""

from collections.abc import Mapping
from typing import cast

import msgspec

from junctor.domain.lease import Lease, LeaseState
from junctor.domain.money import NanoUsd
from junctor.ports.table import SORT, Absent, Condition, Equals, Item, Query, Remove, Set, Update, Value
from junctor.records import keys
from junctor.records.tables import OPEN_LEASES

OPEN_SHARDS = 16
"""Partitions of the index of OPEN leases, so that no reader or writer meets a hot one."""

STATEMENT = "statement"
"""Names the statement in which a CLOSED lease is summed. It is the item's alone, no part of the noun."""


def item(lease: Lease) -> Item:
    """Return an OPEN lease as an item, with the attributes that put it into the index of OPEN leases."""
    return {**keys.attributes(keys.lease(lease.account, lease.id)), **_fields(lease), **_open(lease)}


def lease_of(found: Item) -> Lease:
    """Return the lease in an item."""
    return msgspec.convert(found, Lease)


def name_of(found: Item) -> tuple[str, str]:
    """Return the account and the id of the lease in an item."""
    return str(found["account"]), str(found["id"])


def growing(lease: Lease, grown: Lease) -> Update:
    """Return the update that makes a lease larger, if it is OPEN and as large as it was read."""
    fields = _fields(grown)
    changes = (Set("amount_nanousd", fields["amount_nanousd"]), Set("legs", fields["legs"]))
    return Update(keys.lease(lease.account, lease.id), _still(lease), changes)


def closing(lease: Lease, total: NanoUsd) -> Update:
    """Return the update that closes a lease, if it is OPEN and as large as it was read, and takes it out of the index."""
    changes = (
        Set("state", LeaseState.CLOSED.value),
        Set("total_nanousd", total),
        Remove(OPEN_LEASES.partition),
        Remove(OPEN_LEASES.sort),
    )
    return Update(keys.lease(lease.account, lease.id), _still(lease), changes)


def overdue(shard: int, now_ms: int, after: str | None) -> Query:
    """Return the query for the leases of one shard of the index that are OPEN past their end, as far as it knows."""
    between = (_until(0), _until(now_ms))
    return Query(partition=_shard(shard), between=between, index=OPEN_LEASES.name, after=after)


def _still(lease: Lease) -> tuple[Condition, ...]:
    return Equals("state", LeaseState.OPEN.value), Equals("amount_nanousd", lease.amount_nanousd)


def _fields(lease: Lease) -> Mapping[str, Value]:
    fields = cast("Mapping[str, Value]", msgspec.to_builtins(lease))
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items() if value is not None}


def _open(lease: Lease) -> dict[str, str]:
    return {OPEN_LEASES.partition: _shard(sum(lease.id.encode()) % OPEN_SHARDS), OPEN_LEASES.sort: _until(lease.exp_ms)}


def _shard(number: int) -> str:
    return f"{number:02d}"


def _until(instant_ms: int) -> str:
    return f"{instant_ms:015d}"


def all_of(account: str, after: str | None) -> Query:
    """Return the query for all leases of an account that still have their entry, in the order of their ids."""
    first = keys.lease(account, "")
    return Query(partition=first.partition, prefix=first.sort, consistent=True, after=after)


def between(account: str, first: str, last: str, after: str | None) -> Query:
    """Return the query for the leases of an account whose ids are not before the first and not after the last."""
    bounds = keys.lease(account, first), keys.lease(account, last)
    return Query(partition=bounds[0].partition, between=(bounds[0].sort, bounds[1].sort), consistent=True, after=after)


def newest_first(account: str, last: str | None, limit: int, after: str | None) -> Query:
    """Return the query for an account's leases from this one back, the newest first, in pages of so many; None is all."""
    first = keys.lease(account, "")
    if last is None:
        return Query(partition=first.partition, prefix=first.sort, limit=limit, after=after, consistent=True, descending=True)
    bounds = first.sort, keys.lease(account, last).sort
    return Query(partition=first.partition, between=bounds, limit=limit, after=after, consistent=True, descending=True)


def id_at(found: Item) -> str:
    """Return the id of the lease in an item, from its key alone."""
    return str(found[SORT]).removeprefix(keys.LEASE_PREFIX)


def statement_of(found: Item) -> str | None:
    """Return the name of the statement in which a lease is summed; None if it is in none."""
    name = found.get(STATEMENT)
    return None if name is None else str(name)


def is_indexed(found: Item) -> bool:
    """Tell whether a lease is in the index of OPEN ones."""
    return OPEN_LEASES.partition in found and OPEN_LEASES.sort in found


def summing(lease: Lease, statement: str, ttl_s: int) -> Update:
    """Return the update that notes in which statement a CLOSED lease is summed, if it is in none, and lets its entry expire."""
    conditions: tuple[Condition, ...] = (Equals("state", LeaseState.CLOSED.value), Absent(STATEMENT))
    return Update(keys.lease(lease.account, lease.id), conditions, (Set(STATEMENT, statement), Set("ttl", ttl_s)))
