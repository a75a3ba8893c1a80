"""One account under load, and how often a transaction on its purses meets another one, and must be tried again.

A transaction keeps each of its items for 10 ms; any write that comes to one of them meanwhile is refused with a conflict, as
DynamoDB does. Instances hold leases of some seconds of their traffic, so that the account's items are met once per lease and
not once per call. Time is virtual; the ledger's operations are the shipped ones.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from random import Random

from msgspec import Struct

from junctor.adapters.tables.faults import FaultPlan
from junctor.domain.credits import Payment
from junctor.domain.generation import Generation
from junctor.domain.lease import Lease, Slot, SlotState
from junctor.ledger import closing, leasing, slots
from junctor.ledger.credits import pay, read_purses
from junctor.ledger.leasing import Leased
from junctor.policy.legs import choose_legs
from junctor.ports.table import Change, Condition, ConflictError, Done, Item, Key, Operation, PutNew, Refused
from junctor.records import ids
from junctor.records.tables import CORE
from tests.simulation.store import WatchedStore
from tests.support.faulty_table import FaultyTable
from tests.support.virtual_loop import TimersLoop, run_virtual
from tests.support.world import EPOCH_MS, SeededDice, paid

ACCOUNT = "ACC"
CONFLICT_S = 0.01
LEASE_S = 5.0
"""How long a lease serves, as ledger.md sizes it."""

CALL_S = (0.05, 0.6)
HOLD, COST = 20, 12
WIDTH = 16
NETWORK = FaultPlan(latency_s=(0.001, 0.004))


class Loaded(Struct, frozen=True, kw_only=True):
    """What came of it. `transactions` are those on the account's purses; `at_first` succeeded at their first try."""

    calls: int
    refused: int
    transactions: int
    at_first: int
    breaches: tuple[str, ...]

    @property
    def share(self) -> float:
        """Return which part of the account's transactions succeeded at the first try."""
        return self.at_first / self.transactions


class BusyTable(FaultyTable):
    """A table whose transactions keep their items for a while. It counts the transactions, each once by its token."""

    def __init__(self, store: WatchedStore) -> None:
        super().__init__(store.table(CORE))
        self._busy_until: dict[Key, float] = {}
        self.first_tries: dict[str, bool] = {}

    async def put_new(self, item: Item) -> Done | Refused:
        """Write an item if its key is free, unless a transaction has it."""
        self._meet([_key(item)])
        return await super().put_new(item)

    async def update(
        self, key: Key, conditions: Sequence[Condition], changes: Sequence[Change], *, returning: bool = True
    ) -> Done | Refused:
        """Change one item, unless a transaction has it."""
        self._meet([key])
        return await super().update(key, conditions, changes, returning=returning)

    async def transact(self, operations: Sequence[Operation], token: str) -> Done | Refused:
        """Apply all operations, unless another transaction has one of their items."""
        keys = [_key(one.item) if isinstance(one, PutNew) else one.key for one in operations]
        first = token not in self.first_tries
        if first:
            self.first_tries[token] = False
        self._meet(keys)
        until = _now() + CONFLICT_S
        self._busy_until.update(dict.fromkeys(keys, until))
        answer = await super().transact(operations, token)
        if first:
            self.first_tries[token] = isinstance(answer, Done)
        return answer

    def _meet(self, keys: Sequence[Key]) -> None:
        if any(self._busy_until.get(key, 0.0) > _now() for key in keys):
            raise ConflictError("another transaction has this item")


class _Instance:
    """One instance: it answers calls out of a lease, takes the next lease before that is used up, and closes the old one."""

    def __init__(self, table: BusyTable, number: int, rate: float, lease_s: float, random: Random) -> None:
        self._table = table
        self._dice = SeededDice(number)
        self._random = random
        self._rate = rate
        self._name = f"OWNER{number}"
        self._lease_s = lease_s
        self._amount = int(rate * lease_s * HOLD)
        self._closing: set[asyncio.Task[None]] = set()
        self.calls = 0
        self.refused = 0

    async def work(self, seconds: float) -> None:
        """Answer calls for so long."""
        await asyncio.sleep(self._random.uniform(0.0, self._lease_s))
        end_at = _now() + seconds
        while _now() < end_at:
            lease = await self._take()
            if lease is None:
                self.refused += 1
                await asyncio.sleep(0.1)
                continue
            await self._use(lease, end_at)
        await asyncio.gather(*self._closing)

    async def _take(self) -> Lease | None:
        purses = list(await read_purses(self._table, self._dice, ACCOUNT))
        self._random.shuffle(purses)
        legs = choose_legs(purses, self._amount)
        if legs is None:
            return None
        now_ms = EPOCH_MS + int(_now() * 1000)
        lease = Lease(
            id=ids.ulid(now_ms, self._random.randbytes(ids.ULID_RANDOM_BYTES)),
            account=ACCOUNT,
            scope=ACCOUNT,
            owner=self._name,
            until_ms=now_ms + 60_000,
            exp_ms=now_ms + 120_000,
            width=WIDTH,
            amount_nanousd=self._amount,
            legs=legs,
        )
        try:
            answer = await leasing.acquire(self._table, self._dice, lease)
        except ConflictError:
            return None
        return answer.lease if isinstance(answer, Leased) else None

    async def _use(self, lease: Lease, end_at: float) -> None:
        """Spend from a lease until it has no room for one more hold, and leave its closing to a task."""
        calls: set[asyncio.Task[int]] = set()
        number = 0
        while _now() < end_at and (number + 1) * HOLD <= lease.amount_nanousd:
            calls.add(asyncio.create_task(self._call(Slot(ACCOUNT, lease.id, number))))
            number += 1
            await asyncio.sleep(self._random.expovariate(self._rate))
        self.calls += number
        self._closing.add(asyncio.create_task(self._close(lease, calls)))

    async def _close(self, lease: Lease, calls: set[asyncio.Task[int]]) -> None:
        total = sum(await asyncio.gather(*calls))
        with suppress(ConflictError):
            await closing.close(self._table, self._dice, lease, EPOCH_MS, total)

    async def _call(self, place: Slot) -> int:
        opened = Generation(
            id=ids.generation_id(place),
            slot=place,
            state=SlotState.OPEN,
            api_key="key",
            requested_model="lab/model",
            started_at_ms=0,
            deadline_at_ms=1,
            hold_nanousd=HOLD,
        )
        await slots.open_slot(self._table, self._dice, opened)
        await asyncio.sleep(self._random.uniform(*CALL_S))
        await slots.end(self._table, self._dice, opened, paid(COST), 1)
        return COST


def load(*, rate: float, instances: int, purses: int, seconds: float, lease_s: float = LEASE_S, seed: int = 0) -> Loaded:
    """Let so many instances together answer `rate` calls a second, of one account, for so many virtual seconds."""
    random = Random(seed)
    store = WatchedStore(seed, NETWORK)

    async def main() -> tuple[list[_Instance], BusyTable]:
        await store.create([CORE])
        for number in range(purses):
            paid = Payment(
                account=ACCOUNT, id=f"p{number}", purse=f"s{number}", amount_nanousd=10**9, refundable_nanousd=0, at_ms=0
            )
            await pay(store.table(CORE), SeededDice(0), paid)
        table = BusyTable(store)
        owners = [_Instance(table, number, rate / instances, lease_s, random) for number in range(instances)]
        await asyncio.gather(*(owner.work(seconds) for owner in owners))
        store.judge_all("the end")
        return owners, table

    owners, table = run_virtual(main(), TimersLoop)
    return Loaded(
        calls=sum(owner.calls for owner in owners),
        refused=sum(owner.refused for owner in owners),
        transactions=len(table.first_tries),
        at_first=sum(table.first_tries.values()),
        breaches=tuple(store.breaches),
    )


def _key(item: Item) -> Key:
    return Key(str(item["pk"]), str(item["sk"]))


def _now() -> float:
    return asyncio.get_running_loop().time()
