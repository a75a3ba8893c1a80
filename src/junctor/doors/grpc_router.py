"""RouterService on grpc.aio: thin shims between the protocol and doors/rpc.

Requests arrive as bytes, not messages: the generated registration would turn malformed ones into UNKNOWN, and a caller is
authenticated before his message is parsed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

from junctor.domain.errors import JunctorError
from junctor.doors.rpc.details import rich_status
from junctor.doors.rpc.router import RouterRpc
from junctor.v1 import router_service_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["RouterService"].full_name
DETAILS_KEY = "grpc-status-details-bin"
BEARER = "bearer "

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, Message]"
T = TypeVar("T")
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def handlers(rpc: RouterRpc) -> grpc.GenericRpcHandler:
    """Return the service as grpc takes it."""

    async def complete(body: bytes, context: Context) -> Message:
        return await _answered(context, lambda: rpc.complete(body, _api_key(context), context.time_remaining()))

    async def stream(body: bytes, context: Context) -> None:
        await _answered(context, lambda: rpc.stream(body, _api_key(context), context.time_remaining(), _sender(context)))

    def unbuilt(method: str) -> "grpc.RpcMethodHandler[bytes, Message]":
        async def refuse(_: bytes, context: Context) -> None:
            await _answered(context, lambda: rpc.unbuilt(method, _api_key(context), context.time_remaining()))

        return grpc.unary_unary_rpc_method_handler(refuse, response_serializer=_serialize)

    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Complete": grpc.unary_unary_rpc_method_handler(complete, response_serializer=_serialize),
            "Stream": grpc.unary_stream_rpc_method_handler(stream, response_serializer=_serialize),
            "Explain": unbuilt("Explain"),
            "Embed": unbuilt("Embed"),
        },
    )


async def _answered(context: Context, work: Callable[[], Awaitable[T]]) -> T:
    try:
        return await work()
    except JunctorError as error:
        await _abort(context, error)


async def _abort(context: Context, error: JunctorError) -> NoReturn:
    status = rich_status(error)
    details = ((DETAILS_KEY, status.SerializeToString()),)
    await context.abort(_CODES[status.code], status.message, details)


def _sender(context: Context) -> Callable[[Message], Awaitable[None]]:
    """Return the way to the caller. Where he has left, a write may fail before grpc cancels the call: that is the same end."""

    async def send(message: Message) -> None:
        try:
            await context.write(message)
        except grpc.aio.InternalError:
            raise asyncio.CancelledError from None

    return send


def _api_key(context: Context) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value[: len(BEARER)].lower() == BEARER:
            return value[len(BEARER) :].strip()
    return None


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
