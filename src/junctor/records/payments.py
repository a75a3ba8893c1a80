"""Payments, refunds, clawbacks and moves as items: the journal of what is credited, each written once by its outside id."""

from collections.abc import Mapping
from typing import cast

import msgspec

from junctor.domain.credits import Clawback, Entry, Move, Payment, Refund
from junctor.domain.money import NanoUsd
from junctor.ports.table import Add, AtLeast, Item, Key, Query, Update, Value
from junctor.records import keys

REFUNDABLE = "refundable_nanousd"

_PREFIXES: Mapping[type[Entry], str] = {
    Payment: keys.PAYMENT_PREFIX,
    Refund: keys.REFUND_PREFIX,
    Clawback: keys.CLAWBACK_PREFIX,
    Move: keys.MOVE_PREFIX,
}
_MAY_DIFFER = (REFUNDABLE, "at_ms")


def key(entry: Entry) -> Key:
    """Return where an entry lies."""
    return keys.entry(entry.account, _PREFIXES[type(entry)], entry.id)


def item(entry: Entry) -> Item:
    """Return an entry as an item."""
    return {**keys.attributes(key(entry)), **_fields(entry)}


def same(found: Item, entry: Entry) -> bool:
    """Tell whether the item found under an entry's id is this entry, written earlier and perhaps refunded since."""
    return all(found.get(name) == value for name, value in _fields(entry).items() if name not in _MAY_DIFFER)


def refund_part(account: str, payment: str, amount: NanoUsd) -> Update:
    """Return the update by which less of a payment may go back."""
    where = keys.entry(account, keys.PAYMENT_PREFIX, payment)
    return Update(where, (AtLeast(REFUNDABLE, amount),), (Add(REFUNDABLE, -amount),))


def entry_of(found: Item, kind: type[Entry]) -> Entry:
    """Return the entry of this kind in an item. Raises msgspec.ValidationError."""
    return msgspec.convert(found, kind)


def all_of(account: str, kind: type[Entry], after: str | None) -> Query:
    """Return the query for all entries of one kind of an account."""
    first = keys.entry(account, _PREFIXES[kind], "")
    return Query(partition=first.partition, prefix=first.sort, consistent=True, after=after)


def _fields(entry: Entry) -> Mapping[str, Value]:
    return cast("Mapping[str, Value]", msgspec.to_builtins(entry))
