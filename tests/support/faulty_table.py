"""A table that does what a test says before, or instead of, what the real one does.

A fault is one of: an exception to raise; `Hang`, for an operation that is stuck until `heal`; `Lost`, for one that is applied
and whose answer is lost. Faults wait in line for their method, or befall all its calls. Without a fault the real table answers.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, TypeVar

from msgspec.structs import force_setattr

from junctor.ports.table import (
    Capacity,
    Change,
    Condition,
    Done,
    Found,
    Item,
    Key,
    Operation,
    Page,
    Query,
    Refused,
    StoreError,
    Table,
    TableSpec,
)
from tests.support.harness import Router

T = TypeVar("T")


class Hang:
    """Neither apply nor answer until `heal`; then do both."""


class Lost:
    """Apply the operation, and raise this in place of its answer."""

    def __init__(self, error: StoreError) -> None:
        self.error = error


Fault: TypeAlias = StoreError | Hang | Lost


class FaultyTable:
    """The table. `calls` counts what was asked of it, by method."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._next: dict[str, deque[Fault]] = {}
        self._always: dict[str, Fault] = {}
        self._healed = asyncio.Event()
        self.calls: dict[str, int] = {}

    def next(self, method: str, *faults: Fault) -> None:
        """Let these befall the next calls of a method, one each."""
        self._next.setdefault(method, deque()).extend(faults)

    def always(self, method: str, fault: Fault) -> None:
        """Let this befall every call of a method, until `heal`."""
        self._always[method] = fault

    def heal(self) -> None:
        """Let nothing befall any later call, and free those that hang."""
        self._healed.set()
        self._next.clear()
        self._always.clear()

    @property
    def spec(self) -> TableSpec:
        """Return what the table was made from."""
        return self._table.spec

    async def get(self, key: Key, *, consistent: bool = True) -> Found:
        """Read one item."""
        return await self._do("get", lambda: self._table.get(key, consistent=consistent))

    async def query(self, query: Query) -> Page:
        """Read one page."""
        return await self._do("query", lambda: self._table.query(query))

    async def put_new(self, item: Item) -> Done | Refused:
        """Write an item if its key is free."""
        return await self._do("put_new", lambda: self._table.put_new(item))

    def begin_put_new(self, item: Item) -> asyncio.Task[Done | Refused]:
        """Begin to write an item if its key is free."""
        return asyncio.get_running_loop().create_task(self.put_new(item))

    async def update(
        self, key: Key, conditions: Sequence[Condition], changes: Sequence[Change], *, returning: bool = True
    ) -> Done | Refused:
        """Change one item."""
        return await self._do("update", lambda: self._table.update(key, conditions, changes, returning=returning))

    async def delete(self, key: Key, conditions: Sequence[Condition] = ()) -> Done | Refused:
        """Take one item away."""
        return await self._do("delete", lambda: self._table.delete(key, conditions))

    async def transact(self, operations: Sequence[Operation], token: str) -> Done | Refused:
        """Apply all operations, or none."""
        return await self._do("transact", lambda: self._table.transact(operations, token))

    async def batch_get(self, keys: Sequence[Key]) -> Page:
        """Read many items."""
        return await self._do("batch_get", lambda: self._table.batch_get(keys))

    async def batch_put(self, items: Sequence[Item]) -> Capacity:
        """Write many items."""
        return await self._do("batch_put", lambda: self._table.batch_put(items))

    async def _do(self, method: str, work: Callable[[], Awaitable[T]]) -> T:
        self.calls[method] = self.calls.get(method, 0) + 1
        waiting = self._next.get(method)
        fault = waiting.popleft() if waiting else self._always.get(method)
        if isinstance(fault, Hang):
            await self._healed.wait()
        if isinstance(fault, StoreError):
            raise fault
        answer = await work()
        if isinstance(fault, Lost):
            raise fault.error
        return answer


def break_ledger(router: Router) -> FaultyTable:
    """Put a faulty table under a router's ledger, and return it."""
    ledger = router.core.services.ledger
    faulty = FaultyTable(ledger._table)
    force_setattr(ledger._bookings._tools, "table", faulty)  # the one value that all parts of the ledger share
    ledger._table = ledger._scopes._standings._table = faulty
    return faulty


def break_admission(router: Router) -> FaultyTable:
    """Put a faulty table under what looks up a router's API keys, and return it."""
    admission = router.core.services.admission
    faulty = FaultyTable(admission._table)
    admission._table = faulty
    return faulty
