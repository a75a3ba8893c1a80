"""The OpenAI-chat dialect against what providers were really asked, and really answered (see tests/support/recorded_chat.py).

Answers are compared with a naive reading of their JSON, and no word of them may be lost unless it is named here.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from junctor.adapters.providers.dialects.openai_chat import OpenAIChat
from junctor.domain.catalog import Endpoint
from junctor.domain.completion import Completion, CompletionSpec, Delta, OtherAnnotation, StreamEnd, TextPart, Usage
from junctor.domain.routing import Failure, FailureKind
from tests.support.recorded_chat import Exchange, exchanges, normal, quirks_of, spec_of

SHARED = Path(__file__).parents[3] / "shared" / "fixtures" / "recorded"
EXCHANGES = exchanges()

READ = {
    *("id", "error.code", "error.message", "choices.finish_reason", "choices.native_finish_reason"),
    *(f"choices.said.{key}" for key in ("content", "reasoning", "reasoning_content", "reasoning_details", "executed_tools")),
    *(f"choices.said.tool_calls.{key}" for key in ("id", "index", "function.name", "function.arguments")),
    *("usage.prompt_tokens", "usage.prompt_tokens_details.cached_tokens"),
    *("usage.completion_tokens", "usage.completion_tokens_details.reasoning_tokens"),
}
"""Where an answer says something that is compared below."""
LEFT = {
    *("created", "object", "model", "provider", "system_fingerprint", "obfuscation", "x_groq.id"),  # of the answer's making
    *("choices.said.role", "choices.said.tool_calls.type"),  # always the same
    *("choices.stop_reason", "choices.said.channel"),  # which token ended it; which kind of thought it is
    *("service_tier", "time_info", "usage_breakdown", "x_groq.usage_breakdown"),  # how it was served
    *("usage.cost", "usage.cost_details"),  # what it costs is our own price card's to say
    *("usage.total_tokens", "usage.prompt_cache_miss_tokens"),  # sums of other counts
    *(f"usage.{key}_time" for key in ("queue", "prompt", "completion", "total")),
    *("choices.content_filter_results", "prompt_filter_results"),  # Azure's: its finish reason says what came of them
    *("error.type", "error.status_code", "error.failed_generation"),  # a failure needs no more than its code
}
"""What no caller is told, with all that it holds."""
VERBATIM = ("choices.said.reasoning_details", "choices.said.executed_tools", "choices.said.content")
"""Where all that is inside is compared as a whole."""


def places(value: Any, path: str = "") -> Iterator[str]:
    """Yield where a JSON value says something: numbers of lists are left out, and so are zeros and what is empty."""
    if isinstance(value, list):
        for item in value:
            yield from places(item, path)
    elif isinstance(value, dict) and path not in VERBATIM and path not in LEFT:
        for key, inner in value.items():
            below = f"{path}.{key}".lstrip(".")
            below = below.replace("choices.message.", "choices.said.").replace("choices.delta.", "choices.said.")
            yield from places(inner, below.replace("x_groq.usage.", "usage."))
    elif value:
        yield path


def chunks(body: str) -> Iterator[dict[str, Any]]:
    """Read a stream naively: every line that begins with data, up to [DONE]."""
    for line in body.splitlines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line[6:])


def said(message: dict[str, Any]) -> tuple[str, str]:
    """Return the text and the thoughts of a message or delta, naively."""
    content = message.get("content") or ""
    thoughts = message.get("reasoning") or message.get("reasoning_content") or ""
    if isinstance(content, list):
        thoughts = "".join(text["text"] for part in content if part["type"] == "thinking" for text in part["thinking"])
        content = "".join(part["text"] for part in content if part["type"] == "text")
    return content, thoughts


def counted(usage: dict[str, Any] | None) -> Usage | None:
    """Return the usage, naively."""
    if usage is None:
        return None
    return Usage(
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
        cache_read_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        reasoning_tokens=(usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
    )


def executed(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the provider's own tools did, naively."""
    return message.get("executed_tools") or []


def check_whole(exchange: Exchange) -> None:
    """Compare a decoded answer with its JSON."""
    raw = json.loads(exchange.body)
    answer = OpenAIChat().decode(exchange.body.encode())
    assert isinstance(answer, Completion)
    assert answer.upstream_id == raw["id"]
    assert answer.usage == counted(raw["usage"])
    assert len(answer.choices) == len(raw["choices"])
    for choice, expected in zip(answer.choices, raw["choices"], strict=True):
        message = expected["message"]
        text = "".join(part.text for part in choice.message.parts if isinstance(part, TextPart))
        assert (text, choice.message.reasoning or "") == said(message)
        assert choice.finish_reason.value == expected["finish_reason"]
        assert choice.native_finish_reason == expected.get("native_finish_reason", expected["finish_reason"])
        calls = [(call.id, call.name, call.arguments) for call in choice.message.tool_calls]
        given = message.get("tool_calls") or []
        assert calls == [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in given]
        details = [json.loads(detail) for detail in choice.message.reasoning_details]
        assert details == (message.get("reasoning_details") or [])
        found = [json.loads(one.json) for one in choice.message.annotations if isinstance(one, OtherAnnotation)]
        assert found == executed(message)


def check_stream(exchange: Exchange) -> None:
    """Compare a decoded stream with its chunks, up to an error if there is one."""
    raw = list(chunks(exchange.body))
    *deltas, end = OpenAIChat().decoder().feed(exchange.body.encode())
    assert all(isinstance(delta, Delta) for delta in deltas)
    received = [choice["delta"] for chunk in raw for choice in chunk.get("choices", ())]
    content, thoughts = zip(*map(said, received), strict=True)
    assert "".join(delta.content or "" for delta in deltas if isinstance(delta, Delta)) == "".join(content)
    assert "".join(delta.reasoning or "" for delta in deltas if isinstance(delta, Delta)) == "".join(thoughts)
    details = [json.loads(detail) for delta in deltas if isinstance(delta, Delta) for detail in delta.reasoning_details]
    assert details == [detail for delta in received for detail in delta.get("reasoning_details") or ()]
    remarks = [remark for delta in deltas if isinstance(delta, Delta) for remark in delta.annotations]
    found = [json.loads(one.json) for one in remarks if isinstance(one, OtherAnnotation)]
    assert found == [tool for delta in received for tool in executed(delta)]
    check_calls([delta for delta in deltas if isinstance(delta, Delta)], received)
    if any("error" in chunk for chunk in raw):
        assert isinstance(end, Failure)
        assert end.committed == bool(deltas)
        return
    assert isinstance(end, StreamEnd)
    assert end.upstream_id == raw[0]["id"]
    usages = [usage for chunk in raw if (usage := chunk.get("usage") or chunk.get("x_groq", {}).get("usage"))]
    assert end.usage == counted(usages[-1] if usages else None)
    reasons = [choice["finish_reason"] for chunk in raw for choice in chunk["choices"] if choice.get("finish_reason")]
    assert [choice.finish_reason.value for choice in end.choices] == reasons[-1:]


def check_calls(deltas: list[Delta], received: list[dict[str, Any]]) -> None:
    """Compare the tool calls of a stream, put together."""
    calls: dict[int, list[str]] = {}
    expected: dict[int, list[str]] = {}
    for fragment in (fragment for delta in deltas for fragment in delta.tool_calls):
        call = calls.setdefault(fragment.index, [fragment.id or "", fragment.name or "", ""])
        call[2] += fragment.arguments or ""
    for piece in (piece for delta in received for piece in delta.get("tool_calls") or ()):
        call = expected.setdefault(piece["index"], [piece.get("id", ""), piece["function"].get("name", ""), ""])
        call[2] += piece["function"].get("arguments") or ""
    assert calls == expected


def check_refusal(exchange: Exchange) -> None:
    """Compare a refusal with its JSON."""
    raw = json.loads(exchange.body)
    failure = OpenAIChat().refusal(exchange.status, exchange.headers, exchange.body.encode())
    kinds = {400: FailureKind.REQUEST, 401: FailureKind.CREDENTIAL, 429: FailureKind.THROTTLED}
    assert (failure.kind, failure.http_status) == (kinds[exchange.status], exchange.status)
    assert failure.message.startswith(raw.get("error", raw)["message"])


def check(exchange: Exchange) -> None:
    """Decode one exchange and compare it with a naive reading."""
    if exchange.status != 200:
        check_refusal(exchange)
    elif exchange.streamed:
        check_stream(exchange)
    else:
        check_whole(exchange)


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: f"{exchange.host}-{exchange.id.rsplit('/', 1)[-1]}")
def test_an_exchange(exchange: Exchange) -> None:
    """A host that answers in its own way would be misread."""
    check(exchange)


def test_no_word_of_an_answer_is_lost() -> None:
    """A provider would say something, in a place where nobody looks."""
    said: set[str] = set()
    for exchange in EXCHANGES:
        if exchange.status == 200:
            answers = chunks(exchange.body) if exchange.streamed else [json.loads(exchange.body)]
            said.update(place for answer in answers for place in places(answer))
    assert said == READ | LEFT


ENDPOINT = Endpoint(
    id="p/author/model",
    model="author/model",
    provider="p",
    upstream_model="",
    dialect="openai_chat",
    base_url="",
    parameters=CompletionSpec.__struct_fields__,
)


@pytest.mark.parametrize(
    "exchange",
    [exchange for exchange in EXCHANGES if exchange.request is not None],
    ids=lambda exchange: f"{exchange.host}-{exchange.id.rsplit('/', 1)[-1]}",
)
def test_a_request_is_written_as_it_was_sent(exchange: Exchange) -> None:
    """A provider that took the recorded request would be sent another one."""
    request = exchange.request
    assert request is not None
    endpoint = msgspec.structs.replace(ENDPOINT, upstream_model=request["model"])
    encoded = OpenAIChat().encode(endpoint, spec_of(request), quirks_of(request), stream=request["stream"])
    assert json.loads(encoded.body) == normal(request)
    assert encoded.dropped == ()


def test_what_is_recorded_is_varied() -> None:
    """The other tests would pass over nothing."""
    assert len(EXCHANGES) == 162
    assert len({exchange.host for exchange in EXCHANGES}) == 9
    assert sum(exchange.streamed for exchange in EXCHANGES) >= 45
    assert {exchange.status for exchange in EXCHANGES} == {200, 400, 401, 429}
    assert sum(exchange.request is not None for exchange in EXCHANGES) == 153


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded exchanges are not beside the checkout")
def test_none_of_the_exchanges_is_missing() -> None:
    """A form that only one recording has would not be read at all."""
    lines = [line for path in sorted(SHARED.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    beside = [one for line in lines if "chat/completions" in (one := msgspec.json.decode(line, type=Exchange)).path]
    assert beside == EXCHANGES


def test_errors_inside_streams_are_failures() -> None:
    """Groq's and OpenRouter's errors within a stream would pass for answers."""
    ends = {
        exchange.host: OpenAIChat().decoder().feed(exchange.body.encode())[-1]
        for exchange in EXCHANGES
        if exchange.streamed and '"error":{' in exchange.body
    }
    groq, openrouter = ends["api.groq.com"], ends["openrouter.ai"]
    assert isinstance(groq, Failure)
    assert (groq.kind, groq.code, groq.committed) == (FailureKind.SERVER, "tool_use_failed", True)
    assert isinstance(openrouter, Failure)
    assert (openrouter.kind, openrouter.code, openrouter.message) == (FailureKind.SERVER, "400", "Token limit reached")
