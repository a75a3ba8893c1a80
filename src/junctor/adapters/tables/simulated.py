"""The table port in memory, as a readable statement of what it promises, under seeded faults and the event loop's own time.

A write is judged and applied in one step of the event loop (`rules` says how), so it is atomic without a lock. What surrounds
that step - the way there, the way back, and what gets lost between - is drawn from a plan of faults. Sleeping and delays use
the running loop's clock, so a loop with virtual time drives hours in milliseconds. It refuses to persist anything and sweeps
expired items only when told to. Capacity is counted as DynamoDB does, without index writes.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from junctor.adapters.tables.faults import CALM, Fault, FaultDice, FaultPlan
from junctor.adapters.tables.paging import check_query, cut_page, start_of
from junctor.adapters.tables.rules import decide, decide_all, read_units, transaction_units, write_units
from junctor.adapters.tables.simulated_shelf import Shelf
from junctor.adapters.tables.values import (
    TOKEN_LIFE_S,
    check_batch,
    check_key,
    check_operation,
    check_transaction,
    copy_item,
    item_size,
    operation_key,
)
from junctor.ports.table import (
    Capacity,
    Check,
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
from junctor.ports.table import Change as ItemChange

_Answer = TypeVar("_Answer")

_NO_FAULT = Fault.NONE  # an enum's attribute is dear to Python 3.11

_LOST_READS: dict[Fault, type[StoreError]] = {
    Fault.THROTTLED: ThrottledError,
    Fault.REPLY_LOST: UnavailableError,
    Fault.DROPPED: UnavailableError,
    Fault.DELAYED: UnavailableError,
    Fault.UNAVAILABLE: UnavailableError,
}

_LOST_WRITES: dict[Fault, type[StoreError]] = {
    Fault.THROTTLED: ThrottledError,
    Fault.CONFLICT: ConflictError,
    Fault.UNAVAILABLE: UnavailableError,
    Fault.DROPPED: UnknownOutcomeError,
    Fault.DELAYED: UnknownOutcomeError,
}


class SimulatedStore:
    """Tables in memory. The same seed and the same calls give the same faults, delays and stale reads."""

    def __init__(self, seed: int = 0, *, plan: FaultPlan = CALM) -> None:
        self.dice = FaultDice(seed, plan)
        self._shelves: dict[str, Shelf] = {}
        self._tokens: dict[tuple[str, str], tuple[float, Sequence[Operation]]] = {}
        self._closed = False

    def table(self, spec: TableSpec) -> "SimulatedTable":
        """Return the table made from this spec."""
        return SimulatedTable(self, spec)

    async def create(self, specs: Sequence[TableSpec]) -> None:
        """Make the tables that are missing."""
        for spec in specs:
            self._shelves.setdefault(spec.name, Shelf(spec))

    async def close(self) -> None:
        """Refuse all later calls; what is on its way may still arrive."""
        self._closed = True

    def items(self, spec: TableSpec) -> list[Item]:
        """Return all items of a table as they are now, for a simulation's checkers."""
        return [copy_item(item) for _, item in self.shelf(spec).items(_now())]

    def sweep(self, spec: TableSpec, now_s: int) -> None:
        """Take away the items that expired before this Unix second, as a table's broom does at some time or other."""
        for key, item in list(self.shelf(spec).items(_now())):
            expires_at = item.get(spec.ttl) if spec.ttl is not None else None
            if type(expires_at) is int and expires_at < now_s:
                self.put(spec, key, None)

    def shelf(self, spec: TableSpec) -> Shelf:
        """Return a table's items. Raises UnavailableError if it was never made."""
        if self._closed or spec.name not in self._shelves:
            raise UnavailableError(f"there is no table {spec.name}")
        return self._shelves[spec.name]

    def put(self, spec: TableSpec, key: Key, item: Item | None) -> None:
        """Replace an item without any judgement."""
        now = _now()
        self.shelf(spec).write(key, item, now, now - self.dice.plan.stale_s)

    def repeats(self, operations: Sequence[Operation], token: tuple[str, str]) -> bool:
        """Judge whether a transaction was applied under this token before. Raises ValueError if it was another one."""
        now = _now()
        while self._tokens and self._tokens[oldest := next(iter(self._tokens))][0] <= now:
            del self._tokens[oldest]
        if token not in self._tokens:
            return False
        if repr(self._tokens[token][1]) != repr(operations):
            raise ValueError("a transaction's token was used for other operations")
        return True

    def remember(self, operations: Sequence[Operation], token: tuple[str, str]) -> None:
        """Note that a transaction was applied under this token."""
        self._tokens[token] = (_now() + TOKEN_LIFE_S, operations)

    async def read(self, spec: TableSpec, look: Callable[[Shelf, float], _Answer], *, consistent: bool) -> _Answer:
        """Carry a read there and back. `look` is given the items and the instant whose state it may see."""
        fault = self.dice.strike()
        there_s = self.dice.latency_s()
        if fault is not _NO_FAULT and fault in _LOST_READS:
            await asyncio.sleep(there_s)
            raise _LOST_READS[fault]("the simulation refuses or loses this read")
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[_Answer] = loop.create_future()

        def arrive() -> None:
            if heard.done():
                return
            try:
                answer = look(self.shelf(spec), loop.time() - (0.0 if consistent else self.dice.age_s()))
            except (ValueError, StoreError) as error:
                heard.set_exception(error)
            else:
                self._send_back(loop, heard, answer)

        if there_s > 0.0:
            loop.call_later(there_s, arrive)
        else:
            loop.call_soon(arrive)
        return await heard

    async def write(self, apply: Callable[[], _Answer]) -> _Answer:
        """Carry a write there and back, or let it be lost, delayed or repeated on its way."""
        fault = self.dice.strike()
        loop = asyncio.get_running_loop()
        times = 1
        if fault is not _NO_FAULT:
            if fault in _LOST_WRITES:
                if fault is Fault.DELAYED:
                    loop.call_later(self.dice.delay_s(), _apply_unheard, apply)
                await asyncio.sleep(self.dice.latency_s())
                raise _LOST_WRITES[fault]("the simulation refuses this write, or answers nothing")
            times = 2 if fault is Fault.DUPLICATED else 1
        heard: asyncio.Future[_Answer] = loop.create_future()

        def arrive(times: int) -> None:  # even if its caller is cancelled meanwhile
            try:
                answer = apply()
            except (ValueError, StoreError) as error:
                if not heard.done():
                    heard.set_exception(error)
                return
            if heard.done():
                return
            if times > 1:
                loop.call_later(self.dice.latency_s(), arrive, times - 1)
            else:
                self._send_back(loop, heard, answer)

        loop.call_later(self.dice.latency_s(), arrive, times)
        answer = await heard
        if fault is not _NO_FAULT and fault is Fault.REPLY_LOST:
            raise UnknownOutcomeError("the simulation loses the answer to this write")
        return answer

    def _send_back(self, loop: asyncio.AbstractEventLoop, heard: "asyncio.Future[_Answer]", answer: _Answer) -> None:
        back_s = self.dice.latency_s()
        if back_s > 0.0:
            loop.call_later(back_s, _hear, heard, answer)
        else:
            heard.set_result(answer)


class SimulatedTable:
    """One table of a simulated store."""

    def __init__(self, store: SimulatedStore, spec: TableSpec) -> None:
        self._store = store
        self._spec = spec

    @property
    def spec(self) -> TableSpec:
        """Return what the table was made from."""
        return self._spec

    async def get(self, key: Key, *, consistent: bool = True) -> Found:
        """Read one item."""
        check_key(key)

        def look(shelf: Shelf, instant: float) -> Found:
            item = shelf.read(key, instant)
            size = 0 if item is None else item_size(item)
            return Found(_copied(item), Capacity(read_units=read_units(size, consistent=consistent)))

        return await self._store.read(self._spec, look, consistent=consistent)

    async def query(self, query: Query) -> Page:
        """Read one page of a partition's items."""
        index = check_query(self._spec, query)
        start = start_of(index, query)

        def look(shelf: Shelf, instant: float) -> Page:
            rows = list(shelf.rows(index, query, instant))
            if query.descending:
                rows.reverse()
            if start is not None:
                rows = [row for row in rows if (row[0] < start if query.descending else row[0] > start)]
            page = cut_page(rows, query.limit, consistent=query.consistent)
            return msgspec.structs.replace(page, items=tuple([copy_item(item) for item in page.items]))

        return await self._store.read(self._spec, look, consistent=query.consistent)

    async def put_new(self, item: Item) -> Done | Refused:
        """Write an item if its key is free."""
        return await self._write(PutNew(item))

    def begin_put_new(self, item: Item) -> asyncio.Task[Done | Refused]:
        """Begin to write an item if its key is free."""
        return asyncio.get_running_loop().create_task(self.put_new(item))

    async def update(
        self, key: Key, conditions: Sequence[Condition], changes: Sequence[ItemChange], *, returning: bool = True
    ) -> Done | Refused:
        """Change one item if all conditions hold."""
        return await self._write(Update(key, tuple(conditions), tuple(changes)), returning=returning)

    async def delete(self, key: Key, conditions: Sequence[Condition] = ()) -> Done | Refused:
        """Take one item away if all conditions hold."""
        return await self._write(Delete(key, tuple(conditions)))

    async def transact(self, operations: Sequence[Operation], token: str) -> Done | Refused:
        """Apply all operations or none."""
        checked = check_transaction(self._spec, operations, token)
        own_token = self._spec.name, token
        keys = [operation_key(operation) for operation in checked]

        def apply() -> Done | Refused:
            shelf, now = self._store.shelf(self._spec), _now()
            olds = [shelf.read(key, now) for key in keys]
            if self._store.repeats(checked, own_token):
                return Done(None, Capacity(read_units=transaction_units(olds, olds)))
            answer, news = decide_all(checked, olds)
            if isinstance(answer, Done):
                for operation, key, new in zip(checked, keys, news, strict=True):
                    if not isinstance(operation, Check):
                        self._store.put(self._spec, key, new)
                self._store.remember(checked, own_token)
            return _answered(answer)

        return await self._store.write(apply)

    async def batch_get(self, keys: Sequence[Key]) -> Page:
        """Read many items, consistently."""
        distinct = dict.fromkeys(check_key(key) for key in keys)

        def look(shelf: Shelf, instant: float) -> Page:
            found = [shelf.read(key, instant) for key in distinct]
            units = sum(read_units(0 if item is None else item_size(item), consistent=True) for item in found)
            items = tuple([copy_item(item) for item in found if item is not None])
            return Page(items, None, Capacity(read_units=units))

        return await self._store.read(self._spec, look, consistent=True)

    async def batch_put(self, items: Sequence[Item]) -> Capacity:
        """Write many items, each at its own time."""
        units = 0.0
        for key, item in check_batch(self._spec, items).items():

            def apply(key: Key = key, item: Item = item) -> float:
                cost = write_units(self._now(key), item)
                self._store.put(self._spec, key, item)
                return cost

            units += await self._store.write(apply)
        return Capacity(write_units=units)

    async def _write(self, operation: Operation, *, returning: bool = False) -> Done | Refused:
        checked = check_operation(self._spec, operation)
        key = operation_key(checked)

        def apply() -> Done | Refused:
            answer, new = decide(checked, self._now(key))
            if isinstance(answer, Done):
                self._store.put(self._spec, key, new)
                if not returning:
                    return Done(None, answer.capacity)
            return _answered(answer)

        return await self._store.write(apply)

    def _now(self, key: Key) -> Item | None:
        return self._store.shelf(self._spec).read(key, _now())


def _now() -> float:
    return asyncio.get_running_loop().time()


def _hear(heard: "asyncio.Future[_Answer]", answer: _Answer) -> None:
    """Hand an answer to its caller, if he still waits."""
    if not heard.done():
        heard.set_result(answer)


def _apply_unheard(apply: Callable[[], object]) -> None:
    """Apply a write whose caller has given up: whatever it says, nobody listens."""
    with contextlib.suppress(ValueError, StoreError):
        apply()


def _copied(item: Item | None) -> Item | None:
    return None if item is None else copy_item(item)


def _answered(answer: Done | Refused) -> Done | Refused:
    """Return an answer that shares nothing with what lies on the shelf."""
    if isinstance(answer, Done):
        return Done(_copied(answer.item), answer.capacity)
    return Refused(_copied(answer.old), answer.index, answer.capacity)
