"""What becomes of honest callers while somebody opens streams and resets them at once? `python -m tests.fault.rapid_resets`.

CVE-2023-44487: whoever resets a stream may open another, so that a limit on streams does not bound the work that he makes.
Three processes: a server with the real gate on the real listener, whose method takes as long as a quick provider does; honest
callers; and one who writes frames as fast as the server reads them. Told are the honest callers' median and 99th percentile
before, during and after, their ratio, and the server's memory. The processes share the machine's cores: where the server has
none of its own, the hostile one takes from the honest what he takes from anybody.
"""

import argparse
import asyncio
import multiprocessing
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import grpc
from msgspec import Struct

from junctor.bootstrap.native import run
from junctor.doors.grpc_calls import Context
from junctor.doors.grpc_server import ServerTerms
from junctor.doors.rpc.gate import Visit
from junctor.v1.router_service_pb2 import CompleteResponse
from tests.support.doors import listener, route
from tests.support.http2 import GOAWAY, RST_STREAM, Peer, opening, reset

PATH = "/test/Call"
BATCH = 100
"""Streams opened and reset in one write."""
CALLERS = 32
BODY = b"x" * 500
BEFORE_S, CALM_S = 4.0, 2.0
RATIO_MOST = 2.0


class Seen(Struct):
    """How long calls took in milliseconds, in order, and what those that failed were told."""

    taken_ms: list[float]
    failed: Counter[str]

    def percentile(self, share: float) -> float:
        """Return a percentile, 0 if there were no calls."""
        return self.taken_ms[min(int(len(self.taken_ms) * share), len(self.taken_ms) - 1)] if self.taken_ms else 0.0


async def honest(target: str, going: Callable[[], bool], callers: int = CALLERS) -> Seen:
    """Call again and again, so many at once on one channel, as long as it is going."""
    seen = Seen([], Counter())

    async def caller(call: Callable[..., Awaitable[bytes]]) -> None:
        while going():
            begun = time.perf_counter()
            try:
                await call(BODY, timeout=60.0)
            except grpc.aio.AioRpcError as error:
                seen.failed[error.code().name] += 1
            else:
                seen.taken_ms.append((time.perf_counter() - begun) * 1000)

    async with grpc.aio.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        await asyncio.gather(*(caller(channel.unary_unary(PATH)) for _ in range(callers)))
    seen.taken_ms.sort()
    return seen


async def hostile(port: int, resets: int) -> Counter[str]:
    """Open and reset so many streams, on a new connection where one is closed; count what the server answered."""
    told, left = Counter[str](), resets
    while left:
        told["connections"] += 1
        with suppress(ConnectionError):
            async with Peer(port) as peer:
                listening = asyncio.create_task(_listen(peer, told))
                try:
                    while left and not listening.done():
                        streams = [peer.next_stream() for _ in range(min(BATCH, left))]
                        await peer.send(b"".join(opening(stream, PATH) + reset(stream) for stream in streams))
                        left -= len(streams)
                        await asyncio.sleep(0)
                finally:
                    listening.cancel()
                    await asyncio.wait({listening})
    return told


async def _listen(peer: Peer, told: Counter[str]) -> None:
    with suppress(ConnectionError):
        while frames := await peer.frames():
            told["streams refused by the core"] += sum(frame.kind == RST_STREAM for frame in frames)
            told["connections told to go"] += sum(frame.kind == GOAWAY for frame in frames)


def _attack(port: int, resets: int, told: "Queue[Counter[str]]") -> None:
    told.put(asyncio.run(hostile(port, resets)))


def _serve(provider_s: float, streams: int, ports: "Queue[int]") -> None:
    async def answer(_body: bytes, _context: Context, _visit: Visit) -> CompleteResponse:
        await asyncio.sleep(provider_s)
        return CompleteResponse()

    async def main() -> None:
        terms = ServerTerms(port=0, concurrent_streams_max=streams)
        async with listener({PATH: route(answer)}, terms=terms) as heard:
            ports.put(heard.port)
            await asyncio.Event().wait()

    run(main())


async def _main(resets: int, provider_s: float, streams: int) -> int:
    context: Any = multiprocessing.get_context("spawn")
    ports, told = context.Queue(), context.Queue()
    server = context.Process(target=_serve, args=(provider_s, streams, ports))
    server.start()
    port = await asyncio.to_thread(ports.get)

    async def phase(name: str, going: Callable[[], bool]) -> Seen:
        seen = await honest(f"127.0.0.1:{port}", going)
        print(
            f"{name:7} {len(seen.taken_ms):6} calls  p50 {seen.percentile(0.5):7.1f} ms  p99 {seen.percentile(0.99):7.1f} ms"
            f"  failed {dict(seen.failed)}  server {resident_mib(server.pid)} MiB"
        )
        return seen

    await honest(f"127.0.0.1:{port}", _for(CALM_S))
    before = await phase("before", _for(BEFORE_S))
    attacker = context.Process(target=_attack, args=(port, resets, told))
    attacker.start()
    begun = time.monotonic()
    during = await phase("during", attacker.is_alive)
    print(f"{resets} streams opened and reset in {time.monotonic() - begun:.1f} s: {dict(told.get())}")
    attacker.join()
    await phase("after", _for(CALM_S))
    server.terminate()
    server.join()
    ratio = during.percentile(0.99) / before.percentile(0.99)
    print(
        f"p99 during against before: {ratio:.2f} (at most {RATIO_MOST}), provider {provider_s * 1000:.0f} ms, {streams} streams"
    )
    return 0 if ratio <= RATIO_MOST and not during.failed else 1


def resident_mib(pid: int) -> int:
    """Return the memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() >> 20


def _for(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() < until


def main(words: Iterable[str]) -> int:
    """Run the command; return its exit status: 0 if the 99th percentile at most doubles and no honest call fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.rapid_resets", description="Rapid resets beside honest calls.")
    parser.add_argument("--resets", type=int, default=100_000)
    parser.add_argument("--provider-ms", type=float, default=100.0, help="how long the method takes")
    parser.add_argument(
        "--streams", type=int, default=ServerTerms().concurrent_streams_max, help="most streams of a connection"
    )
    chosen = parser.parse_args(list(words))
    return asyncio.run(_main(chosen.resets, chosen.provider_ms / 1000, chosen.streams))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
