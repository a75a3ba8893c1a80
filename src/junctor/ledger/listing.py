"""Every organisation there is, for what must see to all of them."""

from collections.abc import AsyncGenerator
from functools import partial

from junctor.ledger import trying
from junctor.ports.ambient import Dice
from junctor.ports.table import Table
from junctor.records import organisations


async def read_accounts(table: Table, dice: Dice) -> AsyncGenerator[str, None]:
    """Yield the id of every account in the list. Raises StoreError."""
    for shard in range(organisations.SHARDS):
        async for item in trying.read_all(table, dice, partial(organisations.listed, shard)):
            yield organisations.id_of(item)
