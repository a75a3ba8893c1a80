"""A streamed answer, and every way in which it can break off, stall or be left."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from junctor.adapters.net.face import Limits
from junctor.domain.completion import CompletionSpec, Delta, FinishReason, Message, Role, StreamEnd, TextPart, Usage
from junctor.domain.routing import Failure, FailureKind, Timers
from junctor.ports.upstream import Batch
from tests.support.gateway_rig import MESSAGES, SECRET, SPEC, TIMERS, batches, candidate, end_of, failure_of, gateway, text_of
from tests.support.scripted_upstream import (
    DONE,
    STREAM_HEAD,
    Close,
    Request,
    Reset,
    Script,
    ScriptedUpstream,
    Send,
    Stall,
    Step,
    Wait,
    WaitClosed,
    chat_answer,
    chat_chunk,
    chat_stream,
    chunk,
    event,
    head,
    refused_base_url,
    status,
    tool_stream,
)

FIRST = Timers(connect_s=5.0, first_token_s=0.2, idle_s=5.0, total_s=10.0)
IDLE = Timers(connect_s=5.0, first_token_s=5.0, idle_s=0.2, total_s=10.0)
TOTAL = Timers(connect_s=5.0, first_token_s=5.0, idle_s=5.0, total_s=0.3)

HELLO = Send(STREAM_HEAD + chunk(chat_chunk({"content": "Hello"})))


async def stream(script: Script, timers: Timers = TIMERS, spec: CompletionSpec = SPEC) -> list[Batch]:
    """Stream from a provider that answers with this script."""
    async with ScriptedUpstream(script) as upstream, gateway(limits=Limits(answer_bytes_max=4 * 1024 * 1024)) as gate:
        return await asyncio.wait_for(batches(gate, upstream.base_url, timers, spec), 10.0)


async def test_a_stream_with_its_end() -> None:
    """The plainest stream of all: every text in order, then why it ended and what it used."""
    async with (
        ScriptedUpstream(chat_stream(["Hel", "lo", "."], usage=(7, 3), per_chunk_delay=0.01)) as upstream,
        gateway() as gate,
    ):
        taken = await batches(gate, upstream.base_url)
    assert text_of(taken) == "Hello."
    end = end_of(taken)
    assert isinstance(end, StreamEnd)
    assert end.usage == Usage(input_tokens=7, output_tokens=3)
    assert end.choices[0].finish_reason is FinishReason.STOP
    request = upstream.requests[0]
    assert request.json["stream"] is True
    assert request.headers["accept"] == "text/event-stream"
    assert request.headers["authorization"] == f"Bearer {SECRET}"


async def test_a_streamed_tool_call() -> None:
    """Fragments of arguments that are lost or doubled make JSON that no tool can read."""
    taken = await stream(tool_stream("weather", ['{"ci', 'ty":1}'], per_chunk_delay=0.01))
    fragments = [piece for batch in taken for part in batch if isinstance(part, Delta) for piece in part.tool_calls]
    assert fragments[0].name == "weather"
    assert "".join(piece.arguments or "" for piece in fragments) == '{"city":1}'
    end = end_of(taken)
    assert isinstance(end, StreamEnd)
    assert end.choices[0].finish_reason is FinishReason.TOOL_CALLS


async def test_events_read_together_leave_together() -> None:
    """Events that are taken apart again cost a message each, under load the most of all CPU time."""
    three = b"".join(chunk(chat_chunk({"content": text})) for text in "abc")
    rest = chunk(chat_chunk({"content": "d"})) + chunk(chat_chunk(finish="stop")) + chunk(DONE) + chunk(b"")
    taken = await stream([Send(STREAM_HEAD), Wait(0.05), Send(three), Wait(0.05), Send(rest)])
    assert [len(batch) for batch in taken] == [3, 2]


async def test_an_event_cut_anywhere_is_read_whole() -> None:
    """Networks cut where they like, within a character too."""
    data = chunk(chat_chunk({"content": "héllo"}) + chat_chunk(finish="stop") + DONE)

    def bytewise(_request: Request) -> Iterator[Step]:
        yield Send(STREAM_HEAD)
        for number in range(len(data)):
            yield Send(data[number : number + 1])
            yield Wait(0)
        yield Send(chunk(b""))

    assert text_of(await stream(bytewise)) == "héllo"


async def test_dropped_parameters_are_told_at_the_end() -> None:
    """A parameter that was left out in silence looks to the caller like a model that ignores it."""
    end = end_of(await stream(chat_stream(["a"]), spec=CompletionSpec(model="test/model", messages=MESSAGES, top_k=5)))
    assert isinstance(end, StreamEnd)
    assert end.dropped == ("top_k",)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ([Reset()], FailureKind.RESET),
        ([Close()], FailureKind.RESET),
        ([Send(STREAM_HEAD), Wait(0.02), Reset()], FailureKind.RESET),
        ([Send(STREAM_HEAD + chunk(b": wait\n\n")), Wait(0.02), Close()], FailureKind.RESET),
        ([Send(STREAM_HEAD + chunk(b""))], FailureKind.MALFORMED),
        ([Send(STREAM_HEAD + chunk(DONE) + chunk(b""))], FailureKind.MALFORMED),
        ([Send(STREAM_HEAD + chunk(event({"error": {"message": "no capacity"}}))), WaitClosed()], FailureKind.SERVER),
        (status(200, b'{"error": {"message": "no capacity"}}'), FailureKind.SERVER),
        (status(200, b'{\n  "error": {\n    "message": "no capacity"\n  }\n}\n'), FailureKind.SERVER),
        (chat_answer("whole"), FailureKind.MALFORMED),
        (status(302, headers={"location": "http://127.0.0.1:9/"}), FailureKind.REDIRECT),
        (status(429, b"", {"retry-after": "2"}), FailureKind.THROTTLED),
        (status(503, b"<html>"), FailureKind.SERVER),
    ],
)
async def test_before_the_first_token_another_may_take_over(script: list[Step], kind: FailureKind) -> None:
    """A failure that claims content had come would keep the call from its fallback."""
    taken = await stream(script)
    assert len(taken) == 1
    failure = failure_of(taken)
    assert (failure.kind, failure.committed) == (kind, False)


@pytest.mark.parametrize(
    ("rest", "kind"),
    [
        ([Reset()], FailureKind.RESET),
        ([Close()], FailureKind.RESET),
        ([Send(b"no chunk\r\n")], FailureKind.MALFORMED),
        ([Send(chunk(b""))], FailureKind.MALFORMED),
        ([Send(chunk(DONE) + chunk(b""))], FailureKind.MALFORMED),
        ([Send(chunk(b"data: {nonsense\n\n"))], FailureKind.MALFORMED),
        ([Send(chunk(event({"error": {"message": "lost the model"}})))], FailureKind.SERVER),
    ],
)
async def test_after_the_first_token_a_break_is_told(rest: list[Step], kind: FailureKind) -> None:
    """A broken answer that ends like a whole one, or is begun anew elsewhere, is text that no model wrote."""
    taken = await stream([HELLO, Wait(0.05), *rest])
    assert text_of(taken) == "Hello"
    failure = failure_of(taken)
    assert (failure.kind, failure.committed) == (kind, True)


async def test_refused() -> None:
    """Nobody listens: one batch, one failure."""
    with refused_base_url() as base_url:
        async with gateway() as gate:
            assert failure_of(await batches(gate, base_url)).kind is FailureKind.CONNECT


async def test_a_secret_that_is_gone_is_a_credential_failure() -> None:
    """Without its key an endpoint is to be passed over."""
    async with gateway({}) as gate:
        assert failure_of(await batches(gate, "http://127.0.0.1:9")).kind is FailureKind.CREDENTIAL


def commenting(_request: Request) -> Iterator[Step]:
    """Say nothing but that one is alive, for ever."""
    yield Send(STREAM_HEAD)
    while True:
        yield Send(chunk(b": PROCESSING\n\n"))
        yield Wait(0.03)


def hello_then_commenting(request: Request) -> Iterator[Step]:
    """Begin to answer, then say nothing but that one is alive."""
    yield HELLO
    yield from itertools.islice(commenting(request), 1, None)


def roles(_request: Request) -> Iterator[Step]:
    """Send chunks without any content, for ever."""
    yield Send(STREAM_HEAD)
    while True:
        yield Send(chunk(chat_chunk({"role": "assistant", "content": ""})))
        yield Wait(0.03)


@pytest.mark.parametrize(
    "script",
    [[Stall()], [Send(STREAM_HEAD), Stall()], commenting, roles],
    ids=["silent", "headers only", "comments", "empty deltas"],
)
async def test_no_first_token_in_time(script: Script) -> None:
    """A provider that only keeps the line warm must lose the call while another can still answer it."""
    failure = failure_of(await stream(script, FIRST))
    assert (failure.kind, failure.committed) == (FailureKind.TIMEOUT, False)


@pytest.mark.parametrize("script", [[HELLO, Stall()], hello_then_commenting], ids=["silent", "comments"])
async def test_no_next_token_in_time(script: Script) -> None:
    """A model that died in mid-sentence must not hold the caller to his deadline."""
    failure = failure_of(await stream(script, IDLE))
    assert (failure.kind, failure.committed) == (FailureKind.TIMEOUT, True)


async def test_tokens_renew_the_patience() -> None:
    """A long answer whose tokens keep coming must not be cut off by the timer for silence."""
    patient = Timers(connect_s=5.0, first_token_s=5.0, idle_s=1.0, total_s=10.0)
    taken = await stream(chat_stream(list("abcdefgh"), per_chunk_delay=0.2), patient)
    assert isinstance(end_of(taken), StreamEnd)


async def test_a_slow_consumer_is_not_the_providers_silence() -> None:
    """Time that the caller takes must not be held against the provider."""
    patient = Timers(connect_s=5.0, first_token_s=5.0, idle_s=0.5, total_s=10.0)
    async with ScriptedUpstream(chat_stream(["a", "b", "c"], per_chunk_delay=0.01)) as upstream, gateway() as gate:
        taken = []
        async for batch in gate.stream(candidate(upstream.base_url), SPEC, patient):
            taken.append(batch)
            await asyncio.sleep(0.6)
    assert isinstance(end_of(taken), StreamEnd)


def endless_tokens(_request: Request) -> Iterator[Step]:
    """Answer for ever."""
    yield Send(STREAM_HEAD)
    while True:
        yield Send(chunk(chat_chunk({"content": "a"})))
        yield Wait(0.03)


@pytest.mark.parametrize("script", [[Stall()], endless_tokens], ids=["silent", "endless"])
async def test_all_the_time_is_up(script: Script) -> None:
    """However lively a stream is, the caller's deadline holds, and is told as his deadline."""
    assert failure_of(await stream(script, TOTAL)).kind is FailureKind.DEADLINE


def endless_line(_request: Request) -> Iterator[Step]:
    """Send one event whose line never ends."""
    yield Send(STREAM_HEAD + chunk(b"data: "))
    while True:
        yield Send(chunk(b"x" * 65_536))


def endless_flood(_request: Request) -> Iterator[Step]:
    """Send small events as fast as they are taken."""
    yield Send(STREAM_HEAD)
    while True:
        yield Send(chunk(b": x\n\n" * 10_000))


@pytest.mark.parametrize("script", [endless_line, endless_flood])
async def test_too_much_is_malformed(script: Script) -> None:
    """A line or a stream without end would fill the memory of the instance, or keep it busy for nothing."""
    assert failure_of(await stream(script)).kind is FailureKind.MALFORMED


async def test_closing_the_stream_closes_the_connection() -> None:
    """A caller who hangs up must stop the model that he will not pay for."""
    async with ScriptedUpstream([HELLO, WaitClosed()]) as upstream, gateway() as gate:
        answer = gate.stream(candidate(upstream.base_url), SPEC, TIMERS)
        assert text_of([await anext(answer)]) == "Hello"
        await answer.aclose()
        await upstream.requests[0].gone()


@pytest.mark.parametrize("script", [[Stall()], [HELLO, Stall()]], ids=["before", "after"])
async def test_cancelling_closes_the_connection(script: list[Step]) -> None:
    """The same, where the caller's task is cancelled while it waits."""
    async with ScriptedUpstream(script) as upstream, gateway() as gate:
        taking = asyncio.create_task(batches(gate, upstream.base_url))
        await upstream.arrived()
        await asyncio.sleep(0.05)
        taking.cancel()
        await asyncio.wait((taking,))
        assert taking.cancelled()
        await upstream.requests[0].gone()


async def test_a_failure_closes_the_connection() -> None:
    """A provider that was given up must not go on at our cost."""
    async with ScriptedUpstream([HELLO, WaitClosed()]) as upstream, gateway() as gate:
        await batches(gate, upstream.base_url, IDLE)
        await upstream.requests[0].gone()


async def test_streams_share_a_connection() -> None:
    """A new handshake for each stream would be the largest part of a short one."""
    async with ScriptedUpstream(chat_stream(["a"])) as upstream, gateway() as gate:
        for _ in range(3):
            assert isinstance(end_of(await batches(gate, upstream.base_url)), StreamEnd)
            await asyncio.sleep(0.05)
        assert upstream.connections == 1


async def test_a_kept_connection_that_dies_is_a_connect_failure() -> None:
    """It is the one failure that the same endpoint may mend, by a new connection."""
    async with ScriptedUpstream(chat_stream(["a"]), [Reset()]) as upstream, gateway() as gate:
        await batches(gate, upstream.base_url)
        await asyncio.sleep(0.05)
        assert failure_of(await batches(gate, upstream.base_url)).kind is FailureKind.CONNECT
        assert upstream.connections == 1


@pytest.mark.parametrize("mid_stream", [False, True])
async def test_a_quoted_secret_is_blanked(mid_stream: bool) -> None:
    """A provider that quotes our key in an error within the stream must not hand it to the caller."""

    def quoting(request: Request) -> Iterator[Step]:
        yield HELLO if mid_stream else Send(STREAM_HEAD)
        yield Wait(0.02)
        yield Send(chunk(event({"error": {"message": f"{'x' * 480} {request.headers['authorization']}"}})))

    taken = await stream(quoting)
    failure = failure_of(taken)
    assert isinstance(failure, Failure)
    assert SECRET[:6] not in failure.message
    assert failure.committed is mid_stream


async def test_many_streams_at_once() -> None:
    """Streams that share a pool must not get each other's words."""
    texts = [f"answer {number}" for number in range(30)]

    def own(request: Request) -> Iterator[Step]:
        yield from chat_stream(list(request.json["messages"][0]["content"]), per_chunk_delay=0.001)(request)

    async with ScriptedUpstream(own) as upstream, gateway() as gate:

        async def one(text: str) -> str:
            spec = CompletionSpec(model="m", messages=(Message(Role.USER, (TextPart(text),)),))
            return text_of(await batches(gate, upstream.base_url, spec=spec))

        assert await asyncio.gather(*map(one, texts)) == texts


async def test_a_head_with_a_length_is_a_stream_too() -> None:
    """Some hosts stream without chunks: until the connection closes."""
    body = chat_chunk({"content": "a"}) + chat_chunk(finish="stop") + DONE
    taken = await stream([Send(head(200, {"connection": "close"}) + body), Close()])
    assert isinstance(end_of(taken), StreamEnd)
