"""A lease closed, by its owner or by anyone else, with the same code (ledger.md: close).

First every slot is brought to an end, so that nothing can be spent any more; only then is the lease's entry read, so that no
growth is missed; and what was not spent goes back in one transaction, which fails if the lease grew or was closed meanwhile.
No clock decides anything here: a closer who comes too early costs its owner a fresh lease and the open calls their price, never
a balance. Any number of closers may race: ends are final, so all find the same total.
"""

from contextlib import aclosing

import msgspec

from junctor.domain.lease import Lease, LeaseState, Slot, SlotState
from junctor.domain.money import NanoUsd
from junctor.ledger import trying
from junctor.ports.ambient import Dice
from junctor.ports.table import Done, Item, Table
from junctor.records import exchanges, generations, keys, leases
from junctor.records.ids import SLOT_NUMBER_MAX


async def close(table: Table, dice: Dice, lease: Lease, now_ms: int, total: NanoUsd | None = None) -> Lease | None:
    """Close a lease and return it as it is then; None if there is none of its id.

    `total` is for an owner who knows how each of its slots ended, with no write to any of them under way: what they cost. Of
    `lease` only id, account and width count, which never change.

    Raises:
        StoreError: it could not be done, or its fate is not known; safe to repeat, by anyone.
        ValueError: the slots cost more than the lease has, which means that the books are wrong.
    """
    spent = await _end_all(table, dice, lease, now_ms) if total is None else total
    while True:
        found = await trying.get(table, dice, keys.lease(lease.account, lease.id))
        if found is None:
            return None
        entry = leases.lease_of(found)
        if entry.state is LeaseState.CLOSED:
            return entry
        operations = (leases.closing(entry, spent), *exchanges.giving_back(entry, spent))
        if isinstance(await trying.transact(table, dice, operations), Done):
            return msgspec.structs.replace(entry, state=LeaseState.CLOSED, total_nanousd=spent)


async def _end_all(table: Table, dice: Dice, lease: Lease, now_ms: int) -> NanoUsd:
    """End every slot that is or could yet be written, and return what all of them cost.

    A slot is sent only when all numbers up to a width below it are acknowledged: so after a width of SEALED numbers in a row
    there is none, and there will be none.
    """
    slots = trying.read_all(table, dice, lambda after: generations.all_of(lease.account, lease.id, after))
    total, number, sealed = 0, 0, 0
    async with aclosing(slots) as found:
        upcoming = await anext(found, None)
        while sealed < lease.width and number <= SLOT_NUMBER_MAX:
            there: Item | None = None
            if upcoming is not None and generations.number_of(upcoming) == number:
                there, upcoming = upcoming, await anext(found, None)
            ended = await _end(table, dice, Slot(lease.account, lease.id, number), there, now_ms)
            sealed = sealed + 1 if generations.state_of(ended) is SlotState.SEALED else 0
            total += generations.cost_of(ended)
            number += 1
    return total


async def _end(table: Table, dice: Dice, place: Slot, found: Item | None, now_ms: int) -> Item:
    """Return a slot's item with its end, which it is given if it has none."""
    if found is None:
        seal = generations.unused(place, SlotState.SEALED)
        put = await trying.put_new(table, dice, seal)
        found = seal if isinstance(put, Done) or put.old is None else put.old
    if generations.state_of(found) is not SlotState.OPEN:
        return found
    expired = await trying.update(table, dice, generations.expiring(place, now_ms))
    if isinstance(expired, Done):
        return {**found, "state": SlotState.EXPIRED.value, "cost_nanousd": 0}
    return expired.old or found
