"""Purses as items, and the one update by which leases take from them and give back.

Whatever a lease does to a purse is an exchange: something released, a part of it spent, something taken. Acquiring, growing,
closing and renewing differ in their sums only, so that each purse is met by one operation in each transaction.
"""

from collections.abc import Mapping
from typing import cast

import msgspec

from junctor.domain.credits import Purse, PurseState
from junctor.domain.money import NanoUsd
from junctor.ports.table import Add, AtLeast, Change, Condition, Equals, Exists, Item, Query, Set, Update, Value
from junctor.records import keys

AVAIL, LEASED, SPENT = "avail_nanousd", "leased_nanousd", "spent_nanousd"
CREDITED, OWED, EXPIRED = "credited_nanousd", "owed_nanousd", "expired_nanousd"

_OPEN = Equals("state", PurseState.OPEN.value)


def item(purse: Purse) -> Item:
    """Return a purse as an item."""
    fields = cast("Mapping[str, Value]", msgspec.to_builtins(purse))
    kept = {name: value for name, value in fields.items() if value is not None}
    return {**keys.attributes(keys.purse(purse.account, purse.id)), **kept}


def purse_of(found: Item) -> Purse:
    """Return the purse in an item."""
    return msgspec.convert(found, Purse)


def all_of(account: str, after: str | None) -> Query:
    """Return the query for an account's purses."""
    return Query(partition=keys.purse(account, "").partition, prefix=keys.PURSE_PREFIX, consistent=True, after=after)


def exchange(account: str, purse: str, *, taken: NanoUsd | None = None, released: NanoUsd = 0, spent: NanoUsd = 0) -> Update:
    """Return the update that gives back a leg, of which a part was spent, and takes another.

    Only what takes, were it nothing, has conditions: the purse is OPEN, owes nothing, and has enough of its own and of what
    comes back.
    """
    returned = released - spent
    conditions: tuple[Condition, ...] = ()
    if taken is not None:
        conditions = (_OPEN, Equals(OWED, 0), AtLeast(AVAIL, taken - returned))
    changes = (Add(AVAIL, returned - (taken or 0)), Add(LEASED, (taken or 0) - released), Add(SPENT, spent))
    return Update(keys.purse(account, purse), conditions, changes)


def credit(account: str, purse: str, amount: NanoUsd) -> Update:
    """Return the update that adds money to a purse that is there and OPEN."""
    return Update(keys.purse(account, purse), (_OPEN,), (Add(AVAIL, amount), Add(CREDITED, amount)))


def debit(account: str, purse: str, amount: NanoUsd, *, free: bool) -> Update:
    """Return the update that takes money out of a purse for good. `free`: only from one that is OPEN and owes nothing."""
    conditions: tuple[Condition, ...] = (AtLeast(AVAIL, amount),)
    if free:
        conditions = (_OPEN, Equals(OWED, 0), *conditions)
    return Update(keys.purse(account, purse), conditions, (Add(AVAIL, -amount), Add(CREDITED, -amount)))


def owe(account: str, purse: str, amount: NanoUsd) -> Update:
    """Return the update that makes a purse owe what was taken back from us."""
    return Update(keys.purse(account, purse), (Exists(OWED),), (Add(OWED, amount), Add(CREDITED, -amount)))


def collect(account: str, purse: str, amount: NanoUsd) -> Update:
    """Return the update that pays what a purse owes out of what it has."""
    conditions = (AtLeast(AVAIL, amount), AtLeast(OWED, amount))
    return Update(keys.purse(account, purse), conditions, (Add(AVAIL, -amount), Add(OWED, -amount)))


def expire(account: str, purse: str) -> Update:
    """Return the update after which a grant is leased from no more."""
    changes: tuple[Change, ...] = (Set("state", PurseState.EXPIRED.value),)
    return Update(keys.purse(account, purse), (_OPEN,), changes)


def sweep(account: str, purse: str, amount: NanoUsd) -> Update:
    """Return the update that takes what an expired purse still has."""
    conditions = (Equals("state", PurseState.EXPIRED.value), AtLeast(AVAIL, amount))
    return Update(keys.purse(account, purse), conditions, (Add(AVAIL, -amount), Add(EXPIRED, amount)))
