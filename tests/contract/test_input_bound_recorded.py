"""The input bound against what providers really billed, over every recorded completion beside the checkout.

A chat completion becomes the spec that a caller of ours would have sent. Requests of other wire APIs, whose dialects are yet to
come, become a spec of the same text: the JSON of each message without its media. The redacted requests that providers.md counts
among the exceptions were recorded without a body, and are left out with all others that have none.
"""

import base64
import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.eventstream import EventStreamBuffer

from junctor.domain.completion import CompletionSpec, FilePart, ImagePart, Message, Part, Role, TextPart, Tool
from junctor.policy import bounds
from junctor.policy.pricing import COUNT_MAX
from tests.support.recorded_chat import compact, spec_of

SHARED = Path(__file__).parents[3] / "shared" / "fixtures" / "recorded"
Json = dict[str, Any]

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded exchanges are not beside the checkout")

MEDIA = ("inlineData", "fileData", "image", "document", "video", "source", "file_data", "image_url")
"""Keys of what is no text, in Gemini's, Bedrock's, Anthropic's and OpenAI's words."""


class Exchange(msgspec.Struct, frozen=True):
    """What was asked and answered; fields as described beside the recordings."""

    id: str
    host: str
    path: str
    request: Json | None
    status: int
    body_encoding: str
    body: str


def exchanges() -> list[Exchange]:
    """Read all answered completions whose request was kept."""
    lines = [line for path in sorted(SHARED.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    read = (msgspec.json.decode(line, type=Exchange) for line in lines)
    return [
        one for one in read if one.status == 200 and one.request and not re.search("count.?tokens", one.path, re.IGNORECASE)
    ]


def is_chat(exchange: Exchange) -> bool:
    """Whether an exchange speaks OpenAI's chat schema."""
    return exchange.path.endswith("/chat/completions")


def billed(exchange: Exchange) -> int | None:
    """Return the most input tokens that an answer says it used: where it says so more than once, the numbers are cumulative."""
    usages = [tokens for answer in answers(exchange) if (tokens := input_tokens(answer)) is not None]
    return max(usages, default=None)


def answers(exchange: Exchange) -> Iterator[Json]:
    """Yield the JSON of an answer, or of each event of a stream."""
    if exchange.body_encoding == "base64":
        buffer = EventStreamBuffer()
        buffer.add_data(base64.b64decode(exchange.body))
        yield from (json.loads(event.payload) for event in buffer)
    elif exchange.body.lstrip().startswith("{"):
        yield json.loads(exchange.body)
    else:
        data = (line.removeprefix("data:").strip() for line in exchange.body.splitlines() if line.startswith("data:"))
        yield from (json.loads(text) for text in data if text.startswith("{"))


def input_tokens(answer: Json) -> int | None:
    """Return the input tokens that are billed, by the words of whichever API: Anthropic and Bedrock count cached ones apart."""
    if (gemini := answer.get("usageMetadata")) is not None:
        return int(gemini.get("promptTokenCount", 0)) + int(gemini.get("toolUsePromptTokenCount", 0))
    inner = answer.get("message") or answer.get("delta") or answer.get("response") or {}
    usage = answer.get("usage") or answer.get("x_groq", {}).get("usage") or (isinstance(inner, dict) and inner.get("usage"))
    if not usage:
        return None
    if "billed_units" in usage:
        return int(usage["billed_units"]["input_tokens"])
    apart = ("cache_read_input_tokens", "cache_creation_input_tokens", "cacheReadInputTokens", "cacheWriteInputTokens")
    total = next((usage[name] for name in ("prompt_tokens", "input_tokens", "inputTokens") if name in usage), None)
    return None if total is None else int(total) + sum(usage.get(name) or 0 for name in apart)


def other_spec(request: Json) -> CompletionSpec:
    """Return a spec with the text and the media of a request of another wire API."""
    media: list[Part] = []
    turns = next(request[key] for key in ("messages", "contents", "input") if key in request)
    system = [request[key] for key in ("system", "systemInstruction", "system_instruction", "instructions") if key in request]
    forms = [request[key] for key in ("text", "output_format", "generationConfig") if key in request]
    told = [compact(plain(turn, media)) for turn in (system, *([turns] if isinstance(turns, str) else turns))]
    return CompletionSpec(
        model="",
        messages=(*(Message(Role.USER, (TextPart(text),)) for text in told), Message(Role.USER, tuple(media))),
        tools=(Tool("", None, compact([request.get("tools"), request.get("toolConfig")])),),
        extra=compact(forms),
    )


def plain(value: Any, media: list[Part]) -> Any:
    """Return a JSON value without the media in it, which are added to the list."""
    if isinstance(value, list):
        return [plain(item, media) for item in value]
    if not isinstance(value, dict):
        return value
    found = next((key for key in MEDIA if key in value), None)
    if found is None:
        return {key: plain(item, media) for key, item in value.items()}
    inner = value[found] if isinstance(value[found], dict) else {}
    kinds = (found, value.get("type"), *(inner.get(key) for key in ("mimeType", "mime_type", "media_type")))
    media.append(ImagePart("") if any("image" in kind for kind in kinds if kind) else FilePart())
    return {}


def has_tools_of_the_provider(request: Json) -> bool:
    """Whether the provider brings tools of its own, whose words and results are input that no request shows."""
    if request.get("mcp_servers") or request.get("web_search_options") or "compound" in request.get("model", ""):
        return True
    tools = request.get("tools") or []
    return not all(is_callers(tool) for tool in (tools if isinstance(tools, list) else [tools]))


def is_callers(tool: Json) -> bool:
    """Whether a tool is described by the request itself, in any API's way."""
    return any(key in tool for key in ("function", "functionDeclarations", "parameters", "input_schema"))


def measured() -> Iterator[tuple[Exchange, int, int]]:
    """Yield every exchange that says what it used, with its billed input and its bound in a context without limit."""
    for exchange in exchanges():
        used = billed(exchange)
        if used is not None and exchange.request is not None:
            spec = spec_of(exchange.request) if is_chat(exchange) else other_spec(exchange.request)
            yield exchange, used, bounds.input_bound(bounds.size(spec), None)


def test_no_recorded_request_is_billed_beyond_its_bound() -> None:
    """A caller without the money would be served, and somebody else pay."""
    own = [row for row in measured() if row[0].request and not has_tools_of_the_provider(row[0].request)]
    assert len([row for row in own if is_chat(row[0])]) > 120
    assert len([bound for _, _, bound in own if bound < COUNT_MAX]) > 250
    assert [(exchange.id, used, bound) for exchange, used, bound in own if used > bound] == []


def test_the_bound_says_something() -> None:
    """A bound that is always the whole context would pass the other tests, and turn callers with little money away."""
    bounded = [(used, bound) for exchange, used, bound in measured() if is_chat(exchange) and bound < COUNT_MAX]
    assert len(bounded) > 120
    assert statistics.median(bound / used for used, bound in bounded) < 30
    assert statistics.median(bound / used for used, bound in bounded if used >= 300) < 15


def test_only_hidden_tokens_explain_some_bills() -> None:
    """The slack would be taken away as unused: some providers bill for more than they were sent."""
    own = [row for row in measured() if row[0].request and not has_tools_of_the_provider(row[0].request)]
    assert any(used > bound - bounds.HIDDEN_TOKENS for _, used, bound in own)


def test_tools_of_the_provider_are_beyond_any_bound() -> None:
    """The exceptions of the first test would hide what they are said to be: input that no request shows."""
    theirs = [row for row in measured() if row[0].request and has_tools_of_the_provider(row[0].request)]
    assert sum(used > bound for _, used, bound in theirs) > 10
