"""What a request's two writes take of the embedded store: a slot is opened and ended, in a real file with synchronous=FULL.

Everything counts: the loop's thread, the writer's, and what the system does for both. Busy is many callers at once, whose
writes share a commit; quiet is one, who pays for commit, sync and two wake-ups by himself. Figures are of the processor's time,
the best and the median of short rounds, as the machine has other work to do: compare only what was measured in one run.

    python -m tests.bench.sqlite_cpu [rounds]
"""

import asyncio
import gc
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from junctor.adapters.tables.sqlite import SqliteStore
from junctor.bootstrap import native
from junctor.domain.call import Outcome
from junctor.domain.catalog import Endpoint, PriceCard, PriceParts
from junctor.domain.completion import FinishReason, Usage
from junctor.domain.generation import Generation
from junctor.domain.lease import Slot, SlotState
from junctor.domain.routing import Candidate
from junctor.ports.table import Done
from junctor.records import generations, ids, keys
from junctor.records.tables import CORE

ROUNDS = 30
BUSY_CALLERS, BUSY_PAIRS, QUIET_PAIRS = 50, 8, 40
ACCOUNT = "01JD0Z5V7N8Q2M4K6R9T1W3Y5B"
NOW_MS = 1_790_000_000_000
ENDPOINT = Endpoint(
    id="provider/lab/model",
    model="lab/model-2026-01-01",
    provider="provider",
    upstream_model="model",
    dialect="openai-chat",
    base_url="https://provider.example",
)
PRICE = PriceCard(version="2026-11-21", parts=PriceParts(), source="made up", as_of="2026-11-21")


class Cost(Struct, frozen=True):
    """What a pair of writes takes, in microseconds: of CPU in all, in the loop's thread and the writer's, and of time."""

    cpu_us: float
    loop_us: float
    writer_us: float
    wall_us: float


class Pair(Struct, frozen=True):
    """The best and the median cost of a pair under one load."""

    callers: int
    best: Cost
    median: Cost


class Report(Struct, frozen=True):
    """What a pair costs among many callers, and alone."""

    busy: Pair
    quiet: Pair


def slots(round_number: int, count: int) -> list[tuple[Generation, Outcome]]:
    """Return so many generations of one lease, and what became of each."""
    lease = ids.ulid(NOW_MS + round_number, bytes(range(10)))
    return [_generation(Slot(ACCOUNT, lease, number)) for number in range(count)]


async def crowd(store: SqliteStore, round_number: int, callers: int, pairs: int) -> Cost:
    """Return what a pair costs where so many callers write so many pairs each, one after the other."""
    table = store.table(CORE)
    ready = [
        (generations.item(opened), keys.slot(opened.slot), *generations.ending(opened, outcome, NOW_MS + opened.slot.number))
        for opened, outcome in slots(round_number, callers * pairs)
    ]

    async def caller(place: int) -> None:
        for item, key, conditions, changes in ready[place::callers]:
            opened = await table.put_new(item)
            ended = await table.update(key, conditions, changes)
            assert isinstance(opened, Done)
            assert isinstance(ended, Done)

    gc.collect()
    gc.disable()
    try:
        writer = await store.writer.call(_thread_time)
        cpu, loop, wall = time.process_time(), time.thread_time(), time.perf_counter()
        await asyncio.gather(*(caller(place) for place in range(callers)))
        cpu, loop, wall = time.process_time() - cpu, time.thread_time() - loop, time.perf_counter() - wall
        writer = await store.writer.call(_thread_time) - writer
    finally:
        gc.enable()
    return Cost(*(spent / len(ready) * 1e6 for spent in (cpu, loop, writer, wall)))


def _thread_time(_: sqlite3.Connection) -> float:
    return time.thread_time()


def _generation(place: Slot) -> tuple[Generation, Outcome]:
    opened = Generation(
        id=ids.generation_id(place),
        slot=place,
        state=SlotState.OPEN,
        api_key="k-01JD0Z5V7N8Q2M4K",
        requested_model="lab/model",
        started_at_ms=NOW_MS + place.number,
        deadline_at_ms=NOW_MS + 600_000,
        hold_nanousd=1_234_567,
    )
    outcome = Outcome(
        state=SlotState.SETTLED,
        cost_nanousd=654_321,
        candidate=Candidate(ENDPOINT, None, PRICE),
        usage=Usage(1_234, 321, 1_024),
        finish_reason=FinishReason.STOP,
        upstream_id=f"chatcmpl-{place.number:024d}",
        time_to_first_token_ms=412,
    )
    return opened, outcome


async def measure(rounds: int = ROUNDS) -> Report:
    """Measure both loads, taking turns, in so many rounds."""
    busy: list[Cost] = []
    quiet: list[Cost] = []
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "store.sqlite3")
        await store.create([CORE])
        for number in range(rounds):
            busy.append(await crowd(store, 2 * number, BUSY_CALLERS, BUSY_PAIRS))
            quiet.append(await crowd(store, 2 * number + 1, 1, QUIET_PAIRS))
        await store.close()
    return Report(pair(BUSY_CALLERS, busy), pair(1, quiet))


def pair(callers: int, costs: Sequence[Cost]) -> Pair:
    """Return the best and the median of each figure."""
    columns = list(zip(*map(msgspec.structs.astuple, costs), strict=True))
    return Pair(callers, Cost(*map(min, columns)), Cost(*map(statistics.median, columns)))


def told(found: Pair) -> str:
    """Write it on one line."""
    parts = (
        f"{word}: {cost.cpu_us:.1f} µs of CPU (loop {cost.loop_us:.1f}, writer {cost.writer_us:.1f}), {cost.wall_us:.0f} µs"
        for word, cost in (("best", found.best), ("median", found.median))
    )
    return f"a pair of writes, {found.callers} callers; {'; '.join(parts)}"


if __name__ == "__main__":
    report = native.run(measure(*map(int, sys.argv[1:])))
    print(told(report.busy))
    print(told(report.quiet))
