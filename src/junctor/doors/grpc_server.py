"""The life of the native server: listen, serve, drain.

Draining: NOT_SERVING first, so that balancers turn away; then no new calls; then the calls under way may end within the grace;
what is left is cancelled, and every cancelled call still settles. Calls that watch the health never end by themselves and are
not waited for.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from msgspec import Struct

from junctor.doors.rpc.guard import Guard


class ServerTerms(Struct, frozen=True, kw_only=True):
    """How the server listens. Sizes in bytes, times in seconds; `port` 0 takes a free one.

    `concurrent_streams_max` lies well above what one honest client has under way on a connection: near it, grpc's overload
    protection counts calls that have ended and are not freed yet, and refuses new ones at random.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    message_in_max: int = 20 << 20
    message_out_max: int = 64 << 20
    reflection: bool = False
    keepalive_s: float = 60.0
    keepalive_timeout_s: float = 20.0
    keepalive_permit_s: float = 30.0
    connection_age_s: float = 300.0
    connection_grace_s: float = 960.0
    concurrent_streams_max: int = 1000


LAST_BYTES_S = 1.0
"""How long the core may take to send what finished calls have written."""

HANDLERS_END_S = 2.0
"""How long the handlers of cancelled calls may take to notice."""

SETTLED_DOWN_S = 0.05
"""How long no call may be under way before the server counts as idle: one may be between the core and its handler."""


class Service(NamedTuple):
    """A service to be served: its full name, its methods as grpc takes them, and the guard that counts its calls."""

    name: str
    handlers: grpc.GenericRpcHandler
    guard: Guard


class AddressError(Exception):
    """The address cannot be listened on; the text says why."""


class GrpcServer:
    """One listener of a process, with its services and their health."""

    def __init__(self, services: Sequence[Service], terms: ServerTerms) -> None:
        self._terms = terms
        self._names = tuple(service.name for service in services)
        self._guards = tuple(service.guard for service in services)
        self._health = health.aio.HealthServicer()
        self._draining = False
        self._server = grpc.aio.server(options=_options(terms))
        self._server.add_generic_rpc_handlers(tuple(service.handlers for service in services))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if terms.reflection:
            reflection.enable_server_reflection((*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    async def start(self) -> int:
        """Listen and return the port.

        Raises:
            AddressError: the address is in use or not this machine's.
        """
        await self._try_address()
        host = f"[{self._terms.host}]" if ":" in self._terms.host else self._terms.host
        try:
            port = self._server.add_insecure_port(f"{host}:{self._terms.port}")
        except RuntimeError:
            port = 0
        if port == 0:
            raise AddressError(f"{host}:{self._terms.port} cannot be listened on: in use, or not an address of this machine")
        await self._server.start()
        await self.report(serving=True)
        return port

    async def report(self, *, serving: bool) -> None:
        """Tell balancers whether calls are welcome here; a server that drains stays NOT_SERVING."""
        welcome = serving and not self._draining
        status = health_pb2.HealthCheckResponse.SERVING if welcome else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *self._names):
            await self._health.set(service, status)

    async def drain(self, grace_s: float) -> None:
        """Turn callers away, let calls under way end within the grace, and stop."""
        self._draining = True
        await self.report(serving=False)
        stopping = asyncio.create_task(self._server.stop(grace_s))
        idle = asyncio.create_task(self._idle())
        await asyncio.wait({stopping, idle}, return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        await self._server.stop(LAST_BYTES_S)
        await stopping
        # The core is done with a cancelled call before its handler has noticed, and only the handler settles it.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._handlers_ended(), HANDLERS_END_S)

    async def _idle(self) -> None:
        while any(guard.under_way for guard in self._guards):
            await self._handlers_ended()
            await asyncio.sleep(SETTLED_DOWN_S)

    async def _handlers_ended(self) -> None:
        for guard in self._guards:
            await guard.idle()

    async def _try_address(self) -> None:
        """Listen for a moment without grpc, which would write lines of its own and not say why it failed."""
        if self._terms.port == 0:
            return
        try:
            server = await asyncio.get_running_loop().create_server(asyncio.Protocol, self._terms.host, self._terms.port)
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else "no such address"
            raise AddressError(f"{self._terms.host}:{self._terms.port} cannot be listened on: {reason}") from error
        server.close()
        await server.wait_closed()


def _options(terms: ServerTerms) -> Sequence[tuple[str, int]]:
    return (
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", terms.message_in_max),
        ("grpc.max_send_message_length", terms.message_out_max),
        ("grpc.max_concurrent_streams", terms.concurrent_streams_max),
        ("grpc.keepalive_time_ms", int(terms.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(terms.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", int(terms.keepalive_permit_s * 1000)),
        ("grpc.max_connection_age_ms", int(terms.connection_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", int(terms.connection_grace_s * 1000)),
    )
