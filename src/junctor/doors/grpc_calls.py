"""What every service on grpc.aio shares: a JunctorError as a status with details, the caller's key, requests as bytes.

Requests arrive as bytes, not messages: the generated registration would turn malformed ones into UNKNOWN, and a caller is
authenticated before his message is parsed.
"""

from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

from junctor.domain.errors import JunctorError
from junctor.doors.rpc.details import rich_status

DETAILS_KEY = "grpc-status-details-bin"
BEARER = "bearer "

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, Message]"
Unary: TypeAlias = "Callable[[bytes, str | None, float | None], Awaitable[Message]]"
"""A method: from the request's bytes, the API key and the seconds that are left, to the response. Raises JunctorError."""
T = TypeVar("T")
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def unary(method: Unary) -> "grpc.RpcMethodHandler[bytes, Message]":
    """Return a method with one answer as grpc takes it."""

    async def handle(body: bytes, context: Context) -> Message:
        return await answered(context, lambda: method(body, api_key(context), context.time_remaining()))

    return grpc.unary_unary_rpc_method_handler(handle, response_serializer=serialize)


async def answered(context: Context, work: Callable[[], Awaitable[T]]) -> T:
    """Do a method's work, and turn a JunctorError into the call's status."""
    try:
        return await work()
    except JunctorError as error:
        await _abort(context, error)


def api_key(context: Context) -> str | None:
    """Return the API key of a call, None if it brings none."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value[: len(BEARER)].lower() == BEARER:
            return value[len(BEARER) :].strip()
    return None


def serialize(message: Message) -> bytes:
    """Write a message."""
    return message.SerializeToString()


async def _abort(context: Context, error: JunctorError) -> NoReturn:
    status = rich_status(error)
    details = ((DETAILS_KEY, status.SerializeToString()),)
    await context.abort(_CODES[status.code], status.message, details)
