"""One slot for each generation: opened before any output, ended once (ledger.md: open, settle).

A slot that is found OPEN is ours, as only a lease's owner opens slots in it; every other state there says that the lease was
closed by someone else. A request that its caller named has its record and its slot written in one transaction, so that sending
it again finds the generation that answers it, and takes over only where that one cost nothing and never will.
"""

import asyncio
from enum import Enum

from msgspec import Struct

from junctor.domain.call import Outcome
from junctor.domain.generation import Generation
from junctor.domain.idempotency import RequestRecord
from junctor.domain.lease import Slot, SlotState
from junctor.ledger import trying
from junctor.ports.ambient import Dice
from junctor.ports.table import Done, Item, Operation, PutNew, Refused, StoreError, Table
from junctor.records import generations, ids, keys, requests

_FREE_FOR_EVER = frozenset({SlotState.VOID, SlotState.EXPIRED})


class Opening(Enum):
    """What became of opening a slot. FENCED: somebody closed the lease. REUSED: the request id was given to another request."""

    OPEN = "open"
    FENCED = "fenced"
    REUSED = "reused"


class InProgress(Struct, frozen=True):
    """Another generation is answering the same request."""

    generation: str


class Answered(Struct, frozen=True):
    """Another generation answered the same request, and was charged."""

    generation: Generation


class Ending(Enum):
    """What became of ending a slot. OURS_NOT: it had ended otherwise, by a closer's hand."""

    ENDED = "ended"
    OURS_NOT = "ours_not"


async def open_slot(
    table: Table, dice: Dice, generation: Generation, begun: "asyncio.Future[Done | Refused] | None" = None
) -> Opening:
    """Write a generation's slot as OPEN. `begun`: the first try, if that was begun already.

    Raises:
        StoreError: it could not be written, or its fate is not known.
    """
    item = generations.item(generation)
    try:
        answer = await (begun or table.put_new(item))
    except StoreError as error:
        answer = await trying.put_new(table, dice, item, failed=error)
    return Opening.OPEN if isinstance(answer, Done) else _opening(answer.old)


async def open_named(
    table: Table, dice: Dice, generation: Generation, record: RequestRecord, now_ms: int
) -> Opening | InProgress | Answered:
    """Write a generation's slot as OPEN, and that it answers the request which `record` names.

    Where it returns neither OPEN nor FENCED the slot's number is unused, and is for `put_void`.

    Raises:
        StoreError: they could not be written, or their fate is not known.
    """
    slot = PutNew(generations.item(generation))
    claim: Operation = PutNew(requests.item(record, now_ms))
    while True:
        answer = await trying.transact(table, dice, (claim, slot))
        if isinstance(answer, Done):
            return Opening.OPEN
        if answer.index > 0:
            return Opening.FENCED
        if answer.old is None:
            claim = PutNew(requests.item(record, now_ms))
            continue
        answering = requests.generation_of(answer.old)
        if answering == generation.id:
            return _opening(await trying.get(table, dice, keys.slot(generation.slot)))
        known = await _known(table, dice, answer.old, record)
        if known is not None:
            return known
        claim = requests.take_over(record, answering, now_ms)


async def find_named(table: Table, dice: Dice, record: RequestRecord) -> Opening | InProgress | Answered | None:
    """Return what stands against answering a request, without writing anything: REUSED, or another generation; None: nothing.

    `open_named` tells it too, but only to a call for which money is set aside. A caller who repeats the last request that he
    could afford has none, and must still be told that it was answered, not that he is to pay.

    Raises:
        StoreError: it cannot be read.
    """
    found = await trying.get(table, dice, keys.request(record.account, record.digest))
    return await _known(table, dice, found, record) if found else None


async def put_void(table: Table, dice: Dice, place: Slot) -> Ending:
    """Write a slot whose number was taken and is not used, so that a closer meets no gap. Raises StoreError."""
    answer = await trying.put_new(table, dice, generations.unused(place, SlotState.VOID))
    if isinstance(answer, Done) or (answer.old is not None and generations.state_of(answer.old) is SlotState.VOID):
        return Ending.ENDED
    return Ending.OURS_NOT


async def end(table: Table, dice: Dice, opened: Generation, outcome: Outcome, now_ms: int) -> Ending:
    """Give an OPEN slot its end, SETTLED or VOID, and try until it is known whether it has it.

    Raises:
        StoreError: it could not be written, or its fate is not known; safe to repeat.
    """
    return await trying.repeat(dice, lambda: end_slot(table, opened, outcome, now_ms))


async def end_slot(table: Table, opened: Generation, outcome: Outcome, now_ms: int) -> Ending:
    """Give an OPEN slot its end, in one try.

    Raises:
        StoreError: it could not be written, or its fate is not known; safe to repeat.
    """
    conditions, changes = generations.ending(opened, outcome, now_ms)
    return ended(await table.update(keys.slot(opened.slot), conditions, changes, returning=False), outcome)


def ended(answer: Done | Refused, outcome: Outcome) -> Ending:
    """Tell by the store's answer what became of ending a slot. The same end found there is an earlier try of ours."""
    return Ending.ENDED if isinstance(answer, Done) or _ended_so(answer, outcome) else Ending.OURS_NOT


async def _known(table: Table, dice: Dice, found: Item, record: RequestRecord) -> Opening | InProgress | Answered | None:
    """Judge the record that was found of a request's name: what stands against answering it, None if nothing does."""
    if not requests.same_request(found, record):
        return Opening.REUSED
    answering = requests.generation_of(found)
    place = ids.parse_generation_id(answering, record.account)
    slot = await trying.get(table, dice, keys.slot(place)) if place else None
    state = generations.state_of(slot) if slot else SlotState.OPEN
    if slot is not None and place is not None and state is SlotState.SETTLED:
        return Answered(generations.generation_of(slot, place))
    return None if state in _FREE_FOR_EVER else InProgress(answering)


def _opening(found: Item | None) -> Opening:
    return Opening.OPEN if found is not None and generations.state_of(found) is SlotState.OPEN else Opening.FENCED


def _ended_so(answer: Refused, outcome: Outcome) -> bool:
    found = answer.old
    return (
        found is not None
        and generations.state_of(found) is outcome.state
        and generations.cost_of(found) == outcome.cost_nanousd
    )
