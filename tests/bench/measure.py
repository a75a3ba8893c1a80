"""What does a call cost at each server? The same load on each in turn, round after round, in one run.

Rounds are interleaved (one server after the other under each load), so that whatever else the machine does falls on all of them
alike. CPU is the server's own process alone, as it tells it; the caller and the provider have theirs.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter

from msgspec import Struct

from tests.bench.callers import Caller, DirectCaller, GrpcCaller
from tests.bench.exchange import CHUNKS, Scenario
from tests.bench.process import Child, running

DIRECT = "direct"
COMPARED = ("echo", "proxy", "junctor")
WARM_UP_CALLS = 50
SETTLE_S = 0.02


class Load(Struct, frozen=True):
    """A scenario, and how many calls of it are in flight. `chunks` are what its CPU is divided by, besides calls."""

    name: str
    scenario: Scenario
    in_flight: int
    chunks: int = 1


LOADS = (
    Load("complete-1", Scenario.WHOLE, 1),
    Load("complete-16", Scenario.WHOLE, 16),
    Load("stream-one", Scenario.ONE, 16),
    Load("stream-burst", Scenario.BURST, 16, CHUNKS),
    Load("stream-spaced", Scenario.SPACED, 16, CHUNKS),
)


class Plan(Struct, frozen=True):
    """How much is measured: rounds, and under each load and at each server at most so many seconds and calls."""

    rounds: int
    seconds: float
    calls_max: int
    loads: tuple[Load, ...] = LOADS


class Sample(Struct, frozen=True):
    """One server under one load in one round.

    `cpu_s` is 0 where nobody looks at it; `latencies_s` lead to the whole answer, or to a stream's first content.
    """

    load: str
    server: str
    round: int
    cpu_s: float
    latencies_s: tuple[float, ...]


class Subject(Struct, frozen=True):
    """Who is measured: how to call it, and its process, where its CPU is of interest."""

    name: str
    caller: Caller
    child: Child | None = None


async def measure(plan: Plan, told: Callable[[str], None]) -> list[Sample]:
    """Run all rounds and return what was seen; `told` hears of the progress. Raises ChildError, CallError."""
    samples = []
    async with subjects(COMPARED) as all_subjects:
        for subject in all_subjects:
            await warm_up(subject, plan)
        for number in range(plan.rounds):
            told(f"round {number + 1} of {plan.rounds}")
            for load in plan.loads:
                samples += [await _sample(subject, load, plan, number) for subject in all_subjects]
    return samples


@asynccontextmanager
async def subjects(names: Sequence[str]) -> AsyncGenerator[list[Subject], None]:
    """Run the provider and the servers named, and yield how to reach them, the provider itself first. Raises ChildError."""
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(running("provider"))
        await provider.started()
        base_url = f"http://127.0.0.1:{provider.address.port}/v1"
        # All processes before the first channel: grpc does not like to be forked.
        children = {name: await stack.enter_async_context(running(name, base_url)) for name in names}
        for child in children.values():
            await child.started()
        found = [Subject(DIRECT, DirectCaller(provider.address))]
        found += [Subject(name, GrpcCaller(child.address), child) for name, child in children.items()]
        for subject in found:
            stack.push_async_callback(subject.caller.close)
        yield found


async def warm_up(subject: Subject, plan: Plan) -> None:
    """Let connections, caches and code paths come to be, without the time that spaced chunks take. Raises CallError."""
    for load in plan.loads:
        if load.scenario is not Scenario.SPACED:
            await drive(subject.caller, load, plan.seconds, min(WARM_UP_CALLS, plan.calls_max))


async def drive(caller: Caller, load: Load, seconds: float, calls_max: int) -> tuple[float, ...]:
    """Keep a load's number of calls in flight, start none after so many seconds or calls, and return their times in seconds.

    Raises CallError.
    """
    end = perf_counter() + seconds
    left = iter(range(calls_max))
    taken: list[float] = []

    async def work() -> None:
        for _ in left:
            taken.append(await caller.call(load.scenario))
            if perf_counter() >= end:
                return

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(load.in_flight):
                group.create_task(work())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return tuple(taken)


async def _sample(subject: Subject, load: Load, plan: Plan, number: int) -> Sample:
    before = await _cpu_s(subject)
    latencies_s = await drive(subject.caller, load, plan.seconds, plan.calls_max)
    # What a server does after its last answer is part of the price.
    await asyncio.sleep(SETTLE_S)
    after = await _cpu_s(subject)
    return Sample(load.name, subject.name, number, after - before, latencies_s)


async def _cpu_s(subject: Subject) -> float:
    return 0.0 if subject.child is None else await subject.child.cpu_s()
