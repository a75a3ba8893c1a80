"""Several instances that tell each other of endpoints through one simulated store. Meant for `run_virtual`.

Their traffic is scripted: each second an instance calls each endpoint that the fleet has not ejected so many times, and the
probers of an ejected one try it every other second.
"""

import asyncio
import random
from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from junctor.adapters.tables.faults import CALM, FaultPlan
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.domain.health import FleetView, Tally
from junctor.ledger.tools import Tools
from junctor.ports.table import Done, Found, Page, Refused, TableSpec
from junctor.records import health as records
from junctor.records.tables import HEALTH
from junctor.usecases.fleet_health import FleetHealth
from tests.support.faulty_table import FaultyTable
from tests.support.world import LoopClock, NotedTelemetry, SeededDice

SAMPLES = 8

_Answer = TypeVar("_Answer")


class CountedStore(SimulatedStore):
    """A store that adds up what it is asked for: calls, and units as DynamoDB counts them."""

    def __init__(self, seed: int = 0, *, plan: FaultPlan = CALM) -> None:
        super().__init__(seed, plan=plan)
        self.reads = self.writes = 0
        self.read_units = self.write_units = 0.0

    async def read(self, spec: TableSpec, look: Callable[..., _Answer], *, consistent: bool) -> _Answer:
        """Carry a read."""
        self.reads += 1
        answer = await super().read(spec, look, consistent=consistent)
        if isinstance(answer, Found | Page):
            self.read_units += answer.capacity.read_units
        return answer

    async def write(self, apply: Callable[[], _Answer]) -> _Answer:
        """Carry a write."""
        self.writes += 1
        answer = await super().write(apply)
        if isinstance(answer, Done | Refused):
            self.write_units += answer.capacity.write_units
        return answer


class ScriptedSight:
    """What an instance sees, as a test says, and what it is told to go by."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self.ok: Count[str] = Count()
        self.failed: Count[str] = Count()
        self.probed: Count[str] = Count()
        self.view: FleetView | None = None
        self.heeded = 0

    def tallies(self) -> tuple[Tally, ...]:
        """Hand over what was seen, and forget it."""
        found = tuple(self._tally(endpoint) for endpoint in sorted(self.ok.keys() | self.failed.keys()))
        self.ok.clear()
        self.failed.clear()
        return found

    def heed(self, view: FleetView | None, me: str) -> None:
        """Keep the view."""
        self.view = view
        self.heeded += 1

    def ejected(self, endpoint: str) -> bool:
        """Tell whether the fleet ejected an endpoint, as far as this instance knows."""
        return self.view is not None and endpoint in self.view.verdicts and self.view.verdicts[endpoint].ejected

    def _tally(self, endpoint: str) -> Tally:
        ok = self.ok[endpoint]
        times, speeds = ([self._random.lognormvariate(mean, 0.5) for _ in range(min(ok, SAMPLES))] for mean in (6, 4))
        return Tally(
            endpoint=endpoint,
            provider=endpoint.partition("/")[0],
            ok=ok,
            failed=self.failed[endpoint],
            probed=self.probed[endpoint],
            first_token_ms=tuple(times),
            throughput=tuple(speeds),
            input_tokens=self._random.randrange(1, 10_000) * ok,
            cache_read_tokens=self._random.randrange(1, 5_000) * ok,
        )


class Instance:
    """One instance with its own way to the store, and its own clock, which may be ahead of the others'."""

    def __init__(self, store: SimulatedStore, number: int, ahead_ms: int = 0) -> None:
        self.name = f"instance-{number:02d}"
        self.table = FaultyTable(store.table(HEALTH))
        self.clock = LoopClock()
        self.clock.ahead_ms = ahead_ms
        self.telemetry = NotedTelemetry()
        self.sight = ScriptedSight(number)
        self.sick: list[bool] = []
        tools = Tools(self.table, self.clock, SeededDice(number), self.telemetry)
        self.health = FleetHealth(tools, self.sight, self.name, self.sick.append)
        self.task: asyncio.Task[None] | None = None

    def call(self, endpoint: str, times: int, *, works: bool) -> None:
        """See so many calls of an endpoint, as far as this instance would draw it."""
        if self.sight.ejected(endpoint):
            verdict = self.sight.view.verdicts[endpoint] if self.sight.view else None
            if verdict is None or self.name not in verdict.probers or int(self.clock.monotonic_s()) % 2:
                return
            times = 1
            self.sight.probed[endpoint] = self.sight.probed[endpoint] + 1 if works else 0
        else:
            self.sight.probed[endpoint] = 0
        (self.sight.ok if works else self.sight.failed)[endpoint] += times

    def sees(self, endpoints: Iterable[str], *, failed: int) -> None:
        """See that no call is answered any more, and that so many fail of each endpoint."""
        self.sight.ok.clear()
        for endpoint in endpoints:
            self.sight.failed[endpoint] += failed

    def start(self) -> None:
        """Run what an instance runs."""
        self.task = asyncio.create_task(self.health.forever())

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        assert self.task is not None
        self.task.cancel()
        self.task = None


class Town:
    """All instances and the world around them. `dead` endpoints fail every call."""

    def __init__(self, number: int, *, store: SimulatedStore | None = None, skew_ms: int = 0) -> None:
        self.store = store or SimulatedStore()
        self.instances = [Instance(self.store, each, skew_ms * (each % 3 - 1)) for each in range(number)]
        self.rates: dict[str, int] = {}
        self.dead: set[str] = set()

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Run all instances."""
        for instance in self.instances:
            instance.start()
        try:
            yield
        finally:
            for instance in self.instances:
                if instance.task is not None:
                    instance.kill()

    @property
    def living(self) -> list[Instance]:
        """The instances that were not killed."""
        return [instance for instance in self.instances if instance.task is not None]

    async def go_on(self, seconds: int, until: Callable[[], bool] = lambda: False) -> int:
        """Let so many seconds of traffic pass, or fewer if that is so before; return how many passed."""
        for passed in range(seconds):
            if until():
                return passed
            for instance in self.living:
                for endpoint, times in self.rates.items():
                    instance.call(endpoint, times, works=endpoint not in self.dead)
            await asyncio.sleep(1)
        return seconds

    def ejected_for_all(self, endpoint: str) -> bool:
        """Tell whether every living instance knows that an endpoint is out."""
        return all(instance.sight.ejected(endpoint) for instance in self.living)

    def ejected_for_any(self, endpoint: str) -> bool:
        """Tell whether any living instance takes an endpoint for out."""
        return any(instance.sight.ejected(endpoint) for instance in self.living)

    async def told(self, instance: Instance) -> int:
        """Return of how many endpoints the latest part of an instance's digest tells."""
        key = records.write_digest(instance.name, (records.Interval(1, instance.clock.now_ms(), ()),)).key
        item = (await self.store.table(HEALTH).get(key)).item
        digest = None if item is None else records.digest_of(item)
        assert digest is not None
        return len(digest.parts[-1].sightings)

    async def snapshot(self) -> tuple[int, str | None, FleetView | None]:
        """Return the snapshot's version, who made it, and what it says."""
        item = (await self.store.table(HEALTH).get(records.SNAPSHOT)).item
        return records.version_of(item), records.holder_of(item), None if item is None else records.snapshot_of(item)


async def created(town: Town) -> Town:
    """Make the town's table."""
    await town.store.create([HEALTH])
    return town
