"""The ledger's operations on the table, one function each: acquire, open, end (ledger.md).

Each may be repeated until its fate is known: a write that was applied although its reply was lost is found again by the item's
own state. What stays unknown after all tries is raised as the store raised it, and the caller of these functions decides.
"""

import asyncio
from enum import Enum

from junctor.domain.generation import Generation
from junctor.domain.lease import Lease, SlotState
from junctor.ports.ambient import Dice
from junctor.ports.table import Done, Item, Refused, StoreError, Table
from junctor.records import generations, keys, leases

TRIES = 4
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.01, 0.2
DOUBLINGS_MAX = 16


class Opening(Enum):
    """What became of opening a slot."""

    OPEN = "open"
    FENCED = "fenced"


class Ending(Enum):
    """What became of ending a slot. OURS_NOT: it had ended otherwise, by a closer's hand."""

    ENDED = "ended"
    OURS_NOT = "ours_not"


async def acquire(table: Table, dice: Dice, lease: Lease) -> None:
    """Write the META of a lease of amount 0. Its id is fresh, so a META found there is an earlier try of ours.

    Raises:
        StoreError: it could not be written, or its fate is not known.
    """
    await _put(table, dice, leases.item(lease))


async def open_slot(table: Table, dice: Dice, generation: Generation) -> Opening:
    """Write a generation's slot as OPEN.

    A slot found OPEN is an earlier try of ours, as only a lease's owner opens slots in it.

    Raises:
        StoreError: it could not be written, or its fate is not known.
    """
    answer = await _put(table, dice, generations.item(generation))
    if isinstance(answer, Done) or (answer.old is not None and generations.state_of(answer.old) is SlotState.OPEN):
        return Opening.OPEN
    return Opening.FENCED


async def end_slot(table: Table, opened: Generation, ended: Generation) -> Ending:
    """Give an OPEN slot its end. The same end found there is an earlier try of ours.

    Raises:
        StoreError: it could not be written, or its fate is not known; safe to repeat.
    """
    conditions, changes = generations.ending(opened, ended)
    answer = await table.update(keys.slot(opened.slot), conditions, changes)
    if isinstance(answer, Done):
        return Ending.ENDED
    if answer.old is not None and generations.state_of(answer.old) is ended.state:
        return Ending.ENDED
    return Ending.OURS_NOT


def backoff_s(dice: Dice, tries: int, longest_s: float = BACKOFF_MAX_S) -> float:
    """Return how long to wait after so many failed tries: full jitter, doubling."""
    return min(BACKOFF_FIRST_S * 2.0 ** min(tries, DOUBLINGS_MAX), longest_s) * dice.uniform()


async def _put(table: Table, dice: Dice, item: Item) -> Done | Refused:
    for tried in range(TRIES):
        try:
            return await table.put_new(item)
        except StoreError:
            if tried == TRIES - 1:
                raise
            await asyncio.sleep(backoff_s(dice, tried))
    raise AssertionError  # pragma: no cover - the loop returns or raises
