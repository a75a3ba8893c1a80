"""Crowds on little money, over one instance and several: what may be spent is spent, and not a nano-USD more.

The ledgers are the wired ones, over a store of their own whose books are judged after every write; time is virtual. After all
calls have ended, leases that nobody uses go back by themselves: then the balance is what was paid less what the calls cost.
"""

import asyncio
import random
from collections.abc import Sequence

import msgspec
import pytest

from junctor.adapters.tables.faults import FaultPlan
from junctor.domain.call import Call, Hold, Outcome
from junctor.domain.completion import CompletionSpec
from junctor.domain.errors import (
    InsufficientCreditsError,
    JunctorError,
    RequestCompletedError,
    RequestIdReusedError,
    RequestInProgressError,
)
from junctor.domain.lease import LeaseState, SlotState
from junctor.domain.routing import Plan
from junctor.ledger import closing
from junctor.ledger.ledger import Ledger
from junctor.ledger.scopes import IDLE_S, TIDY_S
from tests.support.world import VOID, World, call, plan, play, settled

NETWORK = FaultPlan(latency_s=(0.002, 0.006))
CEILING = 1_000
CREDIT = 100 * CEILING
LEASE_BACK_S = IDLE_S + 3 * TIDY_S
"""After so long without a call, no instance holds a lease any more."""


async def answered(ledger: Ledger, asked: Call, planned: Plan, outcome: Outcome, upstream_s: float) -> Hold:
    """Let one call live its life: begin, ask upstream, hold, settle."""
    holding = await ledger.begin(asked, planned)
    await asyncio.sleep(upstream_s)
    hold = await holding.ready()
    receipt = await ledger.settle(hold, outcome)
    assert receipt.cost_nanousd == outcome.cost_nanousd
    return hold


async def at_rest(world: World, ledgers: Sequence[Ledger], spent: int) -> None:
    """Check that all leases go back by themselves, and that the balance is then what was paid less what the calls cost."""
    await asyncio.sleep(LEASE_BACK_S)
    assert all(lease.state is LeaseState.CLOSED for lease in world.leases())
    purse = world.purse()
    assert (purse.avail_nanousd, purse.leased_nanousd, purse.spent_nanousd) == (CREDIT - spent, 0, spent)
    for ledger in ledgers:
        assert await ledger.drain(60) == 0
        await ledger.close()
        assert ledger._booked == {}
        assert ledger._scopes._retired == set()


@pytest.mark.parametrize("instances", [1, 2, 4])
def test_a_thousand_calls_at_once_on_credit_for_a_hundred(instances: int) -> None:
    """An account would overspend in a crowd, or be refused while it has money."""

    async def scenario(world: World) -> None:
        world.store.dice.plan = NETWORK
        await world.credit(CREDIT)
        ledgers = [world.ledger, *(world.instance() for _ in range(instances - 1))]
        done = await asyncio.gather(
            *(
                answered(ledgers[number % instances], call(), plan(CEILING), settled(number, CEILING), 1.0)
                for number in range(1_000)
            ),
            return_exceptions=True,
        )
        admitted = [hold for hold in done if isinstance(hold, Hold)]
        refused = [error for error in done if isinstance(error, InsufficientCreditsError)]
        assert len(admitted) + len(refused) == 1_000
        assert len(admitted) == 100
        for error in refused:
            assert error.metadata["needed_nanousd"] == str(CEILING)
            assert int(error.metadata["available_nanousd"]) < CEILING
            assert int(error.metadata["leased_nanousd"]) > 0
            assert error.metadata["affordable_max_tokens"] == "0"
            assert error.retry_after_s == 3.0
        assert all(found.state is SlotState.SETTLED for found in world.generations().values())
        await at_rest(world, ledgers, CREDIT)

    play(scenario)


@pytest.mark.parametrize("instances", [1, 4, 10])
@pytest.mark.parametrize("seed", range(2))
def test_calls_that_cost_a_fifth_of_their_ceiling(instances: int, seed: int) -> None:
    """Money that a call gives back would lie idle in leases while other calls are refused for want of it."""

    async def scenario(world: World) -> None:
        rng = random.Random(seed)
        world.store.dice.plan = NETWORK
        await world.credit(CREDIT)
        ledgers = [world.ledger, *(world.instance() for _ in range(instances - 1))]

        async def come(number: int) -> Hold:
            await asyncio.sleep(rng.uniform(0, 60))
            outcome = settled(number, CEILING // 5)
            return await answered(rng.choice(ledgers), call(), plan(CEILING), outcome, rng.uniform(0.5, 1.5))

        done = await asyncio.gather(*map(come, range(1_000)), return_exceptions=True)
        admitted = sum(isinstance(hold, Hold) for hold in done)
        refused = sum(isinstance(error, InsufficientCreditsError) for error in done)
        assert admitted + refused == 1_000
        assert admitted >= 480
        await at_rest(world, ledgers, admitted * CEILING // 5)

    play(scenario)


class Callers:
    """Callers who send one request, each to some instance. `answers` and `told` are what they were told, `upstream` counts."""

    def __init__(self, ledgers: Sequence[Ledger], seed: int) -> None:
        self._ledgers = ledgers
        self._rng = random.Random(seed)
        self.upstream = 0
        self.answers: list[Hold] = []
        self.told: list[JunctorError] = []

    async def send(self, outcome: Outcome, *, request_id: str = "one", cost: int = CEILING) -> None:
        """Send it once."""
        asked = call(request_id=request_id)
        try:
            holding = await self._rng.choice(self._ledgers).begin(asked, plan(cost))
        except JunctorError as error:
            self.told.append(error)
            return
        self.upstream += 1
        await asyncio.sleep(self._rng.uniform(0.5, 1.5))
        hold = await holding.ready()
        ledger = next(ledger for ledger in self._ledgers if hold.generation.id in ledger._booked)
        await ledger.settle(hold, outcome)
        self.answers.append(hold)


@pytest.mark.parametrize("instances", [1, 3])
def test_one_request_sent_a_hundred_times_at_once(instances: int) -> None:
    """A client that retries would pay twice for one answer, or a provider be asked twice."""

    async def scenario(world: World) -> None:
        world.store.dice.plan = NETWORK
        await world.credit(CREDIT)
        ledgers = [world.ledger, *(world.instance() for _ in range(instances - 1))]
        callers = Callers(ledgers, instances)
        await asyncio.gather(*(callers.send(settled(1, CEILING)) for _ in range(100)))
        assert (callers.upstream, len(callers.answers), len(callers.told)) == (1, 1, 99)
        answering = callers.answers[0].generation.id
        for error in callers.told:
            assert isinstance(error, RequestInProgressError)
            assert error.metadata["generation_id"] == answering
            assert error.retry_after_s is not None
        await asyncio.sleep(5)
        callers.told.clear()
        await asyncio.gather(*(callers.send(settled(1, CEILING)) for _ in range(20)))
        assert len(callers.answers) == 1
        for completed in callers.told:
            assert isinstance(completed, RequestCompletedError)
            assert completed.metadata == {"generation_id": answering, "cost_nanousd": str(CEILING)}
        await at_rest(world, ledgers, CEILING)

    play(scenario)


def test_another_request_under_the_same_name() -> None:
    """A caller would be given the answer to another question, or none, without being told why."""

    async def scenario(world: World) -> None:
        await world.credit(CREDIT)
        first = await world.ledger.hold(call(request_id="one"), plan(CEILING))
        other = msgspec.structs.replace(call(request_id="one"), spec=CompletionSpec(model="lab/model", messages=(), n=1))
        for _ in range(2):
            with pytest.raises(RequestIdReusedError):
                await world.ledger.begin(other, plan(CEILING))
            await world.ledger.settle(first, settled(1, CEILING))
        await at_rest(world, [world.ledger], CEILING)

    play(scenario)


@pytest.mark.parametrize("expired", [True, False])
def test_a_request_that_came_to_nothing_may_be_sent_again(expired: bool) -> None:
    """One failure, or the crash of an instance, would block a request's name for a day."""

    async def scenario(world: World) -> None:
        await world.credit(CREDIT)
        crashing = world.instance()
        first = await crashing.hold(call(request_id="one"), plan(CEILING))
        if expired:
            (lease,) = world.leases()
            await closing.close(world.table, world.dice, lease, world.clock.now_ms())
        else:
            await crashing.settle(first, VOID)
        callers = Callers([world.ledger], 0)
        await asyncio.gather(*(callers.send(settled(1, CEILING)) for _ in range(50)))
        assert (callers.upstream, len(callers.answers)) == (1, 1)
        assert all(isinstance(error, RequestInProgressError) for error in callers.told)
        assert (await crashing.settle(first, settled(1, CEILING))).cost_nanousd is None
        await at_rest(world, [world.ledger, crashing], CEILING)

    play(scenario)


def test_a_request_that_was_answered_is_known_without_credits() -> None:
    """A client that retries its last affordable request would be told to pay, and not that it was answered."""

    async def scenario(world: World) -> None:
        await world.credit(CEILING)
        hold = await world.ledger.hold(call(request_id="one"), plan(CEILING))
        with pytest.raises(RequestInProgressError):
            await world.ledger.begin(call(request_id="one"), plan(CEILING))
        await world.ledger.settle(hold, settled(1, CEILING))
        with pytest.raises(RequestCompletedError):
            await world.ledger.begin(call(request_id="one"), plan(CEILING))
        with pytest.raises(InsufficientCreditsError):
            await world.ledger.begin(call(request_id="two"), plan(CEILING))

    play(scenario)


def test_an_instance_gives_back_what_it_does_not_need_any_more() -> None:
    """An instance that was busy would sit on money with a call now and then, and others refuse calls for want of it."""

    async def scenario(world: World) -> None:
        rng = random.Random(1)
        world.store.dice.plan = NETWORK
        await world.credit(CREDIT)
        first, second = world.ledger, world.instance()

        async def come(number: int, ledger: Ledger, at_s: float) -> Hold:
            await asyncio.sleep(at_s)
            outcome = settled(number, CEILING // 5)
            return await answered(ledger, call(), plan(CEILING), outcome, rng.uniform(0.5, 1.5))

        busy = [come(number, first, number / 25) for number in range(200)]
        seldom = [come(number, first, 8 + number) for number in range(50)]
        others = [come(number, second, 8 + number / 20) for number in range(1_000)]
        done = await asyncio.gather(*busy, *seldom, *others, return_exceptions=True)
        admitted = sum(isinstance(hold, Hold) for hold in done)
        assert admitted >= 480
        await at_rest(world, [first, second], admitted * CEILING // 5)

    play(scenario)
