"""What the server asks of connections (errors.md): how old they grow, how often they may be pinged, whether they still live."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import grpc
import pytest

from junctor.doors.grpc_calls import Context
from junctor.doors.grpc_server import ServerTerms
from junctor.doors.rpc.gate import Gate, Visit
from junctor.v1.router_service_pb2 import CompleteResponse
from tests.support.doors import Listener, listener, route
from tests.support.http2 import (
    ACK,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    PING,
    SETTINGS,
    Peer,
    frame,
    opening,
    ping,
    request,
)
from tests.support.pipeline import PATIENCE_S, until

PATH = "/test/Call"


@asynccontextmanager
async def _holding(terms: ServerTerms) -> AsyncGenerator[tuple[Listener, asyncio.Event, asyncio.Event], None]:
    """Serve a method that waits: its first event is set by a call that has begun, its second lets calls end."""
    begun, end = asyncio.Event(), asyncio.Event()

    async def hold(_body: bytes, _context: Context, _visit: Visit) -> CompleteResponse:
        begun.set()
        await end.wait()
        return CompleteResponse()

    async with listener({PATH: route(hold)}, terms=terms) as heard, asyncio.timeout(3 * PATIENCE_S):
        yield heard, begun, end


async def test_a_connection_that_is_old_ends_and_its_calls_do_not() -> None:
    """Callers would stay on one instance for ever whatever is added beside it; or lose their answers when told to go."""
    async with _holding(ServerTerms(port=0, connection_age_s=0.3)) as (heard, begun, end), Peer(heard.port) as peer:
        await peer.send(opening(1, PATH) + request(1))
        await begun.wait()
        told = await peer.until(GOAWAY)
        end.set()
        answered = await peer.until(HEADERS)
    assert (told.error, answered.stream) == (NO_ERROR, 1)


async def test_a_call_that_outlasts_the_age_and_its_grace_is_ended() -> None:
    """One caller who never ends his call would keep an old connection, and what it holds."""
    terms = ServerTerms(port=0, connection_age_s=0.2, connection_grace_s=0.2)
    async with _holding(terms) as (heard, begun, _), Peer(heard.port) as peer:
        await peer.send(opening(1, PATH) + request(1))
        await begun.wait()
        while await peer.frames():
            pass
        assert await heard.gate.empty(PATIENCE_S)


async def test_who_pings_too_often_is_told_to_calm_down() -> None:
    """A client with a bug, or a will, would keep a core busy with answers to nothing."""
    async with _holding(ServerTerms(port=0)) as (heard, _, _), Peer(heard.port) as peer:
        await peer.send(opening(1, PATH))
        await peer.send(b"".join(ping() for _ in range(10)))
        told = await peer.until(GOAWAY)
    assert (told.error, told.payload[8:]) == (ENHANCE_YOUR_CALM, b"too_many_pings")


async def test_who_pings_as_often_as_allowed_may_go_on() -> None:
    """Clients that keep their connections alive through balancers would be thrown out."""
    async with _holding(ServerTerms(port=0, keepalive_permit_s=0.05)) as (heard, _, end), Peer(heard.port) as peer:
        end.set()
        for _ in range(6):
            await peer.send(ping())
            assert (await peer.until(PING)).flags == ACK
            await asyncio.sleep(0.1)
        await peer.send(opening(1, PATH) + request(1))
        assert (await peer.until(HEADERS)).stream == 1


async def test_who_has_vanished_is_noticed() -> None:
    """A call whose caller's machine has lost its power would run, and be paid for, to its end."""
    terms = ServerTerms(port=0, keepalive_s=0.2, keepalive_timeout_s=0.2)
    async with _holding(terms) as (heard, begun, _), Peer(heard.port) as peer:
        await peer.send(opening(1, PATH) + request(1))
        await begun.wait()
        assert await heard.gate.empty(PATIENCE_S)


async def test_who_answers_is_not_taken_for_vanished() -> None:
    """Every caller of a model that thinks would be cut after a minute."""
    terms = ServerTerms(port=0, keepalive_s=0.1, keepalive_timeout_s=PATIENCE_S)
    async with _holding(terms) as (heard, begun, end), Peer(heard.port) as peer:
        await peer.send(opening(1, PATH) + request(1))
        await begun.wait()
        for _ in range(3):
            asked = await peer.until(PING)
            await peer.send(frame(PING, ACK, 0, asked.payload))
        end.set()
        assert (await peer.until(HEADERS)).stream == 1


async def test_no_more_streams_on_a_connection_than_may_be() -> None:
    """One connection would take all the room there is for everybody."""
    calls, most = 12, 4
    async with _holding(ServerTerms(port=0, concurrent_streams_max=most)) as (heard, begun, end), Peer(heard.port) as peer:
        await peer.send(b"".join(opening(stream, PATH) + request(stream) for stream in range(1, 2 * calls, 2)))
        await begun.wait()

        async def full() -> bool | None:
            return heard.gate.under_way == most or None

        await until(full)
        async with grpc.aio.insecure_channel(heard.target) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PATH)
            other = asyncio.ensure_future(call(b"", timeout=PATIENCE_S))
            most += 1
            await until(full)
            end.set()
            await other


async def test_who_comes_last_hears_that_the_server_goes_before_his_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """He would call the same server again while it stops, and be told CANCELLED by grpc, which he does not repeat."""
    came, hush, visit = asyncio.Event(), Gate.hush, Gate.visit

    def coming(gate: Gate) -> Visit:
        came.set()
        return visit(gate)

    async def hush_until_he_came(gate: Gate, _quiet_s: float, _within_s: float) -> None:
        await hush(gate, 0, 0)
        await peer.send(opening(1, PATH) + request(1))
        await came.wait()

    monkeypatch.setattr(Gate, "visit", coming)
    monkeypatch.setattr(Gate, "hush", hush_until_he_came)
    async with _holding(ServerTerms(port=0)) as (heard, _, _), Peer(heard.port) as peer:
        await peer.until(SETTINGS)
        draining = asyncio.create_task(heard.server.drain(PATIENCE_S))
        told: list[int] = []
        while HEADERS not in told:
            told += [each.kind for each in await peer.frames()]
        await draining
    assert GOAWAY in told[: told.index(HEADERS)]
