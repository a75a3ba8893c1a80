"""Random schedules of calls over several instances: the limits hold in all, whatever comes when."""

import asyncio
import random
from collections import Counter as Tally

import pytest

from junctor.adapters.tables.faults import Fault, FaultPlan
from junctor.domain.errors import RateLimitedError
from junctor.domain.rates import Rates
from tests.support.fleet import Fleet, Instance, play

SLOW = FaultPlan(chances=((Fault.DUPLICATED, 0.1),), latency_s=(0.0, 0.03))
WILD = FaultPlan(
    chances=tuple((fault, 0.05) for fault in Fault if fault is not Fault.NONE), latency_s=(0.0, 0.03), delay_s=(0.1, 30.0)
)
SCHEDULES = 25
CALLS = 400


class Schedule:
    """One random schedule and what came of it."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.fleet = fleet
        self.random = random.Random(seed)
        self.rates = Rates(
            requests_per_min=self.random.choice((7, 60, 300)),
            tokens_per_min=self.random.choice((None, 500, 20_000)),
            concurrency=self.random.choice((None, 1, 4, 30)),
        )
        self.under_way = self.most_under_way = 0
        self.tokens: Tally[int] = Tally()

    async def run(self) -> None:
        """Play it: calls come in bursts over some minutes, last for different times, and some of their callers leave."""
        calls = []
        for _ in range(CALLS):
            calls.append(asyncio.create_task(self._call(self.random.choice(self.fleet.instances))))
            if self.random.random() < 0.1:
                leaving = self.random.choice(calls)
                asyncio.get_running_loop().call_later(self.random.uniform(0, 0.1), leaving.cancel)
            if self.random.random() < 0.6:
                await asyncio.sleep(self.random.expovariate(1 / 0.5))
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert [error for error in done if isinstance(error, Exception)] == []

    async def _call(self, instance: Instance) -> None:
        estimate = self.random.randrange(200)
        try:
            permit = await instance.take(self.rates, estimate)
        except RateLimitedError:
            return
        used = self.random.randrange(estimate + 1)
        minute = instance.clock.now_ms() // 60_000
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.random.choice((0.0, 0.1, 1.0, 30.0)) * self.random.random())
        finally:
            self.tokens[minute] += used
            self.under_way -= 1
            instance.give_back(permit, used=used)


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_no_limit_is_passed_while_the_store_works(seed: int) -> None:
    """Some order of calls would let in more than a limit."""

    async def scenario(fleet: Fleet) -> None:
        schedule = Schedule(fleet, seed)
        await schedule.run()
        granted = sum((instance.granted for instance in fleet.instances), Tally[int]())
        limits = schedule.rates
        assert sum(granted.values()) > 0
        assert max(granted.values()) <= (limits.requests_per_min or 0)
        assert limits.tokens_per_min is None or max(schedule.tokens.values()) <= limits.tokens_per_min
        assert limits.concurrency is None or schedule.most_under_way <= limits.concurrency
        await asyncio.sleep(30)
        assert fleet.claimed() == {}

    play(scenario, size=3, seed=seed, plan=SLOW)


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_a_faulty_store_lets_each_instance_in_once_at_most(seed: int) -> None:
    """Faults would show to callers, open a limit altogether, or leave places claimed for ever."""

    async def scenario(fleet: Fleet) -> None:
        schedule = Schedule(fleet, seed)
        await schedule.run()
        limits = schedule.rates
        for instance in fleet.instances:
            assert max(instance.granted.values()) <= (limits.requests_per_min or 0)
        assert limits.concurrency is None or schedule.most_under_way <= limits.concurrency * 3
        fleet.store.dice.plan = SLOW
        await asyncio.sleep(60)
        assert fleet.claimed() == {}

    play(scenario, size=3, seed=seed, plan=WILD)
