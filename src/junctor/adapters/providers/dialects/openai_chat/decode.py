"""A whole chat completion into a Completion, or into the Failure that it is in spite of its status 200.

Empty is a failure: nothing said, thought, called or refused, and no reason given to stop.
"""

from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec.structs import astuple

from junctor.adapters.providers.dialects.openai_chat import reading
from junctor.adapters.providers.dialects.openai_chat.mending import mended
from junctor.adapters.providers.refusals import error_inside, malformed
from junctor.domain.completion import Choice, Completion, Message, Role, TextPart, ToolCall
from junctor.domain.routing import Failure
from junctor.wire import openai_chat as wire

_DECODER: Final = msgspec.json.Decoder(wire.ChatCompletion)
_NOTHING: Final = wire.ChatMessage()
_TEXT_ONLY: Final = astuple(_NOTHING)[2:]
"""What a message has besides its role and its content, where it has nothing else."""
_SILENCE: Final = Message(Role.ASSISTANT)


def decode(body: bytes, *, logprobs: bool = False) -> Completion | Failure:
    """Read the body of a whole answer of status 200.

    `logprobs` says that they were asked for: without that a dense body is read without them.
    """
    answer: wire.ChatCompletion | None
    try:
        answer = mended(body, logprobs=logprobs) if reading.is_dense(body) else _DECODER.decode(body)
    except msgspec.ValidationError:
        answer = mended(body)
    except (ValueError, RecursionError):
        answer = None
    if answer is None:
        return malformed("the answer is not a chat completion")
    if reading.is_crowded(answer):
        return malformed("the answer has too many parts")
    error = reading.error_of(answer)
    return _completion(answer) if error is None else error_inside(error, committed=False)


def _completion(answer: wire.ChatCompletion) -> Completion | Failure:
    """Read the choices of an answer without an error."""
    choices: list[Choice] = []
    call_ids = _call_ids(answer)
    whole = False
    for position, choice in enumerate(answer.choices or ()):
        message = _message(_said(choice), call_ids)
        native = None if choice.finish_reason == reading.NO_REASON else choice.finish_reason
        whole = whole or bool(native) or message != _SILENCE
        choices.append(
            Choice(
                position if choice.index is None else choice.index,
                message,
                reading.finish_reason(native, calls_tools=bool(message.tool_calls)),
                choice.native_finish_reason or native or "",
                None if choice.logprobs is None else reading.logprobs(choice.logprobs),
            )
        )
    if not whole:
        return malformed("the answer is empty")
    return Completion(choices=tuple(choices), usage=reading.usage_of(answer), upstream_id=answer.id or None)


def _said(choice: wire.Choice) -> wire.ChatMessage:
    """Return the message of a choice; who answers as in a stream of one chunk has a delta there."""
    return choice.message or choice.delta or _NOTHING


def _message(message: wire.ChatMessage, call_ids: Iterator[str]) -> Message:
    """Read one message; its calls of tools take the next of the ids."""
    content = message.content
    if isinstance(content, str) and astuple(message)[2:] == _TEXT_ONLY:
        return Message(Role.ASSISTANT, (TextPart(content),)) if content else _SILENCE
    text, reasoning = reading.texts(message)
    return Message(
        role=Role.ASSISTANT,
        parts=(TextPart(text),) if text else (),
        tool_calls=tuple(map(_tool_call, message.tool_calls or (), call_ids)),
        reasoning=reasoning or None,
        reasoning_details=reading.details(message),
        refusal=message.refusal or None,
        annotations=reading.annotations(message),
        speech=reading.speech(message),
    )


def _tool_call(call: wire.ToolCall, call_id: str) -> ToolCall:
    """Read one call of a tool."""
    function = call.function or wire.FunctionCall()
    return ToolCall(id=call_id, name=function.name or "", arguments=function.arguments or "")


def _call_ids(answer: wire.ChatCompletion) -> Iterator[str]:
    """Yield an id for each call of a tool: the provider's, else one of ours that is none of those."""
    calls = [call for choice in answer.choices or () for call in _said(choice).tool_calls or ()]
    given = {call.id for call in calls if call.id}
    for number, call in enumerate(calls):
        yield call.id or _unused(reading.minted_id(number, answer.id), given)


def _unused(minted: str, given: set[str]) -> str:
    """Lengthen a minted id until it differs from those that the provider gave."""
    while minted in given:
        minted += "_"
    return minted
