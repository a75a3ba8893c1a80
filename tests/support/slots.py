"""Which generations does an account have? All of its leases' slots, read as any other instance would read them."""

from collections.abc import AsyncGenerator

from junctor.domain.generation import Generation
from junctor.domain.lease import Lease, Slot, SlotState
from junctor.ports.ambient import Dice
from junctor.ports.table import SORT, Item, Query, Table
from junctor.records import generations, ids, keys, leases

SLOT_DIGITS = 6


async def generations_by_id(table: Table, account: str) -> dict[str, Generation]:
    """Read every slot that holds a generation, by generation id. Raises StoreError."""
    found: dict[str, Generation] = {}
    async for item in _items(table, keys.lease(account, "").partition, keys.LEASE_PREFIX):
        lease = leases.lease_of(item)
        partition = keys.slot(Slot(account, lease.id, 0)).partition
        async for slot in _items(table, partition, ""):
            place = Slot(account, lease.id, int(str(slot[SORT])[-SLOT_DIGITS:]))
            if "api_key" in slot:  # else its number stayed unused
                generation = generations.generation_of(slot, place)
                found[generation.id] = generation
    return found


async def put_settled(table: Table, account: str, lookup_id: str, now_ms: int, dice: Dice) -> str:
    """Write a lease and a settled generation in it, as the ledger leaves them, and return the generation's id."""
    name = ids.ulid(now_ms, dice.draw(ids.ULID_RANDOM_BYTES))
    lease = Lease(id=name, account=account, scope=account, owner="owner", until_ms=now_ms, exp_ms=now_ms, width=16)
    place = Slot(account, name, 3)
    made = Generation(
        id=ids.generation_id(place),
        slot=place,
        state=SlotState.SETTLED,
        api_key=lookup_id,
        requested_model="lab/model",
        started_at_ms=now_ms,
        deadline_at_ms=now_ms,
        cost_nanousd=7,
    )
    await table.put_new(leases.item(lease))
    await table.put_new({**generations.item(made), "state": made.state.value, "cost_nanousd": made.cost_nanousd})
    return made.id


async def _items(table: Table, partition: str, prefix: str) -> AsyncGenerator[Item, None]:
    after: str | None = None
    while True:
        page = await table.query(Query(partition=partition, prefix=prefix, consistent=True, after=after))
        for item in page.items:
            yield item
        after = page.next
        if after is None:
            return
