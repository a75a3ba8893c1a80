"""What changed an account's balance, listed: kind after kind, in each by id, and what generations used by time.

A list is bounded in what it reads of the store, not only in what it returns: a page may be short, or empty, and not the last.
Used credits are told lease by lease as long as a lease has its own entry, which is months.
"""

from collections.abc import Mapping
from enum import Enum

import msgspec
from msgspec import Struct

from junctor.domain.account import Actor
from junctor.domain.credits import Clawback, Entry, Move, Payment, Refund
from junctor.domain.errors import InvalidFieldError
from junctor.domain.lease import Lease
from junctor.domain.money import NanoUsd
from junctor.policy import access
from junctor.policy.legs import split_total
from junctor.ports.ambient import Dice
from junctor.ports.table import Item, Query, Table
from junctor.records import ids, leases, payments
from junctor.usecases.acting import account_of
from junctor.usecases.editing import page_of

READS_MAX = 16
"""Reads for one page: most leases may be open, or have spent nothing."""


class EntryKind(Enum):
    """What an entry is, in the order in which they are listed."""

    PAYMENT = "payment"
    REFUND = "refund"
    CHARGEBACK = "chargeback"
    MOVE = "move"
    USAGE = "usage"


class Usage(Struct, frozen=True, kw_only=True):
    """What a CLOSED lease spent. `at_ms`: when it began; `purse` is empty where it spent from several."""

    id: str
    purse: str
    amount_nanousd: NanoUsd
    at_ms: int


Listed = Entry | Usage
_ENTRIES: Mapping[EntryKind, type[Entry]] = {
    EntryKind.PAYMENT: Payment,
    EntryKind.REFUND: Refund,
    EntryKind.CHARGEBACK: Clawback,
    EntryKind.MOVE: Move,
}


class Entries:
    """Reads an account's entries."""

    def __init__(self, table: Table, dice: Dice) -> None:
        self._table = table
        self._dice = dice

    async def list(
        self, actor: Actor, organisation: str, kind: EntryKind | None, page_size: int, page_token: str
    ) -> tuple[tuple[Listed, ...], str]:
        """Read a page of entries, of one kind or all, and the token of the next page, empty at the end.

        Raises:
            InvalidFieldError: the page token is none of this list's.
            ResourceNotFoundError: there is no such organisation, or it is not the actor's own.
            ScopeMissingError: the actor's role does not allow it.
            StoreError: they cannot be read.
        """
        account = await account_of(self._table, self._dice, actor, organisation, access.READERS)
        kinds = tuple(EntryKind) if kind is None else (kind,)
        place, after = _position(kinds, page_token)
        found: list[Listed] = []
        reads = READS_MAX
        while place < len(kinds) and len(found) < page_size and reads > 0:
            reads -= 1
            query = msgspec.structs.replace(_query(account, kinds[place]), limit=page_size - len(found))
            page = await page_of(self._table, self._dice, query, after)
            for item in page.items:
                found += _listed(item, kinds[place])
            after = page.next or ""
            place += not after
        return tuple(found), f"{kinds[place].value}!{after}" if place < len(kinds) else ""


def _position(kinds: tuple[EntryKind, ...], page_token: str) -> tuple[int, str]:
    """Return which kind a page begins with, and where in it."""
    if not page_token:
        return 0, ""
    name, _, after = page_token.partition("!")
    names = [kind.value for kind in kinds]
    if name not in names:
        raise InvalidFieldError(("page_token", "is not a next_page_token of this list"))
    return names.index(name), after


def _query(account: str, kind: EntryKind) -> Query:
    entry = _ENTRIES.get(kind)
    return leases.all_of(account, None) if entry is None else payments.all_of(account, entry, None)


def _listed(found: Item, kind: EntryKind) -> tuple[Listed, ...]:
    """Return the entry in an item; none of a lease that is open, or spent nothing."""
    entry = _ENTRIES.get(kind)
    if entry is not None:
        return (payments.entry_of(found, entry),)
    lease = leases.lease_of(found)
    return (_usage(lease, lease.total_nanousd),) if lease.total_nanousd else ()


def _usage(lease: Lease, total: NanoUsd) -> Usage:
    spent = [leg.purse for leg, part in zip(lease.legs, split_total(lease.legs, total), strict=True) if part]
    purse = spent[0] if len(spent) == 1 else ""
    return Usage(id=lease.id, purse=purse, amount_nanousd=total, at_ms=ids.made_at_ms(lease.id))
