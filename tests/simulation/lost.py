"""Replies lost, one in ten: no operation of the ledger is called failed that is not, and none is done twice.

Nothing else goes wrong here, so every operation has one right answer, and at the end every sum is known to the nano-USD. The
books are judged at every write that lands.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count

import msgspec
from msgspec import Struct

from junctor.adapters.tables.faults import CALM, Fault, FaultPlan
from junctor.domain.credits import Move, Payment, Refund
from junctor.domain.generation import Generation
from junctor.domain.lease import Lease, LeaseState, Leg, Slot, SlotState
from junctor.ledger import closing, leasing, slots
from junctor.ledger import credits as crediting
from junctor.ledger.credits import Booking
from junctor.ledger.leasing import Leased
from junctor.ledger.slots import Ending, Opening
from junctor.ports.table import StoreError
from junctor.records import ids
from junctor.records.tables import CORE
from tests.simulation.store import WatchedStore
from tests.support.virtual_loop import TimersLoop, run_virtual
from tests.support.world import EPOCH_MS, VOID, SeededDice, paid

LOST = FaultPlan(chances=((Fault.REPLY_LOST, 0.1),), latency_s=(0.0, 0.01))
WORKERS = 20
CALLS = 6
"""Generations of one lease."""


class Losses(Struct, frozen=True, kw_only=True):
    """What came of it: what failed that had not failed, and what the books say otherwise than the answers."""

    operations: int
    lost: int
    failures: tuple[str, ...]
    breaches: tuple[str, ...]


class _Worker:
    """Pays, leases, spends, grows, refunds, moves and closes, round after round, in an account of its own."""

    def __init__(self, store: WatchedStore, name: str, numbers: "count[int]", wanted: int) -> None:
        self._table = store.table(CORE)
        self._dice = SeededDice(sum(name.encode()))
        self._name = name
        self._numbers = numbers
        self._wanted = wanted
        self.done = 0
        self.failures: list[str] = []
        self.credited: Counter[str] = Counter()
        self.spent: Counter[str] = Counter()

    async def work(self) -> None:
        """Do one round after another, until all workers together have done enough."""
        while self.done < self._wanted:
            await self._round(next(self._numbers))

    async def _round(self, number: int) -> None:
        table, dice, account, at_ms = self._table, self._dice, self._name, EPOCH_MS
        paid = Payment(account=account, id=f"p{number}", purse="main", amount_nanousd=500, refundable_nanousd=500, at_ms=at_ms)
        await self._do(lambda: crediting.pay(table, dice, paid), Booking.BOOKED)
        back = Refund(account=account, id=f"r{number}", payment=paid.id, purse="main", amount_nanousd=3, at_ms=at_ms)
        await self._do(lambda: crediting.refund(table, dice, back), Booking.BOOKED)
        moved = Move(account=account, id=f"m{number}", source="main", target="shard", amount_nanousd=40, at_ms=at_ms)
        await self._do(lambda: crediting.move(table, dice, moved), Booking.BOOKED)
        self.credited.update({"main": 500 - 3 - 40, "shard": 40})
        lease = self._lease(number)
        await self._do(lambda: leasing.acquire(table, dice, lease), Leased(lease))
        legs = (Leg("main", 60), Leg("shard", 20))
        grown = msgspec.structs.replace(lease, amount_nanousd=140, legs=(Leg("main", 120), Leg("shard", 20)))
        await self._do(lambda: leasing.grow(table, dice, lease, legs), Leased(grown))
        total = 0
        for slot in range(CALLS):
            total += await self._generation(Slot(account, lease.id, slot), slot * 4)
        closed = msgspec.structs.replace(grown, state=LeaseState.CLOSED, total_nanousd=total)
        # Whoever finds it closed by his own earlier try is given the entry that is there.
        await self._do(lambda: closing.close(table, dice, grown, at_ms, total), closed)
        self.spent["main"] += total

    async def _generation(self, place: Slot, cost: int) -> int:
        opened = Generation(
            id=ids.generation_id(place),
            slot=place,
            state=SlotState.OPEN,
            api_key="key",
            requested_model="lab/model",
            started_at_ms=0,
            deadline_at_ms=1,
            hold_nanousd=20,
        )
        await self._do(lambda: slots.open_slot(self._table, self._dice, opened), Opening.OPEN)
        outcome = paid(cost) if cost else VOID
        await self._do(lambda: slots.end(self._table, self._dice, opened, outcome, 1), Ending.ENDED)
        return cost

    async def _do(self, work: Callable[[], Awaitable[object]], right: object) -> None:
        self.done += 1
        try:
            answer = await work()
        except StoreError as error:
            answer = error
        if answer != right:
            self.failures.append(f"{self._name}: {answer!r} instead of {right!r}")

    def _lease(self, number: int) -> Lease:
        return Lease(
            id=ids.ulid(EPOCH_MS, number.to_bytes(ids.ULID_RANDOM_BYTES)),
            account=self._name,
            scope=self._name,
            owner="OWNER",
            until_ms=EPOCH_MS + 1,
            exp_ms=EPOCH_MS + 2,
            width=16,
            amount_nanousd=60,
            legs=(Leg("main", 60),),
        )


def lose(operations: int, seed: int = 0) -> Losses:
    """Carry out so many operations, and a few more to end each round, while one reply in ten is lost."""
    store = WatchedStore(seed, LOST)
    numbers = count()
    workers = [_Worker(store, f"ACC{number}", numbers, -(-operations // WORKERS)) for number in range(WORKERS)]

    async def main() -> list[str]:
        await store.create([CORE])
        await asyncio.gather(*(worker.work() for worker in workers))
        store.dice.plan = CALM
        store.judge_all("the end")
        return [text for worker in workers for text in await _sums(store, worker)]

    wrong = run_virtual(main(), TimersLoop)
    return Losses(
        operations=sum(worker.done for worker in workers),
        lost=store.watched.faults,
        failures=tuple(text for worker in workers for text in worker.failures),
        breaches=(*store.breaches, *wrong),
    )


async def _sums(store: WatchedStore, worker: _Worker) -> list[str]:
    """Return where the purses hold another sum than all answers together say."""
    table, dice = store.table(CORE), SeededDice(0)
    purses = await crediting.read_purses(table, dice, worker._name)
    found = {purse.id: (purse.credited_nanousd, purse.spent_nanousd, purse.leased_nanousd) for purse in purses}
    told = {name: (worker.credited[name], worker.spent[name], 0) for name in worker.credited}
    return [] if found == told else [f"{worker._name} holds {found} and was told {told}"]
