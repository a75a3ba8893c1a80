"""Rapid resets on a small scale: honest calls beside them are answered, and nothing is left behind."""

import asyncio
import logging

import grpc
import pytest

from junctor.doors.grpc_calls import Context
from junctor.doors.rpc.gate import Visit
from junctor.v1.router_service_pb2 import CompleteResponse
from tests.fault.rapid_resets import PATH, honest, hostile
from tests.support.doors import listener, route
from tests.support.pipeline import PATIENCE_S

RESETS = 2000


async def test_honest_callers_are_answered_beside_rapid_resets(caplog: pytest.LogCaptureFixture) -> None:
    """One connection could stop a server, or leave calls in it that never end (CVE-2023-44487)."""
    caplog.set_level(logging.WARNING)
    begun = 0

    async def answer(_body: bytes, _context: Context, _visit: Visit) -> CompleteResponse:
        nonlocal begun
        begun += 1
        return CompleteResponse()

    async with listener({PATH: route(answer)}) as heard, asyncio.timeout(6 * PATIENCE_S):
        attack = asyncio.create_task(hostile(heard.port, RESETS))
        seen = await honest(heard.target, lambda: not attack.done(), 4)
        await attack
        assert await heard.gate.empty(PATIENCE_S)
        async with grpc.aio.insecure_channel(heard.target) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PATH)
            await call(b"", timeout=PATIENCE_S)
    assert seen.failed == {}
    assert seen.taken_ms
    assert begun == len(seen.taken_ms) + 1, "a call without a request was begun"
    assert [record.getMessage() for record in caplog.records] == []
