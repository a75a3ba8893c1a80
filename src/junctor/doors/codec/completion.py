"""CompletionSpec from proto to domain, with every check of what a caller may send.

Absent stays absent: no default of ours is ever filled in. `extra_json` passes what a provider alone knows, but nothing that
lets it do, and bill, what no hold can bound: tools that it runs itself, answers beyond those asked for, hosts that others
choose.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

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
    Voice,
)
from junctor.doors.codec import messages, unbuilt
from junctor.doors.codec.checks import MODELS_MAX, Checks
from junctor.v1 import completion_pb2 as pb
from junctor.wire.openai_chat import ChatRequest

INT32_MAX = 2**31 - 1
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

_TOOL_MODES: dict[int, ToolMode] = {
    pb.ToolChoice.MODE_NONE: ToolMode.NONE,
    pb.ToolChoice.MODE_AUTO: ToolMode.AUTO,
    pb.ToolChoice.MODE_REQUIRED: ToolMode.REQUIRED,
    pb.ToolChoice.MODE_FUNCTION: ToolMode.FUNCTION,
}
_MODEL, _MESSAGES = (pb.CompletionSpec.DESCRIPTOR.fields_by_name[name] for name in ("model", "messages"))
_NUMBERS: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "top_a": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "repetition_penalty": (0, 2),
    "max_tokens": (1, INT32_MAX),
    "top_k": (0, INT32_MAX),
    "seed": (INT64_MIN, INT64_MAX),
    "n": (1, 128),
    "top_logprobs": (0, 20),
}
_TEXTS = ("verbosity", "user", "service_tier", "prompt_cache_key")
_FLAGS = ("parallel_tool_calls", "logprobs")
_OWN_KEYS = frozenset(
    (*(field.encode_name for field in msgspec.structs.fields(ChatRequest)), *pb.CompletionSpec.DESCRIPTOR.fields_by_name)
)
_EXTRA = msgspec.json.Decoder(dict[str, msgspec.Raw])
_UNBOUNDED = frozenset(
    (
        *("web_search_options", "web_search", "plugins", "search_parameters", "search_settings", "search_options"),
        *("enable_search", "compound_custom", "mcp_servers", "connectors", "server_tools"),
        *("max_output_tokens", "max_new_tokens", "thinking_budget", "best_of", "num_generations"),
        *("provider", "route", "fallbacks", "fallback_models"),
    )
)
"""Keys that switch on tools of a provider's own (7,262 tokens were billed for a request of 503 bytes), raise what an answer may
have beyond `max_tokens` and `n`, or choose a host with other prices."""


def spec(message: pb.CompletionSpec, checks: Checks, path: str) -> CompletionSpec:
    """Read what is asked; `checks` gathers what is wrong, and the result counts only if nothing is.

    Of the many fields a request sets few, and only those are looked at.
    """
    model, turns = "", ()
    options: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field is _MODEL:
            model = value
        elif field is _MESSAGES:
            turns = value
        else:
            options[field.name] = value
    unbuilt.refuse(model, options, checks, path)
    model = checks.model(model, f"{path}.model")
    conversation = messages.conversation(turns, checks, f"{path}.messages")
    if not options:
        return CompletionSpec(model=model, messages=conversation)
    return CompletionSpec(model=model, messages=conversation, **_options(message, options, checks, path))


def _options(message: pb.CompletionSpec, fields: Mapping[str, Any], checks: Checks, path: str) -> dict[str, Any]:
    """Read what is set besides the model and the messages."""
    read: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _NUMBERS:
            read[name] = checks.number(value, *_NUMBERS[name], f"{path}.{name}")
        elif name in _TEXTS:
            read[name] = checks.text(value, f"{path}.{name}")
        elif name in _FLAGS:
            read[name] = value
        elif name in _READERS:
            read[name] = _READERS[name](message, checks, f"{path}.{name}")
    if "top_logprobs" in fields and not fields.get("logprobs"):
        checks.wrong(f"{path}.top_logprobs", "goes with logprobs, and only with it")
    if ("audio" in fields) is not ("audio" in fields.get("modalities", ())):
        checks.wrong(f"{path}.audio", 'goes with "audio" among the modalities, and only with it')
    if "extra_json" in fields:
        read["extra"] = _extra(fields["extra_json"], checks, f"{path}.extra_json")
    return read


def _models(message: pb.CompletionSpec, checks: Checks, path: str) -> tuple[str, ...]:
    if not checks.count(len(message.models), MODELS_MAX, path):
        return ()
    return tuple(checks.model(name, f"{path}[{place}]") for place, name in enumerate(message.models))


def _logit_bias(message: pb.CompletionSpec, checks: Checks, path: str) -> tuple[tuple[int, float], ...]:
    if not checks.count(len(message.logit_bias), checks.limits.logit_bias_max, path):
        return ()
    biases = sorted(message.logit_bias.items())
    return tuple((token, checks.number(bias, -100, 100, f"{path}[{token}]")) for token, bias in biases)


def _modalities(message: pb.CompletionSpec, checks: Checks, path: str) -> tuple[str, ...]:
    within = checks.count(len(message.modalities), checks.limits.modalities_max, path)
    return tuple(message.modalities) if within else ()


def _audio(message: pb.CompletionSpec, checks: Checks, path: str) -> Voice:
    voice = message.audio
    return Voice(checks.name(voice.voice, f"{path}.voice"), checks.name(voice.format, f"{path}.format"))


def _metadata(message: pb.CompletionSpec, checks: Checks, path: str) -> tuple[tuple[str, str], ...]:
    if not checks.count(len(message.metadata), checks.limits.metadata_max, path):
        return ()
    pairs = sorted(message.metadata.items())
    return tuple((checks.name(key, path), checks.text(value, f"{path}[{key}]")) for key, value in pairs)


def _tools(message: pb.CompletionSpec, checks: Checks, path: str) -> tuple[Tool, ...]:
    tools = message.tools
    checks.count(len(tools), checks.limits.tools_max, path)
    return tuple(_tool(tool, checks, f"{path}[{index}]") for index, tool in enumerate(tools[: checks.limits.tools_max]))


def _tool(tool: pb.Tool, checks: Checks, path: str) -> Tool:
    return Tool(
        name=checks.identifier(tool.name, f"{path}.name"),
        description=checks.text(tool.description, f"{path}.description") if tool.HasField("description") else None,
        parameters=_json_object(tool.parameters_json, checks, f"{path}.parameters_json")
        if tool.HasField("parameters_json")
        else None,
        strict=tool.strict if tool.HasField("strict") else None,
        cache_control=messages.cache_control(tool, checks, f"{path}.cache_control") if tool.HasField("cache_control") else None,
    )


def _json_object(text: str, checks: Checks, path: str) -> str:
    return checks.json(text, path, an_object=True)


def _tool_choice(message: pb.CompletionSpec, checks: Checks, path: str) -> ToolChoice:
    choice = message.tool_choice
    mode = checks.member(choice.mode, _TOOL_MODES, f"{path}.mode") or ToolMode.AUTO
    named = choice.HasField("function_name")
    if named is not (mode is ToolMode.FUNCTION):
        checks.wrong(f"{path}.function_name", "goes with MODE_FUNCTION, and only with it")
    elif named and all(choice.function_name != tool.name for tool in message.tools):
        checks.wrong(f"{path}.function_name", "names none of the tools")
    return ToolChoice(mode, choice.function_name if named else None)


def _response_format(message: pb.CompletionSpec, checks: Checks, path: str) -> ResponseFormat | None:
    response_format = message.response_format
    kind = response_format.WhichOneof("format")
    if kind is None:
        checks.wrong(path, "names no format")
        return None
    inner = getattr(response_format, kind)
    if kind == "text":
        return TextFormat()
    if kind == "json_object":
        return JsonObjectFormat()
    if kind == "grammar":
        return GrammarFormat(checks.text(inner.grammar, f"{path}.grammar"))
    return JsonSchemaFormat(
        name=checks.identifier(inner.name, f"{path}.json_schema.name"),
        description=checks.text(inner.description, f"{path}.json_schema.description")
        if inner.HasField("description")
        else None,
        schema=_json_object(inner.schema_json, checks, f"{path}.json_schema.schema_json")
        if inner.HasField("schema_json")
        else None,
        strict=inner.strict if inner.HasField("strict") else None,
    )


def _stop(message: pb.CompletionSpec, checks: Checks, path: str) -> tuple[str, ...]:
    checks.count(len(message.stop.sequences), checks.limits.stop_max, path)
    for index, sequence in enumerate(message.stop.sequences[: checks.limits.stop_max]):
        checks.text(sequence, f"{path}.sequences[{index}]")
        if not sequence:
            checks.wrong(f"{path}.sequences[{index}]", "is empty")
    return tuple(message.stop.sequences)


def _reasoning(message: pb.CompletionSpec, checks: Checks, path: str) -> Reasoning:
    reasoning = message.reasoning
    if reasoning.HasField("max_tokens"):
        checks.number(reasoning.max_tokens, 1, INT32_MAX, f"{path}.max_tokens")
    return Reasoning(
        effort=checks.name(reasoning.effort, f"{path}.effort") if reasoning.HasField("effort") else None,
        max_tokens=reasoning.max_tokens if reasoning.HasField("max_tokens") else None,
        exclude=reasoning.exclude if reasoning.HasField("exclude") else None,
    )


def _prediction(message: pb.CompletionSpec, checks: Checks, path: str) -> str:
    return checks.text(message.prediction.content, path)


def _extra(given: str, checks: Checks, path: str) -> str | None:
    text = _json_object(given, checks, path)
    try:
        keys = _EXTRA.decode(text).keys()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        checks.wrong(path, "has no keys that can be read")
        return None
    taken = sorted(_OWN_KEYS.intersection(keys))
    if taken:
        checks.wrong(path, f"has keys that have fields of their own, or are ours to set: {', '.join(taken)}")
    unbounded = sorted(_UNBOUNDED.intersection(keys))
    if unbounded:
        checks.wrong(path, f"has keys that a provider may bill beyond any bound: {', '.join(unbounded)}")
    return text


_READERS: dict[str, Callable[[pb.CompletionSpec, Checks, str], object]] = {
    "models": _models,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "response_format": _response_format,
    "stop": _stop,
    "logit_bias": _logit_bias,
    "reasoning": _reasoning,
    "modalities": _modalities,
    "audio": _audio,
    "prediction": _prediction,
    "metadata": _metadata,
}
"""How each field is read that is set and is no plain value."""
