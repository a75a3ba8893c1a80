"""The conversation as chat messages: content as plain a form as holds it, reasoning replayed as the provider's quirk says.

Content is a string unless it needs parts: one text without a cache mark is sent as text, since some hosts take nothing else.
A turn that was spoken is sent as its transcript: its sound lies at whoever made it, under a credential that all accounts share.
"""

from collections.abc import Mapping, Sequence
from typing import Final, assert_never

from msgspec import Raw
from msgspec.structs import astuple

from junctor.adapters.providers.dialect import Quirks
from junctor.adapters.providers.dialects.openai_chat.call_ids import nine_alphanumeric
from junctor.domain.completion import (
    AudioPart,
    CacheControl,
    FilePart,
    ImagePart,
    Message,
    Part,
    Role,
    TextPart,
    ToolCall,
    VideoPart,
)
from junctor.wire import openai_chat as wire

_TEXT_ONLY: Final = astuple(Message(Role.USER))[2:]
"""What a message has besides its role and its parts, where it has nothing else."""


def encode_messages(messages: Sequence[Message], quirks: Quirks) -> list[wire.ChatMessage | dict[str, object]]:
    """Write all messages of a request."""
    written: list[wire.ChatMessage | dict[str, object]] = []
    renamed: Mapping[str, str] | None = None
    for message in messages:
        # Most messages are one text, which no quirk changes.
        parts = message.parts
        if len(parts) == 1 and astuple(message)[2:] == _TEXT_ONLY:
            part = parts[0]
            if isinstance(part, TextPart) and part.cache_control is None:
                written.append({"role": message.role, "content": part.text})
                continue
        if renamed is None:
            renamed = {} if quirks.tool_call_ids == "any" else nine_alphanumeric(_call_ids(messages))
        written.append(_message(message, quirks, renamed))
    return written


def cache_mark(control: CacheControl | None, *, marks: bool) -> wire.CacheControl | None:
    """Write a cache mark, where there is one and the provider takes marks."""
    return wire.CacheControl(control.type, control.ttl) if control is not None and marks else None


def _message(message: Message, quirks: Quirks, renamed: Mapping[str, str]) -> wire.ChatMessage:
    """Write one message; `renamed` are the ids of tool calls that go by another name."""
    replay = quirks.reasoning_replay if message.role is Role.ASSISTANT else "none"
    details = message.reasoning_details if replay == "reasoning" else ()
    return wire.ChatMessage(
        role=message.role.value,
        content=_content(message, marks="cache_control" not in quirks.refused_parameters),
        name=message.name,
        refusal=message.refusal,
        reasoning=message.reasoning if replay == "reasoning" else None,
        reasoning_content=message.reasoning if replay == "reasoning_content" else None,
        reasoning_details=[Raw(detail) for detail in details] if details else None,
        tool_calls=[_tool_call(call, renamed) for call in message.tool_calls] if message.tool_calls else None,
        tool_call_id=None if message.tool_call_id is None else renamed.get(message.tool_call_id, message.tool_call_id),
    )


def _content(message: Message, *, marks: bool) -> str | list[wire.ContentPart] | None:
    """Write the content: only an assistant that calls tools or refuses may have none."""
    parts = message.parts
    if message.speech is not None and message.speech.transcript:
        parts = (*parts, TextPart(message.speech.transcript))
    if not parts:
        return None if message.tool_calls or message.refusal is not None else ""
    first = parts[0]
    if len(parts) == 1 and isinstance(first, TextPart) and (first.cache_control is None or not marks):
        return first.text
    return [_part(part, marks=marks) for part in parts]


def _part(part: Part, *, marks: bool) -> wire.ContentPart:
    """Write one part."""
    match part:
        case TextPart():
            return wire.ContentPart("text", text=part.text, cache_control=cache_mark(part.cache_control, marks=marks))
        case ImagePart():
            image = wire.ImageUrl(part.url, part.detail)
            return wire.ContentPart("image_url", image_url=image, cache_control=cache_mark(part.cache_control, marks=marks))
        case AudioPart():
            audio = wire.InputAudio(part.data, part.format)
            return wire.ContentPart("input_audio", input_audio=audio, cache_control=cache_mark(part.cache_control, marks=marks))
        case FilePart():
            file = wire.File(part.filename, part.file_data, part.file_id)
            return wire.ContentPart("file", file=file, cache_control=cache_mark(part.cache_control, marks=marks))
        case VideoPart():
            raise AssertionError(f"the doors refuse {type(part).__name__}, so it cannot come here")
        case _:
            assert_never(part)


def _tool_call(call: ToolCall, renamed: Mapping[str, str]) -> wire.ToolCall:
    """Write one call of a tool."""
    return wire.ToolCall(
        id=renamed.get(call.id, call.id), type="function", function=wire.FunctionCall(call.name, call.arguments)
    )


def _call_ids(messages: Sequence[Message]) -> list[str]:
    """List the ids of tool calls in the order in which they come."""
    ids: list[str] = []
    for message in messages:
        ids.extend(call.id for call in message.tool_calls)
        if message.tool_call_id is not None:
            ids.append(message.tool_call_id)
    return ids
