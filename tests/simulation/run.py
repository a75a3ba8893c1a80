"""Is money right whatever happens? One seed is one world, played in virtual time over the ledger's own code.

Owners, treasurers and strangers work at once on a store that loses, delays, repeats and refuses; owners die in the middle of a
call. The books are judged at every write that lands, and in the end, when every lease is closed, against all that was told.
"""

import asyncio
import gc

from msgspec import Struct

from junctor.adapters.tables.faults import CALM
from junctor.ledger.reclaim import reclaim
from junctor.records import keys
from junctor.records.tables import CORE
from tests.simulation.others import Stranger, Treasurer
from tests.simulation.owners import Owner
from tests.simulation.world import World, clock_ms
from tests.support.virtual_loop import TimersLoop, run_virtual

OPERATIONS_MIN = 200
FAULTS_MIN = 15
OWNERS_MIN = 3
ENOUGH_ASKED_EVERY_S, CHECKED_EVERY_S = 0.1, 2.0
LONGEST_S = 50_000.0
"""Virtual seconds after which a run that does not come to its end is a failure."""

COLLECT_EVERY = 20_000
"""Objects made until the garbage collector looks at them: a world leaves few cycles, and is thrown away as a whole."""


class Result(Struct, frozen=True, kw_only=True):
    """What came of one seed. `digest` is the same for the same run."""

    seed: int
    operations: int
    owners: int
    faults: int
    kills: int
    leases: int
    counts: dict[str, int]
    matrix: dict[tuple[str, str], int]
    violations: tuple[str, ...]
    trace: tuple[str, ...]
    digest: int

    def report(self) -> str:
        """Write a failure for people."""
        found = "\n".join(f"  {violation}" for violation in self.violations[:10])
        trace = "\n".join(f"  {line}" for line in self.trace)
        return f"seed {self.seed}: {len(self.violations)} violations\n{found}\nthe last operations\n{trace}"


class Play:
    """One world's actors, from the first payment to the last lease closed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random
        self._tasks: list[asyncio.Task[None]] = []
        self._alive: list[Owner] = []
        self.owners = 0
        self._deaths = self._random.randint(1, 4)
        self._dying = 0
        self._failed: tuple[list[str], tuple[str, ...]] | None = None

    async def run(self) -> None:
        """Play to the end."""
        world = self._world
        await world.store.create([CORE])
        treasurers = [Treasurer(world, f"treasurer{number}", account) for number, account in enumerate(world.accounts)]
        await asyncio.gather(*(treasurer.begin() for treasurer in treasurers))
        for _ in range(self._random.randint(OWNERS_MIN, 5)):
            self._start_owner()
        strangers = [Stranger(world, f"stranger{number}") for number in range(self._random.randint(1, 3))]
        works = [*(treasurer.work() for treasurer in treasurers), *(stranger.work() for stranger in strangers), self._weather()]
        self._tasks += [asyncio.create_task(work) for work in works]
        world.store.watched.called = self._called
        world.hunt = lambda lease: self._tasks.append(asyncio.create_task(strangers[0].hunt(lease)))
        check_at_s = 0.0
        while world.operations < OPERATIONS_MIN or world.kills < self._deaths or world.store.watched.faults < FAULTS_MIN:
            if world.now_s() >= check_at_s:
                check_at_s = world.now_s() + CHECKED_EVERY_S
                world.check()
            await asyncio.sleep(ENOUGH_ASKED_EVERY_S)
        world.over = True
        await self._end_of_actors()
        world.store.dice.plan = CALM
        if self._random.random() < 0.5:
            await self._close_all()  # so that what was delayed meets leases that are closed
        await asyncio.sleep(world.plan.delay_s[1] + 1.0)
        await self._close_all()
        world.store.judge_all("the end")
        world.check()

    def _start_owner(self) -> None:
        owner = Owner(self._world, f"owner{self.owners}", self._random.choice(self._world.accounts))
        self.owners += 1
        owner.start(self._random.randint(1, 4))
        self._alive.append(owner)
        self._tasks += owner.tasks

    def _called(self, calls: int) -> None:
        """Let an owner die soon after a call to the store, and another take its place."""
        if self._dying < self._deaths and calls % 97 == self._random.randint(0, 8):
            self._dying += 1
            asyncio.get_running_loop().call_later(self._random.uniform(0.0, self._world.plan.latency_s[1] * 3), self._kill)

    def _kill(self) -> None:
        owner = self._random.choice(self._alive)
        self._alive.remove(owner)
        owner.kill()
        self._world.kills += 1
        self._start_owner()

    async def _weather(self) -> None:
        """Let it storm now and then: nearly every call meets a fault, and operations give up."""
        world = self._world
        while not world.over:
            await world.pause(4.0, 30.0)
            world.store.dice.plan = world.storm
            await world.pause(0.2, 5.0)
            world.store.dice.plan = world.plan

    async def _end_of_actors(self) -> None:
        for task in self._tasks:
            try:
                await task
            except asyncio.CancelledError:
                continue
            except Exception as error:  # noqa: BLE001 - whatever ends an actor is a finding
                self._world.wrong(f"an actor failed: {error!r}")

    async def _close_all(self) -> None:
        """Reclaim what is OPEN: the index shows everything once it is as old as it may be."""
        world = self._world
        await asyncio.sleep(world.plan.stale_s)
        done = await world.do("reclaimer", "reclaim", "at the end", reclaim(world.table, world.dice, clock_ms(world, 10**12)))
        left = [
            key
            for key, item in world.store.mirror.items()
            if key.sort.startswith(keys.LEASE_PREFIX) and item["state"] == "OPEN"
        ]
        if done.failed or done.broken or left:
            world.wrong(f"I11 {left} are OPEN after reclaiming: {done}")


def play(seed: int) -> Result:
    """Play one seed."""
    world = World(seed)
    acts = Play(world)

    async def main() -> None:
        async with asyncio.timeout(LONGEST_S):
            await acts.run()

    threshold, *others = gc.get_threshold()
    gc.set_threshold(COLLECT_EVERY, *others)
    try:
        run_virtual(main(), TimersLoop)
    except Exception as error:  # noqa: BLE001 - whatever ends a run too early is a finding, shown with its seed
        world.wrongs.append(f"the run ended with {error!r}")
    finally:
        gc.set_threshold(threshold, *others)
    watched = world.store.watched
    return Result(
        seed=seed,
        operations=world.operations,
        owners=acts.owners,
        faults=watched.faults,
        kills=world.kills,
        leases=sum(key.sort.startswith(keys.LEASE_PREFIX) for key in world.store.mirror),
        counts=dict(world.counts),
        matrix=dict(watched.matrix),
        violations=(*world.store.breaches, *world.wrongs),
        trace=tuple(world.trace),
        digest=world.digest,
    )
