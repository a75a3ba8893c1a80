"""A generation as its slot's item: at most 1,000 bytes as DynamoDB counts, so that each write costs one unit.

What the key already says (account, lease, number, and so the id) is not stored again. Times are stored as they are in the noun.
"""

from itertools import compress
from operator import ne
from typing import cast

import msgspec
from msgspec import Struct

from junctor.domain.generation import Generation
from junctor.domain.lease import Slot, SlotState
from junctor.domain.money import NanoUsd
from junctor.ports.table import PARTITION, SORT, Change, Condition, Equals, Item, Query, Set, Update, Value
from junctor.records import ids, keys

KEPT_S = 400 * 24 * 3600
"""How long after its lease was acquired a slot is kept."""

UPSTREAM_ID_MAX = 64
"""Bytes kept of a provider's own id of the generation; some are longer than a slot has room for."""

_KEYED = ("id", "slot")
_OTHERS = slice(3, None)
"""All fields of a generation but the first: id and slot, which its key tells, and its state, which is written by itself."""
_NAMES = Generation.__struct_fields__[_OTHERS]
_STILL_OPEN: tuple[Condition, ...] = (Equals("state", SlotState.OPEN.value),)


def item(generation: Generation) -> Item:
    """Return a generation as its slot's item."""
    fields = cast("dict[str, Value]", msgspec.to_builtins(generation))  # without what is as it is by default, None included
    for name in _KEYED:
        del fields[name]
    fields.update(_place(generation.slot))
    return fields


def generation_of(found: Item, place: Slot) -> Generation:
    """Return the generation in a slot's item."""
    return msgspec.convert({**found, "id": ids.generation_id(place), "slot": msgspec.to_builtins(place)}, Generation)


def state_of(found: Item) -> SlotState:
    """Return how far a slot is."""
    return SlotState(found["state"])


def number_of(found: Item) -> int:
    """Return a slot's number."""
    return int(str(found[SORT]).removeprefix(keys.SLOT_PREFIX))


def cost_of(found: Item) -> NanoUsd:
    """Return what a slot that has ended took out of its lease."""
    cost = found.get("cost_nanousd", 0)
    return cost if isinstance(cost, int) else 0


def unused(place: Slot, state: SlotState) -> Item:
    """Return the item of a slot that never held a generation: SEALED by a closer, or VOID as its owner did without it."""
    return {**_place(place), "state": state.value}


def expiring(place: Slot, now_ms: int) -> Update:
    """Return the update by which a closer ends a slot that is still OPEN, at no cost and for ever."""
    changes = (Set("state", SlotState.EXPIRED.value), Set("cost_nanousd", 0), Set("ended_at_ms", now_ms))
    return Update(keys.slot(place), _STILL_OPEN, changes)


def all_of(account: str, lease: str, after: str | None) -> Query:
    """Return the query for a lease's slots in order."""
    partition = keys.slot(Slot(account, lease, 0)).partition
    return Query(partition=partition, prefix=keys.SLOT_PREFIX, consistent=True, after=after)


def newest_first(last: Slot, limit: int) -> Query:
    """Return the query for the slots of a lease up to this one, the newest first, at most so many of them."""
    bounds = keys.slot(Slot(last.account, last.lease, 0)), keys.slot(last)
    return Query(
        partition=bounds[0].partition, between=(bounds[0].sort, bounds[1].sort), limit=limit, consistent=True, descending=True
    )


def was_used(found: Item) -> bool:
    """Tell whether a slot holds a generation: one that was SEALED, or VOID without being used, never did (see `unused`)."""
    return "api_key" in found


def ending(opened: Generation, ended: Generation) -> tuple[tuple[Condition, ...], tuple[Change, ...]]:
    """Return the update that ends a slot which is still OPEN: only what differs from how it was opened is written."""
    old, new = msgspec.structs.astuple(opened)[_OTHERS], msgspec.structs.astuple(ended)[_OTHERS]
    differ = tuple(map(ne, old, new))
    changes = map(Set, compress(_NAMES, differ), compress(new, differ))
    return _STILL_OPEN, (Set("state", ended.state.value), *changes)


class Bill(Struct, frozen=True, kw_only=True):
    """What counts of a slot where money is concerned."""

    number: int
    state: SlotState
    hold_nanousd: NanoUsd = 0
    cost_nanousd: NanoUsd = 0


def bill_of(found: Item) -> Bill:
    """Return what a slot's item says of money. Raises msgspec.ValidationError."""
    return msgspec.convert({**found, "number": number_of(found)}, Bill)


def _place(place: Slot) -> dict[str, Value]:
    """Return a slot's key, and when its item may be swept: all of a lease's at the same time."""
    key = keys.slot(place)
    return {PARTITION: key.partition, SORT: key.sort, "ttl": ids.made_at_ms(place.lease) // 1000 + KEPT_S}
