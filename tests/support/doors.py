"""A listener without a router behind it: any methods, behind a real gate on a real server, on a loopback port."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from google.protobuf.message import Message

from junctor.doors.grpc_calls import Context, Route
from junctor.doors.grpc_server import GrpcServer, ServerTerms, Service
from junctor.doors.rpc.gate import Bounds, Gate, Read, Visit
from junctor.v1.router_service_pb2 import CompleteResponse

Events = list[tuple[str, Mapping[str, str | int]]]


def new_gate(bounds: Bounds | None = None, events: Events | None = None) -> Gate:
    """Return a gate that always draws the middle, and tells its events to a list."""
    told: Events = [] if events is None else events
    return Gate(bounds or Bounds(), lambda: 0.5, lambda name, fields: told.append((name, fields)))


def route(answer: Callable[[bytes, Context, Visit], Awaitable[Message | None]]) -> Route:
    """Return a method that asks for the request first, whoever calls."""

    async def serve(read: Read, context: Context, visit: Visit) -> Message | None:
        return await answer(await read(""), context, visit)

    return Route(serve)


def at_hand(body: bytes) -> Read:
    """Return what reads a request that is there."""

    async def read(_account: str) -> bytes:
        return body

    return read


async def answer_at_once(_body: bytes, _context: Context, _visit: Visit) -> CompleteResponse:
    """Answer with nothing."""
    return CompleteResponse()


@dataclass
class Listener:
    """A server, where it listens, and what it told."""

    server: GrpcServer
    gate: Gate
    port: int
    events: Events = field(default_factory=list)

    @property
    def target(self) -> str:
        """Return the address for a channel."""
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def listener(
    routes: Mapping[str, Route], bounds: Bounds | None = None, terms: ServerTerms | None = None
) -> AsyncGenerator[Listener, None]:
    """Serve methods by their paths until left."""
    events: Events = []
    gate = new_gate(bounds, events)
    server = GrpcServer((Service("test", routes),), terms or ServerTerms(port=0), gate)
    try:
        yield Listener(server, gate, await server.start(), events)
    finally:
        await server.drain(0)
