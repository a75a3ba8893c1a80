"""The table port in memory, as a readable statement of what it promises, under seeded faults and the event loop's own time.

A write is judged and applied in one step of the event loop (`rules` says how), so it is atomic without a lock. What surrounds
that step - the way there, the way back, and what gets lost between - is drawn from a plan of faults. Sleeping and delays use
the running loop's clock, so a loop with virtual time drives hours in milliseconds. It refuses to persist anything and sweeps
expired items only when told to. Capacity is counted as DynamoDB does, without index writes.
"""

import asyncio
import contextlib
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct

from junctor.adapters.tables.faults import CALM, Fault, FaultDice, FaultPlan
from junctor.adapters.tables.paging import Place, check_query, cut_page, place_of, start_of, wanted
from junctor.adapters.tables.rules import decide, decide_all, read_units, transaction_units, write_units, writes_of
from junctor.adapters.tables.values import (
    TOKEN_LIFE_S,
    check_batch,
    check_key,
    check_operation,
    check_transaction,
    copy_item,
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
    IndexSpec,
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


class _Version(Struct, frozen=True):
    """An item as it was from an instant on, None if it was not there, and where it lay."""

    since: float
    item: Item | None
    places: frozenset[tuple[str, Place]]


class _Shelf:
    """One table's items, with as much of their past as an eventual read may show. No item on it is ever changed, but replaced.

    `_places` keeps in order where each item lies or lay, by the index's name (empty for the table itself) and the partition.
    """

    def __init__(self, spec: TableSpec) -> None:
        self._indexes = (None, *spec.indexes)
        self._versions: dict[Key, list[_Version]] = {}
        self._places: dict[tuple[str, str], list[Place]] = {}

    def read(self, key: Key, instant: float) -> Item | None:
        """Return the item as it was at this instant."""
        for version in reversed(self._versions.get(key, ())):
            if version.since <= instant:
                return version.item
        return None

    def write(self, key: Key, item: Item | None, now: float, forget_before: float) -> None:
        """Make this the item from now on, and forget what no read can show any more."""
        versions = self._versions.setdefault(key, [])
        before = frozenset[tuple[str, Place]]().union(*[version.places for version in versions])
        versions.append(_Version(now, item, self._places_of(item)))
        while len(versions) > 1 and versions[1].since <= forget_before:
            del versions[0]
        after = frozenset[tuple[str, Place]]().union(*[version.places for version in versions])
        for name, place in after - before:
            insort(self._places.setdefault((name, place[0]), []), place)
        for name, place in before - after:
            self._places[name, place[0]].remove(place)
        if len(versions) == 1 and item is None:
            del self._versions[key]

    def items(self, instant: float) -> Iterator[tuple[Key, Item]]:
        """Yield all items as they were at this instant."""
        for key in self._versions:
            item = self.read(key, instant)
            if item is not None:
                yield key, item

    def rows(self, index: IndexSpec | None, query: Query, instant: float) -> Iterator[tuple[Place, Item]]:
        """Yield what a query asks for as it was at this instant, in ascending order."""
        places = self._places.get((query.index or "", query.partition), [])
        low = query.between[0] if query.between else query.prefix
        for number in range(bisect_left(places, (query.partition, low)), len(places)):
            place = places[number]
            if not wanted(query, place):
                return
            item = self.read(Key(*place[-2:]), instant)
            if item is not None and place_of(index, item) == place:
                yield place, item

    def _places_of(self, item: Item | None) -> frozenset[tuple[str, Place]]:
        found = [] if item is None else [(index.name if index else "", place_of(index, item)) for index in self._indexes]
        return frozenset((name, place) for name, place in found if place is not None)


class SimulatedStore:
    """Tables in memory. The same seed and the same calls give the same faults, delays and stale reads."""

    def __init__(self, seed: int = 0, *, plan: FaultPlan = CALM) -> None:
        self.dice = FaultDice(seed, plan)
        self._shelves: dict[str, _Shelf] = {}
        self._tokens: dict[str, tuple[float, Sequence[Operation]]] = {}
        self._closed = False

    def table(self, spec: TableSpec) -> "SimulatedTable":
        """Return the table made from this spec."""
        return SimulatedTable(self, spec)

    async def create(self, specs: Sequence[TableSpec]) -> None:
        """Make the tables that are missing."""
        for spec in specs:
            self._shelves.setdefault(spec.name, _Shelf(spec))

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
        while self._tokens and self._tokens[oldest := next(iter(self._tokens))][0] <= now:
            del self._tokens[oldest]
        if token not in self._tokens:
            return False
        if repr(self._tokens[token][1]) != repr(operations):
            raise ValueError("a transaction's token was used for other operations")
        return True

    def remember(self, operations: Sequence[Operation], token: str) -> None:
        """Note that a transaction was applied under this token."""
        self._tokens[token] = (_now() + TOKEN_LIFE_S, operations)

    async def read(self, spec: TableSpec, look: Callable[[_Shelf, float], _Answer], *, consistent: bool) -> _Answer:
        """Carry a read there and back. `look` is given the items and the instant whose state it may see."""
        fault = self.dice.strike()
        await asyncio.sleep(self.dice.latency_s())
        if fault is Fault.THROTTLED:
            raise ThrottledError("the simulation throttles this read")
        if fault in (Fault.REPLY_LOST, Fault.DROPPED, Fault.DELAYED, Fault.UNAVAILABLE):
            raise UnavailableError("the simulation loses this read")
        answer = look(self.shelf(spec), _now() - (0.0 if consistent else self.dice.age_s()))
        await asyncio.sleep(self.dice.latency_s())
        return answer

    async def write(self, apply: Callable[[], _Answer]) -> _Answer:
        """Carry a write there and back, or let it be lost, delayed or repeated on its way."""
        fault = self.dice.strike()
        if fault is not Fault.NONE and fault in _REFUSALS:
            await asyncio.sleep(self.dice.latency_s())
            raise _REFUSALS[fault]("the simulation refuses this write")
        if fault is Fault.DROPPED or fault is Fault.DELAYED:
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
            item = shelf.read(key, instant)
            size = 0 if item is None else item_size(item)
            return Found(_copied(item), Capacity(read_units=read_units(size, consistent=consistent)))

        return await self._store.read(self._spec, look, consistent=consistent)

    async def query(self, query: Query) -> Page:
        """Read one page of a partition's items."""
        index = check_query(self._spec, query)
        start = start_of(index, query)

        def look(shelf: _Shelf, instant: float) -> Page:
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
            return _answered(answer)

        return await self._store.write(apply)

    async def batch_get(self, keys: Sequence[Key]) -> Page:
        """Read many items, consistently."""
        distinct = dict.fromkeys(check_key(key) for key in keys)

        def look(shelf: _Shelf, instant: float) -> Page:
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

    async def _write(self, operation: Operation) -> Done | Refused:
        checked = check_operation(self._spec, operation)
        key = operation_key(checked)

        def apply() -> Done | Refused:
            answer, new = decide(checked, self._now(key))
            if isinstance(answer, Done):
                self._store.put(self._spec, key, new)
            return _answered(answer)

        return await self._store.write(apply)

    def _now(self, key: Key) -> Item | None:
        return self._store.shelf(self._spec).read(key, _now())


def _now() -> float:
    return asyncio.get_running_loop().time()


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
