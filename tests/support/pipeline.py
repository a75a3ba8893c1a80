"""What the tests of the pipeline share: a model with two scripted endpoints, and looks into the store, the log and the loop.

Everything that waits here is bounded in time.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest

from junctor.client import AsyncEventStream, JunctorRpcError, StreamEvent
from junctor.domain.generation import Generation
from junctor.domain.lease import Slot, SlotState
from junctor.ports.table import Query
from junctor.records import generations, keys, leases
from junctor.records.tables import CORE
from junctor.v1.routing_pb2 import Attempt, AttemptOutcome
from tests.support import scripted_upstream
from tests.support.harness import Router, running_router
from tests.support.scripted_upstream import Script, ScriptedUpstream

MODEL = "openai/gpt-oss-120b"
FIRST, SECOND = f"groq/{MODEL}", f"openrouter/{MODEL}"
"""The two endpoints of MODEL, in the order in which they are tried."""

Found = TypeVar("Found")

SERVICE = "junctor.v1.RouterService"
PATIENCE_S = scripted_upstream.PATIENCE_S


@dataclass(frozen=True)
class Rig:
    """A running router and the two providers of its model."""

    router: Router
    first: ScriptedUpstream
    second: ScriptedUpstream


@asynccontextmanager
async def two_endpoints(
    folder: Path, first: Script, second: Script, settings: Mapping[str, str] | None = None
) -> AsyncGenerator[Rig, None]:
    """Run a router whose MODEL is served by two upstreams, each with the one script."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(ScriptedUpstream(first))
        two = await stack.enter_async_context(ScriptedUpstream(second))
        addresses = {FIRST: one.base_url, SECOND: two.base_url}
        router = await stack.enter_async_context(running_router(folder, addresses, settings=settings))
        yield Rig(router, one, two)


@asynccontextmanager
async def one_endpoint(
    folder: Path, *scripts: Script, settings: Mapping[str, str] | None = None
) -> AsyncGenerator[tuple[Router, ScriptedUpstream], None]:
    """Run a router that has credentials for the first endpoint of MODEL only."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(ScriptedUpstream(*scripts))
        credentials = {"GROQ_API_KEY": "made-up-groq"}
        running = running_router(folder, {FIRST: upstream.base_url}, settings=settings, credentials=credentials)
        yield await stack.enter_async_context(running), upstream


async def events_of(stream: AsyncEventStream) -> list[StreamEvent]:
    """Take a stream to its end, within PATIENCE_S."""
    async with asyncio.timeout(PATIENCE_S):
        return [event async for event in stream]


def kinds(events: list[StreamEvent]) -> list[str]:
    """Name the events."""
    return [event.WhichOneof("event") or "" for event in events]


def text_of(events: list[StreamEvent]) -> str:
    """Return the content of all deltas."""
    return "".join(event.delta.content for event in events)


def outcomes(attempts: "list[Attempt] | Any") -> list[tuple[str, str]]:
    """Name the attempts: which endpoint, and how it ended."""
    prefix = "ATTEMPT_OUTCOME_"
    return [(tried.endpoint, AttemptOutcome.Name(tried.outcome).removeprefix(prefix)) for tried in attempts]


async def refusal(call: Awaitable[object]) -> JunctorRpcError:
    """Return the error of a call that must fail, within PATIENCE_S."""
    with pytest.raises(JunctorRpcError) as caught:
        await asyncio.wait_for(call, PATIENCE_S)
    return caught.value


async def slots(router: Router) -> list[Generation]:
    """Read all generations of the router's account from its store, in order; numbers that stayed unused are none."""
    table = router.core.store.table(CORE)
    partition = keys.lease(router.account, "").partition
    found: list[Generation] = []
    for item in (await table.query(Query(partition=partition, prefix=keys.LEASE_PREFIX, consistent=True))).items:
        lease = leases.lease_of(item)
        place = Slot(router.account, lease.id, 0)
        page = await table.query(Query(partition=keys.slot(place).partition, consistent=True))
        used = (row for row in page.items if "api_key" in row)
        numbered = ((Slot(router.account, lease.id, int(str(row["sk"]).removeprefix("SLOT#"))), row) for row in used)
        found += [generations.generation_of(row, slot) for slot, row in numbered]
    return found


async def ended(router: Router) -> Generation:
    """Wait until the only generation of the router's account has ended, and return it."""

    async def look() -> Generation | None:
        found = await slots(router)
        assert len(found) <= 1, found
        return found[0] if found and found[0].state is not SlotState.OPEN else None

    return await until(look)


async def until(look: Callable[[], Awaitable[Found | None]]) -> Found:
    """Look again and again until there is something, within PATIENCE_S."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await look()
            if found is not None:
                return found
            await asyncio.sleep(0.01)


async def line_of(router: Router, kind: str = "request") -> dict[str, Any]:
    """Wait for the only log line of a kind, and return it."""

    async def look() -> dict[str, Any] | None:
        lines = log_lines(router, kind)
        assert len(lines) <= 1, lines
        return lines[0] if lines else None

    return await until(look)


def log_lines(router: Router, kind: str = "request") -> list[dict[str, Any]]:
    """Return the log lines of a kind."""
    lines = [json.loads(line) for line in router.log.read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


LASTING = {"_Connection._serve", "Scopes._tidy"}
"""What may run when no call is under way: the scripted upstreams, and the one task that looks after the leases."""


def tasks() -> Counter[str]:
    """Count what runs in the loop, by name; grpc's own coroutines have none, and what may last does not count."""
    names = (getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks() if not task.done())
    return Counter(name for name in names if name not in LASTING)


async def only_these_tasks(before: Counter[str]) -> None:
    """Wait until no more runs than before; after PATIENCE_S, fail with what does."""
    give_up_at = asyncio.get_running_loop().time() + PATIENCE_S
    while new := tasks() - before:
        assert asyncio.get_running_loop().time() < give_up_at, new
        await asyncio.sleep(0.01)


@asynccontextmanager
async def raw_channel(router: Router, **options: int) -> AsyncGenerator[grpc.aio.Channel, None]:
    """Open a plain channel to a router, not shared with any other."""
    chosen = [("grpc.use_local_subchannel_pool", 1), *((f"grpc.{name}", value) for name, value in options.items())]
    async with grpc.aio.insecure_channel(router.target, chosen) as channel:
        yield channel


def bearer(api_key: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carries a key."""
    return (("authorization", f"Bearer {api_key}"),)
