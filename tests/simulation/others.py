"""All who touch money without owning a lease: the treasurer who moves it, and strangers who close leases at any moment."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from junctor.domain.credits import Clawback, Entry, Limit, Move, Payment, Refund
from junctor.domain.lease import Lease
from junctor.ledger import closing, limits
from junctor.ledger import credits as crediting
from junctor.ledger.credits import Booking
from junctor.ledger.reclaim import reclaim
from junctor.ports.table import StoreError
from junctor.records import keys, leases, windows
from tests.simulation.world import Account, World, clock_ms


class Treasurer:
    """Pays in, pays back, moves, takes away and limits, each by an outside id, and some of it twice."""

    def __init__(self, world: World, name: str, account: Account) -> None:
        self._world = world
        self._random = world.random
        self._name = name
        self._account = account
        self._skew_ms = world.skew_ms()
        self._entries: list[Entry] = []

    async def begin(self) -> None:
        """Make the limits, and pay in for the first time."""
        world = self._world
        for limit in self._account.limits:
            await self._until_done("make limit", limit.id, partial(limits.make_limit, world.table, world.dice, limit))
        for purse in self._account.all_purses:
            entry = self._payment(purse)
            await self._until_done("pay", entry.id, partial(self._book, entry))

    async def work(self) -> None:
        """Do one thing after another."""
        while not self._world.over:
            await self._world.pause(0.05, 1.5)
            try:
                await self._random.choice(
                    (
                        self._new,
                        self._new,
                        self._new,
                        self._again,
                        self._set_limit,
                        self._make_limit,
                        self._open_window,
                        self._tidy,
                        self._tidy,
                        self._expire,
                    )
                )()
                await self._due()
            except StoreError:
                self._world.counts["movements unknown"] += 1

    async def _until_done(self, operation: str, detail: str, work: Callable[[], Awaitable[Booking]]) -> None:
        done = False
        while not done:
            try:
                await self._world.do(self._name, operation, detail, work())
            except StoreError:
                await self._world.pause(0.1, 1.0)
            else:
                done = True

    async def _new(self) -> None:
        """Begin a movement of money."""
        entry = self._draw()
        self._entries.append(entry)
        await self._send(entry)

    async def _again(self) -> None:
        """Send a movement of money that was sent before, twice at once."""
        if self._entries:
            entry = self._random.choice(self._entries)
            if self._random.random() < 0.2:
                entry = msgspec.structs.replace(entry, amount_nanousd=entry.amount_nanousd + 1)
            async with asyncio.TaskGroup() as group:
                for _ in range(2):
                    group.create_task(self._at_once(self._send(entry)))

    async def _send(self, entry: Entry) -> None:
        operation = {Payment: "pay", Refund: "refund", Clawback: "chargeback", Move: "move"}[type(entry)]
        await self._world.do(self._name, operation, f"{entry.id} of {entry.amount_nanousd}", self._book(entry))

    async def _book(self, entry: Entry) -> Booking:
        world = self._world
        world.asked(entry)
        match entry:
            case Payment():
                expires = clock_ms(world, self._skew_ms) + 30_000 if entry.purse == "grant" else None
                booking = await crediting.pay(world.table, world.dice, entry, expires_at_ms=expires)
            case Refund():
                booking = await crediting.refund(world.table, world.dice, entry)
            case Clawback():
                booking = await crediting.chargeback(world.table, world.dice, entry)
            case Move():
                booking = await crediting.move(world.table, world.dice, entry)
        world.booked(entry, booking)
        return booking

    def _draw(self) -> Entry:
        """Draw a movement; refunds and chargebacks may be more than there is."""
        account, at_ms = self._account.name, clock_ms(self._world, self._skew_ms)
        name = f"{self._name}-{len(self._entries)}"
        paid = [entry for entry in self._entries if isinstance(entry, Payment)]
        kind = self._random.choice(("pay", "pay", "pay", "refund", "chargeback", "move"))
        if kind == "move" and len(self._account.all_purses) > 1:
            source, target = self._random.sample(self._account.all_purses, 2)
            amount = self._random.randint(1, 200)
            return Move(account=account, id=name, source=source, target=target, amount_nanousd=amount, at_ms=at_ms)
        if kind in {"refund", "chargeback"} and paid:
            of = self._random.choice(paid)
            noun = Refund if kind == "refund" else Clawback
            amount = self._random.randint(1, of.amount_nanousd + 5)
            return noun(account=account, id=name, payment=of.id, purse=of.purse, amount_nanousd=amount, at_ms=at_ms)
        return self._payment(self._random.choice(self._account.all_purses))

    def _payment(self, purse: str) -> Payment:
        amount = self._random.randint(50, 1_200)
        payment = Payment(
            account=self._account.name,
            id=f"{self._name}-pay-{len(self._entries)}",
            purse=purse,
            amount_nanousd=amount,
            refundable_nanousd=amount,
            at_ms=clock_ms(self._world, self._skew_ms),
        )
        self._entries.append(payment)
        return payment

    async def _set_limit(self) -> None:
        """Set a limit, while a window of it may be opened."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._at_once(self._change_limit()))
            for _ in range(self._random.choice((0, 1, 2))):
                group.create_task(self._at_once(self._open_window()))

    async def _at_once(self, work: Awaitable[None]) -> None:
        try:
            await self._world.pause(0.0, self._world.plan.latency_s[1] * 4)
            await work
        except StoreError:
            self._world.counts["movements unknown"] += 1

    async def _change_limit(self) -> None:
        for limit in self._account.limits[:1]:
            wanted = Limit(
                account=limit.account,
                id=limit.id,
                limit_nanousd=self._random.randint(0, 4_000),
                interval=limit.interval,
                change=f"change-{self._random.randint(0, 40)}",
            )
            world = self._world
            work = limits.set_limit(world.table, world.dice, wanted)
            await world.do(self._name, "set limit", f"{wanted.id} to {wanted.limit_nanousd} by {wanted.change}", work)

    async def _make_limit(self) -> None:
        for limit in self._account.limits[-1:]:
            await self._world.do(
                self._name, "make limit", limit.id, limits.make_limit(self._world.table, self._world.dice, limit)
            )

    async def _open_window(self) -> None:
        for limit in self._account.limits[:1]:
            ahead = self._random.randint(-40, 40) * 86_400_000
            window = windows.name(limit, clock_ms(self._world, self._skew_ms + ahead))
            work = limits.open_window(self._world.table, self._world.dice, limit.account, window)
            await self._world.do(self._name, "open window", window, work)

    async def _tidy(self) -> None:
        """Collect and sweep what is due, by one purse and over the whole account."""
        await self._due()
        now_ms = clock_ms(self._world, self._skew_ms)
        work = crediting.tend(self._world.table, self._world.dice, self._account.name, now_ms)
        await self._world.do(self._name, "tend", self._account.name, work)

    async def _due(self) -> None:
        """Collect and sweep wherever there is anything to take."""
        world, account = self._world, self._account.name
        for purse in self._account.all_purses:
            found = world.item(keys.purse(account, purse))
            if found.get("owed_nanousd") and found.get("avail_nanousd"):
                await world.do(self._name, "collect", purse, crediting.collect(world.table, world.dice, account, purse))
            elif found.get("state") == "EXPIRED" and found.get("avail_nanousd"):
                await world.do(self._name, "sweep", purse, crediting.sweep(world.table, world.dice, account, purse))

    async def _expire(self) -> None:
        if self._account.grant and self._random.random() < 0.6:
            world, account = self._world, self._account.name
            await world.do(self._name, "expire", "grant", crediting.expire(world.table, world.dice, account, "grant"))


class Stranger:
    """Closes leases of others, those in use too, alone and several at once; and reclaims by a clock of its own."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._skew_ms = world.skew_ms()

    async def work(self) -> None:
        """Close one lease after another."""
        random = self._world.random
        while not self._world.over:
            await self._world.pause(0.5, 10.0)
            try:
                await self._reclaim() if random.random() < 0.12 else await self._race()
            except StoreError:
                self._world.counts["closings given up"] += 1

    async def hunt(self, lease: Lease) -> None:
        """Close a lease that is in use at this moment."""
        await self._world.pause(0.0, self._world.plan.latency_s[1] * 4)
        await self._close(lease)

    async def _reclaim(self) -> None:
        world = self._world
        done = await world.do(self._name, "reclaim", "", reclaim(world.table, world.dice, clock_ms(world, self._skew_ms)))
        for place in done.broken:
            world.wrong(f"I4 the lease {place} cannot be closed")

    async def _race(self) -> None:
        world = self._world
        there = [item for key, item in world.store.mirror.items() if key.sort.startswith(keys.LEASE_PREFIX)][-12:]
        if there:
            lease = leases.lease_of(world.random.choice(there))
            async with asyncio.TaskGroup() as group:
                for _ in range(world.random.randint(1, 3)):
                    group.create_task(self._close_soon(lease))

    async def _close_soon(self, lease: Lease) -> None:
        await self._world.pause(0.0, 0.3)
        await self._close(lease)

    async def _close(self, lease: Lease) -> None:
        world = self._world
        try:
            await world.do(
                self._name, "close", lease.id, closing.close(world.table, world.dice, lease, clock_ms(world, self._skew_ms))
            )
        except StoreError:
            world.counts["closings given up"] += 1
