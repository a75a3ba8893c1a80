"""What every service on grpc.aio shares: the gate, requests as bytes, API keys, a JunctorError as a status with details.

Every method is served as one that takes a stream: only so is our code asked before grpc has read the request, and a caller can
be turned away, or given up, who has not sent it. What serves a method asks for the request when it knows the caller: until then
the core takes no more of it than a window (grpc_server), from whomever. Requests arrive as bytes, not messages: the generated
registration would turn malformed ones into UNKNOWN.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, NoReturn, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

from junctor.domain.errors import DrainingError, InvalidFieldError, JunctorError
from junctor.doors.rpc.details import rich_status
from junctor.doors.rpc.gate import Gate, Read, Visit

DETAILS_KEY = "grpc-status-details-bin"
BEARER = "bearer "
LEAVING_S = 0.1
"""How long grpc may take to tell that a caller has left whose request it does not await any more."""

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, Message]"
Unary: TypeAlias = "Callable[[Read, str | None, float | None], Awaitable[Message]]"
"""A method: from what reads the request, the API key and the seconds that are left, to the response. Raises JunctorError."""
Serve: TypeAlias = "Callable[[Read, Context, Visit], Awaitable[Message | None]]"
"""The same on grpc: from what reads the request, and its call. Raises JunctorError."""
Asked = TypeVar("Asked")
Answered = TypeVar("Answered")
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Route(NamedTuple):
    """What serves a method; `streamed` tells whether it writes its answers itself, and returns none."""

    serve: Serve
    streamed: bool = False


Routes: TypeAlias = Mapping[str, Route]
"""Methods by their paths, such as /junctor.v1.RouterService/Complete."""


def unary(method: Unary) -> Route:
    """Return a method with one answer as a route."""

    async def serve(read: Read, context: Context, _: Visit) -> Message:
        return await method(read, api_key(context), context.time_remaining())

    return Route(serve)


def handlers(routes: Routes, gate: Gate) -> grpc.GenericRpcHandler:
    """Return methods as grpc takes them, behind a gate."""
    return _Handlers({path: _handler(route, gate) for path, route in routes.items()})


def api_key(context: Context) -> str | None:
    """Return the API key of a call, None if it brings none."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value[: len(BEARER)].lower() == BEARER:
            return value[len(BEARER) :].strip()
    return None


def reader(context: Context, visit: Visit) -> Read:
    """Return what reads a call's request. It raises InvalidFieldError if there is none, OverloadedError if it is too much."""

    async def read(account: str) -> bytes:
        visit.expect(account)
        body = await context.read()
        if not isinstance(body, bytes):  # grpc.aio.EOF: no request; or nobody any more, and then grpc cancels the call
            await asyncio.sleep(LEAVING_S)
            raise InvalidFieldError(("request", "is missing"))
        visit.received(len(body))
        return body

    return read


class _Handlers(grpc.GenericRpcHandler):
    """Finds a method with one look, whatever the number of services."""

    def __init__(self, methods: "Mapping[str, grpc.RpcMethodHandler[bytes, Message]]") -> None:
        self._methods = methods

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, Message] | None":
        """Return what serves a method, None if nothing does."""
        return self._methods.get(handler_call_details.method)


def _handler(route: Route, gate: Gate) -> "grpc.RpcMethodHandler[bytes, Message]":
    async def handle(_: object, context: Context) -> bytes | None:
        try:
            with gate.visit() as visit:
                answer = await route.serve(reader(context, visit), context, visit)
        except JunctorError as error:
            if isinstance(error, DrainingError):
                await gate.released()
            await abort(context, error)
        if answer is None:
            return None
        written = answer.SerializeToString()
        delivered = gate.delivers(len(written))
        # The core keeps an answer until its caller has taken it, and grpc calls back then, or when he has left.
        context.add_done_callback(lambda _: delivered())  # type: ignore[arg-type]  # the types ask for a class of their own
        return written

    if route.streamed:
        return grpc.stream_stream_rpc_method_handler(handle, response_serializer=_serialize)
    return grpc.stream_unary_rpc_method_handler(handle)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


async def abort(context: "grpc.aio.ServicerContext[Asked, Answered]", error: JunctorError) -> NoReturn:
    """End a call with an error."""
    status = rich_status(error)
    details = ((DETAILS_KEY, status.SerializeToString()),)
    try:
        await context.abort(_CODES[status.code], status.message, details)
    except grpc.aio.InternalError:  # whoever was to hear it has left meanwhile; grpc would log it as a bug
        raise asyncio.CancelledError from None
