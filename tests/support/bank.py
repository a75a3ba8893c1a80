"""An account's money for tests: purses, leases and slots over any store, and a store that is judged after every write."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from junctor.adapters.tables.faults import CALM, Fault, FaultPlan
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.domain.credits import Interval, Limit, Payment, Purse, Window
from junctor.domain.generation import Generation
from junctor.domain.idempotency import RequestRecord
from junctor.domain.lease import Lease, Leg, Slot, SlotState
from junctor.ledger import leasing, limits, slots
from junctor.ledger.credits import Booking, pay
from junctor.ports.table import Item, Key, Store
from junctor.records import generations, ids, keys, leases, purses, windows
from junctor.records.tables import CORE
from tests.support.ledger_audit import steps, violations
from tests.support.virtual_loop import run_virtual
from tests.support.world import EPOCH_MS, VOID, SeededDice, expected, paid

ACCOUNT = "ACC"
NOW_MS = EPOCH_MS
EXP_MS = NOW_MS + 60_000
WIDTH = 3
DAY = Limit(account=ACCOUNT, id="key-1", limit_nanousd=500, interval=Interval.DAY)
MONTH = Limit(account=ACCOUNT, id="account", limit_nanousd=5_000, interval=Interval.MONTH)

_Answer = TypeVar("_Answer")


class JudgedStore(SimulatedStore):
    """A simulated store whose items are judged after every write that lands, however late; `breaches` says what was wrong."""

    def __init__(self, seed: int = 0, *, plan: FaultPlan = CALM) -> None:
        super().__init__(seed, plan=plan)
        self.breaches: list[str] = []
        self._before: list[Item] = []

    async def write(self, apply: Callable[[], _Answer]) -> _Answer:
        """Carry a write as the simulation does, and judge what it leaves."""

        def judged() -> _Answer:
            answer = apply()
            after = self.items(CORE)
            self.breaches += [*violations(after), *steps(self._before, after)]
            self._before = after
            return answer

        return await super().write(judged)


class Bank:
    """One account over a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.table = store.table(CORE)
        self.dice = SeededDice()

    async def open(self) -> "Bank":
        """Make the table."""
        await self.store.create([CORE])
        return self

    def strike(self, *faults: Fault) -> None:
        """Let these befall the next calls of a simulated store; another knows no faults."""
        if isinstance(self.store, SimulatedStore):
            self.store.dice.inject(*faults)

    async def credit(self, amount: int, purse: str = "main", *, expires_at_ms: int | None = None) -> None:
        """Pay into a purse."""
        payment = self.payment(amount, purse)
        assert await pay(self.table, self.dice, payment, expires_at_ms=expires_at_ms) is Booking.BOOKED

    def payment(self, amount: int, purse: str = "main", outside_id: str = "") -> Payment:
        """Return a payment; without an id it has the purse's."""
        name = outside_id or f"pay-{purse}"
        return Payment(account=ACCOUNT, id=name, purse=purse, amount_nanousd=amount, refundable_nanousd=amount, at_ms=NOW_MS)

    def lease(self, amount: int, *limited: Limit, number: int = 0, legs: tuple[Leg, ...] | None = None) -> Lease:
        """Return a lease as it is to be acquired."""
        return Lease(
            id=ids.ulid(NOW_MS, number.to_bytes(ids.ULID_RANDOM_BYTES)),
            account=ACCOUNT,
            scope=ACCOUNT,
            owner="OWNER",
            until_ms=NOW_MS + 1,
            exp_ms=EXP_MS,
            width=WIDTH,
            amount_nanousd=amount,
            legs=(Leg("main", amount),) if legs is None else legs,
            windows=tuple(windows.name(limit, NOW_MS) for limit in limited),
        )

    async def leased(self, amount: int, *limited: Limit, number: int = 0) -> Lease:
        """Acquire a lease."""
        answer = await leasing.acquire(self.table, self.dice, self.lease(amount, *limited, number=number))
        assert isinstance(answer, leasing.Leased), answer
        return answer.lease

    def generation(self, lease: Lease, number: int, hold: int) -> Generation:
        """Return a generation as it is to be opened."""
        place = Slot(lease.account, lease.id, number)
        return Generation(
            id=ids.generation_id(place),
            slot=place,
            state=SlotState.OPEN,
            api_key="key",
            requested_model="lab/model",
            started_at_ms=NOW_MS,
            deadline_at_ms=NOW_MS + 1,
            hold_nanousd=hold,
        )

    def record(self, generation: Generation, request: bytes = b"one", content: bytes = b"body") -> RequestRecord:
        """Return the record of a request that its caller named."""
        return RequestRecord(account=ACCOUNT, digest=request, request_hash=content, generation=generation.id)

    async def opened(self, lease: Lease, number: int, hold: int) -> Generation:
        """Open a slot."""
        generation = self.generation(lease, number, hold)
        assert await slots.open_slot(self.table, self.dice, generation) is slots.Opening.OPEN
        return generation

    def settled(self, opened: Generation, cost: int) -> Generation:
        """Return a generation as it is once it is settled."""
        return expected(opened, paid(cost), NOW_MS)

    async def end(self, opened: Generation, cost: int | None) -> slots.Ending:
        """Settle a slot at a cost, or end it as VOID if there is none."""
        return await slots.end(self.table, self.dice, opened, VOID if cost is None else paid(cost), NOW_MS)

    async def spent(self, lease: Lease, number: int, cost: int, hold: int = 10) -> Generation:
        """Open a slot and settle it."""
        opened = await self.opened(lease, number, hold)
        assert await self.end(opened, cost) is slots.Ending.ENDED
        return self.settled(opened, cost)

    async def limited(self, limit: Limit) -> None:
        """Make a limit."""
        assert await limits.make_limit(self.table, self.dice, limit) is Booking.BOOKED

    async def find(self, partition: str, sort: str) -> Item | None:
        """Return an item, None if there is none."""
        return (await self.table.get(Key(partition, sort))).item

    def items(self) -> list[Item]:
        """Return all items of a simulated store."""
        assert isinstance(self.store, SimulatedStore)
        return self.store.items(CORE)

    async def item(self, key: Key) -> Item:
        """Return an item that must be there."""
        found = (await self.table.get(key)).item
        assert found is not None, key
        return found

    async def purse(self, name: str = "main") -> Purse:
        """Return a purse."""
        return purses.purse_of(await self.item(keys.purse(ACCOUNT, name)))

    async def window(self, limit: Limit) -> Window:
        """Return the window of a limit that is current."""
        return windows.window_of(await self.item(keys.window(ACCOUNT, windows.name(limit, NOW_MS))))

    async def limit(self, limit: Limit) -> Limit:
        """Return a limit as it is now."""
        return windows.limit_of(await self.item(keys.limit(ACCOUNT, limit.id)))

    async def entry(self, lease: Lease) -> Lease:
        """Return a lease as it is now."""
        return leases.lease_of(await self.item(keys.lease(ACCOUNT, lease.id)))

    async def states(self, lease: Lease) -> list[SlotState]:
        """Return the states of a lease's slots, in order; the numbers have no gap."""
        page = await self.table.query(generations.all_of(ACCOUNT, lease.id, None))
        assert [generations.number_of(item) for item in page.items] == list(range(len(page.items)))
        return [generations.state_of(item) for item in page.items]


Scenario = Callable[[Bank], Awaitable[object]]


def play(scenario: Scenario, *, plan: FaultPlan = CALM, seed: int = 0) -> list[Item]:
    """Play a scenario in virtual time over a judged store, let what is delayed arrive, and return the items that it left."""

    async def main() -> list[Item]:
        store = JudgedStore(seed, plan=plan)
        bank = await Bank(store).open()
        async with asyncio.timeout(100_000):
            await scenario(bank)
        await asyncio.sleep(1_000)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert store.breaches == []
        return sorted(store.items(CORE), key=lambda item: (str(item["pk"]), str(item["sk"])))

    return run_virtual(main())
