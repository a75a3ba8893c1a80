"""The table port in memory, as a readable statement of what it promises, under seeded faults and the event loop's own time.

A write is judged and applied in one step of the event loop (`rules` says how), so it is atomic without a lock. What surrounds
that step - the way there, the way back, and what gets lost between - is drawn from a plan of faults. Sleeping and delays use
the running loop's clock, so a loop with virtual time drives hours in milliseconds. It refuses to persist anything and sweeps
expired items only when told to. Capacity is counted as DynamoDB does, without index writes.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import TypeVar

from junctor.adapters.tables.faults import CALM, Fault, FaultDice, FaultPlan
from junctor.adapters.tables.paging import Place, check_query, cut_page, place_of, start_of, wanted
from junctor.adapters.tables.rules import decide, decide_all, read_units, transaction_units, write_units, writes_of
from junctor.adapters.tables.values import (
    TOKEN_LIFE_S,
    check_batch,
    check_key,
    check_operation,
    check_transaction,
    item_size,
    operation_key,
    table_token,
)
from junctor.ports.table import (
    Capacity,
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

_REFUSALS: dict[Fault, type[StoreError]] = {
    Fault.THROTTLED: ThrottledError,
    Fault.CONFLICT: ConflictError,
    Fault.UNAVAILABLE: UnavailableError,
}


class _Shelf:
    """One table's items, with as much of their past as an eventual read may show."""

    def __init__(self) -> None:
        self._partitions: dict[str, dict[str, list[tuple[float, Item | None]]]] = {}

    def read(self, key: Key, instant: float) -> Item | None:
        """Return the item as it was at this instant."""
        found: Item | None = None
        for since, item in self._partitions.get(key.partition, {}).get(key.sort, ()):
            if since <= instant:
                found = item
        return found

    def write(self, key: Key, item: Item | None, now: float, forget_before: float) -> None:
        """Make this the item from now on, and forget what no read can show any more."""
        versions = self._partitions.setdefault(key.partition, {}).setdefault(key.sort, [])
        versions.append((now, item))
        while len(versions) > 1 and versions[1][0] <= forget_before:
            del versions[0]
        if len(versions) == 1 and item is None:
            del self._partitions[key.partition][key.sort]

    def items(self, instant: float, partition: str | None = None) -> Iterator[tuple[Key, Item]]:
        """Yield the items of one partition, or all, as they were at this instant."""
        for name in self._partitions if partition is None else (partition,):
            for sort in self._partitions.get(name, ()):
                item = self.read(Key(name, sort), instant)
                if item is not None:
                    yield Key(name, sort), item


class SimulatedStore:
    """Tables in memory. The same seed and the same calls give the same faults, delays and stale reads."""

    def __init__(self, seed: int = 0, *, plan: FaultPlan = CALM) -> None:
        self.dice = FaultDice(seed, plan)
        self._shelves: dict[str, _Shelf] = {}
        self._tokens: dict[str, tuple[float, bytes]] = {}
        self._closed = False

    def table(self, spec: TableSpec) -> "SimulatedTable":
        """Return the table made from this spec."""
        return SimulatedTable(self, spec)

    async def create(self, specs: Sequence[TableSpec]) -> None:
        """Make the tables that are missing."""
        for spec in specs:
            self._shelves.setdefault(spec.name, _Shelf())

    async def close(self) -> None:
        """Refuse all later calls; what is on its way may still arrive."""
        self._closed = True

    def items(self, spec: TableSpec) -> list[Item]:
        """Return all items of a table as they are now, for a simulation's checkers."""
        return [deepcopy(item) for _, item in self.shelf(spec).items(_now())]

    def sweep(self, spec: TableSpec, now_s: int) -> None:
        """Take away the items that expired before this Unix second, as a table's broom does at some time or other."""
        for key, item in list(self.shelf(spec).items(_now())):
            expires_at = item.get(spec.ttl) if spec.ttl is not None else None
            if type(expires_at) is int and expires_at < now_s:
                self.put(spec, key, None)

    def shelf(self, spec: TableSpec) -> _Shelf:
        """Return a table's items. Raises UnavailableError if it was never made."""
        if self._closed or spec.name not in self._shelves:
            raise UnavailableError(f"there is no table {spec.name}")
        return self._shelves[spec.name]

    def put(self, spec: TableSpec, key: Key, item: Item | None) -> None:
        """Replace an item without any judgement."""
        now = _now()
        self.shelf(spec).write(key, item, now, now - self.dice.plan.stale_s)

    def repeats(self, operations: Sequence[Operation], token: str) -> bool:
        """Judge whether a transaction was applied under this token before. Raises ValueError if it was another one."""
        now = _now()
        self._tokens = {known: entry for known, entry in self._tokens.items() if entry[0] > now}
        if token not in self._tokens:
            return False
        if self._tokens[token][1] != _fingerprint(operations):
            raise ValueError("a transaction's token was used for other operations")
        return True

    def remember(self, operations: Sequence[Operation], token: str) -> None:
        """Note that a transaction was applied under this token."""
        self._tokens[token] = (_now() + TOKEN_LIFE_S, _fingerprint(operations))

    async def read(self, spec: TableSpec, look: Callable[[_Shelf, float], _Answer], *, consistent: bool) -> _Answer:
        """Carry a read there and back. `look` is given the items and the instant whose state it may see."""
        fault = self.dice.strike()
        await asyncio.sleep(self.dice.latency_s())
        if fault is Fault.THROTTLED:
            raise ThrottledError("the simulation throttles this read")
        if fault in {Fault.REPLY_LOST, Fault.DROPPED, Fault.DELAYED, Fault.UNAVAILABLE}:
            raise UnavailableError("the simulation loses this read")
        answer = look(self.shelf(spec), _now() - (0.0 if consistent else self.dice.age_s()))
        await asyncio.sleep(self.dice.latency_s())
        return answer

    async def write(self, apply: Callable[[], _Answer]) -> _Answer:
        """Carry a write there and back, or let it be lost, delayed or repeated on its way."""
        fault = self.dice.strike()
        if fault in _REFUSALS:
            await asyncio.sleep(self.dice.latency_s())
            raise _REFUSALS[fault]("the simulation refuses this write")
        if fault in {Fault.DROPPED, Fault.DELAYED}:
            if fault is Fault.DELAYED:
                asyncio.get_running_loop().call_later(self.dice.delay_s(), _apply_unheard, apply)
            await asyncio.sleep(self.dice.latency_s())
            raise UnknownOutcomeError("the simulation answers nothing to this write")
        answer = await self._land(apply)
        if fault is Fault.DUPLICATED:
            answer = await self._land(apply)
        await asyncio.sleep(self.dice.latency_s())
        if fault is Fault.REPLY_LOST:
            raise UnknownOutcomeError("the simulation loses the answer to this write")
        return answer

    async def _land(self, apply: Callable[[], _Answer]) -> _Answer:
        """Apply a write when it arrives, even if its caller is cancelled meanwhile."""
        loop = asyncio.get_running_loop()
        arrival: asyncio.Future[_Answer] = loop.create_future()

        def arrive() -> None:
            try:
                answer = apply()
            except (ValueError, StoreError) as error:
                if not arrival.done():
                    arrival.set_exception(error)
            else:
                if not arrival.done():
                    arrival.set_result(answer)

        loop.call_later(self.dice.latency_s(), arrive)
        return await arrival


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

        def look(shelf: _Shelf, instant: float) -> Found:
            item = deepcopy(shelf.read(key, instant))
            size = 0 if item is None else item_size(item)
            return Found(item, Capacity(read_units=read_units(size, consistent=consistent)))

        return await self._store.read(self._spec, look, consistent=consistent)

    async def query(self, query: Query) -> Page:
        """Read one page of a partition's items."""
        index = check_query(self._spec, query)
        start = start_of(index, query)

        def look(shelf: _Shelf, instant: float) -> Page:
            rows: list[tuple[Place, Item]] = []
            for _, item in shelf.items(instant, query.partition if index is None else None):
                place = place_of(index, item)
                if place is None or not wanted(query, place):
                    continue
                if start is None or (place < start if query.descending else place > start):
                    rows.append((place, item))
            rows.sort(key=lambda row: row[0], reverse=query.descending)
            return deepcopy(cut_page(rows, query.limit, consistent=query.consistent))

        return await self._store.read(self._spec, look, consistent=query.consistent)

    async def put_new(self, item: Item) -> Done | Refused:
        """Write an item if its key is free."""
        return await self._write(PutNew(item))

    async def update(self, key: Key, conditions: Sequence[Condition], changes: Sequence[ItemChange]) -> Done | Refused:
        """Change one item if all conditions hold."""
        return await self._write(Update(key, tuple(conditions), tuple(changes)))

    async def delete(self, key: Key, conditions: Sequence[Condition] = ()) -> Done | Refused:
        """Take one item away if all conditions hold."""
        return await self._write(Delete(key, tuple(conditions)))

    async def transact(self, operations: Sequence[Operation], token: str) -> Done | Refused:
        """Apply all operations or none."""
        checked = check_transaction(self._spec, operations, token)
        own_token = table_token(self._spec.name, token)

        def apply() -> Done | Refused:
            olds = [self._now(operation_key(operation)) for operation in checked]
            if self._store.repeats(checked, own_token):
                return Done(None, Capacity(read_units=transaction_units(olds, olds)))
            answer, news = decide_all(checked, olds)
            if isinstance(answer, Done):
                for key, _, new in writes_of(checked, olds, news):
                    self._store.put(self._spec, key, new)
                self._store.remember(checked, own_token)
            return deepcopy(answer)

        return await self._store.write(apply)

    async def batch_get(self, keys: Sequence[Key]) -> Page:
        """Read many items, consistently."""
        distinct = dict.fromkeys(check_key(key) for key in keys)

        def look(shelf: _Shelf, instant: float) -> Page:
            found = [shelf.read(key, instant) for key in distinct]
            units = sum(read_units(0 if item is None else item_size(item), consistent=True) for item in found)
            return deepcopy(Page(tuple(item for item in found if item is not None), None, Capacity(read_units=units)))

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

    async def _write(self, operation: Operation) -> Done | Refused:
        checked = check_operation(self._spec, operation)
        key = operation_key(checked)

        def apply() -> Done | Refused:
            answer, new = decide(checked, self._now(key))
            if isinstance(answer, Done):
                self._store.put(self._spec, key, new)
            return deepcopy(answer)

        return await self._store.write(apply)

    def _now(self, key: Key) -> Item | None:
        return self._store.shelf(self._spec).read(key, _now())


def _now() -> float:
    return asyncio.get_running_loop().time()


def _apply_unheard(apply: Callable[[], object]) -> None:
    """Apply a write whose caller has given up: whatever it says, nobody listens."""
    with contextlib.suppress(ValueError, StoreError):
        apply()


def _fingerprint(operations: Sequence[Operation]) -> bytes:
    return hashlib.sha256(repr(operations).encode()).digest()
