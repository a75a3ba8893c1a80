"""What accounts generated, written straight into a simulated store, and a table that notes whose items were read."""

import msgspec
import pytest

from junctor.adapters.tables.simulated import SimulatedStore, SimulatedTable
from junctor.domain.account import Actor, KeyScope
from junctor.domain.errors import GenerationNotFoundError
from junctor.domain.generation import Generation
from junctor.domain.lease import Lease, Slot, SlotState
from junctor.ports.table import Found, Item, Key, Page, Query
from junctor.records import generations, ids, leases
from junctor.records.tables import CORE
from junctor.usecases.generations import Generations
from tests.support.world import EPOCH_MS, SeededDice


class SpyTable(SimulatedTable):
    """The table of all items; `partitions` are those that were read, one entry a read, and `page_items` cuts its pages."""

    def __init__(self, store: SimulatedStore) -> None:
        super().__init__(store, CORE)
        self.partitions: list[str] = []
        self.page_items: int | None = None

    async def get(self, key: Key, *, consistent: bool = True) -> Found:
        """Read one item; only as it is now, which is what readers of a generation were promised."""
        assert consistent
        self.partitions.append(key.partition)
        return await super().get(key)

    async def query(self, query: Query) -> Page:
        """Read one page, as it is now, and of no more items than `page_items`."""
        assert query.consistent
        self.partitions.append(query.partition)
        if self.page_items is not None and query.limit is not None:
            query = msgspec.structs.replace(query, limit=min(query.limit, self.page_items))
        return await super().query(query)


class History:
    """Leases and slots of any account. Make it inside a running loop and call `open` first."""

    def __init__(self) -> None:
        self.store = SimulatedStore()
        self.table = SpyTable(self.store)
        self.generations = Generations(self.table, SeededDice())

    async def open(self) -> "History":
        """Make the table."""
        await self.store.create([CORE])
        return self

    async def put(self, item: Item) -> None:
        """Write an item."""
        await self.table.put_new(item)

    async def lease(self, account: str, at_ms: int, number: int = 0) -> Lease:
        """Write a lease that was acquired so many ms after the epoch; `number` orders those of one instant."""
        made = Lease(
            id=ids.ulid(EPOCH_MS + at_ms, number.to_bytes(ids.ULID_RANDOM_BYTES)),
            account=account,
            scope="scope",
            owner="owner",
            until_ms=EPOCH_MS,
            exp_ms=EPOCH_MS,
            width=16,
        )
        await self.put(leases.item(made))
        return made

    async def slot(self, lease: Lease, number: int, api_key: str = "KEY") -> Generation:
        """Write a slot that was settled."""
        place = Slot(lease.account, lease.id, number)
        made = Generation(
            id=ids.generation_id(place),
            slot=place,
            state=SlotState.SETTLED,
            api_key=api_key,
            requested_model="lab/model",
            started_at_ms=EPOCH_MS,
            deadline_at_ms=EPOCH_MS + 1,
            cost_nanousd=7,
        )
        await self.put({**generations.item(made), "state": made.state.value, "cost_nanousd": made.cost_nanousd})
        return made

    async def unused(self, lease: Lease, number: int, state: SlotState) -> str:
        """Write a slot that never held a generation, and return what its id would be."""
        place = Slot(lease.account, lease.id, number)
        await self.put(generations.unused(place, state))
        return ids.generation_id(place)

    async def pages(self, actor: Actor, size: int = 100, api_key: str = "") -> list[list[Generation]]:
        """Return all pages of a list, from the first to the last."""
        pages: list[list[Generation]] = []
        token = ""
        while token or not pages:
            assert len(pages) < 1_000
            found, token = await self.generations.list(actor, size, token, api_key)
            assert len(found) <= size
            pages.append(list(found))
        return pages

    async def everything(self, actor: Actor, size: int = 100, api_key: str = "") -> list[str]:
        """Return the ids of all pages."""
        return [found.id for page in await self.pages(actor, size, api_key) for found in page]

    async def refusal(self, actor: Actor, generation_id: str) -> tuple[str, dict[str, str]]:
        """Return what is answered to asking for a generation that there is not, without the id."""
        with pytest.raises(GenerationNotFoundError) as refused:
            await self.generations.get(actor, generation_id)
        told = dict(refused.value.metadata)
        assert told.pop("generation") == generation_id
        return refused.value.message.replace(repr(generation_id), "..."), told


def manager(account: str = "ONE") -> Actor:
    """Return a management key of nobody's."""
    return Actor(account, "MANAGER", KeyScope.MANAGEMENT)


def user(account: str = "ONE", key: str = "KEY") -> Actor:
    """Return a completion key."""
    return Actor(account, key, KeyScope.COMPLETION)
