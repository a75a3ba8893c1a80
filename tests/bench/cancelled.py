"""What becomes of streams that their callers cancel in the middle? `python -m tests.bench.cancelled --streams 100000`.

Callers of a whole router begin a stream whose provider says one thing and then nothing for ever, and cancel once they have that
thing: nothing but the cancel can wake the router. Two figures: how long after the cancel the provider sees its connection
closed, by the clock that all processes of a machine share; and by how much the router's resident memory grows for each stream,
as the slope of the last half of the rounds, when caches and pools are full. `--server` chooses another: the bare proxy tells
what grpc and the transport grow by themselves.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from time import perf_counter

from msgspec import Struct

from junctor.bootstrap import native
from tests.bench.callers import CallError, GrpcCaller
from tests.bench.dynamodb_stub import stub_process
from tests.bench.exchange import Scenario
from tests.bench.measure import JUNCTOR, JUNCTOR_DYNAMODB, PROXY
from tests.bench.process import Child, ChildError, running
from tests.bench.report import percentile_us, slope

SERVERS = (PROXY, JUNCTOR, JUNCTOR_DYNAMODB)
AT_ONCE = 10
ROUNDS = 20
TIMED = 500
CLOSED_S = 30.0
BAR_P99_MS, BAR_BYTES = 100.0, 25.0
_LOOK_S = 0.02
_REST_S = 0.3
"""Time for what a round leaves to do: settlements, and connections that close."""


class Closing(Struct, frozen=True):
    """How long after cancels the provider saw its connections closed, in milliseconds."""

    streams: int
    p50_ms: float
    p99_ms: float
    most_ms: float


class Growth(Struct, frozen=True):
    """The router's resident bytes after so many cancelled streams, round by round, and what each of the last half added."""

    points: list[tuple[int, int]]
    bytes_a_stream: float


async def closing(router: Child, provider: Child, streams: int = TIMED) -> Closing:
    """Cancel so many streams, one after the other, and time their closing. Raises CallError, ChildError."""
    caller = GrpcCaller(router.address)
    try:
        await provider.closed_at()
        times = [await _closing_s(caller, provider) for _ in range(streams)]
    finally:
        await caller.close()
    p50, p99, most = (percentile_us(times, percent) / 1000 for percent in (50, 99, 100))
    return Closing(streams, p50, p99, most)


async def growth(
    router: Child, provider: Child, streams: int, rounds: int = ROUNDS, told: Callable[[str], None] = lambda _: None
) -> Growth:
    """Cancel so many streams in so many rounds and watch the router's memory. Raises CallError, ChildError."""
    caller = GrpcCaller(router.address)
    points: list[tuple[int, int]] = []
    try:
        for number in range(rounds):
            count = streams * (number + 1) // rounds - streams * number // rounds
            begun = perf_counter()
            await _cancel(caller, count)
            await _closed(provider, count)
            elapsed_s = perf_counter() - begun
            await asyncio.sleep(_REST_S)
            points.append((sum(done for done, _ in points[-1:]) + count, router.memory().now))
            told(
                f"round {number + 1}: {points[-1][0]} streams, {points[-1][1] / 1e6:.2f} MB, {count / elapsed_s:.0f} streams/s"
            )
    finally:
        await caller.close()
    return Growth(points, growth_of(points))


def growth_of(points: Sequence[tuple[int, int]]) -> float:
    """Return what a stream of the last half of the rounds added, in bytes."""
    return slope(points[len(points) // 2 - 1 if len(points) > 1 else 0 :])


async def _closing_s(caller: GrpcCaller, provider: Child) -> float:
    cancelled_at = await caller.cancel(Scenario.ENDLESS)
    (closed_at,) = await _closed(provider, 1)
    return closed_at - cancelled_at


async def _closed(provider: Child, count: int) -> list[float]:
    """Wait until so many connections were closed, and return when. Raises CallError if they never are."""
    found: list[float] = []
    until = perf_counter() + CLOSED_S
    while len(found) < count:
        if perf_counter() > until:
            raise CallError(f"{count - len(found)} of {count} cancelled streams were never closed at the provider")
        found += await provider.closed_at()
        if len(found) < count:
            await asyncio.sleep(_LOOK_S)
    return found


async def _cancel(caller: GrpcCaller, count: int) -> None:
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            await caller.cancel(Scenario.ENDLESS)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def told_closing(found: Closing) -> str:
    """Write it on one line."""
    return (
        f"closed upstream after a cancel: p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms (bar {BAR_P99_MS:g} ms), "
        f"most {found.most_ms:.1f} ms, of {found.streams}"
    )


def told_growth(found: Growth) -> str:
    """Write it on one line."""
    return (
        f"memory of cancelled streams: {found.bytes_a_stream:.1f} bytes each (bar {BAR_BYTES:g}), slope of the last "
        f"{len(found.points) - len(found.points) // 2} of {len(found.points)} rounds, {found.points[-1][0]} streams"
    )


async def _run(options: argparse.Namespace) -> None:
    async with running("provider") as provider, stub_process() as tables_url:
        await provider.started()
        base_url = f"http://127.0.0.1:{provider.address.port}/v1"
        async with running(options.server, base_url, tables_url) as router:
            await router.started()
            print(told_closing(await closing(router, provider, options.timed)), flush=True)
            found = await growth(router, provider, options.streams, options.rounds, lambda text: print(text, flush=True))
            print(told_growth(found))


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cancelled", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--streams", type=int, default=20_000, help="how many are cancelled (default 20,000)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"in how many rounds (default {ROUNDS})")
    parser.add_argument("--timed", type=int, default=TIMED, help=f"of how many the closing is timed before (default {TIMED})")
    parser.add_argument("--server", choices=SERVERS, default=JUNCTOR, help=f"which (default {JUNCTOR})")
    try:
        native.run(_run(parser.parse_args()))
    except (CallError, ChildError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
