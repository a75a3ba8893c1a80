"""RouterService on grpc.aio: thin shims between the protocol and doors/rpc."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import grpc
from google.protobuf.message import Message

from junctor.doors.grpc_calls import Context, answered, api_key, serialize, unary
from junctor.doors.rpc.router import RouterRpc
from junctor.v1 import router_service_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["RouterService"].full_name


def handlers(rpc: RouterRpc) -> grpc.GenericRpcHandler:
    """Return the service as grpc takes it."""

    async def stream(body: bytes, context: Context) -> None:
        await answered(context, lambda: rpc.stream(body, api_key(context), context.time_remaining(), _sender(context)))

    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Complete": unary(rpc.complete),
            "Stream": grpc.unary_stream_rpc_method_handler(stream, response_serializer=serialize),
            "Explain": unary(rpc.explain),
            "Embed": unary(partial(rpc.unbuilt, "Embed")),
        },
    )


def _sender(context: Context) -> Callable[[Message], Awaitable[None]]:
    """Return the way to the caller. Where he has left, a write may fail before grpc cancels the call: that is the same end."""

    async def send(message: Message) -> None:
        try:
            await context.write(message)
        except grpc.aio.InternalError:
            raise asyncio.CancelledError from None

    return send
