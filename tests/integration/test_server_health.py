"""Who asks for the health of a server is a stranger: what he may do, and what he is told."""

import asyncio
from typing import TypeAlias

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from junctor.doors import grpc_health
from tests.support.doors import Listener, listener
from tests.support.pipeline import PATIENCE_S

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
Begun: TypeAlias = "grpc.aio.StreamUnaryCall[bytes, bytes]"


def _begin(channel: grpc.aio.Channel, path: str = CHECK) -> Begun:
    """Begin a call whose request is still to be sent."""
    call: Begun = channel.stream_unary(path)(timeout=3 * PATIENCE_S)
    return call


async def _told(call: Begun) -> tuple[grpc.StatusCode, str]:
    """Return how a call was refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def _status(heard: Listener, service: str = "") -> HealthCheckResponse:
    async with grpc.aio.insecure_channel(heard.target) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK)
        answer = await call(HealthCheckRequest(service=service).SerializeToString(), timeout=PATIENCE_S)
    return HealthCheckResponse.FromString(answer)


@pytest.mark.parametrize("path", [CHECK, WATCH])
async def test_who_does_not_send_is_not_waited_for(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody could have the server gather requests that are never whole, until its memory is full."""
    monkeypatch.setattr(grpc_health, "ARRIVING_S", 0.05)
    async with listener({}) as heard, grpc.aio.insecure_channel(heard.target) as channel:
        code, _ = await _told(_begin(channel, path))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await _status(heard) == HealthCheckResponse(status=HealthCheckResponse.SERVING)


async def test_the_last_to_come_takes_the_place_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Balancers would take a server for sick because strangers begin requests; or strangers could begin any number."""
    monkeypatch.setattr(grpc_health, "ARRIVING_MAX", 2)
    monkeypatch.setattr(grpc_health, "ARRIVING_S", PATIENCE_S)
    async with listener({}) as heard, grpc.aio.insecure_channel(heard.target) as channel, asyncio.timeout(3 * PATIENCE_S):
        calls = [asyncio.create_task(_told(_begin(channel))) for _ in range(3)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert sum(call.done() for call in calls) == 1
        assert await _status(heard) == HealthCheckResponse(status=HealthCheckResponse.SERVING)
        # The second may have been told already, before the status came.
        while sum(call.done() for call in calls) < 2:
            await asyncio.wait({call for call in calls if not call.done()}, return_when=asyncio.FIRST_COMPLETED)
        ended = [call.result() for call in calls if call.done()]
        assert [code for code, _ in ended] == [grpc.StatusCode.UNAVAILABLE] * 2
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)


async def test_who_leaves_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each caller who leaves early would make the server deaf to one that stays."""
    monkeypatch.setattr(grpc_health, "ARRIVING_MAX", 1)
    monkeypatch.setattr(grpc_health, "ARRIVING_S", PATIENCE_S)
    async with listener({}) as heard, grpc.aio.insecure_channel(heard.target) as channel:
        for _ in range(3):
            leaving = _begin(channel)
            await asyncio.sleep(0.02)
            leaving.cancel()
            assert await _status(heard) == HealthCheckResponse(status=HealthCheckResponse.SERVING)


@pytest.mark.parametrize(
    ("send", "told"),
    [
        (None, "request: is missing"),
        (b"\xff", "request: is not a grpc.health.v1.HealthCheckRequest"),
    ],
)
async def test_a_request_that_is_none_is_told_so(send: bytes | None, told: str, caplog: pytest.LogCaptureFixture) -> None:
    """A probe that is wrong would be told UNKNOWN, and the log would have a stack for it."""
    async with listener({}) as heard, grpc.aio.insecure_channel(heard.target) as channel:
        call = _begin(channel)
        if send is not None:
            await call.write(send)
        await call.done_writing()
        assert await _told(call) == (grpc.StatusCode.INVALID_ARGUMENT, told)
    assert [record.getMessage() for record in caplog.records] == []


async def test_of_a_service_that_is_not_here_it_is_said() -> None:
    """A balancer with a misspelt name would take every server for well."""
    async with listener({}) as heard:
        assert await _status(heard, "test") == HealthCheckResponse(status=HealthCheckResponse.SERVING)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _status(heard, "tset")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
