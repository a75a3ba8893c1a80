"""A completion spec into the body of POST /chat/completions.

Absent stays absent: no default of ours is ever sent. A parameter that the endpoint does not list, or the provider refuses, is
left out and named. `extra` is merged verbatim, but never replaces what is written here (the doors refuse the keys that have
fields of their own in the spec).
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, assert_never

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import astuple

from junctor.adapters.providers.dialect import Encoded, Quirks
from junctor.adapters.providers.dialects.openai_chat.messages import cache_mark, encode_messages
from junctor.domain.catalog import Endpoint
from junctor.domain.completion import (
    CompletionSpec,
    GrammarFormat,
    JsonObjectFormat,
    JsonSchemaFormat,
    Reasoning,
    ResponseFormat,
    TextFormat,
    Tool,
    ToolChoice,
    ToolMode,
)
from junctor.wire import openai_chat as wire

_PATH: Final = "/chat/completions"
_NO_PARAMETERS: Final = frozenset({"model", "models", "messages", "session_id", "preset", "extra"})
"""Fields of the spec that are sent always (messages), for routing only, or merged (extra)."""
_FIELDS: Final = CompletionSpec.__struct_fields__
_ASKED: Final = _FIELDS.index("messages") + 1
"""Where in the spec the fields begin that a plain question has none of."""
_ALL_ABSENT: Final = astuple(CompletionSpec(model="", messages=()))[_ASKED:]
_ENDPOINTS_KEPT: Final = 1_024
"""For how many kinds of endpoint it is kept what they understand."""
_OF_TOOLS: Final = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
_OF_SPEECH: Final = frozenset({"modalities", "audio"})
_EXTRA: Final = msgspec.json.Decoder(dict[str, Raw])


def encode(endpoint: Endpoint, spec: CompletionSpec, quirks: Quirks, *, stream: bool) -> Encoded:
    """Write the request."""
    sent, dropped = _divide(endpoint, spec, quirks)
    body: dict[str, object] = {"model": endpoint.upstream_model, "messages": encode_messages(spec.messages, quirks)}
    for name in sent:
        written = _written(name, spec, quirks)
        body.update(written)
        if not written:
            dropped.append(name)
    body["stream"] = stream
    if stream and quirks.asks_for_stream_usage:
        body["stream_options"] = wire.StreamOptions(include_usage=True)
    if spec.extra is not None:
        extra = _EXTRA.decode(spec.extra)
        kept = {key: value for key, value in extra.items() if key not in body}
        body.update(kept)
        if len(kept) < len(extra):
            dropped.append("extra")
    return Encoded(_PATH, msgspec.json.encode(body), tuple(dropped))


def _divide(endpoint: Endpoint, spec: CompletionSpec, quirks: Quirks) -> tuple[list[str], list[str]]:
    """Return the names of the parameters that are set: those to send, and those that the endpoint does not understand."""
    sent: list[str] = []
    dropped: list[str] = []
    values = astuple(spec)
    if values[_ASKED:] == _ALL_ABSENT:
        return sent, dropped
    known = _known(endpoint.parameters, quirks.refused_parameters, speaks="audio" in endpoint.output_modalities)
    for name, value in zip(_FIELDS, values, strict=True):
        if value is None or value == () or name in _NO_PARAMETERS:
            continue
        if isinstance(value, Reasoning) and value.effort is None and value.max_tokens is None:
            continue  # at most a wish to leave the thoughts out, which is fulfilled on our side
        if name in known and _finite(value):
            sent.append(name)
        else:
            dropped.append(name)
    return sent, dropped


@lru_cache(_ENDPOINTS_KEPT)
def _known(listed: Sequence[str], refused: Sequence[str], *, speaks: bool) -> frozenset[str]:
    """Return the parameters that an endpoint understands."""
    known = set(listed).difference(refused)
    if "tools" not in known:
        known -= _OF_TOOLS
    if speaks:
        known |= _OF_SPEECH
    if "logprobs" not in known:
        known.discard("top_logprobs")
    return frozenset(known)


def _written(name: str, spec: CompletionSpec, quirks: Quirks) -> Mapping[str, object]:
    """Write one parameter that is set, under the name that the provider knows."""
    value: object = getattr(spec, name)
    key = name
    match name:
        case "tools":
            marks = "cache_control" not in quirks.refused_parameters
            value = [_tool(tool, marks=marks) for tool in spec.tools]
        case "tool_choice" if spec.tool_choice is not None:
            value = _tool_choice(spec.tool_choice, quirks)
        case "response_format" if spec.response_format is not None:
            value = _response_format(spec.response_format)
        case "max_tokens":
            key = quirks.max_tokens_field
        case "seed":
            key = quirks.seed_field
        case "logit_bias":
            # Whole numbers are written as such: OpenAI's schema says integer, and some hosts insist.
            value = {str(token): int(bias) if bias == int(bias) else bias for token, bias in spec.logit_bias}
        case "reasoning" if spec.reasoning is not None:
            return _reasoning(spec.reasoning, quirks)
        case "prediction" if spec.prediction is not None:
            value = wire.Prediction("content", spec.prediction)
        case "metadata":
            value = dict(spec.metadata)
        case _:
            pass
    return {key: value}


def _tool(tool: Tool, *, marks: bool) -> wire.Tool:
    """Write one tool."""
    function = wire.FunctionDefinition(tool.name, tool.description, _raw(tool.parameters), tool.strict)
    return wire.Tool("function", function, cache_mark(tool.cache_control, marks=marks))


def _tool_choice(choice: ToolChoice, quirks: Quirks) -> str | wire.NamedToolChoice:
    """Write whether and what the model must call."""
    if choice.mode is ToolMode.FUNCTION:
        return wire.NamedToolChoice("function", wire.FunctionName(choice.function_name or ""))
    if choice.mode is ToolMode.REQUIRED:
        return quirks.required_tool_choice
    return "auto" if choice.mode is ToolMode.AUTO else "none"


def _response_format(form: ResponseFormat) -> wire.ResponseFormat:
    """Write the form of the answer; a grammar as OpenRouter takes it."""
    match form:
        case TextFormat():
            return wire.ResponseFormat("text")
        case JsonObjectFormat():
            return wire.ResponseFormat("json_object")
        case JsonSchemaFormat():
            schema = wire.JsonSchema(form.name, form.description, _raw(form.schema), form.strict)
            return wire.ResponseFormat("json_schema", json_schema=schema)
        case GrammarFormat():
            return wire.ResponseFormat("grammar", grammar=form.grammar)
        case _:
            assert_never(form)


def _reasoning(reasoning: Reasoning, quirks: Quirks) -> Mapping[str, object]:
    """Write how much to think, in the provider's dialect of it: empty where that has no word for it."""
    match quirks.reasoning_request:
        case "reasoning_object":
            options = wire.Reasoning(reasoning.effort, reasoning.max_tokens, reasoning.exclude)
            return {"reasoning": options}
        case "thinking_type":
            return {"thinking": wire.Thinking("disabled" if reasoning.effort == "none" else "enabled")}
        case "reasoning_effort":
            return {} if reasoning.effort is None else {"reasoning_effort": reasoning.effort}


def _raw(text: str | None) -> Raw | UnsetType:
    """Carry JSON text verbatim."""
    return UNSET if text is None else Raw(text)


def _finite(value: object) -> bool:
    """Tell whether a value can be written as JSON: NaN and infinities would go out as null."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, tuple):
        return all(_finite(item) for item in value)
    return True
