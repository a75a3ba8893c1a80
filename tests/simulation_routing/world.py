"""One world: endpoints with their weather, a fleet of instances that share a store, and callers that do not try again."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final, TypeVar

from junctor.adapters.tables.faults import FaultPlan
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.policy.health.published import BUCKET_MS, bucket_of
from junctor.ports.table import TableSpec
from junctor.records.health import write_bucket
from junctor.records.tables import HEALTH
from tests.simulation_routing import traces
from tests.simulation_routing.instance import Instance, Place
from tests.simulation_routing.notes import Notes
from tests.simulation_routing.traces import Fleet, Scenario
from tests.simulation_routing.upstream import SimulatedUpstream
from tests.simulation_routing.weather import Weather
from tests.support.world import EPOCH_MS

STORE: Final = FaultPlan(latency_s=(0.001, 0.006))
"""One way to the store and back takes 2 to 12 ms."""
PATIENCE_S: Final = 120.0
"""Virtual seconds after which a request that has not ended is a failure."""
_SEEDS_APART: Final = 100_003

_Answer = TypeVar("_Answer")


class CountedStore(SimulatedStore):
    """A store that counts what it is asked."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, plan=STORE)
        self.reads = 0
        self.writes = 0

    async def read(self, spec: TableSpec, look: Callable[..., _Answer], *, consistent: bool) -> _Answer:
        """Carry a read."""
        self.reads += 1
        return await super().read(spec, look, consistent=consistent)

    async def write(self, apply: Callable[[], _Answer]) -> _Answer:
        """Carry a write."""
        self.writes += 1
        return await super().write(apply)


class World:
    """What one seed plays in. Make it inside a running virtual loop."""

    def __init__(self, scenario: Scenario, fleet: Fleet, seed: int, seconds: float) -> None:
        self._seconds = seconds
        self._fleet = fleet
        self._random = Random(f"load {scenario.name} {fleet.instances} {seed}")
        self._loop = asyncio.get_running_loop()
        self.weather = Weather(scenario, fleet.victim_first_s, seed)
        self.notes = Notes(self.weather, traces.prices().model, seconds)
        self.store = CountedStore(seed)
        self.table = self.store.table(HEALTH)
        place = Place(
            catalog=traces.catalog(self.weather.victim, repriced=scenario.repriced),
            weather=self.weather,
            notes=self.notes,
            upstream=SimulatedUpstream(self.weather),
            table=self.table,
        )
        self._instances = [Instance(number, seed * _SEEDS_APART + number, place) for number in range(fleet.instances)]
        self._asked = 0
        self._under_way: set[asyncio.Task[None]] = set()
        self._failed: list[BaseException] = []

    async def play(self) -> None:
        """Let requests come until the scenario's end, and wait for the last answer."""
        await self.store.create([HEALTH])
        await self._remember()
        for at_s, site, fault, how in self.weather.changes:
            self._loop.call_at(at_s, self.weather.change, site, fault, how, at_s)
        talks = [asyncio.create_task(instance.exchange.forever()) for instance in self._instances]
        self._arrive_after(0.0)
        await asyncio.sleep(self._seconds)
        for talk in talks:
            talk.cancel()
        ended = await asyncio.gather(*talks, return_exceptions=True)
        self._failed += [error for error in ended if error is not None and not isinstance(error, asyncio.CancelledError)]
        async with asyncio.timeout(PATIENCE_S):
            while self._under_way:
                await asyncio.wait(self._under_way)
        if self._failed:
            raise self._failed[0]

    async def _remember(self) -> None:
        """Have the fleet run before: what uptimes of five minutes need to know of the traffic until now."""
        now_ms = EPOCH_MS
        model, slugs = traces.prices().model, self.weather.sites
        calls_per_s = self._fleet.rates[0][1] * self._fleet.instances
        for bucket in (bucket_of(now_ms) - 1, bucket_of(now_ms)):
            lasted_s = min(BUCKET_MS, now_ms - bucket * BUCKET_MS) / 1000
            counts: dict[str, tuple[int, int]] = {}
            for slug, site in self.weather.sites.items():
                share = traces.VICTIM_WEIGHT if slug == self.weather.victim else 1 / len(slugs)
                calls = share * calls_per_s * lasted_s
                counts[f"{slug}/{model}"] = round(calls * site.success), round(calls * (1 - site.success))
            change = write_bucket(bucket, counts)
            await self.table.update(change.key, change.conditions, change.changes)

    def incidents(self) -> int:
        """Return how many bugs struck in all instances."""
        return sum(len(instance.telemetry.incidents) for instance in self._instances)

    def _arrive_after(self, now_s: float) -> None:
        """Let the next request come: Poisson, at the rate of the instant, whatever the callers before it got."""
        rates = self._fleet.rates
        while True:
            place = max(place for place, (since_s, _) in enumerate(rates) if since_s <= now_s)
            until_s = min(rates[place + 1][0] if place + 1 < len(rates) else self._seconds, self._seconds)
            next_s = now_s + self._random.expovariate(rates[place][1] * self._fleet.instances)
            if next_s < until_s:
                self._loop.call_at(next_s, self._arrive)
                return
            if until_s >= self._seconds:
                return
            now_s = until_s

    def _arrive(self) -> None:
        random = self._random
        instance = self._instances[random.randrange(len(self._instances))]
        task = self._loop.create_task(instance.answer(self._asked, random.getrandbits(63)))
        self._asked += 1
        self._under_way.add(task)
        task.add_done_callback(self._done)
        self._arrive_after(self._loop.time())

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        error = task.exception()
        if error is not None:
            self._failed.append(error)
