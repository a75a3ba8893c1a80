"""Every tenth answer of the store is lost, over as many store calls as wanted, through the wired ledgers of three instances.

A lost answer is no failure: nothing is refused for it, nothing is done twice, no generation costs anything but what it should.
One account is rich and under a limit of its key, one is nearly empty, so that refusals lose their answers too.

    python -m tests.support.lost_replies [store calls, 100,000 if not given]
"""

import asyncio
import random
import sys
import time
from collections import Counter as Tally

from msgspec import Struct

from junctor.adapters.tables.faults import CALM, Fault, FaultPlan
from junctor.domain.call import Hold
from junctor.domain.credits import Interval, Limit, LimitSubject
from junctor.domain.errors import (
    InsufficientCreditsError,
    JunctorError,
    LedgerUnavailableError,
    RequestCompletedError,
    RequestInProgressError,
)
from junctor.domain.lease import LeaseState, SlotState
from junctor.ledger import limits
from junctor.ledger.credits import Booking
from junctor.ledger.ledger import Ledger
from junctor.ports.telemetry import Counter
from junctor.records import windows
from tests.support.virtual_loop import run_virtual
from tests.support.world import VOID, World, call, plan, settled

LOSSY = FaultPlan(chances=((Fault.REPLY_LOST, 0.1),), latency_s=(0.001, 0.004))
RICH, POOR = "RICH", "POOR"
CEILING = 1_000
CALLS_PER_S = 60
INSTANCES = 3
NEVER = (
    Counter.SETTLE_PENDING,
    Counter.REVENUE_LOST,
    Counter.UNDERCHARGED,
    Counter.LEASE_FENCED,
    Counter.LEASE_BROKEN,
    Counter.CLOSE_FAILED,
    Counter.LOOK_FAILED,
    Counter.INCIDENT,
)
"""What must not happen because an answer was lost."""


class Came(Struct, frozen=True, kw_only=True):
    """What came of it. `wrong` says what should not have happened, and is empty if all is right."""

    store_calls: int
    lost: int
    settled: int
    void: int
    refused: int
    known: int
    wrong: tuple[str, ...]


class _Play:
    """The instances, their callers, and a reckoning of what everything must have cost."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._rng = random.Random(seed)
        self._ledgers = [world.ledger, *(world.instance() for _ in range(INSTANCES - 1))]
        self._costs: dict[str, int] = {}
        self._spent: Tally[str] = Tally()
        self._names: Tally[str] = Tally()
        self.tally: Tally[str] = Tally()
        self.wrong: list[str] = []

    async def run(self, store_calls: int) -> None:
        """Let callers come until the store was called so often, and look at all that is left."""
        world = self._world
        limit = windows.limit_id(LimitSubject.API_KEY, "KEY", Interval.ALL)
        wanted = Limit(
            account=RICH, id=limit, limit_nanousd=10**14, interval=Interval.ALL, subject=LimitSubject.API_KEY, subject_id="KEY"
        )
        if await limits.make_limit(world.table, world.dice, wanted) is not Booking.BOOKED:
            self.wrong.append("the limit could not be made")
        await world.credit(10**14, account=RICH)
        await world.credit(8 * CEILING, account=POOR)
        calls: set[asyncio.Task[None]] = set()
        number = 0
        while world.store.calls < store_calls:
            task = asyncio.create_task(self._one(number))
            calls.add(task)
            task.add_done_callback(calls.discard)
            number += 1
            await asyncio.sleep(self._rng.expovariate(CALLS_PER_S))
        await asyncio.gather(*calls)
        await asyncio.sleep(10)
        for ledger in self._ledgers:
            await ledger.close()
        world.store.dice.plan = CALM
        await self._judge()

    async def _one(self, number: int) -> None:
        rng, account = self._rng, RICH if self._rng.random() < 0.9 else POOR
        name = f"{account} {rng.randrange(max(number, 1))}" if rng.random() < 0.2 else None
        ledger: Ledger = rng.choice(self._ledgers)
        try:
            holding = await ledger.begin(call(account, request_id=name), plan(CEILING))
        except InsufficientCreditsError:
            if account == RICH:
                self.wrong.append(f"call {number} was refused for want of credits")
            self.tally["refused"] += 1
            return
        except (RequestInProgressError, RequestCompletedError):
            self.tally["known"] += 1
            return
        except LedgerUnavailableError as error:
            self.wrong.append(f"call {number} failed, as an answer was lost: {error.message}")
            return
        await asyncio.sleep(rng.uniform(0.1, 1.0))
        try:
            hold = await holding.ready()
        except JunctorError as error:
            self.wrong.append(f"call {number} has no hold: {error.reason}")
            return
        if rng.random() < 0.1:
            await ledger.settle(hold, VOID)
            self.tally["void"] += 1
            return
        if name is not None:
            self._names[name] += 1
        await self._settle(number, ledger, hold, account)

    async def _settle(self, number: int, ledger: Ledger, hold: Hold, account: str) -> None:
        """Settle a call, one in ten at more than is held for it, and some of them twice."""
        rng, rich = self._rng, account == RICH
        if rich and rng.random() < 0.1 and not await ledger.extend(hold):
            self.wrong.append(f"call {number} was not extended")
        cost = CEILING * 3 if rich and rng.random() < 0.1 else rng.randrange(CEILING // 4)
        receipt = await ledger.settle(hold, settled(number, cost))
        self._costs[hold.generation.id] = cost
        self._spent[account] += cost
        if receipt.pending or receipt.cost_nanousd != cost:
            self.wrong.append(f"call {number} was told {receipt}, it cost {cost}")
        if rng.random() < 0.05 and (await ledger.settle(hold, settled(number, cost))).cost_nanousd is not None:
            self.wrong.append(f"call {number} was settled twice")

    async def _judge(self) -> None:
        world = self._world
        self.wrong += [f"the request {name} was answered {times} times" for name, times in self._names.items() if times > 1]
        self.wrong += world.store.judge()[:20]
        found = {
            generation_id: generation.cost_nanousd
            for generation_id, generation in world.generations().items()
            if generation.state is SlotState.SETTLED
        }
        if found != self._costs:
            self.wrong.append("the slots do not say what the calls cost")
        if any(lease.state is not LeaseState.CLOSED for lease in world.leases()):
            self.wrong.append("a lease is left OPEN")
        for account in (RICH, POOR):
            purse = world.purse(account=account)
            if (purse.spent_nanousd, purse.leased_nanousd) != (self._spent[account], 0):
                self.wrong.append(f"{account}: spent {self._spent[account]}, but its purse says {purse}")
        self.tally["settled"] = len(self._costs)


def lose_replies(store_calls: int, seed: int = 0) -> Came:
    """Play so many store calls in virtual time."""

    async def main() -> Came:
        world = await World(seed, LOSSY).open()
        play = _Play(world, seed)
        await play.run(store_calls)
        counted = {counter.value: world.telemetry.counts[counter] for counter in NEVER if world.telemetry.counts[counter]}
        return Came(
            store_calls=world.store.calls,
            lost=world.store.lost,
            settled=play.tally["settled"],
            void=play.tally["void"],
            refused=play.tally["refused"],
            known=play.tally["known"],
            wrong=(*play.wrong, *([f"counted {counted}"] if counted else ())),
        )

    return run_virtual(main())


if __name__ == "__main__":
    began = time.monotonic()
    came = lose_replies(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
    print(came, f"{time.monotonic() - began:.0f} s")
    sys.exit(bool(came.wrong))
