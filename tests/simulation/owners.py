"""Instances that hold leases: they spend what they took, by the rules that ledger.md gives to owners, and may die anywhere.

An owner's books are in its memory only. What it does not know (a write whose fate the store never told) it treats as the worse
of both: a hold that may be there counts, a lease that may be gone is used no more.
"""

import asyncio

import msgspec

from junctor.domain.call import Outcome
from junctor.domain.generation import Generation
from junctor.domain.idempotency import RequestRecord
from junctor.domain.lease import Lease, Leg, Slot, SlotState
from junctor.ledger import closing, leasing, slots
from junctor.ledger.credits import read_purses
from junctor.ledger.leasing import LeaseClosed, Leased, PurseShort, WindowShort
from junctor.ledger.slots import Answered, Ending, InProgress, Opening
from junctor.policy.legs import choose_legs
from junctor.ports.table import StoreError
from junctor.records import ids, windows
from tests.simulation.world import Account, World, clock_ms
from tests.support.world import VOID, paid

TRIED = 5
SETTLES_TRIED = 4


class Held:
    """A lease as its owner knows it. `unsure`: there may be a write to one of its slots that was never answered."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.next = 0
        self.unacknowledged: dict[int, None] = {}
        self.holds: dict[int, int] = {}
        self.spent = 0
        self.flying = 0
        self.fenced = False
        self.unsure = False
        self.growing = asyncio.Lock()

    def room(self) -> int:
        """Return what is neither spent nor held."""
        return self.lease.amount_nanousd - self.spent - sum(self.holds.values())

    def may_send(self) -> bool:
        """Tell whether the width of the lease lets the next number be sent."""
        return not self.unacknowledged or self.next - self.lease.width < min(self.unacknowledged)

    def take(self, hold: int) -> Slot:
        """Take the next number, with its hold."""
        number, self.next = self.next, self.next + 1
        self.unacknowledged[number] = None
        self.holds[number] = hold
        return Slot(self.lease.account, self.lease.id, number)

    def ended(self, slot: Slot, cost: int) -> None:
        """Note what a slot cost."""
        self.holds.pop(slot.number)
        self.spent += cost


class Owner:
    """One instance for one account, with a few calls at a time."""

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.name = name
        self._world = world
        self._random = world.random
        self._account = account
        self._skew_ms = world.skew_ms()
        self._width = self._random.choice((1, 1, 4, 4, 16))
        self._held: Held | None = None
        self._taking = asyncio.Lock()
        self._dead = False
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, workers: int) -> None:
        """Begin to answer calls."""
        self.tasks = [asyncio.create_task(self._work()) for _ in range(workers)]

    def kill(self) -> None:
        """Die: nothing of it ever goes on. What is on its way to the store may arrive."""
        self._dead = True
        for task in self.tasks:
            task.cancel()

    async def _work(self) -> None:
        while not self._world.over:
            try:
                await self._call()
            except StoreError:
                self._world.counts["calls refused, store"] += 1
            await self._world.pause(0.0, 0.3)
        if self._random.random() < 0.5:
            await self._leave()

    async def _call(self) -> None:
        """Answer one call, under its caller's request id or without one."""
        hold = self._random.choice((0, self._random.randint(1, 60), self._random.randint(1, 60)))
        request = self._request() if self._random.random() < 0.5 else None
        for _ in range(TRIED):
            held = await self._lease(hold)
            if held is None:
                self._world.counts["calls refused, money"] += 1
                return
            slot = held.take(hold)
            held.flying += 1
            try:
                opened = await self._open(held, slot, hold, request)
                if opened is not None:
                    await self._answer(held, opened)
                    return
            finally:
                held.flying -= 1
                await self._retire(held)
            await self._world.pause(0.0, 0.1)

    def _request(self) -> str:
        """Name a request as its caller does: all owners are sent the same one in the same second, and some later again."""
        second = int(self._world.now_s() / self._account.same_s)
        return f"{self._account.name}-request-{max(0, second - self._random.choice((0, 0, 0, 0, 1, 5)))}"

    async def _open(self, held: Held, slot: Slot, hold: int, request: str | None) -> Generation | None:
        generation = self._generation(slot, hold)
        try:
            opening = await self._opening(generation, request)
        except StoreError:
            held.fenced = held.unsure = True
            raise
        if opening is Opening.FENCED:
            held.fenced = True
            held.ended(slot, 0)
            return None
        if opening is Opening.OPEN:
            held.unacknowledged.pop(slot.number)
            self._world.answers(slot)
            return generation
        if isinstance(opening, Answered):
            self._world.told(opening.generation, opening.generation.cost_nanousd or 0)
        try:
            voided = await self._world.do(self.name, "put void", generation.id, self._put_void(slot))
        except StoreError:
            held.fenced = True
            raise
        held.fenced = held.fenced or voided is Ending.OURS_NOT
        held.unacknowledged.pop(slot.number)
        held.ended(slot, 0)
        return None

    async def _opening(self, generation: Generation, request: str | None) -> Opening | InProgress | Answered:
        world = self._world
        if request is None:
            return await world.do(self.name, "open", generation.id, slots.open_slot(world.table, world.dice, generation))
        body = b"other" if self._random.random() < 0.05 else b"body"
        record = RequestRecord(account=self._account.name, digest=request.encode(), request_hash=body, generation=generation.id)
        world.sends(request, generation.slot)
        work = slots.open_named(world.table, world.dice, generation, record, self._now_ms())
        return await world.do(self.name, "open named", f"{generation.id} for {request}", work)

    async def _put_void(self, slot: Slot) -> Ending:
        return await slots.put_void(self._world.table, self._world.dice, slot)

    async def _answer(self, held: Held, opened: Generation) -> None:
        """Give output, and charge for it, or give none."""
        if self._random.random() < 0.15:
            await self._grow(held, self._random.randint(1, 80))
        await self._world.pause(0.0, self._random.choice((0.05, 0.5, 0.5, 200.0)))
        number = opened.slot.number
        if self._random.random() < 0.3:
            await self._end(held, opened, VOID)
            return
        cost = self._random.randint(0, opened.hold_nanousd)
        if self._random.random() < 0.15:
            cost = opened.hold_nanousd + self._random.randint(1, 30)
            if held.room() < cost - opened.hold_nanousd:
                await self._grow(held, cost)
            if held.room() < cost - opened.hold_nanousd:
                cost = opened.hold_nanousd
                self._world.counts["undercharged"] += 1
            held.holds[number] = max(cost, opened.hold_nanousd)
        await self._end(held, opened, paid(cost))

    async def _end(self, held: Held, opened: Generation, outcome: Outcome) -> None:
        world = self._world
        operation = "settle" if outcome.state is SlotState.SETTLED else "void"
        cost = outcome.cost_nanousd
        for _ in range(SETTLES_TRIED):
            try:
                work = slots.end(world.table, world.dice, opened, outcome, 1)
                ending = await world.do(self.name, operation, f"{opened.id} at {cost}", work)
            except StoreError:
                await world.pause(0.1, 3.0)
                continue
            if ending is Ending.OURS_NOT:
                held.fenced = True
                held.ended(opened.slot, 0)
                world.counts["revenue lost"] += 1
                return
            held.ended(opened.slot, cost)
            if operation == "settle":
                world.counts["settled"] += 1
                world.counts["money"] += cost
                world.told(opened, cost)
            return
        held.unsure = held.fenced = True

    async def _grow(self, held: Held, amount: int) -> None:
        """Enlarge a lease once or more, some of it while a stranger closes it."""
        hunted = self._random.random() < 0.4
        if hunted:
            self._world.hunt(held.lease)
        for _ in range(5 if hunted else 1):
            await self._grow_once(held, amount)

    async def _grow_once(self, held: Held, amount: int) -> None:
        async with held.growing:
            if held.fenced:
                return
            world = self._world
            try:
                legs = await self._legs(amount)
                if not legs:
                    return
                work = leasing.grow(world.table, world.dice, held.lease, legs)
                grown = held.lease.amount_nanousd + sum(leg.amount_nanousd for leg in legs)
                wanted = msgspec.structs.replace(held.lease, amount_nanousd=grown)
                answer = await world.ask(self.name, "grow", f"{held.lease.id} by {legs}", wanted, work)
            except StoreError:
                return
            if isinstance(answer, Leased):
                held.lease = answer.lease
            elif isinstance(answer, LeaseClosed):
                held.fenced = True

    async def _lease(self, hold: int) -> Held | None:
        """Return a lease with room for a hold; None if there is no money."""
        async with self._taking:
            held = self._held
            while held is not None and self._usable(held) and held.room() >= hold:
                if held.may_send():
                    return held
                await self._world.pause(0.01, 0.1)
            self._held = None
            amount = max(1, hold) * self._random.randint(1, 8)
            self._held = await self._take(held, amount)
            if self._held is None and amount > hold > 0:
                self._held = await self._take(None, hold)
            if self._held is not held:
                await self._retire(held)
            held = self._held
            return held if held is not None and self._usable(held) and held.room() >= hold and held.may_send() else None

    async def _take(self, old: Held | None, amount: int) -> Held | None:
        """Renew a lease that is at rest, or acquire one; None if there is no money."""
        now_ms = self._now_ms()
        until_ms = now_ms + self._random.randint(2_000, 60_000)
        new = Lease(
            id=ids.ulid(now_ms, self._random.randbytes(ids.ULID_RANDOM_BYTES)),
            account=self._account.name,
            scope=self._account.name,
            owner=self.name,
            until_ms=until_ms,
            exp_ms=until_ms + 10_000,
            width=self._width,
            windows=tuple(windows.name(limit, now_ms) for limit in self._account.limits),
        )
        if old is not None and not old.flying and not old.unsure and not old.holds and self._random.random() < 0.7:
            return await self._renew(old, new, amount)
        for _ in range(3):
            taken = await self._acquire(new, amount)
            if taken is not None:
                return taken
            amount = self._random.randint(1, amount * 6)
        return None

    async def _acquire(self, new: Lease, amount: int) -> Held | None:
        """Acquire a lease; after a failure it may be asked for again under its id, as another amount."""
        world = self._world
        try:
            legs = await self._legs(amount)
            if legs is None:
                return None
            new = msgspec.structs.replace(new, amount_nanousd=amount, legs=legs)
            work = leasing.acquire(world.table, world.dice, new)
            answer = await world.ask(self.name, "acquire", f"{new.id} of {amount}", new, work)
        except StoreError:
            return None
        return Held(answer.lease) if isinstance(answer, Leased) else None

    async def _renew(self, old: Held, new: Lease, amount: int) -> Held | None:
        """Renew a lease. If that fails, the old one is used no more, as a try may be on its way; a refusal leaves it."""
        world = self._world
        fenced, old.fenced = old.fenced, True
        try:
            legs = await self._legs(amount + old.room())
            legs = legs or await self._legs(amount)
            if legs is None:
                return None
            new = msgspec.structs.replace(new, amount_nanousd=sum(leg.amount_nanousd for leg in legs), legs=legs)
            work = leasing.renew(world.table, world.dice, old.lease, old.spent, new)
            answer = await world.ask(self.name, "renew", f"{old.lease.id} as {new.id} of {amount}", new, work)
        except StoreError:
            return None
        if isinstance(answer, PurseShort | WindowShort) and not fenced and self._random.random() < 0.5:
            old.fenced = False
            return old
        return Held(answer.lease) if isinstance(answer, Leased) else None

    async def _legs(self, amount: int) -> tuple[Leg, ...] | None:
        """Choose legs by balances that were read some time before, as owners do."""
        world = self._world
        purses = list(await read_purses(world.table, world.dice, self._account.name))
        self._random.shuffle(purses)
        await world.pause(0.0, self._random.choice((0.0, 0.1, 0.1, 1.0)))
        return choose_legs(purses, amount)

    async def _retire(self, held: Held | None) -> None:
        """Close a lease that is used no more, as soon as no call is in it, or leave it to whoever finds it."""
        if self._dead or held is None or (held is self._held and not held.fenced) or held.flying:
            return
        if self._held is held:
            self._held = None
        held.fenced = True
        if self._random.random() < 0.8:
            await self._close(held)

    async def _leave(self) -> None:
        held, self._held = self._held, None
        await self._retire(held)

    async def _close(self, held: Held) -> None:
        world = self._world
        total = None if held.unsure or held.holds else held.spent
        operation = "close" if total is None else "close own"
        try:
            work = closing.close(world.table, world.dice, held.lease, self._now_ms(), total)
            await world.do(self.name, operation, f"{held.lease.id} at {total}", work)
        except StoreError:
            world.counts["leases left open"] += 1

    def _usable(self, held: Held) -> bool:
        return not held.fenced and self._now_ms() < held.lease.until_ms

    def _now_ms(self) -> int:
        return clock_ms(self._world, self._skew_ms)

    def _generation(self, slot: Slot, hold: int) -> Generation:
        return Generation(
            id=ids.generation_id(slot),
            slot=slot,
            state=SlotState.OPEN,
            api_key="key",
            requested_model="lab/model",
            started_at_ms=0,
            deadline_at_ms=1,
            hold_nanousd=hold,
        )
