"""What the ledger's own part of a request takes: begin, hold and settle over a store that answers at once and does nothing.

A call meets its money here through the same seams as in the stories of the use cases, its deadlines included. Everything that
the store itself would do is left out: what is measured is the ledger's code, and asyncio's for a future, which is shown apart.
The store writes the slot beside the provider, and tells all that began together by the loop's next turn; the settlement is the
caller's own, and waits for nothing here but the store. Many callers begin in one breath, more than may have slots on their way
in one lease, so that two in three wait for their turn. It is the processor's time, and the best of many short rounds, as the
machine has other work to do.

    python -m tests.bench.ledger_cpu [profile]
"""

import asyncio
import cProfile
import gc
import pstats
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from types import SimpleNamespace
from typing import cast

from msgspec import Struct

from junctor.adapters.system.ambient import SystemClock, SystemDice
from junctor.bootstrap import native
from junctor.domain.call import Call, Outcome
from junctor.domain.completion import CompletionSpec, Message, Role, TextPart
from junctor.domain.routing import Plan, RoutingPreferences
from junctor.ledger.ledger import Ledger
from junctor.ledger.tools import Tools
from junctor.policy import ceilings
from junctor.ports.table import Change, Condition, Done, Found, Item, Key, Operation, Page, Query, Refused
from junctor.records import keys
from junctor.usecases import settle
from junctor.usecases.deadlines import Deadlines
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail
from tests.support.world import CALLER, World, plan, settled

ROUNDS, CALLERS, CALLS = 200, 50, 8
TURNS = 12
"""The store takes two of the loop's turns for as many slots as may be on their way in one lease."""
CEILING = 1_000
DONE = Done()


class Instant:
    """A table that answers at once: a lease can be taken, a slot opened and ended, and the account has what it had."""

    def __init__(self, purse: Item) -> None:
        self._purses = Page((purse,))
        self._writing: list[asyncio.Future[Done | Refused]] = []

    async def get(self, key: Key, *, consistent: bool = True) -> Found:
        """Find nothing."""
        return Found(None)

    async def query(self, query: Query) -> Page:
        """Find the purse."""
        return self._purses if query.prefix == keys.PURSE_PREFIX else Page(())

    async def put_new(self, item: Item) -> Done | Refused:
        """Have it written."""
        return DONE

    def begin_put_new(self, item: Item) -> "asyncio.Future[Done | Refused]":
        """Have it written by the loop's next turn, where all hear of it together that began in this one."""
        loop = asyncio.get_running_loop()
        if not self._writing:
            loop.call_soon(self._answer)
        future: asyncio.Future[Done | Refused] = loop.create_future()
        self._writing.append(future)
        return future

    def _answer(self) -> None:
        written, self._writing = self._writing, []
        for future in written:
            future.set_result(DONE)

    async def update(
        self, key: Key, conditions: Sequence[Condition], changes: Sequence[Change], *, returning: bool = True
    ) -> Done | Refused:
        """Have it written."""
        return DONE

    async def transact(self, operations: Sequence[Operation], token: str) -> Done | Refused:
        """Have all written."""
        return DONE


class Provider:
    """A provider that takes longer than the store: who ask meanwhile are answered together, after some of the loop's turns."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[None] | None = None

    def answer(self) -> "asyncio.Future[None]":
        """Ask it."""
        if self._answer is None:
            loop = asyncio.get_running_loop()
            self._answer = loop.create_future()
            loop.call_soon(self._turn, loop, 1)
        return self._answer

    def _turn(self, loop: asyncio.AbstractEventLoop, turn: int) -> None:
        if turn < TURNS:
            loop.call_soon(self._turn, loop, turn + 1)
        elif self._answer is not None:
            self._answer.set_result(None)
            self._answer = None


def long_call() -> Call:
    """Return a call with a kilobyte of text."""
    text = "The quick brown fox jumps over the lazy dog. " * 23
    return Call(
        caller=CALLER,
        spec=CompletionSpec(model="lab/model", messages=(Message(role=Role.USER, parts=(TextPart(text),)),), max_tokens=100),
        preferences=RoutingPreferences(),
        deadline_at=asyncio.get_running_loop().time() + 600,
    )


class Asked(Struct, frozen=True):
    """What each call is made of: made once, as that is not the ledger's part."""

    call: Call
    plan: Plan
    trail: Trail
    outcome: Outcome


async def calls(services: Services, provider: Provider, asked: Asked, count: int) -> None:
    """Let so many calls live their lives, one after the other."""
    for _ in range(count):
        holding = await settle.begin(services, asked.call, asked.plan, asked.trail)
        await provider.answer()
        hold = await settle.held(services, holding, asked.call)
        await services.ledger.settle(hold, asked.outcome)


async def asyncio_alone(table: Instant, provider: Provider, count: int) -> None:
    """Do what asyncio itself needs for as many: a future for the slot, a callback that hears of it, a provider beside it."""
    for _ in range(count):
        table.begin_put_new({}).add_done_callback(id)
        await provider.answer()


async def crowd(caller: Callable[[], Coroutine[None, None, None]]) -> float:
    """Return how many microseconds each call took, of so many callers at once."""
    began = time.thread_time()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return (time.thread_time() - began) / (CALLERS * CALLS) * 1e6


class Part(Struct, frozen=True):
    """What a call takes of the ledger, in microseconds of CPU; of these what asyncio takes for its future, and the ceiling."""

    whole_us: float
    asyncio_us: float
    ceiling_us: float


async def measure(rounds: int = ROUNDS, *, profile: bool = False) -> Part:
    """Measure it, in so many rounds."""
    world = await World().open()
    await world.credit(10**15)
    (purse,) = [item for item in world.store.items(world.table.spec) if str(item["sk"]).startswith(keys.PURSE_PREFIX)]
    table, provider = Instant(purse), Provider()
    tools = Tools(table, SystemClock(), SystemDice(), world.telemetry)  # type: ignore[arg-type] # no more is asked
    ledger = Ledger(tools, world.terms, lambda *_: None)
    services = cast(
        "Services", SimpleNamespace(ledger=ledger, clock=tools.clock, telemetry=tools.telemetry, deadlines=Deadlines())
    )
    asked = Asked(long_call(), plan(CEILING), Trail(services, "Complete"), settled(1, CEILING // 5))
    at_ms = world.clock.now_ms()

    async def ceilings_alone() -> None:
        for _ in range(CALLS):
            ceilings.of(asked.call.spec, asked.plan.candidates, at_ms)

    async def best(caller: Callable[[], Coroutine[None, None, None]]) -> float:
        return min([await crowd(caller) for _ in range(rounds)])

    gc.disable()
    try:
        part = Part(
            await best(lambda: calls(services, provider, asked, CALLS)),
            await best(lambda: asyncio_alone(table, provider, CALLS)),
            await best(ceilings_alone),
        )
        if profile:
            with cProfile.Profile() as profiler:
                await crowd(lambda: calls(services, provider, asked, CALLS))
            pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
    finally:
        gc.enable()
    await ledger.close()
    return part


def told(part: Part) -> str:
    """Write it on one line."""
    return (
        f"begin, hold and settle {part.whole_us:.1f} µs of CPU a call: "
        f"of these asyncio's future and the wait beside it {part.asyncio_us:.1f} µs, the ceiling {part.ceiling_us:.1f} µs"
    )


if __name__ == "__main__":
    print(told(native.run(measure(profile="profile" in sys.argv))))
