"""The native gRPC server around a core: start, wait for a signal, drain."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from junctor.bootstrap.core import Core, terms
from junctor.doors.grpc_server import GrpcServer, ServerTerms
from junctor.doors.rpc.router import RouterRpc
from junctor.settings import Settings

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a program on uvloop, where there is one."""
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop  # noqa: PLC0415 - absent on Windows

    return uvloop.run(main)


@asynccontextmanager
async def background(core: Core) -> AsyncGenerator[None, None]:
    """Do what every instance does beside its calls, while it serves."""
    reclaiming = asyncio.create_task(core.reclaimer.forever())
    try:
        yield
    finally:
        reclaiming.cancel()
        await asyncio.gather(reclaiming, return_exceptions=True)


def server(core: Core, settings: Settings) -> GrpcServer:
    """Make the server, not listening yet."""
    return GrpcServer(
        RouterRpc(core.services, terms(settings)),
        ServerTerms(
            host=settings.listen.host,
            port=settings.listen.port,
            message_in_max=settings.message_in_max_bytes,
            message_out_max=settings.message_out_max_bytes,
            reflection=settings.reflection,
        ),
    )


class Stop:
    """What a process was asked by signals (SIGINT, SIGTERM): once to end, twice to end at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.insisted = asyncio.Event()

    def signal(self) -> None:
        """Take one signal."""
        (self.insisted if self.asked.is_set() else self.asked).set()

    def listen(self) -> None:
        """Take the signals of this process from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, self.signal)
            except NotImplementedError:
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self.signal))


async def drain(running: GrpcServer, stop: Stop, grace_s: float) -> None:
    """Drain a server within the grace, or at once when it is insisted upon."""
    draining = asyncio.create_task(running.drain(grace_s))
    insisting = asyncio.create_task(stop.insisted.wait())
    await asyncio.wait({draining, insisting}, return_when=asyncio.FIRST_COMPLETED)
    insisting.cancel()
    if not draining.done():
        await running.drain(0)
    await draining
