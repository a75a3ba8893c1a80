"""The gate of a whole router: who is turned away costs nothing, and who does not send or read is given up."""

import asyncio
import struct
from collections import Counter
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from junctor.client import JunctorRpcError, complete_request, stream_request
from junctor.client.errors import read_status
from junctor.domain.lease import SlotState
from junctor.doors.rpc import gate
from junctor.doors.rpc.gate import RETRY_LEAST_S, RETRY_MOST_S
from junctor.policy.api_keys import LOOKUP_BYTES, SECRET_BYTES, mint
from junctor.v1.catalog_service_pb2 import ListModelsRequest
from junctor.v1.router_service_pb2 import CompleteRequest, CompleteResponse, StreamRequest, StreamResponse
from tests.support.doors import answer_at_once, listener, route
from tests.support.harness import Router
from tests.support.http2 import SETTINGS, Peer, frame, opening, request
from tests.support.pipeline import (
    MODEL,
    PATIENCE_S,
    SERVICE,
    bearer,
    ended,
    log_lines,
    one_endpoint,
    raw_channel,
    slots,
    until,
)
from tests.support.scripted_upstream import STREAM_HEAD, Request, Send, Step, Until, chat_answer, chat_chunk, chunk

INITIAL_WINDOW = 4
"""The setting of HTTP/2 that says how much may be sent on a stream before it is asked for."""

Begun: TypeAlias = "grpc.aio.StreamUnaryCall[bytes, bytes]"
"""A call whose request is still to be sent."""


async def _asked(router: Router, channel: grpc.aio.Channel, prompt: str = "Hi") -> str:
    """Call Complete; return OK, or the reason and its code."""
    complete = channel.unary_unary(
        f"/{SERVICE}/Complete",
        request_serializer=CompleteRequest.SerializeToString,
        response_deserializer=CompleteResponse.FromString,
    )
    try:
        await complete(complete_request(prompt, model=MODEL), metadata=bearer(router.api_key), timeout=3 * PATIENCE_S)
    except grpc.aio.AioRpcError as error:
        told = _read(error)
        assert told.retry_after_s is not None
        assert RETRY_LEAST_S <= told.retry_after_s <= RETRY_MOST_S
        return f"{told.code} {told.reason}"
    return "OK"


def _read(error: grpc.aio.AioRpcError) -> JunctorRpcError:
    return read_status(error.code().name, error.details() or "", error.trailing_metadata() or ())


def _begin(router: Router, channel: grpc.aio.Channel) -> Begun:
    """Begin a Complete with a valid key."""
    call: Begun = channel.stream_unary(f"/{SERVICE}/Complete")(metadata=bearer(router.api_key))
    return call


async def _told(call: Begun) -> JunctorRpcError:
    """Return how a call was refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call, PATIENCE_S)
    return _read(caught.value)


@pytest.mark.parametrize(
    ("setting", "value", "prompt", "served"),
    [("CALLS_MAX", "3", "Hi", 3), ("REQUESTS_MAX_BYTES", "1 MiB", "x" * 40_000, 3)],
)
async def test_who_is_too_much_is_turned_away(setting: str, value: str, prompt: str, served: int, tmp_path: Path) -> None:
    """A crowd would be taken in until memory is out; or those turned away would hold money, or room for ever."""
    answer = asyncio.Event()
    crowd = served + 4
    script: list[Step] = [Until(answer), *chat_answer("Hi.")]
    async with one_endpoint(tmp_path, script, settings={f"JUNCTOR_{setting}": value}) as (router, upstream):
        async with raw_channel(router) as channel:
            calls = [asyncio.create_task(_asked(router, channel, prompt)) for _ in range(crowd)]

            async def crowded() -> bool | None:
                return (len(upstream.requests) == served and sum(call.done() for call in calls) == crowd - served) or None

            await until(crowded)
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=HealthCheckRequest.SerializeToString,
                response_deserializer=HealthCheckResponse.FromString,
            )
            assert (await check(HealthCheckRequest(), timeout=PATIENCE_S)).status == HealthCheckResponse.SERVING
            # A caller who leaves makes room for one.
            next(call for call in calls if not call.done()).cancel()

            async def let_in() -> bool | None:
                if calls[-1].done() and len(upstream.requests) == served:
                    calls[-1] = asyncio.create_task(_asked(router, channel, prompt))
                return len(upstream.requests) > served or None

            calls.append(asyncio.create_task(_asked(router, channel, prompt)))
            await until(let_in)
            answer.set()
            ends = Counter(str(end) for end in await asyncio.gather(*calls, return_exceptions=True))
            assert await _asked(router, channel, prompt) == "OK"
        assert len(upstream.requests) == served + 2
        states = Counter(record.state for record in await slots(router))
        lines = Counter(line["status"] for line in log_lines(router))
        assert lines.total() - lines["OVERLOADED"] == served + 2
    assert ends == {"OK": served, "UNAVAILABLE OVERLOADED": crowd - served, "": 1}
    assert states == {SlotState.SETTLED: served + 1, SlotState.VOID: 1}


def _endless(_request: Request) -> Iterator[Step]:
    """Answer without end, a lot at a time."""
    yield Send(STREAM_HEAD)
    yield from repeat(Send(chunk(chat_chunk({"content": "x" * 50_000}))))


async def test_a_stream_that_is_not_read_is_cut(tmp_path: Path) -> None:
    """A caller who stops reading would hold his stream, and what a provider sends, for ever, or get it for nothing."""
    async with one_endpoint(tmp_path, _endless, settings={"JUNCTOR_PATIENCE_S": "0.4"}) as (router, upstream):
        async with raw_channel(router) as channel:
            stream = channel.unary_stream(
                f"/{SERVICE}/Stream",
                request_serializer=StreamRequest.SerializeToString,
                response_deserializer=StreamResponse.FromString,
            )(stream_request("Hi", model=MODEL), metadata=bearer(router.api_key), timeout=3 * PATIENCE_S)
            await stream.read()
            await upstream.requests[0].gone()
            record = await ended(router)

            async def read_on() -> None:
                while await stream.read() is not grpc.aio.EOF:
                    pass

            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await read_on()
        assert log_lines(router)[-1]["status"] == "STREAM_INTERRUPTED"
        assert log_lines(router, "incident") == []
    error = _read(caught.value)
    assert (error.code, error.reason) == ("ABORTED", "STREAM_INTERRUPTED")
    assert error.metadata["generation_id"] == record.id
    assert (record.state, record.estimated) == (SlotState.SETTLED, True)
    assert record.output_tokens > 0


async def test_answers_that_nobody_takes_are_counted(tmp_path: Path) -> None:
    """Whoever has a key could ask for long lists without end and read none: all of them would lie in the server's memory."""
    asking = ListModelsRequest(page_size=1000).SerializeToString()
    path, settings = "/junctor.v1.CatalogService/ListModels", {"JUNCTOR_REQUESTS_MAX_BYTES": "2 MiB"}
    async with one_endpoint(tmp_path, chat_answer("Hi."), settings=settings) as (router, _), raw_channel(router) as channel:
        async with Peer(int(router.target.rpartition(":")[2])) as peer:
            # Such a peer lets nothing be sent on its streams, ever.
            await peer.send(frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW, 0)))
            for _ in range(8):
                stream = peer.next_stream()
                await peer.send(opening(stream, path, *bearer(router.api_key)) + request(stream, asking))

            async def full() -> bool | None:
                return await _asked(router, channel) == "UNAVAILABLE OVERLOADED" or None

            await until(full)

        async def free() -> bool | None:
            return await _asked(router, channel) == "OK" or None

        await until(free)


async def test_a_request_that_is_not_sent_is_given_up(tmp_path: Path) -> None:
    """Callers who begin requests and never send them would fill a server."""
    settings = {"JUNCTOR_PATIENCE_S": "0.2", "JUNCTOR_CALLS_MAX": "2"}
    async with one_endpoint(tmp_path, chat_answer("Hi."), settings=settings) as (router, _), raw_channel(router) as channel:
        begun = [_begin(router, channel) for _ in range(2)]
        errors = await asyncio.gather(*map(_told, begun))
        assert await _asked(router, channel) == "OK"
    assert [(error.code, error.metadata) for error in errors] == [("DEADLINE_EXCEEDED", {"stage": "receipt"})] * 2


async def test_late_requests_make_room_and_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that come slowly would fill the memory beside its bound, and nobody could see whose they are."""
    monkeypatch.setattr(gate, "ARRIVING_S", 0.05)
    monkeypatch.setattr(gate, "WEIGH_EVERY_S", 0.05)
    settings = {"JUNCTOR_REQUESTS_MAX_BYTES": "1 MiB", "JUNCTOR_MESSAGE_IN_MAX_BYTES": "1 MiB"}
    async with one_endpoint(tmp_path, chat_answer("Hi."), settings=settings) as (router, _), raw_channel(router) as channel:
        slow = [asyncio.create_task(_told(_begin(router, channel))) for _ in range(2)]
        ended, going = await asyncio.wait(slow, return_when=asyncio.FIRST_COMPLETED)
        assert (len(ended), len(going)) == (1, 1), "there is room for one"
        assert await _asked(router, channel) == "OK", "it makes room for who is in time"
        errors = await asyncio.gather(*slow)
        lines = log_lines(router)
    assert [(error.code, error.reason, error.metadata) for error in errors] == [
        ("UNAVAILABLE", "OVERLOADED", {"limit": "memory"})
    ] * 2
    assert Counter((line["status"], line["account"]) for line in lines) == {
        ("OVERLOADED", router.account): 2,
        ("OK", router.account): 1,
    }


@pytest.mark.parametrize("api_key", [None, "", "jk-0", "unknown"])
@pytest.mark.parametrize("method", ["Complete", "Stream", "Explain", "Embed"])
async def test_a_request_of_a_stranger_is_not_waited_for(method: str, api_key: str | None, tmp_path: Path) -> None:
    """Whoever reaches the port could fill the memory with requests that are never whole."""
    if api_key == "unknown":
        api_key = mint(bytes(LOOKUP_BYTES), bytes(SECRET_BYTES))
    async with one_endpoint(tmp_path, chat_answer("Hi.")) as (router, _), raw_channel(router) as channel:
        call: Begun = channel.stream_unary(f"/{SERVICE}/{method}")(metadata=None if api_key is None else bearer(api_key))
        error = await _told(call)
    assert (error.code, error.reason) == ("UNAUTHENTICATED", "API_KEY_INVALID")


async def test_who_leaves_before_he_has_sent_is_no_mistake(tmp_path: Path) -> None:
    """The log would blame every caller who changes his mind for a request that is wrong."""
    async with one_endpoint(tmp_path, chat_answer("Hi.")) as (router, _), raw_channel(router) as channel:
        for after_s in (0.02, 0.05):
            call = _begin(router, channel)
            await asyncio.sleep(after_s)
            call.cancel()

        async def logged() -> list[str] | None:
            lines = [line["status"] for line in log_lines(router)]
            return lines if len(lines) == 2 else None

        assert await until(logged) == ["CANCELLED"] * 2


async def test_a_call_without_a_request_is_told_so(tmp_path: Path) -> None:
    """A client with a bug would wait until its deadline, and learn nothing."""
    async with one_endpoint(tmp_path, chat_answer("Hi.")) as (router, _), raw_channel(router) as channel:
        call = _begin(router, channel)
        await call.done_writing()
        error = await _told(call)
    assert (error.code, error.field_violations) == ("INVALID_ARGUMENT", (("request", "is missing"),))


async def test_a_request_over_the_limit_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    """Each request that is too long would write a stack into the log, or keep its room."""
    path = "/test/Call"
    async with listener({path: route(answer_at_once)}) as heard, grpc.aio.insecure_channel(heard.target) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"x" * (21 << 20), timeout=PATIENCE_S)
        assert await heard.gate.empty(PATIENCE_S)
        for cut_after_s in (0.0, 0.001, 0.01):
            cut = call(b"x" * (19 << 20))
            await asyncio.sleep(cut_after_s)
            cut.cancel()
        assert await heard.gate.empty(PATIENCE_S)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [record.getMessage() for record in caplog.records if record.name.startswith("grpc")] == []
