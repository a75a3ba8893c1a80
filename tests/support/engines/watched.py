"""A real engine's table behind a layer of faults, watched as the simulation watches its own store.

Each fault befalls a call between the ledger and the engine: the call or its answer is lost, comes late, comes twice, or is
refused. A call that is on its way arrives even if its caller has gone, as bytes on a wire do. The mirror holds each item as it
was last seen: whatever a caller was shown is in it before he is, and no item in it ever goes back in time.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

import msgspec

from junctor.adapters.tables.dynamodb import DynamoStore
from junctor.adapters.tables.dynamodb_values import decode_item
from junctor.adapters.tables.faults import Fault, FaultPlan
from junctor.ledger import trying
from junctor.ports.table import (
    Capacity,
    Change,
    Condition,
    ConflictError,
    Delete,
    Done,
    Found,
    Item,
    Key,
    Operation,
    Page,
    PutNew,
    Query,
    Refused,
    StoreError,
    TableSpec,
    ThrottledError,
    UnavailableError,
    UnknownOutcomeError,
    Update,
)
from junctor.records.tables import CORE
from tests.simulation.store import WatchedStore
from tests.support.world import SeededDice

T = TypeVar("T")

_REFUSALS: dict[Fault, type[StoreError]] = {
    Fault.THROTTLED: ThrottledError,
    Fault.CONFLICT: ConflictError,
    Fault.UNAVAILABLE: UnavailableError,
}
_NEVER_ANSWERED = {Fault.REPLY_LOST, Fault.DROPPED, Fault.DELAYED, Fault.UNAVAILABLE}


class EngineStore(WatchedStore):
    """The simulation's store in all that its actors ask of it, with a real engine's items in place of its own."""

    def __init__(self, seed: int, plan: FaultPlan, engine: DynamoStore) -> None:
        super().__init__(seed, plan)
        self.engine = engine
        self._locks: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._flying: set[asyncio.Task[object]] = set()

    async def carry_read(self, read: Callable[[], Awaitable[T]]) -> T:
        """Carry a read there and back. Raises StoreError."""
        self.watched.writing = False
        fault = self.watched.strike()
        await asyncio.sleep(self.watched.latency_s())
        if fault is Fault.THROTTLED:
            raise ThrottledError("the faults throttle this read")
        if fault in _NEVER_ANSWERED:
            raise UnavailableError("the faults lose this read")
        return await read()

    async def carry_write(self, operations: Sequence[Operation], write: Callable[[], Awaitable[T]]) -> T:
        """Carry a write there and back, or let it be lost, delayed or repeated on its way. Raises StoreError."""
        self.watched.writing = True
        fault = self.watched.strike()
        await asyncio.sleep(self.watched.latency_s())
        if fault in _REFUSALS:
            raise _REFUSALS[fault]("the faults refuse this write")
        if fault is Fault.DELAYED:
            self._fly(self._carry_late(operations, write))
        if fault in {Fault.DROPPED, Fault.DELAYED}:
            raise UnknownOutcomeError("the faults answer nothing to this write")
        answer = await asyncio.shield(self._fly(self._carry(operations, write)))
        if fault is Fault.DUPLICATED:
            answer = await asyncio.shield(self._fly(self._carry(operations, write)))
        if fault is Fault.REPLY_LOST:
            raise UnknownOutcomeError("the faults lose the answer to this write")
        return answer

    async def look(self, key: Key) -> Found:
        """Read an item as it is, and note it. The reads of one key stand in line, so that none overtakes a later one."""
        async with self._locks[key]:
            found = await self.engine.table(CORE).get(key)
            if found.item is not None:
                self._see(found.item)
            return found

    async def look_at_all(self, keys: Collection[Key]) -> None:
        """Read these items as they are, and note them."""
        async with AsyncExitStack() as locked:
            for key in sorted(keys, key=msgspec.structs.astuple):
                await locked.enter_async_context(self._locks[key])
            with trying.unhurried():  # what lies below loses reads too, and none may be missed
                page = await trying.repeat(SeededDice(), lambda: self.engine.table(CORE).batch_get(list(keys)))
            for item in page.items:
                self._see(item)

    async def settled(self) -> None:
        """Wait until nothing is on its way any more."""
        while self._flying:
            await asyncio.wait(self._flying)

    async def scan(self) -> list[Item]:
        """Read all items, while nobody writes, and make them the mirror."""
        items: list[Item] = []
        request: dict[str, object] = {"TableName": self.engine.name_of(CORE), "ConsistentRead": True}
        while True:
            page = await self.engine.calls.read("Scan", request)
            items += [decode_item(item) for item in page.items]
            if page.last_evaluated_key is None:
                break
            request["ExclusiveStartKey"] = page.last_evaluated_key
        self.mirror.clear()
        for item in items:
            self._see(item)
        return items

    def _see(self, item: Item) -> None:
        self.mirror[_place(item)] = item
        self._open(item)

    def _open(self, item: Item) -> None:
        """Note a slot that is OPEN: by the next look it may have ended."""
        key = _place(item)
        if item.get("state") == "OPEN" and key.sort.startswith("SLOT#"):
            self.opened.add(key)

    def _fly(self, work: Coroutine[object, object, T]) -> "asyncio.Task[T]":
        """Let this go on whoever waits for it; its error, if nobody does, is told to nobody."""
        task = asyncio.create_task(work)
        self._flying.add(task)
        task.add_done_callback(self._landed)
        return task

    def _landed(self, task: "asyncio.Task[object]") -> None:
        self._flying.discard(task)
        if not task.cancelled():
            task.exception()

    async def _carry_late(self, operations: Sequence[Operation], write: Callable[[], Awaitable[object]]) -> None:
        await asyncio.sleep(self.watched.delay_s())
        await self._carry(operations, write)

    async def _carry(self, operations: Sequence[Operation], write: Callable[[], Awaitable[T]]) -> T:
        """Carry out a write, and look at what it touched before its caller is answered."""
        try:
            answer = await write()
        finally:
            with contextlib.suppress(StoreError):
                await self.look_at_all({_key(operation) for operation in operations})
        if isinstance(answer, Done):
            for operation in operations:
                if isinstance(operation, PutNew):
                    self._open(operation.item)
        elif isinstance(answer, Refused) and answer.old is not None:
            self._open(answer.old)
        return answer


class EngineTable:
    """The core table on the engine, as the ledger sees it."""

    def __init__(self, store: EngineStore) -> None:
        self._store = store
        self._table = store.engine.table(CORE)

    @property
    def spec(self) -> TableSpec:
        """Return what the table was made from."""
        return self._table.spec

    async def get(self, key: Key, *, consistent: bool = True) -> Found:
        """Read one item."""
        if consistent:
            return await self._store.carry_read(lambda: self._store.look(key))
        return await self._store.carry_read(lambda: self._table.get(key, consistent=False))

    async def query(self, query: Query) -> Page:
        """Read one page."""
        return await self._store.carry_read(lambda: self._table.query(query))

    async def put_new(self, item: Item) -> Done | Refused:
        """Write an item if its key is free."""
        return await self._store.carry_write([PutNew(item)], lambda: self._table.put_new(item))

    def begin_put_new(self, item: Item) -> asyncio.Task[Done | Refused]:
        """Begin to write an item if its key is free."""
        return asyncio.get_running_loop().create_task(self.put_new(item))

    async def update(
        self, key: Key, conditions: Sequence[Condition], changes: Sequence[Change], *, returning: bool = True
    ) -> Done | Refused:
        """Change one item."""
        operation = Update(key, tuple(conditions), tuple(changes))
        return await self._store.carry_write(
            [operation], lambda: self._table.update(key, conditions, changes, returning=returning)
        )

    async def delete(self, key: Key, conditions: Sequence[Condition] = ()) -> Done | Refused:
        """Take one item away."""
        return await self._store.carry_write([Delete(key, tuple(conditions))], lambda: self._table.delete(key, conditions))

    async def transact(self, operations: Sequence[Operation], token: str) -> Done | Refused:
        """Apply all operations, or none."""
        return await self._store.carry_write(operations, lambda: self._table.transact(operations, token))

    async def batch_get(self, keys: Sequence[Key]) -> Page:
        """Read many items."""
        return await self._store.carry_read(lambda: self._table.batch_get(keys))

    async def batch_put(self, items: Sequence[Item]) -> Capacity:
        """Write many items."""
        return await self._store.carry_write([PutNew(item) for item in items], lambda: self._table.batch_put(items))


def _place(item: Item) -> Key:
    return Key(str(item["pk"]), str(item["sk"]))


def _key(operation: Operation) -> Key:
    return _place(operation.item) if isinstance(operation, PutNew) else operation.key
