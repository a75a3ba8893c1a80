"""What is said in a measurement, by everybody: requests and answers made ready, so that nobody pays for making them.

A scenario is one exchange. Its name is the first word of the prompt, by which the stub of a provider and the bare servers know
what to answer, whichever way the request came.
"""

from collections.abc import Sequence
from enum import Enum
from functools import cache

import msgspec

from junctor.client.requests import complete_request, stream_request
from junctor.v1.completion_pb2 import Choice, Delta, FinishReason, Message, Part, Role, TextPart, Usage
from junctor.v1.router_service_pb2 import (
    CompleteRequest,
    CompleteResponse,
    Finished,
    Opened,
    StreamEvent,
    StreamRequest,
    StreamResponse,
)
from tests.support.scripted_upstream import STREAM_HEAD, chat_body, chat_events, chunk, head

CHUNKS = 64
"""Pieces of content in a long streamed answer."""

SPACING_S = 0.01
"""Time between the pieces of a spaced answer."""

MODEL = "openai/gpt-oss-120b"
"""What is asked for: a model with a price, so that each call is held for, charged and settled."""

ENDPOINTS = {
    f"{provider}/{MODEL}": credential
    for provider, credential in {
        "baseten": "BASETEN_API_KEY",
        "cerebras": "CEREBRAS_API_KEY",
        "crusoe": "CRUSOE_API_KEY",
        "groq": "GROQ_API_KEY",
        "nebius": "NEBIUS_API_KEY",
        "sambanova": "SAMBANOVA_API_KEY",
        "together": "TOGETHER_API_KEY",
        "wandb": "WANDB_API_KEY",
    }.items()
}
"""Where it may be asked for, eight endpoints that are all the stub, and the credential of each."""

_SENTENCE = "A router takes a call, finds an endpoint, and hands the answer on. "
_ANSWER = _SENTENCE * 3
_USAGE = (40, CHUNKS)


class Scenario(Enum):
    """An exchange: an answer as a whole, or streamed: one piece, many at once, many spaced apart, or one and never an end."""

    WHOLE = "whole"
    ONE = "one"
    BURST = "burst"
    SPACED = "spaced"
    ENDLESS = "endless"

    @property
    def streamed(self) -> bool:
        """Whether the answer comes piece by piece."""
        return self is not Scenario.WHOLE


def pieces(scenario: Scenario) -> tuple[str, ...]:
    """Return the contents of an answer."""
    if scenario is Scenario.WHOLE:
        return (_ANSWER,)
    return tuple(f" piece{number:02}" for number in range(CHUNKS if scenario in {Scenario.BURST, Scenario.SPACED} else 1))


def prompt(scenario: Scenario) -> str:
    """Return what is asked."""
    return f"{scenario.value}: {_SENTENCE * 2}Say it again."


def asked(request: CompleteRequest | StreamRequest) -> Scenario:
    """Tell which scenario a request wants."""
    return Scenario(request.spec.messages[0].parts[0].text.text.partition(":")[0])


def asked_in_json(body: bytes) -> Scenario:
    """Tell which scenario a provider's request wants."""
    return next(scenario for scenario in Scenario if f'"{scenario.value}: '.encode() in body)


@cache
def request(scenario: Scenario) -> bytes:
    """Return the caller's request as it goes over the wire."""
    build = stream_request if scenario.streamed else complete_request
    return build(prompt(scenario), model=MODEL).SerializeToString()


@cache
def provider_request(scenario: Scenario) -> bytes:
    """Return the body that a bare proxy and a direct caller send to the provider."""
    body: dict[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": prompt(scenario)}]}
    if scenario.streamed:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode(body)


@cache
def provider_answer(scenario: Scenario) -> tuple[bytes, ...]:
    """Return the provider's answer, one entry for each of its network writes.

    Every event is an HTTP chunk of its own, as providers write them, also where all come in one write.
    """
    if not scenario.streamed:
        body = chat_body({"content": _ANSWER}, _USAGE)
        length = {"content-type": "application/json", "content-length": str(len(body))}
        return (head(200, length) + body,)
    events = [chunk(event) for event in chat_events([{"content": text} for text in pieces(scenario)], _USAGE)]
    opening, contents, closing = events[0], events[1:-3], events[-3:]
    writes = [STREAM_HEAD + opening + contents[0], *contents[1:]]
    if scenario is Scenario.ENDLESS:
        return tuple(writes)
    writes[-1] += b"".join((*closing, chunk(b"")))
    return tuple(writes) if scenario is Scenario.SPACED else (b"".join(writes),)


def complete_response(text: str) -> CompleteResponse:
    """Return a whole answer as a bare server gives it."""
    message = Message(role=Role.ROLE_ASSISTANT, parts=[Part(text=TextPart(text=text))])
    choice = Choice(message=message, finish_reason=FinishReason.FINISH_REASON_STOP)
    return CompleteResponse(choices=[choice], usage=Usage(input_tokens=_USAGE[0], output_tokens=_USAGE[1]))


@cache
def stream_responses(scenario: Scenario) -> tuple[StreamResponse, ...]:
    """Return a streamed answer as an echo gives it: what comes at once is one message, as in Junctor."""
    opened = StreamEvent(opened=Opened(model=MODEL))
    deltas = [StreamEvent(delta=Delta(content=text)) for text in pieces(scenario)]
    finished = StreamEvent(finished=Finished(usage=Usage(input_tokens=_USAGE[0], output_tokens=_USAGE[1])))
    groups = [[delta] for delta in deltas] if scenario is Scenario.SPACED else [deltas]
    groups[0].insert(0, opened)
    groups[-1].append(finished)
    return tuple(StreamResponse(events=group) for group in groups)


def text_of(answer: Sequence[bytes], scenario: Scenario) -> str:
    """Return the text in the messages of an answer."""
    if not scenario.streamed:
        response = CompleteResponse.FromString(b"".join(answer))
        return "".join(part.text.text for choice in response.choices for part in choice.message.parts)
    events = (event for message in answer for event in StreamResponse.FromString(message).events)
    return "".join(event.delta.content for event in events)
