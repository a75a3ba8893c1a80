"""The life of the native server: listen, serve, drain.

Draining, in this order: NOT_SERVING, and whoever calls is turned away (DRAINING), while balancers take note; then those who are
turned away are left without an answer for a moment, so that nobody is on his way when grpc stops: its core says CANCELLED to
calls that it had taken and not handed over yet, and no client repeats those. Then grpc stops and those who waited are answered;
the calls under way may end within the grace; what is left is ended from here, settles, and is told how far it came. Calls that
watch the health never end by themselves and are not waited for.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import grpc
from grpc_reflection.v1alpha import reflection
from msgspec import Struct

from junctor.doors import grpc_health
from junctor.doors.addresses import AddressError, refused
from junctor.doors.grpc_calls import Routes, handlers
from junctor.doors.rpc.gate import Gate


class ServerTerms(Struct, frozen=True, kw_only=True):
    """How the server listens. Sizes in bytes, times in seconds; `port` 0 takes a free one.

    With `credentials` it speaks TLS, without it plain text. With `reuse_port` other processes may listen on the same port.

    `concurrent_streams_max` lies above what an honest client has under way on a connection: near it, the overload protection of
    grpc counts calls that have ended and are not freed yet, and refuses new ones at random. It is also how many streams that
    were reset at once may stand before an honest call (decision 016).
    """

    host: str = "127.0.0.1"
    port: int = 50051
    credentials: grpc.ServerCredentials | None = None
    reuse_port: bool = False
    message_in_max: int = 20 << 20
    message_out_max: int = 64 << 20
    reflection: bool = False
    keepalive_s: float = 60.0
    keepalive_timeout_s: float = 20.0
    keepalive_permit_s: float = 30.0
    connection_age_s: float = 300.0
    connection_grace_s: float = 960.0
    concurrent_streams_max: int = 250


WINDOW_BYTES = 256 << 10
"""How much the core takes, of each call, that our code has not asked for, and of a connection before it says that it has room
for more. Left to itself the core lets this grow with what a connection carries, past 16 MiB for each call (decision 016)."""

LAME_DUCK_S = 1.0
"""How long a server that drains and still has calls under way answers those whom it turns away."""

_IDENTITY_AND_GZIP = 1 << 0 | 1 << 2
"""The ways of compression that requests may use and answers have: every other is one decoder more for strangers' bytes."""

QUIET_S, QUIET_SHARE, HUSH_S = 0.5, 1 / 200, 1.5
"""How long nobody may have called before nobody is taken to be on his way, in seconds and at most this share of the grace; and
how long those who are turned away may be left without an answer for that."""

HANDLERS_END_S = 2.0
"""How long the calls that are ended from here may take to notice."""

LAST_BYTES_S, LAST_BYTES_LEAST_S = 1.0, 0.1
"""How long the core may take to send what calls have written: usually, and where no grace is given."""


class Service(NamedTuple):
    """A service to be served: its full name and its methods."""

    name: str
    routes: Routes


class GrpcServer:
    """One listener of a process, with its services and their health."""

    def __init__(self, services: Sequence[Service], terms: ServerTerms, gate: Gate) -> None:
        self._terms = terms
        self._gate = gate
        self._names = tuple(service.name for service in services)
        self._health = grpc_health.Health(self._names)
        self._draining = False
        self._server = grpc.aio.server(options=_options(terms))
        routes = {path: route for service in services for path, route in service.routes.items()}
        self._server.add_generic_rpc_handlers((handlers(routes, gate), self._health.handlers()))
        if terms.reflection:
            reflection.enable_server_reflection((*self._names, grpc_health.SERVICE, reflection.SERVICE_NAME), self._server)

    async def start(self) -> int:
        """Listen and return the port.

        Raises:
            AddressError: the address is in use or not this machine's.
        """
        await self._try_address()
        host = f"[{self._terms.host}]" if ":" in self._terms.host else self._terms.host
        address, credentials = f"{host}:{self._terms.port}", self._terms.credentials
        try:
            port = (
                self._server.add_insecure_port(address)
                if credentials is None
                else self._server.add_secure_port(address, credentials)
            )
        except RuntimeError:
            port = 0
        if port == 0:
            raise AddressError(f"{address} cannot be listened on: in use, or not an address of this machine")
        await self._server.start()
        await self.report(serving=True)
        return port

    async def report(self, *, serving: bool) -> None:
        """Tell balancers whether calls are welcome here; a server that drains stays NOT_SERVING."""
        await self._health.report(serving=serving and not self._draining)

    async def drain(self, grace_s: float) -> None:
        """Turn callers away, let calls under way end within the grace, and stop."""
        loop = asyncio.get_running_loop()
        until = loop.time() + grace_s
        self._draining = True
        self._gate.close()
        await self.report(serving=False)
        if grace_s > 0:
            await self._gate.empty(min(LAME_DUCK_S, grace_s))
            await self._gate.hush(min(QUIET_S, QUIET_SHARE * grace_s), min(HUSH_S, until - loop.time()))
        # The first step of stopping tells every client to go elsewhere; whoever is answered after it hears that first.
        stopping = asyncio.create_task(self._server.stop(max(until - loop.time(), 0) + HANDLERS_END_S + LAST_BYTES_S))
        await asyncio.sleep(0)
        self._gate.release()
        if not await self._gate.empty(until - loop.time()):
            self._gate.end()
            await self._gate.empty(HANDLERS_END_S)
        await self._server.stop(min(LAST_BYTES_S, max(grace_s, LAST_BYTES_LEAST_S)))
        await stopping

    async def _try_address(self) -> None:
        """Take the address for a moment without grpc, which would write lines of its own and not say why it failed.

        It is not listened on: whom it is shared with keeps every connection.
        """
        terms = self._terms
        if terms.port == 0:
            return
        try:
            server = await asyncio.get_running_loop().create_server(
                asyncio.Protocol, terms.host, terms.port, reuse_port=terms.reuse_port, start_serving=False
            )
        except OSError as error:
            raise refused(f"{terms.host}:{terms.port}", error) from error
        server.close()
        await server.wait_closed()


def _options(terms: ServerTerms) -> Sequence[tuple[str, int]]:
    return (
        ("grpc.so_reuseport", int(terms.reuse_port)),
        ("grpc.max_receive_message_length", terms.message_in_max),
        ("grpc.max_send_message_length", terms.message_out_max),
        ("grpc.max_concurrent_streams", terms.concurrent_streams_max),
        ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_AND_GZIP),
        ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.keepalive_time_ms", int(terms.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(terms.keepalive_timeout_s * 1000)),
        # Without this one the core waits a minute, whatever the one above says (measured with grpcio 1.85.1).
        ("grpc.http2.ping_timeout_ms", int(terms.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", int(terms.keepalive_permit_s * 1000)),
        ("grpc.max_connection_age_ms", int(terms.connection_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", int(terms.connection_grace_s * 1000)),
    )
