"""Statements as items: what an account's CLOSED leases of one month spent, summed, so that their own entries may expire.

A lease belongs to the month in which its id was made. A month has parts, as all its purses and windows need not fit into one
item: each lease is summed in exactly one of them, and which one does not matter, since whoever rebuilds a balance adds them
all. Sums are flat attributes, `purse:<id>` and `window:<name>`, as a table adds to those only.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import msgspec
from msgspec import Struct

from junctor.domain.credits import Interval
from junctor.domain.lease import Lease
from junctor.domain.money import NanoUsd
from junctor.policy.legs import split_total
from junctor.ports.table import SORT, Absent, Add, Condition, Equals, Item, Query, Set, Update
from junctor.records import ids, keys, windows

_PURSE, _WINDOW = "purse:", "window:"
_LEASES, _TOTAL, _UNTIL = "leases", "total_nanousd", "until"
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY_MS = 24 * 3600 * 1000


class Statement(Struct, frozen=True, kw_only=True):
    """One part of a month. `name` is the month and the part's number; `leases` counts what is summed in it."""

    account: str
    name: str
    leases: int = 0
    total_nanousd: NanoUsd = 0
    purses: Mapping[str, NanoUsd] = {}
    windows: Mapping[str, NanoUsd] = {}


def month_of(lease_id: str) -> str:
    """Return the UTC month in which a lease's id was made, such as 2026-11. Raises ValueError if it is no ULID."""
    return month_at(ids.made_at_ms(lease_id))


def month_at(at_ms: int) -> str:
    """Return the UTC month of an instant in Unix milliseconds."""
    return windows.period(Interval.MONTH, at_ms).name.removeprefix("MONTH-")


def month_begin_ms(at_ms: int) -> int:
    """Return the first Unix millisecond of the UTC month that an instant lies in."""
    first = date.fromisoformat(f"{month_at(at_ms)}-01")
    return (first.toordinal() - _EPOCH_DAY) * _DAY_MS


def sums_of(leases: Sequence[Lease], statement: Statement) -> Statement:
    """Return what CLOSED leases add to a statement. Raises ValueError if one spent more than it had, or has no total."""
    total = 0
    of_purses: dict[str, NanoUsd] = {}
    of_windows: dict[str, NanoUsd] = {}
    for lease in leases:
        if lease.total_nanousd is None or lease.total_nanousd < 0:
            raise ValueError("a CLOSED lease has no total")
        total += lease.total_nanousd
        for leg, part in zip(lease.legs, split_total(lease.legs, lease.total_nanousd), strict=True):
            of_purses[leg.purse] = of_purses.get(leg.purse, 0) + part
        for window in lease.windows:
            of_windows[window] = of_windows.get(window, 0) + lease.total_nanousd
    return Statement(
        account=statement.account,
        name=statement.name,
        leases=len(leases),
        total_nanousd=total,
        purses=of_purses,
        windows=of_windows,
    )


def adding(before: Statement, sums: Statement) -> Update:
    """Return the update that adds sums to a part, if that is still as it was read; an empty one is made."""
    unchanged: Condition = Equals(_LEASES, before.leases) if before.leases else Absent(_LEASES)
    parts = [(_PURSE + name, amount) for name, amount in sums.purses.items()]
    parts += [(_WINDOW + name, amount) for name, amount in sums.windows.items()]
    changes = (
        Add(_LEASES, sums.leases),
        Add(_TOTAL, sums.total_nanousd),
        *(Add(name, amount) for name, amount in parts if amount),
    )
    return Update(keys.statement(before.account, before.name), (unchanged,), changes)


def part(account: str, month: str, number: int) -> Statement:
    """Return a part of a month in which nothing is summed yet."""
    return Statement(account=account, name=f"{month}#{number:06d}")


def number_of(statement: Statement) -> int:
    """Return a part's number."""
    return int(statement.name.partition("#")[2])


def latest(account: str, month: str) -> Query:
    """Return the query for the last part of a month."""
    first = keys.statement(account, month)
    return Query(partition=first.partition, prefix=first.sort, limit=1, consistent=True, descending=True)


def all_of(account: str, after: str | None) -> Query:
    """Return the query for all statements of an account."""
    first = keys.statement(account, "")
    return Query(partition=first.partition, prefix=first.sort, consistent=True, after=after)


def statement_of(found: Item, account: str) -> Statement:
    """Return the part in an item. Raises msgspec.ValidationError."""
    fields = {
        "account": account,
        "name": str(found[SORT]).removeprefix(keys.STATEMENT_PREFIX),
        "leases": found.get(_LEASES, 0),
        "total_nanousd": found.get(_TOTAL, 0),
        "purses": {name.removeprefix(_PURSE): value for name, value in found.items() if name.startswith(_PURSE)},
        "windows": {name.removeprefix(_WINDOW): value for name, value in found.items() if name.startswith(_WINDOW)},
    }
    return msgspec.convert(fields, Statement)


def noting(account: str, lease_id: str) -> Update:
    """Return the update that notes that all leases up to this one are summed."""
    return Update(keys.summed(account), (), (Set(_UNTIL, lease_id),))


def noted(found: Item | None) -> str:
    """Return up to which lease all are known to be summed; empty if that was never noted."""
    return str(found[_UNTIL]) if found else ""
