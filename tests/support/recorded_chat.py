"""What providers that speak the OpenAI chat API were really asked, and really answered.

tests/contract/recorded/openai_chat.jsonl.gz holds each such exchange of the test suite of pydantic-ai 1.24.0 (MIT, see NOTICE):
one a line, as recorded there. The requests to Hugging Face were kept without their bodies.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec

from junctor.adapters.providers.dialect import Quirks
from junctor.domain.completion import (
    CompletionSpec,
    FilePart,
    ImagePart,
    JsonObjectFormat,
    JsonSchemaFormat,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    Role,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
)

RECORDED = Path(__file__).parents[1] / "contract" / "recorded" / "openai_chat.jsonl.gz"
Json = dict[str, Any]

SAME = ("temperature", "top_p", "n", "seed", "user", "parallel_tool_calls", "logprobs", "top_logprobs")
"""Keys of a request that a spec has under the same name and in the same form."""
WRITTEN = {
    "model",
    "messages",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "response_format",
    "stop",
    "reasoning_effort",
}


class Exchange(msgspec.Struct, frozen=True):
    """What was asked and answered; a request is None where it was not kept."""

    id: str
    host: str
    path: str
    request: Json | None
    status: int
    headers: dict[str, str]
    body: str

    @property
    def streamed(self) -> bool:
        """Whether the answer is a stream."""
        return self.status == 200 and not self.body.startswith("{")


def exchanges() -> list[Exchange]:
    """Read all recorded exchanges."""
    return [msgspec.json.decode(line, type=Exchange) for line in gzip.decompress(RECORDED.read_bytes()).splitlines()]


def compact(value: object) -> str:
    """Write JSON as providers are sent it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def quirks_of(request: Json) -> Quirks:
    """Return how the host of a request deviates, as far as its words show it."""
    return Quirks(
        asks_for_stream_usage="stream_options" in request,
        max_tokens_field="max_tokens" if "max_tokens" in request else "max_completion_tokens",
    )


def spec_of(request: Json) -> CompletionSpec:
    """Return the spec whose request this is; what has no field in a spec is extra."""
    same = {name: request[name] for name in SAME if name in request}
    limits = ("max_tokens", "max_completion_tokens")
    rest = {key: value for key, value in request.items() if key not in {*WRITTEN, *SAME, *limits}}
    effort = request.get("reasoning_effort")
    return CompletionSpec(
        model=request["model"],
        messages=tuple(map(_message, request["messages"])),
        tools=tuple(_tool(tool["function"]) for tool in request.get("tools") or ()),
        tool_choice=_choice(request.get("tool_choice")),
        response_format=_format(request.get("response_format")),
        stop=tuple(request["stop"]) if "stop" in request else None,
        max_tokens=next((request[key] for key in limits if key in request), None),
        reasoning=None if effort is None else Reasoning(effort),
        extra=compact(rest) if rest else None,
        **same,
    )


def normal(request: Json) -> Json:
    """Return a request as the dialect writes what it says: no null, a lone text as a string, every tool with its type."""
    plain = {**request, "messages": [_normal_message(message) for message in request["messages"]]}
    if "tools" in request:
        plain["tools"] = [{"type": "function", **tool} for tool in request["tools"]]
    return plain


def _normal_message(message: Json) -> Json:
    told = {key: value for key, value in message.items() if value is not None}
    content = told.get("content")
    if isinstance(content, list) and len(content) == 1 and content[0].keys() == {"type", "text"}:
        told["content"] = content[0]["text"]
    return told


def _message(message: Json) -> Message:
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or ()
    calls = message.get("tool_calls") or ()
    return Message(
        Role(message["role"]),
        tuple(map(_part, parts)),
        tool_calls=tuple(ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls),
        tool_call_id=message.get("tool_call_id"),
    )


def _part(part: Json) -> Part:
    match part["type"]:
        case "text":
            return TextPart(part["text"])
        case "image_url":
            return ImagePart(part["image_url"]["url"], part["image_url"].get("detail"))
        case "file":
            return FilePart(filename=part["file"].get("filename"), file_data=part["file"].get("file_data"))
        case kind:
            raise ValueError(kind)


def _tool(function: Json) -> Tool:
    return Tool(function["name"], function.get("description"), compact(function["parameters"]), function.get("strict"))


def _choice(choice: Any) -> ToolChoice | None:
    if isinstance(choice, dict):
        return ToolChoice(ToolMode.FUNCTION, choice["function"]["name"])
    return None if choice is None else ToolChoice(ToolMode(choice))


def _format(form: Json | None) -> ResponseFormat | None:
    if form is None:
        return None
    if form["type"] == "json_object":
        return JsonObjectFormat()
    schema = form["json_schema"]
    return JsonSchemaFormat(schema["name"], schema.get("description"), compact(schema["schema"]), schema.get("strict"))
