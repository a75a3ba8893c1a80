"""The snapshot of the fleet's health, as one instance knows it, and as it makes the next one (fleet_health.py says when).

A store that fails is no error here: it answers None, and is counted. Digests are folded often, as that is cheap and finds an
ejection soon; a snapshot is dear, and written when there is news in it that calls go by, else only before it grows old.
Invariant: a snapshot is written only over the one that it was made from, and what was folded is kept only as long as the last
snapshot is this instance's own.
"""

import asyncio
from collections.abc import Awaitable
from math import inf
from typing import Final, TypeVar

from junctor.domain.health import FleetView
from junctor.policy.health.fleet import Fleet
from junctor.policy.health.published import bucket_of
from junctor.ports.ambient import Clock
from junctor.ports.table import Done, Found, Item, Page, Query, Refused, StoreError, Table, Update
from junctor.ports.telemetry import Counter, Telemetry
from junctor.records import health as records

STORE_S: Final = 2.0
"""How long the store may take for one answer."""
SOONEST_S: Final = 0.9
"""How long after digests were folded they may be again, whoever asks for it."""
OLD_S: Final = 4.0
"""How old a snapshot is when the next one is written though it has no news: with a round more, well before others miss it."""
HISTORY_S: Final = 60.0
PAUSE_EVERY: Final = 25
"""After how many digests or verdicts calls get their turn."""

T = TypeVar("T")


class HealthStore:
    """The table, asked for a bounded time."""

    def __init__(self, table: Table, telemetry: Telemetry) -> None:
        self._table = table
        self._telemetry = telemetry

    async def snapshot(self) -> Found | None:
        """Read the snapshot's item."""
        return await self._ask(Counter.HEALTH_READ_FAILED, self._table.get(records.SNAPSHOT, consistent=False))

    async def all(self, query: Query) -> list[Item] | None:
        """Read the items of all pages of a query."""
        items: list[Item] = []
        while True:
            page: Page | None = await self._ask(Counter.HEALTH_READ_FAILED, self._table.query(query))
            if page is None:
                return None
            items += page.items
            if page.next is None:
                return items
            query = Query(partition=query.partition, between=query.between, after=page.next)

    async def write(self, change: Update) -> Done | Refused | None:
        """Write one item."""
        writing = self._table.update(change.key, change.conditions, change.changes)
        return await self._ask(Counter.HEALTH_WRITE_FAILED, writing)

    async def _ask(self, failed: Counter, call: Awaitable[T]) -> T | None:
        try:
            async with asyncio.timeout(STORE_S):
                return await call
        except (StoreError, TimeoutError):
            self._telemetry.count(failed)
            return None


class Known:
    """The snapshot as it was last seen."""

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._mark: tuple[int, str | None] | None = None
        self._changed_s = self._read_s = -inf
        self.item: Item | None = None
        self.view: FleetView | None = None

    @property
    def holder(self) -> str | None:
        """Which instance made it."""
        return records.holder_of(self.item)

    @property
    def mostly_sick(self) -> bool:
        """Whether it says that most instances take themselves for what fails."""
        return records.says_mostly_sick(self.item)

    @property
    def age_s(self) -> float:
        """For how long it has been the last one, as far as can be told: without end if there is none."""
        return self._clock.monotonic_s() - self._changed_s

    def note(self, item: Item | None) -> None:
        """Take in what was read."""
        mark = None if item is None else (records.version_of(item), records.holder_of(item))
        if mark != self._mark:
            view = None if item is None else records.snapshot_of(item)
            if item is not None and view is None:
                self._telemetry.count(Counter.HEALTH_ITEM_BAD)
            self.take(item, view)
        self._read_s = self._clock.monotonic_s()

    def take(self, item: Item | None, view: FleetView | None) -> None:
        """Take in a snapshot that is new: made since the last reading, and when exactly, its own instant says."""
        now_s = self._clock.monotonic_s()
        by_wall_s = (self._clock.now_ms() - view.at_ms) / 1000 if view is not None else 0.0
        age_s = inf if item is None else min(max(by_wall_s, 0.0), now_s - self._read_s)
        self._mark = None if item is None else (records.version_of(item), records.holder_of(item))
        self.item, self.view = item, view
        self._changed_s = now_s - age_s


class Aggregator:
    """Makes snapshots. `holds`: the last one is its own, and nothing says otherwise."""

    def __init__(self, store: HealthStore, clock: Clock, telemetry: Telemetry, instance: str) -> None:
        self._store = store
        self._clock = clock
        self._telemetry = telemetry
        self._instance = instance
        self._fleet: Fleet | None = None
        self._folded_s = self._remembered_s = -inf
        self._bucket = 0
        self.holds = False

    def owns(self, known: Known) -> bool:
        """Tell whether the last snapshot is this instance's own, so that it is for it to make the next."""
        return self._fleet is not None and known.holder == self._instance

    @property
    def early(self) -> bool:
        """Whether it looked for news only just now."""
        return self._clock.monotonic_s() - self._folded_s < SOONEST_S

    async def make(self, known: Known) -> bool:
        """Make the snapshot that follows the known one, and write it unless it may wait; tell whether it was written."""
        began_s = self._clock.monotonic_s()
        self.holds = False
        if not self.owns(known):
            self._fleet = await self._taken_over(known)
        if self._fleet is None or not await self._fold(self._fleet):
            return False
        now_ms, verdicts = self._clock.now_ms(), {}
        for number, verdict in enumerate(self._fleet.verdicts(now_ms)):
            verdicts[verdict.endpoint] = verdict
            await _pause(number)
        view, mostly_sick = FleetView(0, now_ms, verdicts), self._fleet.mostly_sick(now_ms)
        waits = self.owns(known) and known.age_s < OLD_S and mostly_sick == known.mostly_sick and _out(view) == _out(known.view)
        if not waits and not await self._write(known, view, mostly_sick=mostly_sick):
            return False
        self.holds, self._folded_s = True, began_s
        await self._remember(self._fleet)
        return not waits

    async def _taken_over(self, known: Known) -> Fleet | None:
        """Begin from the last snapshot and the history; None if that cannot be read."""
        now_ms = self._clock.now_ms()
        found = await self._store.all(records.history_query(bucket_of(now_ms)))
        if found is None:
            return None
        fleet = Fleet(known.view, now_ms)
        for number, item in enumerate(found):
            read = records.bucket_of(item)
            if read is None:
                self._telemetry.count(Counter.HEALTH_ITEM_BAD)
            else:
                fleet.restore(*read, now_ms)
            await _pause(number)
        self._bucket, self._remembered_s = bucket_of(now_ms), self._clock.monotonic_s()
        return fleet

    async def _fold(self, fleet: Fleet) -> bool:
        """Count all digests; False if they cannot be read."""
        for query in records.digest_queries(self._clock.now_ms()):
            found = await self._store.all(query)
            if found is None:
                return False
            for number, item in enumerate(found):
                digest = records.digest_of(item)
                if digest is None:
                    self._telemetry.count(Counter.HEALTH_ITEM_BAD)
                else:
                    fleet.take(digest, self._clock.now_ms())
                await _pause(number)
        return True

    async def _write(self, known: Known, judged: FleetView, *, mostly_sick: bool) -> bool:
        """Write a view over the known snapshot, or over an own one that landed although its answer was lost."""
        for _ in range(2):
            view = FleetView(records.version_of(known.item) + 1, judged.at_ms, judged.verdicts)
            change = records.write_snapshot(view, self._instance, known.item, mostly_sick=mostly_sick)
            answer = await self._store.write(change)
            if isinstance(answer, Done):
                known.take(answer.item, view)
                return True
            if answer is None:
                return False
            known.note(answer.old)
            if known.holder != self._instance:
                self._fleet = None
                return False
        return False

    async def _remember(self, fleet: Fleet) -> None:
        """Write the history of the last minute, so that another aggregator could go on from it."""
        now_s = self._clock.monotonic_s()
        if now_s - self._remembered_s < HISTORY_S:
            return
        bucket = bucket_of(self._clock.now_ms())
        for number in sorted({self._bucket, bucket}):
            if counts := fleet.bucket(number):
                await self._store.write(records.write_bucket(number, counts))
        self._bucket, self._remembered_s = bucket, now_s


def _out(view: FleetView | None) -> dict[str, tuple[str, ...]] | None:
    """Return what a view ejects, and who probes it: what others are to know at once."""
    if view is None:
        return None
    return {verdict.endpoint: verdict.probers for verdict in view.verdicts.values() if verdict.ejected}


async def _pause(number: int) -> None:
    if number % PAUSE_EVERY == PAUSE_EVERY - 1:
        await asyncio.sleep(0)
