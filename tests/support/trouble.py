"""A table in trouble, and a DynamoDB in trouble beneath it: how both fail in each way in which an outage shows."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import TypeVar

from junctor.adapters.tables.dynamodb_pool import SLOWNESS
from junctor.adapters.tables.dynamodb_sender import (
    Answer,
    Complaint,
    ComplaintError,
    NeverSentError,
    SendError,
    UnansweredError,
)
from junctor.adapters.tables.dynamodb_signed import Patience
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
    Table,
    TableSpec,
    ThrottledError,
    UnavailableError,
    UnknownOutcomeError,
)

T = TypeVar("T")

QUICK_S, SLOW_S = Patience().answer_s, Patience().answer_s * SLOWNESS
"""After how long the usual sender gives an answer up: of most operations, and of transactions and batches."""


class Trouble(Enum):
    """What becomes of every request."""

    SILENT = "taken, and never answered"
    BLACKHOLE = "no connection is made, nor refused"
    REFUSED = "no connection is made"
    BROKEN = "answered with status 500"
    THROTTLED = "answered with a throttling error"


class TroubledSender:
    """A DynamoDB that is in trouble for good. `operations` says what was sent."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self.operations: list[str] = []

    async def send(self, operation: str, request: Mapping[str, object]) -> Answer:
        """Fail as the usual sender does."""
        assert request
        self.operations.append(operation)
        if self._trouble is Trouble.SILENT:
            quick = operation in {"GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query"}
            await asyncio.sleep(QUICK_S if quick else SLOW_S)
        if self._trouble is Trouble.BLACKHOLE:
            await asyncio.sleep(Patience().connect_s)
        raise _FAILURES[self._trouble]

    async def close(self) -> None:
        """Have nothing to close."""


_FAILURES: Mapping[Trouble, SendError] = {
    Trouble.SILENT: UnansweredError("late"),
    Trouble.BLACKHOLE: NeverSentError("our words"),
    Trouble.REFUSED: NeverSentError("our words"),
    Trouble.BROKEN: ComplaintError(500, Complaint("InternalServerError")),
    Trouble.THROTTLED: ComplaintError(400, Complaint("ThrottlingException")),
}


class TroubledTable:
    """A table that is in trouble from one instant of the loop's clock until another.

    `lands`: whether writes that are silent or broken reach it all the same. `requests` counts all that it was asked.
    """

    def __init__(self, table: Table, *, lands: bool = False) -> None:
        self._table = table
        self._lands = lands
        self._trouble = Trouble.THROTTLED
        self._from_s = self._until_s = 0.0
        self.requests = 0

    def begin(self, trouble: Trouble, lasts_s: float = math.inf, *, after_s: float = 0.0) -> None:
        """Let trouble begin, now or later."""
        self._trouble = trouble
        self._from_s = asyncio.get_running_loop().time() + after_s
        self._until_s = self._from_s + lasts_s

    @property
    def spec(self) -> TableSpec:
        """Return what the table was made from."""
        return self._table.spec

    async def get(self, key: Key, *, consistent: bool = True) -> Found:
        """Read one item."""
        return await self._read(lambda: self._table.get(key, consistent=consistent))

    async def query(self, query: Query) -> Page:
        """Read one page."""
        return await self._read(lambda: self._table.query(query))

    async def batch_get(self, keys: Sequence[Key]) -> Page:
        """Read many items."""
        return await self._read(lambda: self._table.batch_get(keys), SLOW_S)

    async def put_new(self, item: Item) -> Done | Refused:
        """Write an item if its key is free."""
        return await self._write(lambda: self._table.put_new(item))

    def begin_put_new(self, item: Item) -> asyncio.Task[Done | Refused]:
        """Begin to write an item if its key is free."""
        return asyncio.get_running_loop().create_task(self.put_new(item))

    async def update(
        self, key: Key, conditions: Sequence[Condition], changes: Sequence[Change], *, returning: bool = True
    ) -> Done | Refused:
        """Change one item."""
        return await self._write(lambda: self._table.update(key, conditions, changes, returning=returning))

    async def delete(self, key: Key, conditions: Sequence[Condition] = ()) -> Done | Refused:
        """Take one item away."""
        return await self._write(lambda: self._table.delete(key, conditions))

    async def transact(self, operations: Sequence[Operation], token: str) -> Done | Refused:
        """Apply all operations or none."""
        return await self._write(lambda: self._table.transact(operations, token), SLOW_S)

    async def batch_put(self, items: Sequence[Item]) -> Capacity:
        """Write many items."""
        return await self._write(lambda: self._table.batch_put(items), SLOW_S)

    async def _read(self, work: Callable[[], Awaitable[T]], lasts_s: float = QUICK_S) -> T:
        self.requests += 1
        if not self._in_trouble():
            return await work()
        await self._pass(lasts_s)
        raise ThrottledError if self._trouble is Trouble.THROTTLED else UnavailableError

    async def _write(self, work: Callable[[], Awaitable[T]], lasts_s: float = QUICK_S) -> T:
        self.requests += 1
        if not self._in_trouble():
            return await work()
        sent = self._trouble in {Trouble.SILENT, Trouble.BROKEN}
        if sent and self._lands:
            await work()
        await self._pass(lasts_s)
        if sent:
            raise UnknownOutcomeError
        raise ThrottledError if self._trouble is Trouble.THROTTLED else UnavailableError

    def _in_trouble(self) -> bool:
        return self._from_s <= asyncio.get_running_loop().time() < self._until_s

    async def _pass(self, lasts_s: float) -> None:
        """Let the time pass that such a request takes."""
        if self._trouble is Trouble.SILENT:
            await asyncio.sleep(lasts_s)
        if self._trouble is Trouble.BLACKHOLE:
            await asyncio.sleep(Patience().connect_s)
