"""The native gRPC server around a core: start, wait for a signal, drain."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
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


def stop_signal() -> asyncio.Event:
    """Return what is set once the process is asked to end (SIGINT, SIGTERM)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    return stop
