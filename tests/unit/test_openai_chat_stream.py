"""What the OpenAI-chat dialect makes of streams."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from junctor.adapters.providers.dialects.openai_chat import OpenAIChat
from junctor.domain.completion import (
    ChoiceEnd,
    Delta,
    FinishReason,
    Logprobs,
    OtherAnnotation,
    Speech,
    StreamEnd,
    TokenLogprob,
    ToolCallFragment,
    UrlCitation,
    Usage,
)
from junctor.domain.routing import Failure, FailureKind

Parts = tuple[Delta | StreamEnd | Failure, ...]
DONE = b"data: [DONE]\n\n"
STOPPED = (ChoiceEnd(0, FinishReason.STOP, "stop"),)


def sse(*chunks: object) -> bytes:
    """Write chunks as events."""
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)


def delta(index: int = 0, finish: str | None = None, **fields: object) -> dict[str, Any]:
    """Return a chunk with one delta."""
    return {"id": "s1", "choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


def feed(data: bytes) -> Parts:
    """Feed bytes to a new decoder."""
    return OpenAIChat().decoder().feed(data)


def finish(data: bytes) -> StreamEnd | Failure:
    """Feed bytes that end nothing, and end the body."""
    decoder = OpenAIChat().decoder()
    assert not any(isinstance(part, StreamEnd | Failure) for part in decoder.feed(data))
    return decoder.end()


def test_plain_stream() -> None:
    """The commonest stream of all would be misread."""
    usage = {"id": "s1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    first = delta(role="assistant", content="", refusal=None)
    data = sse(
        first, delta(content="Hel") | {"usage": None, "obfuscation": "x"}, delta(content="lo"), delta(finish="stop"), usage
    )
    end = StreamEnd(choices=STOPPED, usage=Usage(input_tokens=3, output_tokens=2), upstream_id="s1")
    assert feed(data + DONE) == (Delta(content="Hel"), Delta(content="lo"), end)


def test_nothing_after_the_end() -> None:
    """What a host sends after its end would be handed on as content."""
    decoder = OpenAIChat().decoder()
    parts = decoder.feed(sse(delta(content="x", finish="stop")) + DONE + sse(delta(content="y")))
    assert [type(part) for part in parts] == [Delta, StreamEnd]
    assert decoder.feed(sse(delta(content="z")) + DONE) == ()


def test_what_says_nothing_is_nothing() -> None:
    """Keep-alives would count as the first token and commit the call to a dead host."""
    filters: object = {"choices": [], "prompt_filter_results": []}
    empty = {"choices": [{"index": 0}]}
    quiet = [delta(), delta(content=""), delta(content=None, tool_calls=[]), delta(reasoning_details=[]), delta(content=[])]
    assert feed(b": PROCESSING\n\n" + sse(filters, empty, *quiet, {}) + b"data:\n\ndata:  \n\n") == ()


def test_reasoning_in_every_spelling() -> None:
    """Thoughts of some hosts would be lost, or shown twice."""
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "d"}]}
    data = sse(
        delta(reasoning="a", reasoning_details=[{"type": "reasoning.text", "text": "a"}], content=""),
        delta(reasoning_content="b", content=None),
        delta(reasoning="c", reasoning_content="c"),
        delta(content=[thinking]),
        delta(content=[{"type": "thinking", "thinking": []}]),
        delta(content=[{"type": "text", "text": "e"}, thinking]),
    )
    assert feed(data) == (
        Delta(reasoning="a", reasoning_details=('{"type": "reasoning.text", "text": "a"}',)),
        Delta(reasoning="b"),
        Delta(reasoning="c"),
        Delta(reasoning="d"),
        Delta(content="e", reasoning="d"),
    )


def test_refusal_and_answers_by_index() -> None:
    """A refusal would be lost, and two answers mixed."""
    data = sse(delta(1, refusal="no"), delta(content="a"), delta(1, "content_filter"), delta(0, "length"))
    assert feed(data + DONE)[:2] == (Delta(index=1, refusal="no"), Delta(content="a"))
    ends = (ChoiceEnd(0, FinishReason.LENGTH, "length"), ChoiceEnd(1, FinishReason.CONTENT_FILTER, "content_filter"))
    assert feed(data + DONE)[2:] == (StreamEnd(choices=ends, upstream_id="s1"),)


def test_logprobs_and_remarks_as_they_come() -> None:
    """What a caller asked to know of each token would be lost in streams, or a search's sources be."""
    token = {"token": "a", "logprob": -0.25, "bytes": [97], "top_logprobs": []}
    said = delta(content="a")
    likely = {"choices": [said["choices"][0] | {"logprobs": {"content": [token], "refusal": None}}]}
    silent = {"choices": [{"index": 0, "delta": {}, "logprobs": {"content": [], "refusal": None}, "finish_reason": "stop"}]}
    late = {"choices": [{"index": 1, "logprobs": {"refusal": [token]}, "finish_reason": "stop"}]}
    cited = {"type": "url_citation", "url_citation": {"url": "https://a", "start_index": 0, "end_index": 1}}
    data = sse(likely, delta(1, annotations=[cited]), delta(annotations=[], executed_tools=[{"type": "search"}]), silent, late)
    one = TokenLogprob("a", -0.25, b"a")
    assert feed(data) == (
        Delta(content="a", logprobs=Logprobs((one,))),
        Delta(1, annotations=(UrlCitation("https://a", start=0, end=1),)),
        Delta(annotations=(OtherAnnotation('{"type": "search"}'),)),
        Delta(1, logprobs=Logprobs(refusal=(one,))),
    )


def test_speech_as_it_comes() -> None:
    """Sound would reach its listener whole at the end, or not at all."""
    data = sse(
        delta(audio={"id": "audio-1", "transcript": "A"}),
        delta(audio={"id": "audio-1", "data": "AAAA"}, content=None),
        delta(audio={}),
        delta(audio={"expires_at": 9}),
        delta(finish="stop"),
    )
    assert feed(data + DONE)[:-1] == (
        Delta(speech=Speech("audio-1", transcript="A")),
        Delta(speech=Speech("audio-1", "AAAA")),
        Delta(speech=Speech(expires_at=9)),
    )


def piece(arguments: str | None = None, **call: object) -> dict[str, object]:
    """Return a piece of a tool call; `name` goes where it belongs."""
    function = {"name": call.pop("name", None), "arguments": arguments}
    return {**call, "function": function}


def fragments(*chunks: Sequence[dict[str, object]]) -> list[ToolCallFragment]:
    """Return the fragments that come of chunks with these pieces."""
    parts = feed(sse(*(delta(tool_calls=list(pieces)) for pieces in chunks)))
    return [fragment for part in parts if isinstance(part, Delta) for fragment in part.tool_calls]


def test_parallel_tool_calls() -> None:
    """The arguments of parallel calls would be mixed."""
    first = [piece("", index=0, id="a", name="f", type="function"), piece("", index=1, id="b", name="g")]
    assert fragments(first, [piece("{1", index=0)], [piece("{2", index=1), piece("}", index=0)], [piece("}", index=1)]) == [
        ToolCallFragment(0, "a", "f"),
        ToolCallFragment(1, "b", "g"),
        ToolCallFragment(0, arguments="{1"),
        ToolCallFragment(1, arguments="{2"),
        ToolCallFragment(0, arguments="}"),
        ToolCallFragment(1, arguments="}"),
    ]


def test_tool_calls_without_index() -> None:
    """Hosts that leave the index out would lose all calls but one."""
    assert fragments([piece("{", id="a", name="f")], [piece("}")], [piece("[", id="b", name="g")], [piece(",", id="a")]) == [
        ToolCallFragment(0, "a", "f", "{"),
        ToolCallFragment(0, arguments="}"),
        ToolCallFragment(1, "b", "g", "["),
        ToolCallFragment(0, arguments=","),
    ]


def test_tool_calls_without_id() -> None:
    """A call without an id could not be answered; an id that changes with its pieces could not be followed."""
    first, second, third = fragments(
        [piece("{", index=0, name="f"), piece("{", index=1, name="f")], [piece("}", index=0, id="")]
    )
    assert first.id != second.id
    assert first.id is not None
    assert first.id.startswith("call_0")
    assert third == ToolCallFragment(0, arguments="}")


def test_all_calls_at_index_zero() -> None:
    """Hosts that number every parallel call 0 would give one call with two calls' arguments."""
    pieces = [piece("{}", index=0, id="a", name="f"), piece("[]", index=0, id="b", name="g")]
    assert fragments(pieces) == [ToolCallFragment(0, "a", "f", "{}"), ToolCallFragment(1, "b", "g", "[]")]


def test_repeated_and_late_names() -> None:
    """A repeated name would be doubled and a late one lost."""
    again = piece("1", index=0, id="a", name="f")
    assert fragments([again], [again]) == [ToolCallFragment(0, "a", "f", "1"), ToolCallFragment(0, arguments="1")]
    assert fragments([{"index": 0, "id": "a"}], [piece(index=0, name="f")], [piece("", index=0)]) == [
        ToolCallFragment(0, "a"),
        ToolCallFragment(0, name="f"),
    ]


def test_a_stop_with_tool_calls_is_tool_calls() -> None:
    """A caller that looks at the finish reason would end its loop with the tools uncalled."""
    parts = feed(sse(delta(finish="stop", tool_calls=[piece("{}", index=0, id="a", name="f")])) + DONE)
    end = parts[-1]
    assert isinstance(end, StreamEnd)
    assert end.choices == (ChoiceEnd(0, FinishReason.TOOL_CALLS, "stop"),)


USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
HALF = {"prompt_tokens": 3, "completion_tokens": 1}


@pytest.mark.parametrize(
    "chunks",
    [
        [delta(finish="stop"), {"choices": [], "usage": USAGE}],
        [delta(finish="stop") | {"usage": USAGE}],
        [delta(finish="stop"), delta(content="") | {"usage": USAGE}],
        [delta(finish="stop") | {"x_groq": {"id": "q", "usage": USAGE}}],
        [delta(content="b") | {"usage": HALF}, delta(finish="stop") | {"usage": USAGE}],
        [delta(content="b") | {"usage": USAGE}, delta(finish="stop") | {"usage": None}],
        [delta(content="b") | {"usage": USAGE}, delta(finish="stop") | {"usage": {"prompt_tokens": -1}}],
    ],
)
def test_usage_in_every_place(chunks: list[object]) -> None:
    """A stream would be charged by guess, or twice."""
    *_, end = feed(sse(delta(content="a"), *chunks) + DONE)
    assert end == StreamEnd(choices=STOPPED, usage=Usage(input_tokens=3, output_tokens=2), upstream_id="s1")


def test_no_done() -> None:
    """Hosts that just stop after their finish reason would never succeed."""
    data = sse(delta(content="a"), delta(finish="stop"))
    assert finish(data) == StreamEnd(choices=STOPPED, upstream_id="s1")


@pytest.mark.parametrize("tail", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DO", b'data: {"choices": [{"del'])
def test_last_event_without_its_end(tail: bytes) -> None:
    """An answer that is whole would be thrown away for a line break."""
    assert finish(sse(delta(content="a"), delta(finish="stop")) + tail) == StreamEnd(choices=STOPPED, upstream_id="s1")


def test_finish_and_usage_in_an_event_without_its_end() -> None:
    """The same, where the last event matters."""
    data = sse(delta(content="a"), delta(finish="stop") | {"usage": USAGE}).removesuffix(b"\n\n")
    assert finish(data) == StreamEnd(choices=STOPPED, usage=Usage(input_tokens=3, output_tokens=2), upstream_id="s1")


def test_content_in_an_event_without_its_end() -> None:
    """An answer that lacks its last words would pass for whole."""
    failure = finish(sse(delta(content="a"), delta(content="b", finish="stop")).removesuffix(b"\n\n"))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.committed) == (FailureKind.MALFORMED, True)


@pytest.mark.parametrize(
    ("chunks", "committed"), [([], False), ([delta(role="assistant")], False), ([delta(content="a")], True)]
)
def test_end_without_a_finish_reason(chunks: list[object], *, committed: bool) -> None:
    """A broken connection would pass for the model's own end."""
    failures = [finish(sse(*chunks)), feed(sse(*chunks) + DONE)[-1]]
    for failure in failures:
        assert isinstance(failure, Failure)
        assert (failure.kind, failure.committed, failure.http_status) == (FailureKind.MALFORMED, committed, 200)


def test_one_answer_of_two_without_a_finish_reason() -> None:
    """One finished answer would hide that the other is cut."""
    assert isinstance(finish(sse(delta(content="a", finish="stop"), delta(1, content="b"))), Failure)


@pytest.mark.parametrize("chunk", [b"{", b"[]", b'"x"', b'{"choices": 1}', b'{"x": "' + b"\xff" + b'"', b"[" * 100_000])
def test_malformed_event(chunk: bytes) -> None:
    """Rubbish between chunks would crash the call or be passed over, with content lost."""
    *deltas, failure = feed(sse(delta(content="a")) + b"data: " + chunk + b"\n\n" + sse(delta(content="b")))
    assert deltas == [Delta(content="a")]
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.committed) == (FailureKind.MALFORMED, True)


def test_overlong_line() -> None:
    """A host that never ends its line would be read forever."""
    decoder = OpenAIChat().decoder()
    assert decoder.feed(sse(delta(content="a"))) == (Delta(content="a"),)
    (failure,) = decoder.feed(b"data: " + b"x" * (1 << 20))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.committed) == (FailureKind.MALFORMED, True)
    assert decoder.feed(DONE) == ()


def test_error_inside_the_stream() -> None:
    """An error would pass for the end of an answer, or the wait for [DONE] would never end."""
    groq = {"error": {"message": "m", "type": "invalid_request_error", "code": "tool_use_failed", "status_code": 400}}
    failure = Failure(kind=FailureKind.SERVER, http_status=200, code="tool_use_failed", message="m")
    assert feed(b"event: error\n" + sse(groq)) == (failure,)
    openrouter = delta(content="b", finish="error") | {"error": {"code": 429, "message": "slow"}}
    throttled = Failure(kind=FailureKind.THROTTLED, http_status=200, code="429", message="slow", committed=True)
    assert feed(sse(openrouter) + DONE) == (Delta(content="b"), throttled)
    assert feed(sse(delta(finish="stop"), {"error": "m"}))[-1] == Failure(kind=FailureKind.SERVER, http_status=200, message="m")
    assert isinstance(feed(sse(delta(content="b", finish="error")) + DONE)[-1], Failure)
    assert feed(sse(delta(content="b") | {"error": None})) == (Delta(content="b"),)
