"""The audit over random histories: right after each step, through months and statements, and never fooled by one sum.

Each seed is a life of one account by the ledger's own operations. At its end sums of money are changed in its items, one at a
time, and the audit must say so. A second play audits while actors go on working.
"""

import asyncio
import random
from collections.abc import Iterator

import msgspec
import pytest

from junctor.adapters.tables.faults import FaultPlan
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.domain.credits import Clawback, Interval, Limit, Move, Payment, Refund
from junctor.domain.lease import Lease
from junctor.ledger import closing, leasing, limits
from junctor.ledger import credits as crediting
from junctor.ledger.auditing.audit import audit
from junctor.ledger.statements import summarise
from junctor.policy.legs import choose_legs
from junctor.ports.table import Item, StoreError, Value
from junctor.records import ids, windows
from junctor.records.tables import CORE
from tests.support.auditing import DAY_MS, audited_here, told
from tests.support.bank import ACCOUNT, NOW_MS, Bank
from tests.support.ledger_audit import violations
from tests.support.virtual_loop import run_virtual

SEEDS = 12
STEPS = 70
LIMITS = (
    Limit(account=ACCOUNT, id="account", limit_nanousd=900_000, interval=Interval.MONTH),
    Limit(account=ACCOUNT, id="key-1", limit_nanousd=50_000, interval=Interval.DAY),
)
PURSES = ("main", "grant", "main-1")


class Life:
    """One account's history. `opened` are its leases with how many slots each has."""

    def __init__(self, bank: Bank, seed: int) -> None:
        self.bank = bank
        self.random = random.Random(seed)
        self.now_ms = NOW_MS
        self.opened: dict[str, tuple[Lease, int]] = {}
        self.made = 0

    async def begin(self) -> None:
        """Make limits, and pay in."""
        for limit in LIMITS:
            await self.bank.limited(limit)
        for purse in PURSES:
            await self.pay(purse)

    async def step(self) -> None:
        """Do one thing."""
        often = (self.acquire, self.spend, self.spend, self.close)
        doing = (*often, *often, self.renew, self.grow, self.book, self.book, self.set_limit)
        await self.random.choice(doing)()

    def next(self) -> int:
        """Return a number that was not used."""
        self.made += 1
        return self.made

    async def pay(self, purse: str) -> None:
        """Pay something into a purse."""
        amount = self.random.randint(500, 5_000)
        name, at_ms = f"p{self.next()}", self.now_ms
        entry = Payment(account=ACCOUNT, id=name, purse=purse, amount_nanousd=amount, refundable_nanousd=amount, at_ms=at_ms)
        await crediting.pay(self.bank.table, self.bank.dice, entry)

    async def book(self) -> None:
        """Move money in one of the ways there are."""
        table, dice, draw = self.bank.table, self.bank.dice, self.random
        kind = draw.choice(("pay", "refund", "claw", "move", "expire", "tend"))
        purse, other = draw.sample(PURSES, 2)
        common = {"account": ACCOUNT, "id": f"e{self.next()}", "amount_nanousd": draw.randint(1, 400), "at_ms": self.now_ms}
        if kind == "pay":
            await self.pay(purse)
        elif kind == "refund":
            await crediting.refund(table, dice, msgspec.convert({**common, "payment": "p1", "purse": purse}, Refund))
        elif kind == "claw" and draw.random() < 0.4:
            await crediting.chargeback(table, dice, msgspec.convert({**common, "payment": "p1", "purse": purse}, Clawback))
        elif kind == "move":
            await crediting.move(table, dice, msgspec.convert({**common, "source": purse, "target": other}, Move))
        elif kind == "expire" and draw.random() < 0.2:
            await crediting.expire(table, dice, ACCOUNT, "grant")
        else:
            await crediting.tend(table, dice, ACCOUNT, self.now_ms)

    async def _fresh(self, amount: int) -> Lease | None:
        legs = choose_legs(await crediting.read_purses(self.bank.table, self.bank.dice, ACCOUNT), amount)
        if legs is None:
            return None
        lease = self.bank.lease(amount, legs=legs)
        limited = self.random.sample(LIMITS, self.random.randint(0, 2))
        return msgspec.structs.replace(
            lease,
            id=ids.ulid(self.now_ms, self.next().to_bytes(ids.ULID_RANDOM_BYTES)),
            windows=tuple(windows.name(limit, self.now_ms) for limit in limited),
        )

    async def acquire(self) -> None:
        """Take a lease."""
        lease = await self._fresh(self.random.randint(1, 300))
        if lease is not None:
            answer = await leasing.acquire(self.bank.table, self.bank.dice, lease)
            if isinstance(answer, leasing.Leased):
                self.opened[lease.id] = answer.lease, 0

    async def spend(self) -> None:
        """Settle a slot, or leave it OPEN, within what is left of a lease."""
        if self.opened:
            lease, slots = self.random.choice(list(self.opened.values()))
            hold = lease.amount_nanousd // 8
            if slots < 8:
                self.opened[lease.id] = lease, slots + 1
                if self.random.random() < 0.2:
                    await self.bank.opened(lease, slots, hold)
                else:
                    await self.bank.spent(lease, slots, self.random.randint(0, hold), hold)

    async def close(self) -> None:
        """Close a lease as a stranger does."""
        if self.opened:
            lease, _ = self.opened.pop(self.random.choice(list(self.opened)))
            await closing.close(self.bank.table, self.bank.dice, lease, self.now_ms)

    async def renew(self) -> None:
        """Close a lease of which nothing was spent, and take the next."""
        unused = [lease for lease, slots in self.opened.values() if not slots]
        fresh = await self._fresh(self.random.randint(1, 300))
        if unused and fresh is not None:
            del self.opened[unused[0].id]
            answer = await leasing.renew(self.bank.table, self.bank.dice, unused[0], 0, fresh)
            if isinstance(answer, leasing.Leased):
                self.opened[fresh.id] = answer.lease, 0
            else:
                await closing.close(self.bank.table, self.bank.dice, unused[0], self.now_ms)

    async def grow(self) -> None:
        """Take more for a lease."""
        legs = choose_legs(await crediting.read_purses(self.bank.table, self.bank.dice, ACCOUNT), 20)
        if self.opened and legs is not None:
            lease, slots = self.random.choice(list(self.opened.values()))
            answer = await leasing.grow(self.bank.table, self.bank.dice, lease, legs)
            if isinstance(answer, leasing.Leased):
                self.opened[lease.id] = answer.lease, slots

    async def set_limit(self) -> None:
        """Set a limit."""
        limit = self.random.choice(LIMITS)
        wanted = msgspec.structs.replace(limit, limit_nanousd=self.random.randint(0, 10**6), change=f"c{self.next()}")
        await limits.set_limit(self.bank.table, self.bank.dice, wanted)

    async def pass_time(self, store: SimulatedStore) -> None:
        """Let weeks pass, sum what is due, and let the broom go."""
        self.now_ms += self.random.randint(5, 50) * DAY_MS
        if self.random.random() < 0.7:
            await summarise(self.bank.table, self.bank.dice, ACCOUNT, self.now_ms)
        store.sweep(CORE, self.now_ms // 1000)


async def lived(seed: int) -> tuple[list[Item], int]:
    """Return what a life leaves, and when it ended; the audit finds nothing at any moment of it."""
    store = SimulatedStore(seed)
    life = Life(await Bank(store).open(), seed)
    await life.begin()
    for number in range(STEPS):
        await life.step()
        if number % 9 == 8:
            await life.pass_time(store)
        if number % 5 == 0 or number == STEPS - 1:
            items = store.items(CORE)
            found = await audited_here(items, now_ms=life.now_ms)
            assert (told(found), found.moving) == ([], ())
            if not found.items.get("statements"):
                assert violations(items) == []
    return store.items(CORE), life.now_ms


def corrupted(items: list[Item]) -> Iterator[tuple[str, list[Item]]]:
    """Yield the items with one sum of money changed, for every sum that other sums or slots must agree with.

    A hold is only known not to be below the cost, what may still go back of a payment only not to be above what was paid, and
    what a slot cost only shows once its lease is closed.
    """
    for place, item in enumerate(items):
        for name, value in item.items():
            money = name.endswith("_nanousd") or name.startswith(("purse:", "window:"))
            if not money or type(value) is not int or name in {"hold_nanousd", "fee_nanousd"}:
                continue
            sort = str(item["sk"])
            if sort.startswith("LIMIT#") and not any(str(one["sk"]).startswith(f"WINDOW#{item['id']!s}#") for one in items):
                continue
            if sort.startswith("SLOT#") and not any(lease_of(item) == one["sk"] and one["state"] == "CLOSED" for one in items):
                continue
            steps = (1,) if name == "refundable_nanousd" else (1, -1)
            for step in steps:
                wrong: dict[str, Value] = {**item, name: value + step}
                yield f"{sort} {name} {step:+}", [*items[:place], wrong, *items[place + 1 :]]


def lease_of(slot: Item) -> str:
    """Return where the lease of a slot lies."""
    return "LEASE#" + str(slot["pk"]).rpartition("#")[2]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_books_of_every_history_are_right_and_no_changed_sum_passes(seed: int) -> None:
    """The audit would cry wolf, or call books right in which money was changed."""

    async def main() -> list[str]:
        items, now_ms = await lived(seed)
        rng = random.Random(seed)
        cases = list(corrupted(items))
        assert len(cases) > 60
        missed = []
        for name, wrong in rng.sample(cases, 60):
            if not (await audited_here(wrong, now_ms=now_ms)).differences:
                missed.append(name)
        return missed

    assert run_virtual(main()) == []


@pytest.mark.parametrize("busy_s", [0.1, 0.3, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_an_audit_beside_those_who_work_never_calls_right_books_wrong(seed: int, busy_s: float) -> None:
    """An operator would stop a healthy service because of what merely moved; or never get an answer from a quiet one."""

    async def main() -> tuple[int, int]:
        store = SimulatedStore(seed, plan=FaultPlan(latency_s=(0.001, 0.02)))
        bank = await Bank(store).open()
        lives = [Life(bank, seed * 10 + number) for number in range(3)]
        for number, life in enumerate(lives):
            life.made = number * 1_000
        await lives[0].begin()
        over = False

        async def work(life: Life) -> None:
            while not over:
                await asyncio.sleep(life.random.uniform(0, busy_s))
                try:
                    await life.step()
                except StoreError:
                    continue
                if life.random.random() < 0.05:
                    life.now_ms += 20 * DAY_MS
                    await summarise(bank.table, bank.dice, ACCOUNT, life.now_ms)

        workers = [asyncio.create_task(work(life)) for life in lives]
        moving = still = 0
        for _ in range(8):
            found = await audit(bank.table, bank.dice, ACCOUNT, lives[0].now_ms)
            assert told(found) == []
            moving += bool(found.moving)
            still += found.checks["I12"] > 0
        over = True
        await asyncio.gather(*workers)
        found = await audit(bank.table, bank.dice, ACCOUNT, lives[0].now_ms)
        assert (told(found), found.moving) == ([], ())
        return moving, still

    moving, still = run_virtual(main())
    assert moving if busy_s < 1 else still > moving
