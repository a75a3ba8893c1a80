"""RouterService on grpc.aio: thin shims between the protocol and doors/rpc."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import grpc
from google.protobuf.message import Message

from junctor.doors.grpc_calls import Context, Route, Routes, api_key, unary
from junctor.doors.rpc.gate import Read, Visit
from junctor.doors.rpc.router import RouterRpc
from junctor.v1 import router_service_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["RouterService"].full_name


def routes(rpc: RouterRpc) -> Routes:
    """Return the service's methods by their paths."""

    async def stream(read: Read, context: Context, visit: Visit) -> None:
        await rpc.stream(read, api_key(context), context.time_remaining(), _sender(context, visit))

    return {
        f"/{SERVICE}/Complete": unary(rpc.complete),
        f"/{SERVICE}/Stream": Route(stream, streamed=True),
        f"/{SERVICE}/Explain": unary(rpc.explain),
        f"/{SERVICE}/Embed": unary(partial(rpc.unbuilt, "Embed")),
    }


def _sender(context: Context, visit: Visit) -> Callable[[Message], Awaitable[None]]:
    """Return the way to the caller, who is waited for while he takes a message.

    Where he has left, a write may fail before grpc cancels the call: that is the same end.
    """
    loop = asyncio.get_running_loop()

    async def send(message: Message) -> None:
        visit.waits_since = loop.time()
        try:
            await context.write(message)
        except grpc.aio.InternalError:
            raise asyncio.CancelledError from None
        visit.waits_since = None

    return send
