"""A streamed chat completion, chunk by chunk, into deltas and one end.

The end is proper only if every answer that began gave a reason to stop: at [DONE], or at the end of a body without it. The
reason comes before the usage, so it alone ends nothing. Each delta of the provider is one delta here. An error inside the
stream ends it at once, whatever came before.
"""

from typing import Final

import msgspec
from msgspec import Struct

from junctor.adapters.providers.dialects.openai_chat import reading
from junctor.adapters.providers.dialects.openai_chat.mending import mended
from junctor.adapters.providers.refusals import error_inside, malformed
from junctor.adapters.providers.sse import SseParser
from junctor.domain.completion import ChoiceEnd, Delta, StreamEnd, ToolCallFragment, Usage
from junctor.domain.routing import Failure
from junctor.wire import openai_chat as wire

_DONE: Final = b"[DONE]"
_DECODER: Final = msgspec.json.Decoder(wire.ChatCompletion)
_NO_FUNCTION: Final = wire.FunctionCall()
_NOTHING: Final = wire.ChatMessage()


class _Call(Struct):
    """A tool call that has begun, and whether its name has come."""

    id: str
    named: bool = False


class _Progress(Struct):
    """How far one answer of the stream has come. `slots` leads from the provider's index of a call to its place in `calls`."""

    calls: list[_Call] = msgspec.field(default_factory=list)
    slots: dict[int, int] = msgspec.field(default_factory=dict)
    finish_reason: str | None = None
    native_finish_reason: str = ""


class ChatStreamDecoder:
    """Reads one stream. Bytes may be cut anywhere; after a StreamEnd or Failure there is nothing more."""

    def __init__(self) -> None:
        self._sse = SseParser()
        self._answers: dict[int, _Progress] = {}
        self._calls_begun = 0
        self._usage: Usage | None = None
        self._id: str | None = None
        self._committed = False
        self._ended = False

    def feed(self, data: bytes) -> tuple[Delta | StreamEnd | Failure, ...]:
        """Take the next bytes and return what they completed."""
        if self._ended:
            return ()
        out: list[Delta | StreamEnd | Failure] = []
        for event in self._sse.feed(data):
            chunk = _read(event)
            ending = self._no_chunk(event) if chunk is None else self._chunk(chunk, out)
            if ending is not None:
                self._ended = True
                out.append(ending)
                return tuple(out)
        if self._sse.overrun is not None:
            self._ended = True
            out.append(malformed(f"an SSE {self._sse.overrun} is too long", committed=self._committed))
        return tuple(out)

    def end(self) -> StreamEnd | Failure:
        """Take the end of the body and judge whether the answer is whole.

        An event that lacks only its closing blank line counts; one that was cut off does not. Content cannot be handed on
        from here any more, so where such an event has some, the answer is not whole.
        """
        self._ended = True
        last = self._sse.close()
        if last is None or last.startswith(_DONE):
            return self._judged()
        chunk = _read(last)
        if chunk is None:
            return self._judged()
        committed = self._committed
        lost: list[Delta | StreamEnd | Failure] = []
        failure = self._chunk(chunk, lost)
        if lost:
            return malformed("the stream broke off within an event", committed=committed)
        return failure or self._judged()

    def _no_chunk(self, event: bytes) -> StreamEnd | Failure | None:
        """Return what an event means that holds no chunk: the end, nothing, or something wrong."""
        if event.startswith(_DONE):
            return self._judged()
        if not event or event.isspace():
            return None
        return malformed("an event is not a chunk of a chat completion", committed=self._committed)

    def _chunk(self, chunk: wire.ChatCompletion, out: list[Delta | StreamEnd | Failure]) -> Failure | None:
        """Read one chunk: append its deltas to `out`, and return the error that it carries, if it does."""
        if self._id is None:
            self._id = chunk.id or None  # Azure's first chunk, of the prompt's filters, has an empty one
        may_err = chunk.error or chunk.x_groq
        for choice in chunk.choices or ():
            index = choice.index or 0
            delta = self._delta(index, choice)
            if delta is not None:
                out.append(delta)
                self._committed = True
            if self._calls_begun > reading.PIECES_MAX:
                return malformed("the answer calls too many tools", committed=self._committed)
            may_err = may_err or choice.error or choice.finish_reason
            if choice.finish_reason and choice.finish_reason != reading.NO_REASON:
                answer = self._answer(index)
                answer.finish_reason = choice.finish_reason
                answer.native_finish_reason = choice.native_finish_reason or choice.finish_reason
        if chunk.usage is not None or chunk.x_groq is not None:
            self._usage = reading.usage_of(chunk) or self._usage  # counts are cumulative: the last is the sum
        error = reading.error_of(chunk) if may_err else None
        return None if error is None else error_inside(error, committed=self._committed)

    def _delta(self, index: int, choice: wire.Choice) -> Delta | None:
        """Read the delta of one answer, None if there is nothing in it."""
        message = choice.delta or _NOTHING
        content, reasoning = reading.texts(message)
        calls = message.tool_calls
        details = reading.details(message) if message.reasoning_details else ()
        annotations = reading.annotations(message) if message.annotations or message.executed_tools else ()
        logprobs = None if choice.logprobs is None else reading.logprobs(choice.logprobs)
        speech = None if message.audio is None else reading.speech(message)
        besides = content or reasoning or details or message.refusal or annotations or logprobs or speech
        if not (besides or calls):
            return None
        answer = self._answers.get(index) or self._answer(index)
        fragments = tuple(filter(None, (self._fragment(answer, call) for call in calls))) if calls else ()
        if not (besides or fragments):
            return None
        refusal = message.refusal or None
        return Delta(index, content or None, reasoning or None, details, fragments, refusal, annotations, logprobs, speech)

    def _fragment(self, answer: _Progress, piece: wire.ToolCall) -> ToolCallFragment | None:
        """Read a piece of a tool call, None if there is nothing new in it.

        A piece belongs to the call of its index, else of its id, else to the latest. One that has a name and another id
        begins a call even at an index that is taken: some hosts number all parallel calls 0.
        """
        function = piece.function or _NO_FUNCTION
        calls = answer.calls
        slot = len(calls)
        if piece.index is not None:
            slot = answer.slots.get(piece.index, slot)
        elif piece.id:
            slot = next((place for place, call in enumerate(calls) if call.id == piece.id), slot)
        elif calls and not function.name:
            slot -= 1
        begins = slot == len(calls) or bool(piece.id and function.name and piece.id != calls[slot].id)
        if begins:
            slot = len(calls)
            calls.append(_Call(piece.id or reading.minted_id(self._calls_begun, self._id)))
            self._calls_begun += 1
            if piece.index is not None:
                answer.slots[piece.index] = slot
        call = calls[slot]
        name = None if call.named else function.name or None
        call.named = call.named or name is not None
        if not (begins or name or function.arguments):
            return None
        return ToolCallFragment(slot, call.id if begins else None, name, function.arguments or None)

    def _answer(self, index: int) -> _Progress:
        """Return the progress of an answer, which begins with this if it had not."""
        answer = self._answers.get(index)
        if answer is None:
            answer = self._answers[index] = _Progress()
        return answer

    def _judged(self) -> StreamEnd | Failure:
        """Return how the stream ended, now that nothing more comes."""
        ends: list[ChoiceEnd] = []
        for index, answer in sorted(self._answers.items()):
            if answer.finish_reason is None:
                ends.clear()
                break
            reason = reading.finish_reason(answer.finish_reason, calls_tools=bool(answer.calls))
            ends.append(ChoiceEnd(index, reason, answer.native_finish_reason))
        if not ends:
            return malformed("the stream ended without a finish reason", committed=self._committed)
        return StreamEnd(choices=tuple(ends), usage=self._usage, upstream_id=self._id)


def _read(event: bytes) -> wire.ChatCompletion | None:
    """Return the chunk that an event holds, None if it is none, or one that no model would send."""
    try:
        chunk = _DECODER.decode(event)
    except msgspec.ValidationError:
        return mended(event)
    except (ValueError, RecursionError):
        return None
    # What is too short for so many pieces need not be looked through.
    return None if len(event) > reading.PIECES_MAX and reading.is_crowded(chunk) else chunk
