"""What the ledger's own part of a request takes: begin, hold and settle over a store that answers at once and does nothing.

A call meets its money here through the same seams as in the stories of the use cases, its deadlines included. Everything that
the store itself would do is left out: what is measured is the ledger's code, and asyncio's for its task, which is shown apart.
One task writes the slot beside the provider; the settlement is the caller's own, and waits for nothing here but the store. Many
callers take turns, so that the loop's own rounds are shared as in a busy server. It is the processor's time, and the best
of many short rounds, as the machine has other work to do.

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
from junctor.domain.call import Call
from junctor.domain.completion import CompletionSpec, Message, Role, TextPart
from junctor.domain.routing import Plan, RoutingPreferences
from junctor.ledger.ledger import Ledger
from junctor.ledger.tools import Tools
from junctor.policy import ceilings
from junctor.ports.table import Change, Condition, Done, Found, Item, Key, Operation, Page, Query, Refused
from junctor.records import keys
from junctor.usecases import settle
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail
from tests.support.world import CALLER, World, plan, settled

ROUNDS, CALLERS, CALLS = 400, 50, 4
CEILING = 1_000
DONE = Done()


class Instant:
    """A table that answers at once: a lease can be taken, a slot opened and ended, and the account has what it had."""

    def __init__(self, purse: Item) -> None:
        self._purses = Page((purse,))

    async def get(self, key: Key, *, consistent: bool = True) -> Found:
        """Find nothing."""
        return Found(None)

    async def query(self, query: Query) -> Page:
        """Find the purse."""
        return self._purses if query.prefix == keys.PURSE_PREFIX else Page(())

    async def put_new(self, item: Item) -> Done | Refused:
        """Have it written."""
        return DONE

    async def update(self, key: Key, conditions: Sequence[Condition], changes: Sequence[Change]) -> Done | Refused:
        """Have it written."""
        return DONE

    async def transact(self, operations: Sequence[Operation], token: str) -> Done | Refused:
        """Have all written."""
        return DONE


def asked() -> Call:
    """Return a call with a kilobyte of text."""
    text = "The quick brown fox jumps over the lazy dog. " * 23
    return Call(
        caller=CALLER,
        spec=CompletionSpec(model="lab/model", messages=(Message(role=Role.USER, parts=(TextPart(text),)),), max_tokens=100),
        preferences=RoutingPreferences(),
        deadline_at=asyncio.get_running_loop().time() + 600,
    )


async def calls(services: Services, planned: Plan, count: int) -> None:
    """Let so many calls live their lives, one after the other."""
    call, outcome, trail = asked(), settled(1, CEILING // 5), Trail(services, "Complete")
    for _ in range(count):
        holding, _ = await settle.begin(services, call, planned, trail)
        await asyncio.sleep(0)  # a provider is asked meanwhile, and takes longer than the store
        hold = await settle.held(services, holding, call)
        await services.ledger.settle(hold, outcome)


async def tasks_alone(count: int) -> None:
    """Do what asyncio itself needs for as many: a task for the slot beside a provider's answer."""

    async def nothing() -> None:
        return

    for _ in range(count):
        beside = asyncio.create_task(nothing())
        await asyncio.sleep(0)
        await beside


async def crowd(caller: Callable[[], Coroutine[None, None, None]]) -> float:
    """Return how many microseconds each call took, of so many callers at once."""
    began = time.thread_time()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return (time.thread_time() - began) / (CALLERS * CALLS) * 1e6


class Part(Struct, frozen=True):
    """What a call takes of the ledger, in microseconds of CPU; of these what asyncio takes for its task, and the ceiling."""

    whole_us: float
    tasks_us: float
    ceiling_us: float


async def measure(rounds: int = ROUNDS, *, profile: bool = False) -> Part:
    """Measure it, in so many rounds."""
    world = await World().open()
    await world.credit(10**15)
    (purse,) = [item for item in world.store.items(world.table.spec) if str(item["sk"]).startswith(keys.PURSE_PREFIX)]
    tools = Tools(Instant(purse), SystemClock(), SystemDice(), world.telemetry)  # type: ignore[arg-type] # no more is asked
    ledger = Ledger(tools, world.terms, lambda *_: None)
    services = cast("Services", SimpleNamespace(ledger=ledger, clock=tools.clock, telemetry=tools.telemetry))
    planned = plan(CEILING)
    planning, at_ms = asked().spec, world.clock.now_ms()

    async def ceilings_alone() -> None:
        for _ in range(CALLS):
            ceilings.of(planning, planned.candidates, at_ms)

    async def best(caller: Callable[[], Coroutine[None, None, None]]) -> float:
        return min([await crowd(caller) for _ in range(rounds)])

    gc.disable()
    try:
        part = Part(
            await best(lambda: calls(services, planned, CALLS)),
            await best(lambda: tasks_alone(CALLS)),
            await best(ceilings_alone),
        )
        if profile:
            with cProfile.Profile() as profiler:
                await crowd(lambda: calls(services, planned, CALLS))
            pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
    finally:
        gc.enable()
    await ledger.close()
    return part


def told(part: Part) -> str:
    """Write it on one line."""
    return (
        f"begin, hold and settle {part.whole_us:.1f} µs of CPU a call: "
        f"of these asyncio's task and the wait beside it {part.tasks_us:.1f} µs, the ceiling {part.ceiling_us:.1f} µs"
    )


if __name__ == "__main__":
    print(told(native.run(measure(profile="profile" in sys.argv))))
