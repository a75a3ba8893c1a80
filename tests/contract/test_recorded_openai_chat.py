"""The OpenAI-chat dialect against what providers really sent.

recorded/openai_chat.jsonl holds a few exchanges of each host, from the test suite of pydantic-ai 1.24.0 (MIT, see NOTICE). All
recorded exchanges are read where the folder `shared` lies beside the checkout.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from junctor.adapters.providers.dialects.openai_chat import OpenAIChat
from junctor.domain.completion import Completion, Delta, StreamEnd, TextPart, Usage
from junctor.domain.routing import Failure, FailureKind

HERE = Path(__file__).parent / "recorded" / "openai_chat.jsonl"
SHARED = Path(__file__).parents[3] / "shared" / "fixtures" / "recorded"


class Exchange(msgspec.Struct, frozen=True):
    """What was asked and answered; fields as described beside the recordings."""

    id: str
    host: str
    path: str
    status: int
    headers: dict[str, str]
    body: str

    @property
    def streamed(self) -> bool:
        """Whether the answer is a stream: some recorded requests are blanked out."""
        return self.status == 200 and not self.body.startswith("{")


def recorded(path: Path) -> list[Exchange]:
    """Read the chat exchanges of a file."""
    lines = path.read_bytes().splitlines()
    return [one for one in (msgspec.json.decode(line, type=Exchange) for line in lines) if "chat/completions" in one.path]


def all_recorded() -> list[Exchange]:
    """Read the chat exchanges of every file beside the checkout, none without them."""
    return [one for path in sorted(SHARED.glob("*.jsonl")) for one in recorded(path)]


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


@pytest.mark.parametrize("exchange", recorded(HERE), ids=lambda exchange: f"{exchange.host}-{exchange.id.rsplit('/', 1)[-1]}")
def test_a_few_exchanges_of_every_host(exchange: Exchange) -> None:
    """A host that answers in its own way would be misread."""
    check(exchange)


def test_what_is_recorded_here_is_varied() -> None:
    """The other tests would pass over nothing."""
    exchanges = recorded(HERE)
    assert len({exchange.host for exchange in exchanges}) == 9
    assert sum(exchange.streamed for exchange in exchanges) >= 8
    assert {exchange.status for exchange in exchanges} == {200, 400, 401, 429}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded exchanges are not beside the checkout")
def test_all_exchanges() -> None:
    """A form that only one recording has would be misread."""
    exchanges = all_recorded()
    assert len(exchanges) > 100
    for exchange in exchanges:
        check(exchange)


def test_errors_inside_streams_are_failures() -> None:
    """Groq's and OpenRouter's errors within a stream would pass for answers."""
    ends = {
        exchange.host: OpenAIChat().decoder().feed(exchange.body.encode())[-1]
        for exchange in recorded(HERE)
        if exchange.streamed and '"error":{' in exchange.body
    }
    groq, openrouter = ends["api.groq.com"], ends["openrouter.ai"]
    assert isinstance(groq, Failure)
    assert (groq.kind, groq.code, groq.committed) == (FailureKind.SERVER, "tool_use_failed", True)
    assert isinstance(openrouter, Failure)
    assert (openrouter.kind, openrouter.code, openrouter.message) == (FailureKind.SERVER, "400", "Token limit reached")
