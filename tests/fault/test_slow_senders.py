"""Slow senders on a small scale: what is kept of what they send, and what becomes of honest callers beside them."""

import asyncio

import grpc
import pytest

from junctor.doors.grpc_calls import Context, Route
from junctor.doors.grpc_server import WINDOW_BYTES
from junctor.doors.rpc import gate
from junctor.doors.rpc.gate import Bounds, Read, Visit
from junctor.v1.router_service_pb2 import CompleteResponse
from tests.fault.rapid_resets import PATH, honest
from tests.fault.slow_senders import Crawler
from tests.support.doors import answer_at_once, listener, route
from tests.support.pipeline import PATIENCE_S

SIZE, STREAMS = 2 << 20, 6
AT_ONCE = float(1 << 30)
"""Bytes in a second: as fast as the server takes them."""


async def test_no_more_than_a_window_is_taken_that_is_not_asked_for() -> None:
    """Strangers would fill the memory while it is looked up that nobody knows them: grpc itself lets them send all."""
    never = asyncio.Event()

    async def unknown(_read: Read, _context: Context, _visit: Visit) -> CompleteResponse:
        await never.wait()
        return CompleteResponse()

    async with listener({PATH: Route(unknown)}) as heard, Crawler(heard.port, lambda: (PATH, {}), SIZE) as peer:
        async with asyncio.timeout(3 * PATIENCE_S):
            await peer.crawl(STREAMS, AT_ONCE, 0.6)
    assert 0 < peer.told["bytes sent"] <= STREAMS * WINDOW_BYTES


async def test_honest_callers_are_answered_beside_slow_senders(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few connections that send without an end would take all memory, or keep everybody out."""
    monkeypatch.setattr(gate, "ARRIVING_S", 0.1)
    monkeypatch.setattr(gate, "WEIGH_EVERY_S", 0.02)
    bounds = Bounds(memory_max=2 * SIZE, request_max=SIZE)
    async with listener({PATH: route(answer_at_once)}, bounds) as heard, asyncio.timeout(6 * PATIENCE_S):
        async with Crawler(heard.port, lambda: (PATH, {}), SIZE) as peer:
            attack = asyncio.create_task(peer.crawl(STREAMS, AT_ONCE, PATIENCE_S))
            seen = await honest(heard.target, lambda: peer.told["ended by the server"] < STREAMS and not attack.done(), 4)
            attack.cancel()
            await asyncio.wait({attack})
        assert await heard.gate.empty(PATIENCE_S)
        async with grpc.aio.insecure_channel(heard.target) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PATH)
            await call(bytes(SIZE // gate.MEMORY_FACTOR), timeout=PATIENCE_S)
    assert seen.failed == {}
    assert seen.taken_ms
    assert peer.told["ended by the server"] >= STREAMS
    assert peer.told["bytes sent"] > SIZE, "the peer was not let send what it could"
