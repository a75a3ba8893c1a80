"""What do callers see of a server that drains while they call as fast as they can? `python -m tests.fault.drains [drains]`.

Server after server is drained under callers of another process, on old channels and new ones; what they were told is counted.
A caller retries UNAVAILABLE by himself; CANCELLED, which grpc's core says to calls that it had taken and not handed over, he
does not. `open`: some call at fixed instants, whatever becomes of their other calls.
"""

import asyncio
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from multiprocessing.queues import Queue
from typing import Any

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from junctor.doors.grpc_calls import DETAILS_KEY, Context
from junctor.doors.grpc_server import GrpcServer, ServerTerms, Service
from junctor.doors.rpc.gate import Bounds, Visit
from junctor.v1.router_service_pb2 import CompleteResponse
from tests.support.doors import new_gate, route

PATH = "/drains/Call"
CALL_S = 0.005
"""What a call takes."""
RUN_S, OPEN_RUN_S, DRAIN_AFTER_S = 1.0, 2.5, 0.2
"""How long each server is called, longer than its hush lasts, and how long after the first calls it begins to drain."""
GRACE_S = 110.0
CHANNELS, CALLERS, OPEN_PER_S = 4, 4, 200
GIVE_UP_S = 60.0


async def _called() -> tuple[GrpcServer, int, asyncio.Event]:
    """Return a server that listens, its port, and what its first call sets."""
    first = asyncio.Event()

    async def answer(_body: bytes, _context: Context, _visit: Visit) -> CompleteResponse:
        first.set()
        await asyncio.sleep(CALL_S)
        return CompleteResponse()

    gate = new_gate(Bounds(calls_max=100_000))
    server = GrpcServer((Service("drains", {PATH: route(answer)}),), ServerTerms(port=0), gate)
    return server, await server.start(), first


def _told(error: grpc.aio.AioRpcError) -> str:
    """Name a refusal: its status, and its reason if it has one of ours."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            info = ErrorInfo()
            Status.FromString(value).details[0].Unpack(info)
            return f"{error.code().name} {info.reason}"
    return error.code().name


async def _once(call: Callable[..., Awaitable[bytes]], counts: Counter[str]) -> bool:
    """Call, note what was told, and tell whether the server was still there."""
    told = "OK"
    try:
        await call(b"x", timeout=GIVE_UP_S)
    except grpc.aio.AioRpcError as error:
        told = _told(error)
    counts[told] += 1
    return told != "UNAVAILABLE"


async def _calls(target: str, *, opened: bool) -> Counter[str]:
    """Call a server for a while, from first to last, and count what was told."""
    counts, until, pending = Counter[str](), time.monotonic() + (OPEN_RUN_S if opened else RUN_S), set[asyncio.Task[bool]]()
    options = [("grpc.use_local_subchannel_pool", 1)]

    async def again_and_again(channel: grpc.aio.Channel) -> None:
        while time.monotonic() < until and await _once(channel.unary_unary(PATH), counts):
            pass

    async def on_new_channels() -> None:
        there = True
        while time.monotonic() < until and there:
            async with grpc.aio.insecure_channel(target, options) as channel:
                there = await _once(channel.unary_unary(PATH), counts)

    async def at_fixed_instants(channel: grpc.aio.Channel) -> None:
        while opened and time.monotonic() < until:
            pending.add(asyncio.create_task(_once(channel.unary_unary(PATH), counts)))
            await asyncio.sleep(1 / OPEN_PER_S)

    channels = [grpc.aio.insecure_channel(target, options) for _ in range(CHANNELS)]
    busy = [again_and_again(channel) for channel in channels for _ in range(CALLERS)]
    await asyncio.gather(*busy, on_new_channels(), at_fixed_instants(channels[0]))
    await asyncio.gather(*pending)
    for channel in channels:
        await channel.close()
    return counts


def _caller(ports: "Queue[int]", told: "Queue[Counter[str]]", opened: bool) -> None:
    async def main() -> None:
        while port := await asyncio.to_thread(ports.get):
            told.put(await _calls(f"127.0.0.1:{port}", opened=opened))

    asyncio.run(main())


async def _main(drains: int, *, opened: bool) -> Counter[str]:
    context: Any = multiprocessing.get_context("spawn")
    ports, told = context.Queue(), context.Queue()
    process = context.Process(target=_caller, args=(ports, told, opened))
    process.start()
    counts = Counter[str]()
    for _ in range(drains):
        server, port, first = await _called()
        ports.put(port)
        await asyncio.wait_for(first.wait(), GIVE_UP_S)
        await asyncio.sleep(DRAIN_AFTER_S)
        await server.drain(GRACE_S)
        counts += await asyncio.to_thread(told.get, timeout=GIVE_UP_S)
    ports.put(0)
    await asyncio.to_thread(process.join, GIVE_UP_S)
    return counts


if __name__ == "__main__":
    times = next((int(word) for word in sys.argv[1:] if word.isdigit()), 200)
    for word, number in asyncio.run(_main(times, opened="open" in sys.argv)).most_common():
        print(f"{number:>9}  {word}")
