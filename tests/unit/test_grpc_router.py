"""The native shims where grpc itself is in the way."""

import asyncio
from typing import NoReturn, cast

import grpc
import pytest

from junctor.doors import grpc_router
from junctor.doors.grpc_calls import Context
from junctor.doors.rpc.gate import Bounds, Gate, Read
from junctor.doors.rpc.router import RouterRpc, Send
from junctor.v1.router_service_pb2 import StreamResponse
from tests.support.doors import at_hand


class OneMessage:
    """Answers every stream with one message, and nothing else."""

    async def complete(self, _read: Read, _api_key: str | None, _timeout_s: float | None) -> NoReturn:
        """Not asked."""
        raise AssertionError

    async def explain(self, _read: Read, _api_key: str | None, _timeout_s: float | None) -> NoReturn:
        """Not asked."""
        raise AssertionError

    async def unbuilt(self, _method: str, _read: Read, _api_key: str | None, _timeout_s: float | None) -> NoReturn:
        """Not asked."""
        raise AssertionError

    async def stream(self, _read: Read, _api_key: str | None, _timeout_s: float | None, send: Send) -> None:
        """Send it."""
        await send(StreamResponse())


class Gone:
    """A call whose caller has left, as grpc shows it before it cancels the call."""

    def invocation_metadata(self) -> tuple[()]:
        """Return none."""
        return ()

    def time_remaining(self) -> None:
        """Return none."""

    async def write(self, _message: StreamResponse) -> None:
        """Fail as grpc does."""
        raise grpc.aio.InternalError("Failed grpc_call_start_batch")


async def test_a_write_to_a_caller_who_left_is_his_cancel() -> None:
    """Every such race would be logged as a bug of ours, with an incident, though nothing is wrong."""
    served = grpc_router.routes(cast("RouterRpc", OneMessage()))[f"/{grpc_router.SERVICE}/Stream"]
    gate = Gate(Bounds(), lambda: 0.5, lambda _name, _fields: None)
    with pytest.raises(asyncio.CancelledError), gate.visit() as visit:
        await served.serve(at_hand(b""), cast("Context", Gone()), visit)
