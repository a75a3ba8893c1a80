"""The simulation's own actors on a real engine: owners, treasurers and strangers at once, with faults on two layers below them.

The upper layer lies between the ledger and the adapter, the lower one between the adapter and the engine.

What virtual time makes exact is bounded here: one world plays until enough has happened. Then all comes to rest, every lease is
closed, and the books that the engine holds are judged against the invariants and against all that the actors were told.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from junctor.adapters.tables.dynamodb import DynamoStore
from junctor.adapters.tables.faults import CALM, FaultPlan
from junctor.ledger.reclaim import reclaim
from tests.simulation.others import Stranger, Treasurer
from tests.simulation.owners import Owner
from tests.simulation.store import FAULTS
from tests.simulation.world import World, clock_ms
from tests.support.engines.watched import EngineStore, EngineTable
from tests.support.engines.wire import Wire
from tests.support.ledger_audit import violations

if TYPE_CHECKING:
    from junctor.adapters.tables.simulated import SimulatedTable

OWNERS = 4
WORKERS = 3
STRANGERS = 2
KILLS = 3
KILLED_EVERY_S = (10.0, 40.0)
OPERATIONS_MIN = 200
FAULTS_MIN = 25
SETTLED_MIN = 5
CHANCE = 0.01
"""How likely each kind of fault is for one call on each layer."""

LONGEST_S = 6_000.0
"""Seconds of the loop, two minutes of real time, after which a run that does not end is a failure."""


class EngineWorld(World):
    """A world whose store is an engine at the end of a wire."""

    def __init__(self, seed: int, engine: DynamoStore, wire: Wire) -> None:
        super().__init__(seed)
        self.wire = wire
        self.plan = FaultPlan(chances=tuple((fault, CHANCE) for fault in FAULTS), latency_s=(0.0, 0.05), delay_s=(0.01, 30.0))
        self.store: EngineStore = EngineStore(seed, self.plan, engine)
        # World says SimulatedTable and asks no more of it than the port.
        self.table = cast("SimulatedTable", EngineTable(self.store))

    @property
    def faults(self) -> int:
        """Return how many calls were struck, on the layer that was struck less."""
        return min(self.store.watched.faults, self.wire.faults)

    @property
    def played_enough(self) -> bool:
        """Tell whether so much has happened that mistakes would have shown."""
        return self.operations >= OPERATIONS_MIN and self.faults >= FAULTS_MIN and self.counts["settled"] >= SETTLED_MIN


class EnginePlay:
    """One world's actors, from the first payment to the last lease closed.

    `disturb` is called, in a thread, whenever an owner has died.
    """

    def __init__(self, world: EngineWorld, disturb: Callable[[], None] = lambda: None) -> None:
        self._world = world
        self._disturb = disturb
        self._tasks: list[asyncio.Task[None]] = []
        self._alive: list[Owner] = []
        self._owners = 0

    async def run(self) -> None:
        """Play to the end; what is wrong is in the world's `wrongs`."""
        async with asyncio.timeout(LONGEST_S):
            self._world.wire.dice.plan = self._world.plan
            await self._begin()
            for _ in range(KILLS):
                await self._world.pause(*KILLED_EVERY_S)
                self._kill()
                await asyncio.to_thread(self._disturb)
            while not self._world.played_enough:
                await asyncio.sleep(1.0)
                self._world.check()
            self._world.over = True
            await self._rest()
            await self._judge()

    async def _begin(self) -> None:
        world = self._world
        treasurers = [Treasurer(world, f"treasurer{number}", account) for number, account in enumerate(world.accounts)]
        strangers = [Stranger(world, f"stranger{number}") for number in range(STRANGERS)]
        world.hunt = lambda lease: self._tasks.append(asyncio.create_task(strangers[0].hunt(lease)))
        await asyncio.gather(*(treasurer.begin() for treasurer in treasurers))
        for _ in range(OWNERS):
            self._start_owner()
        works = [*(treasurer.work() for treasurer in treasurers), *(stranger.work() for stranger in strangers)]
        self._tasks += [asyncio.create_task(work) for work in works]

    def _start_owner(self) -> None:
        accounts = self._world.accounts
        owner = Owner(self._world, f"owner{self._owners}", accounts[self._owners % len(accounts)])
        self._owners += 1
        owner.start(WORKERS)
        self._alive.append(owner)
        self._tasks += owner.tasks

    def _kill(self) -> None:
        """Let an owner die wherever it is, and another take its place."""
        self._alive.pop(0).kill()
        self._world.kills += 1
        self._start_owner()

    async def _rest(self) -> None:
        """Let all actors end, and close every lease: before what is delayed arrives, and after."""
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if ended is not None and not isinstance(ended, asyncio.CancelledError):
                self._world.wrong(f"an actor failed: {ended!r}")
        self._world.store.watched.plan = CALM
        self._world.wire.dice.plan = CALM
        await self._reclaim()
        await self._world.store.settled()
        await self._world.wire.settled()
        await self._reclaim()

    async def _reclaim(self) -> None:
        world = self._world
        done = await reclaim(world.table, world.dice, clock_ms(world, 10**12))
        if done.failed or done.broken:
            world.wrong(f"I11 reclaiming at the end: {done}")

    async def _judge(self) -> None:
        world = self._world
        items = await world.store.scan()
        for found in violations(items):
            world.wrong(found)
        for item in items:
            if str(item["sk"]).startswith("LEASE#") and item["state"] == "OPEN":
                world.wrong(f"I11 {item['sk']!r} is OPEN after reclaiming")
        world.check()
