"""What does an answer say that is written not quite as OpenAI writes it, or too densely to be unpacked at once? All it means.

Such an answer is read member by member. What is told beyond doubt is taken, in whatever form: the JSON of a call's arguments
as text or as itself, a number where text should be. A remark that nobody understands is as good as absent. What the model said
is never passed over: where that cannot be read, there is no answer. A count that cannot be read is not reported, so that usage
is estimated.
It takes little memory beside the body, whatever that holds: nothing is unpacked before it is known to be needed, no list of
more than PIECES_MAX pieces, and not very many lists. Only log probabilities are unpacked however many they are, where wanted.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import astuple

from junctor.adapters.providers.dialects.openai_chat import reading
from junctor.wire import openai_chat as wire

_Kind = TypeVar("_Kind", bound=Struct)
_NULL: Final = Raw(b"null")
_NOTHING: Final = frozenset({b"null", b"false", b"[]", b"{}", b'""'})
"""What hosts write where there is nothing: in some languages an empty object becomes an empty list on its way to JSON."""
_NOTHING_BYTES: Final = max(map(len, _NOTHING))
_ERROR_BYTES: Final = 64 * 1024
"""A longer error is none: its meaning would stand at its beginning, and unpacking it costs many times its length."""


class _Answer(Struct, frozen=True, gc=False):
    """A wire.ChatCompletion, unopened; so are those that follow."""

    id: Raw = _NULL
    choices: Raw = _NULL
    usage: Raw = _NULL
    x_groq: Raw = _NULL
    error: Raw = _NULL


class _Choice(Struct, frozen=True, gc=False):
    index: Raw = _NULL
    message: Raw = _NULL
    delta: Raw = _NULL
    finish_reason: Raw = _NULL
    native_finish_reason: Raw = _NULL
    logprobs: Raw = _NULL
    error: Raw = _NULL


class _Message(Struct, frozen=True, gc=False):
    content: Raw = _NULL
    refusal: Raw = _NULL
    reasoning: Raw = _NULL
    reasoning_content: Raw = _NULL
    reasoning_details: Raw = _NULL
    tool_calls: Raw = _NULL
    audio: Raw = _NULL
    annotations: Raw = _NULL
    executed_tools: Raw = _NULL


class _Part(Struct, frozen=True, gc=False):
    type: Raw = _NULL
    text: Raw = _NULL
    thinking: Raw = _NULL
    summary: Raw = _NULL


class _Call(Struct, frozen=True, gc=False):
    index: Raw = _NULL
    id: Raw = _NULL
    function: Raw = _NULL


class _Function(Struct, frozen=True, gc=False):
    name: Raw = _NULL
    arguments: Raw = _NULL


class _Speech(Struct, frozen=True, gc=False):
    id: Raw = _NULL
    data: Raw = _NULL
    transcript: Raw = _NULL
    expires_at: Raw = _NULL


class _Usage(Struct, frozen=True, gc=False):
    prompt_tokens: Raw = _NULL
    completion_tokens: Raw = _NULL
    total_tokens: Raw = _NULL
    prompt_tokens_details: Raw = _NULL
    completion_tokens_details: Raw = _NULL
    prompt_cache_hit_tokens: Raw = _NULL


class _PromptDetails(Struct, frozen=True, gc=False):
    cached_tokens: Raw = _NULL
    cache_write_tokens: Raw = _NULL
    audio_tokens: Raw = _NULL


class _CompletionDetails(Struct, frozen=True, gc=False):
    reasoning_tokens: Raw = _NULL
    audio_tokens: Raw = _NULL
    accepted_prediction_tokens: Raw = _NULL
    rejected_prediction_tokens: Raw = _NULL


class _Groq(Struct, frozen=True, gc=False):
    usage: Raw = _NULL
    error: Raw = _NULL


class _Reason(Struct, frozen=True, gc=False):
    type: str


_LOGPROBS: Final[msgspec.json.Decoder[wire.Logprobs | None]] = msgspec.json.Decoder(wire.Logprobs | None)
_TEXT: Final = msgspec.json.Decoder(str)
_NUMBER: Final = msgspec.json.Decoder(int | float)
_PIECES_TOTAL: Final = 16 * reading.PIECES_MAX
"""More pieces than all the lists of an answer have together, one within another."""
_FEW: Final = msgspec.json.Decoder(list[Raw])
_FEW_BYTES: Final = 2 * reading.PIECES_MAX
"""A list of this length cannot have more than PIECES_MAX pieces: each is a byte at least, with a comma or bracket after it."""


class _Lists:
    """Divides the lists of one answer."""

    def __init__(self) -> None:
        self._left = _PIECES_TOTAL

    def divide(self, given: Raw) -> Sequence[Raw]:
        """Divide a list. Raises ValueError where it is none, has more than PIECES_MAX pieces, or is one of too many."""
        if _is_nothing(given):
            return ()
        if len(given) <= _FEW_BYTES:
            pieces = _FEW.decode(given)
        else:
            pieces = [piece for piece in astuple(_divider().decode(given)) if piece is not UNSET]
        self._left -= len(pieces)
        if self._left < 0:
            raise ValueError("the answer has too many parts")
        return pieces


def mended(body: bytes, *, logprobs: bool = True) -> wire.ChatCompletion | None:
    """Read a whole answer or a chunk as it is meant, None if that cannot be told. Log probabilities are read on demand.

    A chunk that is null keeps a connection warm: https://github.com/microsoft/autogen/pull/7711.
    """
    try:
        if body == b"null":
            return wire.ChatCompletion()
        answer, lists = _open(body, _Answer), _Lists()
        return wire.ChatCompletion(
            id=_word(answer.id),
            choices=[_choice(piece, lists, logprobs=logprobs) for piece in lists.divide(answer.choices)],
            usage=_usage(answer.usage),
            x_groq=_groq(answer.x_groq),
            error=_error(answer.error),
        )
    except (ValueError, RecursionError):
        return None


def _choice(piece: Raw, lists: _Lists, *, logprobs: bool) -> wire.Choice:
    """Read one answer. Raises ValueError."""
    choice = _open(piece, _Choice)
    index = choice.index
    return wire.Choice(
        index=None if _is_nothing(index) else msgspec.convert(_count(index), wire.ChoiceIndex),
        message=_message(choice.message, lists),
        delta=_message(choice.delta, lists),
        finish_reason=_reason(choice.finish_reason),
        native_finish_reason=_word(choice.native_finish_reason),
        logprobs=_logprobs(choice.logprobs) if logprobs else None,
        error=_error(choice.error),
    )


def _message(given: Raw, lists: _Lists) -> wire.ChatMessage | None:
    """Read a message or delta. Raises ValueError."""
    if _is_nothing(given):
        return None
    message = _open(given, _Message)
    return wire.ChatMessage(
        content=_content(message.content, lists),
        refusal=_prose(message.refusal),
        reasoning=_thought(message.reasoning, lists),
        reasoning_content=_thought(message.reasoning_content, lists),
        reasoning_details=_remarks(message.reasoning_details, lists),
        tool_calls=[_call(piece) for piece in lists.divide(message.tool_calls)] or None,
        audio=_speech(message.audio),
        annotations=_remarks(message.annotations, lists),
        executed_tools=_remarks(message.executed_tools, lists),
    )


def _content(given: Raw, lists: _Lists) -> str | list[wire.ContentPart] | None:
    """Read a content: text, a list of parts, or the only one of them. Raises ValueError."""
    if _begins(given, b"{") and not _is_nothing(given):
        return [_part(given, lists)]
    return [_part(piece, lists) for piece in lists.divide(given)] if _begins(given, b"[") else _prose(given)


def _part(piece: Raw, lists: _Lists) -> wire.ContentPart:
    """Read one part: a text may stand there by itself, or without its type. Raises ValueError."""
    if _begins(piece, b'"'):
        return wire.ContentPart("text", text=_TEXT.decode(piece))
    part = _open(piece, _Part)
    kind = _word(part.type) or "text"
    if kind == "thinking":
        thinking = part.thinking
        return wire.ContentPart(kind, thinking=_pieces(thinking, lists) if _begins(thinking, b"[") else _prose(thinking))
    if kind == "reasoning":
        return wire.ContentPart(kind, text=_thought(part.text, lists), summary=_pieces(part.summary, lists))
    # All others are pictures and the like, of which a message has nothing.
    return wire.ContentPart(kind, text=_prose(part.text) if kind in reading.TEXTS else None)


def _pieces(given: Raw, lists: _Lists) -> list[wire.ContentPart]:
    """Read the pieces of a thinking: texts, of whatever type. Raises ValueError.

    What lies deeper is passed over: a part in a part in a part would be gone through once for each of them.
    """
    return [
        wire.ContentPart("text", text=_TEXT.decode(piece) if _begins(piece, b'"') else _prose(_open(piece, _Part).text))
        for piece in lists.divide(given)
    ]


def _thought(given: Raw, lists: _Lists) -> str | None:
    """Read a reasoning: text or parts of one. It is a remark: any other is as good as none."""
    try:
        return "".join(piece.text or "" for piece in _pieces(given, lists)) if _begins(given, b"[") else _prose(given)
    except ValueError:
        return None


def _call(piece: Raw) -> wire.ToolCall:
    """Read a call of a tool, or a piece of one. Raises ValueError."""
    call = _open(piece, _Call)
    index, function = _count(call.index), None
    if not _is_nothing(call.function):
        named = _open(call.function, _Function)
        arguments = named.arguments
        # llama.cpp and TGI gave the arguments as the object that they are.
        written = _prose(arguments) if _begins(arguments, b'"') or arguments == _NULL else str(bytes(arguments), "utf-8")
        function = wire.FunctionCall(_prose(named.name), written)
    return wire.ToolCall(index=index if isinstance(index, int) else None, id=_word(call.id), function=function)


def _speech(given: Raw) -> wire.Speech | None:
    """Read what is said aloud. Raises ValueError."""
    if _is_nothing(given):
        return None
    heard = _open(given, _Speech)
    return wire.Speech(_word(heard.id), _prose(heard.data), _prose(heard.transcript), _count(heard.expires_at))


def _remarks(given: Raw, lists: _Lists) -> list[Raw] | None:
    """Read a list of remarks, or the only one of them. Raises ValueError where they are too many."""
    if _begins(given, b"["):
        return list(lists.divide(given)) or None
    return [given] if _begins(given, b"{") and not _is_nothing(given) else None


def _logprobs(given: Raw) -> wire.Logprobs | None:
    """Read how likely the tokens were, None where it is not told as OpenAI tells it."""
    try:
        return _LOGPROBS.decode(given)
    except (ValueError, RecursionError):
        return None


def _reason(given: Raw) -> str | None:
    """Read a reason to stop: a word, or SGLang's object of its type and what matched."""
    if not _begins(given, b"{"):
        return _word(given)
    try:
        return _open(given, _Reason).type
    except ValueError:
        return None


def _usage(given: Raw) -> wire.Usage | None:
    """Read what was consumed."""
    if not _begins(given, b"{"):
        return None
    usage = _open(given, _Usage)
    of_prompt, of_completion = usage.prompt_tokens_details, usage.completion_tokens_details
    prompt = astuple(_open(of_prompt, _PromptDetails)) if _begins(of_prompt, b"{") else ()
    completion = astuple(_open(of_completion, _CompletionDetails)) if _begins(of_completion, b"{") else ()
    return wire.Usage(
        _count(usage.prompt_tokens),
        _count(usage.completion_tokens),
        _count(usage.total_tokens),
        wire.PromptTokensDetails(*map(_count, prompt)) if prompt else None,
        wire.CompletionTokensDetails(*map(_count, completion)) if completion else None,
        _count(usage.prompt_cache_hit_tokens),
    )


def _groq(given: Raw) -> wire.GroqExtension | None:
    """Read Groq's own part. Raises ValueError where its error is none."""
    if not _begins(given, b"{"):
        return None
    part = _open(given, _Groq)
    return wire.GroqExtension(_usage(part.usage), _error(part.error))


def _error(given: Raw) -> object:
    """Read an error. Raises ValueError where it is none that a provider would send."""
    if len(given) > _ERROR_BYTES:
        raise ValueError("the error is too long")
    return msgspec.json.decode(given)


def _prose(given: Raw) -> str | None:
    """Read what the model said. Raises ValueError where it is no text."""
    return None if _is_nothing(given) else _TEXT.decode(given)


def _word(given: Raw) -> str | None:
    """Read an id or another word; a number is as good."""
    if _is_nothing(given):
        return None
    try:
        return _TEXT.decode(given) if _begins(given, b'"') else str(_NUMBER.decode(given))
    except ValueError:
        return None


def _count(given: Raw) -> int | float | None:
    """Read a number; digits in quotes are as good."""
    if _is_nothing(given):
        return None
    try:
        if _begins(given, b'"'):
            digits = _TEXT.decode(given)
            return int(digits) if digits.isascii() and digits.isdecimal() else None
        number = _NUMBER.decode(given)
    except ValueError:
        return None
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _open(given: Raw | bytes, kind: type[_Kind]) -> _Kind:
    """Take an object apart. Raises ValueError where it is none."""
    return msgspec.json.decode(given, type=kind)


def _begins(given: Raw, sign: bytes) -> bool:
    """Say whether JSON is of the kind that begins so."""
    return memoryview(given)[:1] == sign


def _is_nothing(given: Raw) -> bool:
    """Say whether there is nothing in a member."""
    return len(given) <= _NOTHING_BYTES and bytes(given) in _NOTHING


@cache
def _divider() -> msgspec.json.Decoder[Struct]:
    """Make what divides lists. It takes no list into memory that is too long, as it would if the pieces were counted later."""
    fields = [(f"piece_{number}", Raw | UnsetType, UNSET) for number in range(reading.PIECES_MAX)]
    return msgspec.json.Decoder(msgspec.defstruct("_Pieces", fields, array_like=True, forbid_unknown_fields=True))
