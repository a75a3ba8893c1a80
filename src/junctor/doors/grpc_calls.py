"""What every service on grpc.aio shares: the gate, requests as bytes, API keys, a JunctorError as a status with details.

Every method is served as one that takes a stream: only so is our code asked before grpc has read the request, and a caller can
be turned away, or given up, who has not sent it. Requests arrive as bytes, not messages: the generated registration would turn
malformed ones into UNKNOWN, and a caller is authenticated before his message is parsed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, NoReturn, TypeAlias

import grpc
from google.protobuf.message import Message

from junctor.domain.errors import DrainingError, InvalidFieldError, JunctorError
from junctor.doors.rpc.details import rich_status
from junctor.doors.rpc.gate import Gate, Visit

DETAILS_KEY = "grpc-status-details-bin"
BEARER = "bearer "

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, Message]"
Unary: TypeAlias = "Callable[[bytes, str | None, float | None], Awaitable[Message]]"
"""A method: from the request's bytes, the API key and the seconds that are left, to the response. Raises JunctorError."""
Serve: TypeAlias = "Callable[[bytes, Context, Visit], Awaitable[Message | None]]"
"""The same on grpc: from the request's bytes and its call. Raises JunctorError."""
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Route(NamedTuple):
    """What serves a method; `streamed` tells whether it writes its answers itself, and returns none."""

    serve: Serve
    streamed: bool = False


Routes: TypeAlias = Mapping[str, Route]
"""Methods by their paths, such as /junctor.v1.RouterService/Complete."""


def unary(method: Unary) -> Route:
    """Return a method with one answer as a route."""

    async def serve(body: bytes, context: Context, _: Visit) -> Message:
        return await method(body, api_key(context), context.time_remaining())

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


class _Handlers(grpc.GenericRpcHandler):
    """Finds a method with one look, whatever the number of services."""

    def __init__(self, methods: "Mapping[str, grpc.RpcMethodHandler[bytes, Message]]") -> None:
        self._methods = methods

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, Message] | None":
        """Return what serves a method, None if nothing does."""
        return self._methods.get(handler_call_details.method)


def _handler(route: Route, gate: Gate) -> "grpc.RpcMethodHandler[bytes, Message]":
    async def handle(_: object, context: Context) -> Message | None:
        try:
            with gate.visit() as visit:
                body = await context.read()
                if not isinstance(body, bytes):  # grpc.aio.EOF
                    raise InvalidFieldError(("request", "is missing"))
                visit.received(len(body))
                return await route.serve(body, context, visit)
        except JunctorError as error:
            if isinstance(error, DrainingError):
                await gate.released()
            await _abort(context, error)

    if route.streamed:
        return grpc.stream_stream_rpc_method_handler(handle, response_serializer=_serialize)
    return grpc.stream_unary_rpc_method_handler(handle, response_serializer=_serialize)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


async def _abort(context: Context, error: JunctorError) -> NoReturn:
    status = rich_status(error)
    details = ((DETAILS_KEY, status.SerializeToString()),)
    try:
        await context.abort(_CODES[status.code], status.message, details)
    except grpc.aio.InternalError:  # whoever was to hear it has left meanwhile; grpc would log it as a bug
        raise asyncio.CancelledError from None
