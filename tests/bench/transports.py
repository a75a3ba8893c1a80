"""Measures what the two transports cost, beside each other in one run: `python -m tests.bench.transports [ROUNDS]`.

One loop asks a provider on loopback in a process of its own, so that all CPU here is the transport's, the event loop's and the
kernel's. Cancels are timed to the instant at which the provider sees its connection closed.
"""

import asyncio
import multiprocessing
import sys
import time
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from statistics import median

from junctor.adapters.net.face import Transport
from junctor.adapters.net.headers import prepared
from junctor.bootstrap import native
from tests.bench.exchange import CHUNKS, Scenario, provider_request
from tests.bench.report import percentile_us
from tests.bench.upstream import serve_provider
from tests.support.scripted_upstream import ScriptedUpstream, Stall
from tests.support.transports import MAKERS

CALLS = {Scenario.WHOLE: 1_000, Scenario.BURST: 150, Scenario.SPACED: 16}
AT_ONCE = {Scenario.WHOLE: 1, Scenario.BURST: 1, Scenario.SPACED: 16}
CANCELS = 200
PATIENCE_S = 60.0
HEADERS = prepared({"content-type": "application/json", "accept": "text/event-stream", "authorization": "Bearer made-up"})


async def _ask(transport: Transport, url: str, scenario: Scenario) -> None:
    """Make one call and read its answer to the end."""
    by = asyncio.get_running_loop().time() + PATIENCE_S
    async with await transport.post(url, HEADERS, provider_request(scenario), connect_by=by, answer_by=by) as response:
        if not scenario.streamed:
            await response.whole(by)
            return
        while await response.read(by):
            pass


async def _cpu_us(transport: Transport, url: str, scenario: Scenario) -> float:
    """Return the CPU of one call, or of one piece of a streamed answer."""
    at_once = AT_ONCE[scenario]

    async def round_of(rounds: int) -> None:
        for _ in range(rounds):
            await asyncio.gather(*(_ask(transport, url, scenario) for _ in range(at_once)))

    await round_of(1)
    before_s = time.process_time()
    await round_of(CALLS[scenario] // at_once)
    spent_s = time.process_time() - before_s
    return spent_s / CALLS[scenario] / (CHUNKS if scenario.streamed else 1) * 1e6


async def _cancel_s(transport: Transport) -> list[float]:
    """Return how long after a cancel before any answer the provider sees its connection closed, in seconds."""
    found = []
    for _ in range(CANCELS):
        async with ScriptedUpstream([Stall()]) as upstream:
            asking = asyncio.create_task(_ask(transport, upstream.base_url, Scenario.WHOLE))
            request = await upstream.arrived()
            cancelled_at = time.perf_counter()
            asking.cancel()
            await request.gone()
            found.append(time.perf_counter() - cancelled_at)
            await asyncio.wait((asking,))
    return found


async def _measure(port: int, rounds: int) -> None:
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    found: dict[tuple[Scenario, str], list[float]] = {(scenario, name): [] for scenario in CALLS for name in MAKERS}
    async with AsyncExitStack() as stack:
        made = {name: make(None, None) for name, make in MAKERS.items()}
        for transport in made.values():
            stack.push_async_callback(transport.close)
        for _ in range(rounds):
            for scenario in CALLS:
                for name, transport in made.items():
                    found[scenario, name].append(await _cpu_us(transport, url, scenario))
        for scenario in CALLS:
            figures = {name: median(found[scenario, name]) for name in MAKERS}
            told = ", ".join(f"{name} {figure:.1f} us" for name, figure in figures.items())
            per = "piece" if scenario.streamed else "call"
            print(f"CPU a {per}, {scenario.value}: {told}, {figures['httpx'] / figures['aiohttp']:.1f} times")
        for name, transport in made.items():
            times = await _cancel_s(transport)
            told = ", ".join(f"p{percent} {percentile_us(times, percent):.0f} us" for percent in (50, 99))
            print(f"cancelled before an answer, until the provider's connection is closed: {name} {told}")


def _serve(told: Connection) -> None:
    """Be the provider, and tell its port."""

    async def forever() -> None:
        async with serve_provider() as port:
            told.send(port)
            await asyncio.Event().wait()

    native.run(forever())


def main() -> None:
    """Measure and print."""
    spawning = multiprocessing.get_context("spawn")
    heard, told = spawning.Pipe()
    provider = spawning.Process(target=_serve, args=(told,), daemon=True)
    provider.start()
    try:
        native.run(_measure(heard.recv(), int(sys.argv[1]) if len(sys.argv) > 1 else 5))
    finally:
        provider.terminate()
        provider.join()


if __name__ == "__main__":
    main()
