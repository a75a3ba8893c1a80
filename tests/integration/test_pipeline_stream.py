"""A streamed answer: events in order, together where they came together, at once where they did not."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

from junctor.client import stream_request
from junctor.domain.lease import SlotState
from junctor.v1.completion_pb2 import FinishReason, Reasoning
from junctor.v1.router_service_pb2 import StreamRequest, StreamResponse
from tests.support.harness import Router
from tests.support.money import cost
from tests.support.pipeline import (
    FIRST,
    MODEL,
    PATIENCE_S,
    SERVICE,
    bearer,
    events_of,
    kinds,
    line_of,
    one_endpoint,
    outcomes,
    raw_channel,
    text_of,
)
from tests.support.scripted_upstream import (
    DONE,
    STREAM_HEAD,
    Send,
    Step,
    Wait,
    WaitClosed,
    chat_chunk,
    chat_events,
    chat_stream,
    chunk,
    sse,
    tool_stream,
    usage_json,
)


async def test_stream(tmp_path: Path) -> None:
    """Else a caller cannot show an answer as it is made, or cannot tell a whole one from one that was cut."""
    async with one_endpoint(tmp_path, chat_stream(["Good ", "morn", "ing."], usage=(7, 3))) as (router, upstream):
        async with router.client() as client:
            events = await events_of(client.stream("Morning!", model=MODEL))
        assert kinds(events)[0] == "opened"
        assert kinds(events)[-1] == "finished"
        assert set(kinds(events)[1:-1]) == {"delta"}
        assert text_of(events) == "Good morning."
        opened, finished = events[0].opened, events[-1].finished
        assert (opened.model, opened.provider, opened.endpoint) == (MODEL, "groq", FIRST)
        assert (finished.usage.input_tokens, finished.usage.output_tokens, finished.usage.estimated) == (7, 3, False)
        assert finished.choices[0].finish_reason == FinishReason.FINISH_REASON_STOP
        assert finished.cost.cost_nanousd == cost(7, 3)
        assert not finished.billing_pending
        assert outcomes(finished.route.attempts) == [(FIRST, "SERVED")]
        assert 0 <= finished.time_to_first_token_ms <= finished.latency_ms
        assert upstream.requests[0].json["stream"] is True


async def test_record_is_settled_when_finished_arrives(tmp_path: Path) -> None:
    """Else a caller who looks up the generation of a finished stream finds it open, or with other numbers."""
    async with one_endpoint(tmp_path, chat_stream(["a", "b"], usage=(11, 5))) as (router, _), router.client() as client:
        events = await events_of(client.stream("Hi", model=MODEL))
        record = await router.generation(events[0].opened.generation_id)
        line = await line_of(router)
    assert record is not None
    assert (record.state, record.streamed, record.endpoint) == (SlotState.SETTLED, True, FIRST)
    assert (record.input_tokens, record.output_tokens, record.estimated) == (11, 5, False)
    assert record.finish_reason == "stop"
    assert record.time_to_first_token_ms == events[-1].finished.time_to_first_token_ms
    assert (line["status"], line["generation_id"]) == ("OK", record.id)


async def test_usage_is_estimated_where_none_is_reported(tmp_path: Path) -> None:
    """Else a provider that reports no usage on streams is free."""
    script = chat_stream(["x" * 20, "x" * 20], usage=None)
    async with one_endpoint(tmp_path, script) as (router, _), router.client() as client:
        events = await events_of(client.stream("y" * 80, model=MODEL))
        record = await router.generation(events[0].opened.generation_id)
    usage = events[-1].finished.usage
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (20, 10, True)
    assert record is not None
    assert (record.input_tokens, record.output_tokens, record.estimated) == (20, 10, True)


async def test_tool_call_in_fragments(tmp_path: Path) -> None:
    """Else an agent cannot put the arguments of a streamed tool call together."""
    script = tool_stream("weather", ['{"ci', 'ty": "Os', 'lo"}'])
    async with one_endpoint(tmp_path, script) as (router, _), router.client() as client:
        events = await events_of(client.stream("Weather?", model=MODEL))
    fragments = [fragment for event in events for fragment in event.delta.tool_calls]
    assert (fragments[0].id, fragments[0].name) == ("call_1", "weather")
    assert all(not fragment.HasField("id") and not fragment.HasField("name") for fragment in fragments[1:])
    assert "".join(fragment.arguments_fragment for fragment in fragments) == '{"city": "Oslo"}'
    assert events[-1].finished.choices[0].finish_reason == FinishReason.FINISH_REASON_TOOL_CALLS


async def test_parallel_tool_calls(tmp_path: Path) -> None:
    """Else the fragments of two calls that the model makes at once run into each other."""
    pieces = [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"x"'}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "time", "arguments": "{"}},
        {"index": 0, "function": {"arguments": ": 1}"}},
        {"index": 1, "function": {"arguments": "}"}},
    ]
    events = chat_events([{"tool_calls": [piece]} for piece in pieces], finish="tool_calls")
    async with one_endpoint(tmp_path, lambda _: sse(events)) as (router, _), router.client() as client:
        got = await events_of(client.stream("Both?", model=MODEL))
    calls: dict[int, str] = {}
    for fragment in (fragment for event in got for fragment in event.delta.tool_calls):
        calls[fragment.index] = calls.get(fragment.index, "") + fragment.name + fragment.arguments_fragment
    assert calls == {0: 'weather{"x": 1}', 1: "time{}"}


_THOUGHT_FIRST = chat_events([{"reasoning": "Deep "}, {"reasoning": "thought."}, {"content": "42"}])


async def test_reasoning(tmp_path: Path) -> None:
    """Else the thoughts of a model do not reach the caller before its answer."""
    async with one_endpoint(tmp_path, lambda _: sse(_THOUGHT_FIRST)) as (router, _), router.client() as client:
        events = await events_of(client.stream("?", model=MODEL))
    assert "".join(event.delta.reasoning for event in events) == "Deep thought."
    assert text_of(events) == "42"


async def test_excluded_reasoning(tmp_path: Path) -> None:
    """Else a caller who excluded reasoning gets it, or empty deltas in its place."""
    async with one_endpoint(tmp_path, lambda _: sse(_THOUGHT_FIRST, 0.02)) as (router, _), router.client() as client:
        events = await events_of(client.stream("?", model=MODEL, reasoning=Reasoning(exclude=True)))
    assert kinds(events) == ["opened", "delta", "finished"]
    assert not events[1].delta.HasField("reasoning")
    assert text_of(events) == "42"


async def test_nothing_but_excluded_reasoning(tmp_path: Path) -> None:
    """Else a model that only thinks fails for a caller who excluded reasoning, and is paid for all the same."""
    events = chat_events([{"reasoning": "Hm."}], finish="length")
    async with one_endpoint(tmp_path, lambda _: sse(events)) as (router, _), router.client() as client:
        got = await events_of(client.stream("?", model=MODEL, reasoning=Reasoning(exclude=True)))
        record = await router.generation(got[0].opened.generation_id)
    assert kinds(got) == ["opened", "finished"]
    assert record is not None
    assert (record.state, record.finish_reason) == (SlotState.SETTLED, "length")


async def _messages(router: Router) -> list[StreamResponse]:
    """Return the messages of a stream as they came."""
    async with raw_channel(router) as channel, asyncio.timeout(PATIENCE_S):
        method = channel.unary_stream(
            f"/{SERVICE}/Stream",
            request_serializer=StreamRequest.SerializeToString,
            response_deserializer=StreamResponse.FromString,
        )
        call = method(stream_request("Hi", model=MODEL), metadata=bearer(router.api_key))
        return [message async for message in call]


async def test_events_read_together_leave_together(tmp_path: Path) -> None:
    """Else a fast model costs one message a token, and the router's processor is spent on framing."""
    texts = [chat_chunk({"content": text}) for text in ("a", "b", "c")]
    tail = [chat_chunk(finish="stop"), chat_chunk(usage=usage_json(5, 2)), DONE]

    def script(_: object) -> Iterator[Step]:
        yield Send(STREAM_HEAD + chunk(chat_chunk({"role": "assistant", "content": ""})))
        yield Wait(0.05)
        yield Send(chunk(b"".join(texts)))
        yield Wait(0.05)
        yield Send(chunk(b"".join(texts)))
        yield Wait(0.05)
        yield Send(chunk(b"".join(tail)) + chunk(b""))

    async with one_endpoint(tmp_path, script) as (router, _):
        messages = await _messages(router)
    shape = [kinds(list(message.events)) for message in messages]
    assert shape == [["opened", "delta", "delta", "delta"], ["delta", "delta", "delta"], ["finished"]]


async def test_whole_answer_in_one_read(tmp_path: Path) -> None:
    """Else an answer that comes at once loses its beginning or its end."""
    events = chat_events([{"content": "a"}, {"content": "b"}])
    async with one_endpoint(tmp_path, [Send(STREAM_HEAD + chunk(b"".join(events)) + chunk(b""))]) as (router, _):
        messages = await _messages(router)
    assert [kinds(list(message.events)) for message in messages] == [["opened", "delta", "delta"], ["finished"]]


async def test_slow_stream_is_not_delayed(tmp_path: Path) -> None:
    """Else a token waits in the router for the one after it, and people watch an answer lag behind its model."""

    def script(_: object) -> Iterator[Step]:
        yield Send(STREAM_HEAD + chunk(chat_chunk({"content": "first"})))
        yield WaitClosed()

    async with one_endpoint(tmp_path, script) as (router, upstream), router.client() as client:
        async with asyncio.timeout(PATIENCE_S), client.stream("Hi", model=MODEL) as stream:
            first = [await anext(stream), await anext(stream)]
            assert text_of(first) == "first"
        await upstream.requests[0].gone()


async def test_characters_cut_by_the_network(tmp_path: Path) -> None:
    """Else a letter of more than one byte is garbled where a network read ends within it."""
    data = b"".join(chat_events([{"content": "Grüße 🦜"}]))

    def script(_: object) -> Iterator[Step]:
        yield Send(STREAM_HEAD)
        for byte in data:
            yield Send(chunk(bytes([byte])))
        yield Send(chunk(b""))

    async with one_endpoint(tmp_path, script) as (router, _), router.client() as client:
        events = await events_of(client.stream("Hi", model=MODEL))
    assert text_of(events) == "Grüße 🦜"


def _numbered(count: int) -> Sequence[str]:
    return [f"{number} " for number in range(count)]


async def test_long_stream_is_whole_and_in_order(tmp_path: Path) -> None:
    """Else a long answer loses or swaps pieces where reader and writer run at different speeds."""
    async with one_endpoint(tmp_path, chat_stream(_numbered(3000))) as (router, _), router.client() as client:
        events = await events_of(client.stream("Count.", model=MODEL))
    assert text_of(events) == "".join(_numbered(3000))
