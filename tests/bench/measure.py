"""What does a call cost at each server? The same load on each in turn, round after round, in one run.

Rounds are interleaved (one server after the other under each load), so that whatever else the machine does falls on all of them
alike. CPU and memory are the server's own alone; the caller, the provider and the store's stub have theirs. A peer that cannot
be had, or does not answer as it should, is left out and named; ours have to.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Protocol, TypeVar

import msgspec
from msgspec import Struct

from tests.bench import peers
from tests.bench.callers import Caller, CallError, GrpcCaller, HttpCaller
from tests.bench.dynamodb_stub import stub_process
from tests.bench.exchange import CHUNKS, Scenario
from tests.bench.outside.places import MissingError
from tests.bench.peers import Peer
from tests.bench.process import running
from tests.bench.resident import Memory

DIRECT, ECHO, PROXY, JUNCTOR, JUNCTOR_DYNAMODB = "direct", "echo", "proxy", "junctor", "junctor-dynamodb"
OURS = (ECHO, PROXY, JUNCTOR, JUNCTOR_DYNAMODB)
PEERS = peers.PEERS
WARM_UP_CALLS = 50
RUN_IN_S = 0.3
"""How long a load runs before it counts: its connections and leases, and caches that others have filled, are not its calls'."""

SETTLE_S = 0.04
SETTLES_MAX = 50
IDLE_SHARE = 0.1
"""The part of a core below which a server counts as having nothing left to do."""

T = TypeVar("T")


class Load(Struct, frozen=True):
    """A scenario, and how many calls of it are in flight. `chunks` are what its CPU is divided by, besides calls."""

    name: str
    scenario: Scenario
    in_flight: int
    chunks: int = 1


LOADS = (
    Load("complete-1", Scenario.WHOLE, 1),
    Load("complete-16", Scenario.WHOLE, 16),
    Load("complete-64", Scenario.WHOLE, 64),
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
    peers: bool = False


class Sample(Struct, frozen=True):
    """One server under one load in one round, which took `elapsed_s`.

    `cpu_s` is 0 where nobody looks at it; `latencies_s` lead to the whole answer, or to a stream's first content.
    """

    load: str
    server: str
    round: int
    elapsed_s: float
    cpu_s: float
    latencies_s: tuple[float, ...]


class Resident(Struct, frozen=True):
    """What a server held before its first call, after its last, and at most, in bytes."""

    server: str
    started: int
    after: int
    peak: int


class Versioned(Struct, frozen=True):
    """A peer that took part: which version, and the seconds from its start to listening."""

    server: str
    version: str
    start_s: float


class Measured(Struct, frozen=True):
    """All that was seen. `missing` says of each peer that was asked for and is not in it why not."""

    samples: list[Sample]
    residents: list[Resident]
    peers: list[Versioned]
    missing: list[str]


class Served(Protocol):
    """A server whose cost can be looked at."""

    async def cpu_s(self) -> float:
        """Return the seconds of CPU that it has used."""

    def memory(self) -> Memory:
        """Return what it holds."""


class Subject(Struct, frozen=True):
    """Who is measured: how to call it, and the server, where its cost is of interest."""

    name: str
    caller: Caller
    server: Served | None = None


async def measure(plan: Plan, told: Callable[[str], None]) -> Measured:
    """Run all rounds and return what was seen; `told` hears of the progress. Raises ChildError, CallError."""
    found = Measured([], [], [], [])
    async with subjects(OURS, PEERS if plan.peers else (), found) as all_subjects:
        started = {subject.name: _held(subject) for subject in all_subjects}
        told("warming up")
        await _take_turns(all_subjects, found, lambda subject: warm_up(subject, plan))
        for number in range(plan.rounds):
            told(f"round {number + 1} of {plan.rounds}")
            for load in plan.loads:
                sample = partial(_sample, load=load, plan=plan, number=number)
                found.samples.extend(await _take_turns(all_subjects, found, sample))
        for subject in all_subjects:
            after = _held(subject)
            found.residents.append(Resident(subject.name, started[subject.name].now, after.now, after.peak))
    # No round of one that was left out in the middle can be compared.
    names = {subject.name for subject in all_subjects}
    return msgspec.structs.replace(found, samples=[sample for sample in found.samples if sample.server in names])


@asynccontextmanager
async def subjects(
    names: Sequence[str], others: Sequence[str] = (), found: Measured | None = None
) -> AsyncGenerator[list[Subject], None]:
    """Run the provider, the servers named and other gateways, and yield how to reach them, the provider itself first.

    Which others there are, and which are not to be had, is put into `found`. Raises ChildError.
    """
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(running("provider"))
        await provider.started()
        base_url = f"http://127.0.0.1:{provider.address.port}/v1"
        tables_url = await stack.enter_async_context(stub_process()) if JUNCTOR_DYNAMODB in names else ""
        # All processes before the first channel: grpc does not like to be forked.
        children = {name: await stack.enter_async_context(running(name, base_url, tables_url)) for name in names}
        for child in children.values():
            await child.started()
        gateways: dict[str, Peer] = {}
        for name in others:
            try:
                gateways[name] = await stack.enter_async_context(peers.serving(name, base_url))
            except MissingError as problem:
                assert found is not None
                found.missing.append(str(problem))
        yielded = [Subject(DIRECT, HttpCaller(provider.address.port, {}))]
        yielded += [Subject(name, GrpcCaller(child.address), child) for name, child in children.items()]
        yielded += [Subject(name, HttpCaller(peer.port, peer.headers), peer) for name, peer in gateways.items()]
        for subject in yielded:
            stack.push_async_callback(subject.caller.close)
        if found is not None:
            found.peers.extend(Versioned(name, peer.version, peer.start_s) for name, peer in gateways.items())
        yield yielded


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


async def _take_turns(
    all_subjects: list[Subject], found: Measured, turn: Callable[[Subject], Coroutine[None, None, T]]
) -> list[T]:
    """Let each have its turn; a peer that does not answer as it should is left out from now on. Raises CallError."""
    taken = []
    for subject in tuple(all_subjects):
        try:
            taken.append(await turn(subject))
        except CallError as problem:
            if subject.name not in PEERS:
                raise
            all_subjects.remove(subject)
            found.missing.append(f"{subject.name}: {problem}")
    return taken


async def _sample(subject: Subject, *, load: Load, plan: Plan, number: int) -> Sample:
    await drive(subject.caller, load, min(RUN_IN_S, plan.seconds), plan.calls_max)
    before, begun = await _settled_s(subject), perf_counter()
    latencies_s = await drive(subject.caller, load, plan.seconds, plan.calls_max)
    elapsed_s = perf_counter() - begun
    after = await _settled_s(subject)
    return Sample(load.name, subject.name, number, elapsed_s, after - before, latencies_s)


async def _settled_s(subject: Subject) -> float:
    """Wait until a server has ended what it does after its last answer, which is part of the price, and return its CPU.

    Nor must it disturb whoever comes next.
    """
    after = await _cpu_s(subject)
    for _ in range(SETTLES_MAX):
        await asyncio.sleep(SETTLE_S)
        before, after = after, await _cpu_s(subject)
        if after - before < SETTLE_S * IDLE_SHARE:
            break
    return after


async def _cpu_s(subject: Subject) -> float:
    return 0.0 if subject.server is None else await subject.server.cpu_s()


def _held(subject: Subject) -> Memory:
    return Memory(0, 0) if subject.server is None else subject.server.memory()
