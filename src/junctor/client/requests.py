"""How does a caller write down what it asks? As plain Python here, as v1 messages on the wire; both clients share this.

It checks form only where protobuf would not; what a field may hold is the server's to say. None and absence mean the
same: absent on the wire.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypedDict, Unpack, cast

from junctor.v1.completion_pb2 import (
    CompletionSpec,
    Message,
    Part,
    Prediction,
    Reasoning,
    ResponseFormat,
    Role,
    StopSequences,
    TextPart,
    Tool,
    ToolChoice,
    Voice,
)
from junctor.v1.router_service_pb2 import CompleteRequest, ExplainRequest, StreamRequest
from junctor.v1.routing_pb2 import RoutingPreferences

Conversation: TypeAlias = str | Sequence[Message | Mapping[str, object]]

_MAPPING_KEYS = frozenset({"role", "content", "name", "tool_call_id"})
_BESIDE_SPEC = frozenset({"stop", "preferences", "request_id"})


class SpecFields(TypedDict, total=False):
    """The fields of CompletionSpec by their names, but for those that are given in another form."""

    models: Sequence[str] | None
    tools: Sequence[Tool] | None
    tool_choice: ToolChoice | None
    parallel_tool_calls: bool | None
    response_format: ResponseFormat | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    top_a: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    repetition_penalty: float | None
    seed: int | None
    logit_bias: Mapping[int, float] | None
    logprobs: bool | None
    top_logprobs: int | None
    reasoning: Reasoning | None
    modalities: Sequence[str] | None
    audio: Voice | None
    prediction: Prediction | None
    verbosity: str | None
    user: str | None
    session_id: str | None
    metadata: Mapping[str, str] | None
    service_tier: str | None
    prompt_cache_key: str | None
    preset: str | None
    n: int | None
    extra_json: str | None


class ExplainFields(SpecFields, total=False):
    """The same, with what ends the answer, and how it may be routed."""

    stop: str | Sequence[str] | None
    preferences: RoutingPreferences | None


class RequestFields(ExplainFields, total=False):
    """The same, with a UUID that makes the call idempotent."""

    request_id: str | None


def complete_request(prompt: Conversation, *, model: str, **fields: Unpack[RequestFields]) -> CompleteRequest:
    """Build the request of Complete.

    Raises TypeError or ValueError for what cannot be written down.
    """
    return CompleteRequest(
        spec=_spec(prompt, model, fields),
        preferences=fields.get("preferences"),
        request_id=fields.get("request_id"),
    )


def stream_request(prompt: Conversation, *, model: str, **fields: Unpack[RequestFields]) -> StreamRequest:
    """Build the request of Stream.

    Raises TypeError or ValueError for what cannot be written down.
    """
    return StreamRequest(
        spec=_spec(prompt, model, fields),
        preferences=fields.get("preferences"),
        request_id=fields.get("request_id"),
    )


def explain_request(prompt: Conversation, *, model: str, **fields: Unpack[ExplainFields]) -> ExplainRequest:
    """Build the request of Explain.

    Raises TypeError or ValueError for what cannot be written down.
    """
    return ExplainRequest(spec=_spec(prompt, model, fields), preferences=fields.get("preferences"))


def _spec(prompt: Conversation, model: str, fields: ExplainFields) -> CompletionSpec:
    for name in ("models", "modalities"):
        if isinstance(fields.get(name), str):
            # protobuf would take it for a list of letters.
            raise TypeError(f"{name} is a list of strings, not a string")
    stop = fields.get("stop")
    rest = cast("SpecFields", {name: value for name, value in fields.items() if name not in _BESIDE_SPEC})
    return CompletionSpec(
        model=model,
        messages=_messages(prompt),
        stop=None if stop is None else StopSequences(sequences=[stop] if isinstance(stop, str) else stop),
        **rest,
    )


def _messages(prompt: Conversation) -> list[Message]:
    if isinstance(prompt, str):
        return [Message(role=Role.ROLE_USER, parts=[Part(text=TextPart(text=prompt))])]
    return [entry if isinstance(entry, Message) else _message(entry) for entry in prompt]


def _message(entry: Mapping[str, object]) -> Message:
    unknown = sorted(entry.keys() - _MAPPING_KEYS)
    if unknown:
        raise ValueError(f"a message given as a mapping has no {unknown[0]!r}; build a v1 Message for it")
    name, call = entry.get("name"), entry.get("tool_call_id")
    return Message(
        role=_role(entry.get("role")),
        parts=_parts(entry.get("content")),
        name=None if name is None else str(name),
        tool_call_id=None if call is None else str(call),
    )


def _role(word: object) -> Role.ValueType:
    for name, role in Role.items():
        if role != Role.ROLE_UNSPECIFIED and word == name.removeprefix("ROLE_").lower():
            return role
    raise ValueError(f"a message's role is system, developer, user, assistant or tool, not {word!r}")


def _parts(content: object) -> list[Part]:
    if isinstance(content, str):
        return [Part(text=TextPart(text=content))]
    if isinstance(content, Sequence) and all(isinstance(part, Part) for part in content):
        return list(content)
    raise TypeError("a message's content is a string or a list of v1 Parts")
