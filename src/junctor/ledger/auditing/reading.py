"""One reading of an account's items but its slots, in the order on which the audit's reasoning rests.

Purses and windows come first, then limits, refunds and clawbacks before payments, statements, and leases last. So each purse is
read between two readings of the journal, and what goes back meanwhile does not look like more than was paid.
An item that cannot be read as what its key says is a difference of its own.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

import msgspec

from junctor.domain.credits import Clawback, Entry, Limit, Move, Payment, Purse, Refund, Window
from junctor.domain.lease import Lease
from junctor.ledger import trying
from junctor.ledger.auditing.findings import Findings
from junctor.ledger.auditing.journal import Journal
from junctor.ports.ambient import Dice
from junctor.ports.table import SORT, Item, Query, Table
from junctor.records import leases, payments, purses, statements, windows
from junctor.records.statements import Statement

T = TypeVar("T")

_KINDS: tuple[type[Entry], ...] = (Refund, Clawback, Payment, Move)


class Reading:
    """What was read of one account, by sort key where the items matter themselves."""

    def __init__(self, account: str) -> None:
        self.places: dict[str, Purse | Window] = {}
        self.limits: dict[str, Limit] = {}
        self.payments: dict[str, Payment] = {}
        self.statements: dict[str, Statement] = {}
        self.journal = Journal(account)
        self.items: Counter[str] = Counter()


async def read(table: Table, dice: Dice, account: str, findings: Findings) -> Reading:
    """Read an account. Raises StoreError."""
    reader = _Reader(table, dice, findings)
    into = Reading(account)
    async for where, purse in reader.nouns("purses", lambda after: purses.all_of(account, after), purses.purse_of):
        into.places[where] = purse
    async for where, window in reader.nouns("windows", lambda after: windows.windows_of(account, after), windows.window_of):
        into.places[where] = window
    async for _, limit in reader.nouns("limits", lambda after: windows.limits_of(account, after), windows.limit_of):
        into.limits[limit.id] = limit
    for kind in _KINDS:
        await _read_entries(reader, account, kind, into)
    async for _, found in reader.nouns(
        "statements",
        lambda after: statements.all_of(account, after),
        lambda item: statements.statement_of(item, account),
    ):
        into.statements[found.name] = found
        into.journal.add_statement(found)
    async for item, lease in read_leases(table, dice, account, findings):
        into.items["leases"] += 1
        into.journal.add_lease(lease, leases.statement_of(item))
    into.items += reader.items
    return into


async def read_leases(table: Table, dice: Dice, account: str, findings: Findings) -> AsyncGenerator[tuple[Item, Lease], None]:
    """Yield an account's leases as items and nouns. Raises StoreError."""
    async with aclosing(trying.read_all(table, dice, lambda after: leases.all_of(account, after))) as found:
        async for item in found:
            lease = as_noun(findings, str(item[SORT]), item, leases.lease_of)
            if lease is not None:
                yield item, lease


def as_noun(findings: Findings, where: str, item: Item, convert: Callable[[Item], T]) -> T | None:
    """Return the noun in an item; None, and a difference, if there is none."""
    try:
        return convert(item)
    except msgspec.ValidationError:
        findings.check("I12", where, "it cannot be read", holds=False)
        return None


class _Reader:
    """Reads whole families, and counts their items."""

    def __init__(self, table: Table, dice: Dice, findings: Findings) -> None:
        self._table = table
        self._dice = dice
        self._findings = findings
        self.items: Counter[str] = Counter()

    async def nouns(
        self, family: str, query: Callable[[str | None], Query], convert: Callable[[Item], T]
    ) -> AsyncGenerator[tuple[str, T], None]:
        """Yield the nouns of a family with their sort keys. Raises StoreError."""
        async with aclosing(trying.read_all(self._table, self._dice, query)) as found:
            async for item in found:
                self.items[family] += 1
                where = str(item[SORT])
                noun = as_noun(self._findings, where, item, convert)
                if noun is not None:
                    yield where, noun


async def _read_entries(reader: _Reader, account: str, kind: type[Entry], into: Reading) -> None:
    async for _, entry in reader.nouns(
        "entries", lambda after: payments.all_of(account, kind, after), lambda item: payments.entry_of(item, kind)
    ):
        into.journal.add_entry(entry)
        if isinstance(entry, Payment):
            into.payments[entry.id] = entry
