"""Instances tell each other what they see of endpoints, and one of them makes the fleet's view of it.

Each instance writes a digest of its own every EVERY_S and reads the snapshot. One folds all digests into the next, twice as
often: whoever made the last one, and anybody who sees that no new one came for STALE_S; a write counts only if the snapshot is
still as its writer knew it, so there is one aggregator, and two for a moment at most. Whether a snapshot is alive is judged by
when it was seen to change, and by its own instant only within what was not seen, so clocks may differ.

Nothing here is on a call's way. A store that fails is counted and asked again later; without a living snapshot instances go by
what they see themselves. An instance that seems to be what fails (policy/health/fleet.is_sick) tells only that, and goes out of
service, unless most others are in the same state: then it is no instance that fails, and somebody has to answer.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, Final, Protocol

from junctor.domain.health import FleetView, Tally
from junctor.ledger.tools import Tools
from junctor.policy.health.fleet import is_sick
from junctor.policy.health.telling import told_now
from junctor.ports.ambient import Clock
from junctor.ports.telemetry import Counter
from junctor.records import health as records
from junctor.usecases.health_snapshot import Aggregator, HealthStore, Known

EVERY_S, JITTER = 2.2, 0.2
STALE_S: Final = 7.0
"""How old a snapshot must be for others to make the next one."""
DEAD_S: Final = 30.0
"""How old a snapshot must be to be of no use."""
UNREAD_MS: Final = 4_000
"""For how long an interval is told again, so that none is lost by one write or one reading that fails."""
INTERVALS_MAX: Final = 8
SICK_IN_A_ROW: Final = 4
"""How many suspect intervals make an instance sick: by then it can know whether the others are."""
SICK_S: Final = 30.0
"""How long an instance without calls stays sick: it may have none because it is."""


class Sight(Protocol):
    """What this instance itself sees of endpoints, and goes by."""

    def tallies(self) -> tuple[Tally, ...]:
        """Return what was seen since this was last asked."""

    def heed(self, view: FleetView | None, me: str) -> None:
        """Go by the fleet's view from now on, under this name; by none if there is none."""


class FleetHealth:
    """One instance's part. `instance` is an id that no other ever has; `on_sick` is told when sickness begins and ends."""

    def __init__(
        self, tools: Tools, instance_health: Sight, instance: str, on_sick: Callable[[bool], None] = lambda _: None
    ) -> None:
        self._clock = clock = tools.clock
        self._dice = tools.dice
        self._telemetry = telemetry = tools.telemetry
        self._sight = instance_health
        self._instance = instance
        self._sickness = _Sickness(clock, on_sick)
        self._store = HealthStore(tools.table, telemetry)
        self._known = Known(clock, telemetry)
        self._aggregator = Aggregator(self._store, clock, telemetry, instance)
        self._intervals: deque[records.Interval] = deque(maxlen=INTERVALS_MAX)
        self._number = 0
        self._waiting: tuple[Tally, ...] = ()
        self._published_s = self._looked_s = -inf

    async def publish(self) -> None:
        """Write what was seen since the last time, if anything was; of what is not to be believed only that it is so."""
        self._published_s = self._clock.monotonic_s()
        tallies, now_ms = self._sight.tallies(), self._clock.now_ms()
        told: tuple[Tally, ...] = ()
        if not self._sickness.suspects(tallies, most_are=self._known.mostly_sick and self._known.age_s <= DEAD_S):
            told, self._waiting = told_now(self._waiting, tallies)
            if not told:
                return
        self._number += 1
        self._intervals.append(records.Interval(self._number, now_ms, told))
        while now_ms - self._intervals[0].at_ms > UNREAD_MS:
            self._intervals.popleft()
        await self._store.write(records.write_digest(self._instance, tuple(self._intervals)))

    async def read(self) -> bool:
        """Read the snapshot and go by it; tell whether the store answered."""
        found = await self._store.snapshot()
        if found is not None:
            self._known.note(found.item)
        self._heed()
        return found is not None

    async def aggregate(self) -> bool:
        """Make the next snapshot if that is for this instance to do now, else read the last; tell whether one was made."""
        self._looked_s = self._clock.monotonic_s()
        if not self._aggregator.holds and not await self._should_make():
            return False
        if self._aggregator.early:
            return False
        made = await self._aggregator.make(self._known)
        self._heed()
        return made

    async def flush_after_call(self, *, failed: bool) -> None:
        """Do what is due, where nothing runs between calls: a failure is told at once, all else every few seconds."""
        now_s = self._clock.monotonic_s()
        if failed or now_s - self._published_s >= EVERY_S:
            await self._guarded(self.publish())
        if now_s - self._looked_s >= EVERY_S:
            await self._guarded(self.aggregate())

    async def forever(self) -> None:
        """Tell and look every few seconds, out of step with other instances. A bug ends one round, not all."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._telling())
            tasks.create_task(self._looking())

    async def _telling(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S * (1 + JITTER * (2 * self._dice.uniform() - 1)))
            await self._guarded(self.publish())

    async def _looking(self) -> None:
        await self._guarded(self.read())
        await asyncio.sleep(EVERY_S * self._dice.uniform())
        while True:
            await self._guarded(self.aggregate())
            await asyncio.sleep(EVERY_S / 2 if self._aggregator.holds else EVERY_S)

    async def _should_make(self) -> bool:
        return await self.read() and (self._aggregator.owns(self._known) or self._known.age_s > STALE_S)

    def _heed(self) -> None:
        self._sight.heed(self._known.view if self._known.age_s <= DEAD_S else None, self._instance)

    async def _guarded(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - told to the log; the next round may do better
            self._telemetry.count(Counter.INCIDENT)
            self._telemetry.incident("fleet health", error)


class _Sickness:
    """Whether this instance is rather what fails than its providers are."""

    def __init__(self, clock: Clock, on_sick: Callable[[bool], None]) -> None:
        self._clock = clock
        self._on_sick = on_sick
        self._in_a_row = 0
        self._since_s: float | None = None
        self._out = False

    def suspects(self, tallies: tuple[Tally, ...], *, most_are: bool) -> bool:
        """Tell whether this interval is not to be told to others, and tell whom it concerns what follows.

        Some suspect intervals in a row make an instance sick: where providers fail, its calls go elsewhere after the first. One
        in which most calls were answered makes it well, and without any such a time. A sick one is out of service, but not
        where `most_are`: callers would find nobody at all, and no call would ever show that it is over.
        """
        now_s = self._clock.monotonic_s()
        self._in_a_row = self._in_a_row + 1 if is_sick(tallies) else 0
        if self._in_a_row >= SICK_IN_A_ROW:
            self._since_s = now_s
        elif self._since_s is not None and not self._in_a_row:
            well = _mostly_answered(tallies) or now_s - self._since_s >= SICK_S
            self._since_s = None if well else self._since_s
        out = self._since_s is not None and not most_are
        if out is not self._out:
            self._out = out
            self._on_sick(out)
        return self._in_a_row > 0 or self._since_s is not None


def _mostly_answered(tallies: tuple[Tally, ...]) -> bool:
    return sum(tally.ok for tally in tallies) > sum(tally.failed for tally in tallies)
