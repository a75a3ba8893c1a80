"""Which generations does an account have? All of its leases' slots, read as any other instance would read them."""

from collections.abc import AsyncGenerator

from junctor.domain.generation import Generation
from junctor.domain.lease import Slot
from junctor.ports.table import SORT, Item, Query, Table
from junctor.records import generations, keys, leases

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


async def _items(table: Table, partition: str, prefix: str) -> AsyncGenerator[Item, None]:
    after: str | None = None
    while True:
        page = await table.query(Query(partition=partition, prefix=prefix, consistent=True, after=after))
        for item in page.items:
            yield item
        after = page.next
        if after is None:
            return
