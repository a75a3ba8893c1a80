"""A whole chat completion into a Completion, or into the Failure that it is in spite of its status 200.

Empty is a failure: nothing said, thought, called or refused, and no reason given to stop.
"""

from typing import Final

import msgspec

from junctor.adapters.providers.dialects.openai_chat import reading
from junctor.adapters.providers.refusals import error_inside, malformed
from junctor.domain.completion import Choice, Completion, Message, Role, TextPart, ToolCall
from junctor.domain.routing import Failure
from junctor.wire import openai_chat as wire

_DECODER: Final = msgspec.json.Decoder(wire.ChatCompletion)
_NOTHING: Final = wire.ChatMessage()


def decode(body: bytes) -> Completion | Failure:
    """Read the body of a whole answer of status 200."""
    if reading.is_dense(body):
        return malformed("the answer has too many parts")
    try:
        answer = _DECODER.decode(body)
    except (ValueError, RecursionError):
        return malformed("the answer is not a chat completion")
    if reading.is_crowded(answer):
        return malformed("the answer has too many parts")
    error = reading.error_of(answer)
    return _completion(answer) if error is None else error_inside(error, committed=False)


def _completion(answer: wire.ChatCompletion) -> Completion | Failure:
    """Read the choices of an answer without an error."""
    choices = answer.choices or ()
    given = {call.id for choice in choices if choice.message for call in choice.message.tool_calls or () if call.id}
    read: list[Choice] = []
    number = 0
    whole = False
    for position, choice in enumerate(choices):
        message = choice.message or _NOTHING
        calls = message.tool_calls or ()
        content, reasoning = reading.texts(message)
        details = reading.details(message) if message.reasoning_details else ()
        annotations = reading.annotations(message) if message.annotations or message.executed_tools else ()
        speech = None if message.audio is None else reading.speech(message)
        told = content or reasoning or details or calls or message.refusal or annotations or speech
        whole = whole or bool(told or choice.finish_reason)
        ids = [call.id or _unused(reading.minted_id(number + nth, answer.id), given) for nth, call in enumerate(calls)]
        number += len(calls)
        read.append(
            Choice(
                index=position if choice.index is None else choice.index,
                message=Message(
                    role=Role.ASSISTANT,
                    parts=(TextPart(content),) if content else (),
                    tool_calls=tuple(map(_tool_call, ids, calls)),
                    reasoning=reasoning or None,
                    reasoning_details=details,
                    refusal=message.refusal or None,
                    annotations=annotations,
                    speech=speech,
                ),
                finish_reason=reading.finish_reason(choice.finish_reason, calls_tools=bool(calls)),
                native_finish_reason=choice.native_finish_reason or choice.finish_reason or "",
                logprobs=None if choice.logprobs is None else reading.logprobs(choice.logprobs),
            )
        )
    if not whole:
        return malformed("the answer is empty")
    return Completion(choices=tuple(read), usage=reading.usage_of(answer), upstream_id=answer.id)


def _tool_call(call_id: str, call: wire.ToolCall) -> ToolCall:
    """Read one call of a tool."""
    function = call.function or wire.FunctionCall()
    return ToolCall(id=call_id, name=function.name or "", arguments=function.arguments or "")


def _unused(minted: str, given: set[str]) -> str:
    """Lengthen a minted id until it differs from those that the provider gave."""
    while minted in given:
        minted += "_"
    return minted
