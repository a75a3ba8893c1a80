"""Answers and events from domain to proto: every field arrives, every enum member has its number, absence stays absence."""

from enum import Enum

import pytest
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from junctor.domain.call import Answer, Finished, Opened, Receipt, Route
from junctor.domain.catalog import Endpoint, PriceCard, PriceParts, Quantization
from junctor.domain.completion import (
    Choice,
    ChoiceEnd,
    Delta,
    FinishReason,
    Logprobs,
    Message,
    OtherAnnotation,
    Role,
    Speech,
    TextPart,
    TokenLogprob,
    ToolCall,
    ToolCallFragment,
    TopLogprob,
    UrlCitation,
    Usage,
)
from junctor.domain.routing import Adjustment, Attempt, AttemptOutcome, Candidate
from junctor.doors.codec import answers
from junctor.v1 import completion_pb2 as pb
from junctor.v1 import router_service_pb2 as service
from junctor.v1 import routing_pb2 as routing

ENDPOINT = Endpoint(
    id="p/lab/model",
    model="lab/model",
    provider="p",
    upstream_model="m",
    dialect="openai_chat",
    base_url="https://a.example",
    quantization=Quantization.FP8,
)
CANDIDATE = Candidate(ENDPOINT, "KEY", PriceCard(version="1", parts=PriceParts(), source="s", as_of="d"), is_byok=True)
USAGE = Usage(
    10,
    20,
    cache_read_tokens=3,
    cache_write_tokens=4,
    reasoning_tokens=5,
    estimated=True,
    audio_input_tokens=6,
    audio_output_tokens=7,
    accepted_prediction_tokens=8,
    rejected_prediction_tokens=9,
)
ANNOTATIONS = (UrlCitation("https://a", "", "c", 0, 2**40), UrlCitation("https://b"), OtherAnnotation('{"b":1,"a":2}'))
TOP = (TopLogprob("e", -2.0), TopLogprob("é", -0.5, "é".encode()))
LOGPROBS = Logprobs((TokenLogprob("é", -0.5, "é".encode(), TOP), TokenLogprob("", -9.0, b"")), (TokenLogprob("no", -1.0),))
ROUTE = Route(
    requested_model="alias",
    served=CANDIDATE,
    attempts=(
        Attempt("q", "q/lab/model", AttemptOutcome.THROTTLED, 12, 429),
        Attempt("p", "p/lab/model", AttemptOutcome.SERVED, 34),
    ),
    adjustments=(Adjustment("top_k"), Adjustment("max_tokens", "5")),
)
PRICED = Receipt("gen-1", pending=False, cost_nanousd=7, upstream_cost_nanousd=6, fee_nanousd=1)


def route_report() -> routing.RouteReport:
    """Return what ROUTE must look like."""
    return routing.RouteReport(
        requested_model="alias",
        served_model="lab/model",
        provider="p",
        endpoint="p/lab/model",
        quantization=routing.QUANTIZATION_FP8,
        is_byok=True,
        adjustments=[
            routing.Adjustment(parameter="top_k", kind=routing.Adjustment.KIND_DROPPED),
            routing.Adjustment(parameter="max_tokens", kind=routing.Adjustment.KIND_ADJUSTED, sent="5"),
        ],
        attempts=[
            routing.Attempt(
                provider="q", endpoint="q/lab/model", outcome=routing.ATTEMPT_OUTCOME_THROTTLED, latency_ms=12, http_status=429
            ),
            routing.Attempt(provider="p", endpoint="p/lab/model", outcome=routing.ATTEMPT_OUTCOME_SERVED, latency_ms=34),
        ],
    )


def usage_report() -> pb.Usage:
    """Return what USAGE must look like."""
    return pb.Usage(
        input_tokens=10,
        output_tokens=20,
        cache_read_tokens=3,
        cache_write_tokens=4,
        reasoning_tokens=5,
        estimated=True,
        audio_input_tokens=6,
        audio_output_tokens=7,
        accepted_prediction_tokens=8,
        rejected_prediction_tokens=9,
    )


def annotations() -> list[pb.Annotation]:
    """Return what ANNOTATIONS must look like."""
    return [
        pb.Annotation(url_citation=pb.UrlCitation(url="https://a", title="", content="c", start_index=0, end_index=2**40)),
        pb.Annotation(url_citation=pb.UrlCitation(url="https://b")),
        pb.Annotation(other_json='{"b":1,"a":2}'),
    ]


def logprobs() -> pb.Logprobs:
    """Return what LOGPROBS must look like."""
    top = [pb.TopLogprob(token="e", logprob=-2), pb.TopLogprob(token="é", logprob=-0.5, token_bytes="é".encode())]
    return pb.Logprobs(
        content=[
            pb.TokenLogprob(token="é", logprob=-0.5, token_bytes="é".encode(), top_logprobs=top),
            pb.TokenLogprob(token="", logprob=-9, token_bytes=b""),
        ],
        refusal=[pb.TokenLogprob(token="no", logprob=-1)],
    )


def test_a_whole_answer() -> None:
    """A part of an answer that was paid for would not arrive."""
    message = Message(
        Role.ASSISTANT,
        (TextPart("one"), TextPart("")),
        tool_calls=(ToolCall("1", "f", '{"b":1,"a":2}'),),
        reasoning="because",
        reasoning_details=('{"t":1}', '{"t":2}'),
        refusal="",
        annotations=ANNOTATIONS,
        speech=Speech("audio-1", "AAAA", "", 2**40),
    )
    answer = Answer(
        choices=(
            Choice(0, message, FinishReason.TOOL_CALLS, "tool_use", LOGPROBS),
            Choice(1, Message(Role.ASSISTANT), FinishReason.STOP, "stop"),
        ),
        usage=USAGE,
        receipt=PRICED,
        route=ROUTE,
        time_to_first_token_ms=11,
        latency_ms=22,
    )
    expected = service.CompleteResponse(
        generation_id="gen-1",
        choices=[
            pb.Choice(
                index=0,
                message=pb.Message(
                    role=pb.ROLE_ASSISTANT,
                    parts=[pb.Part(text=pb.TextPart(text="one")), pb.Part(text=pb.TextPart(text=""))],
                    tool_calls=[pb.ToolCall(id="1", name="f", arguments_json='{"b":1,"a":2}')],
                    reasoning="because",
                    reasoning_details=[pb.ReasoningDetail(detail_json='{"t":1}'), pb.ReasoningDetail(detail_json='{"t":2}')],
                    refusal="",
                    annotations=annotations(),
                    speech=pb.Speech(id="audio-1", data="AAAA", transcript="", expires_at=2**40),
                ),
                finish_reason=pb.FINISH_REASON_TOOL_CALLS,
                native_finish_reason="tool_use",
                logprobs=logprobs(),
            ),
            pb.Choice(
                index=1,
                message=pb.Message(role=pb.ROLE_ASSISTANT),
                finish_reason=pb.FINISH_REASON_STOP,
                native_finish_reason="stop",
            ),
        ],
        usage=usage_report(),
        cost=service.Cost(cost_nanousd=7, upstream_cost_nanousd=6, fee_nanousd=1),
        route=route_report(),
        time_to_first_token_ms=11,
        latency_ms=22,
    )
    assert answers.complete_response(answer) == expected


@pytest.mark.parametrize("receipt", [Receipt("gen-1", pending=True), Receipt("gen-1")])
def test_a_cost_that_is_not_known_is_absent(receipt: Receipt) -> None:
    """An answer whose billing is pending would look free."""
    finished = Finished(choices=(), usage=USAGE, receipt=receipt, route=ROUTE, time_to_first_token_ms=0, latency_ms=0)
    (event,) = answers.stream_response((finished,)).events
    assert not event.finished.HasField("cost")
    assert event.finished.billing_pending is receipt.pending


def test_a_cost_of_nothing_is_stated() -> None:
    """A free answer would look as if its billing were pending."""
    receipt = Receipt("gen-1", cost_nanousd=0)
    finished = Finished(choices=(), usage=USAGE, receipt=receipt, route=ROUTE, time_to_first_token_ms=0, latency_ms=0)
    (event,) = answers.stream_response((finished,)).events
    assert event.finished.HasField("cost")


def test_the_events_of_a_stream() -> None:
    """A piece of a stream would be lost, or events of one read change their order."""
    events = (
        Opened("gen-1", CANDIDATE),
        Delta(content=""),
        Delta(index=1, content="a", reasoning="r", refusal="n"),
        Delta(reasoning_details=('{"b":1}',), tool_calls=(ToolCallFragment(0, "1", "f", ""), ToolCallFragment(1))),
        Delta(content="b", annotations=ANNOTATIONS),
        Delta(content="c", logprobs=LOGPROBS),
        Delta(speech=Speech(data="AAAA")),
        Finished(
            choices=(ChoiceEnd(0, FinishReason.LENGTH, "max_tokens"),),
            usage=USAGE,
            receipt=PRICED,
            route=ROUTE,
            time_to_first_token_ms=3,
            latency_ms=4,
        ),
    )
    expected = service.StreamResponse(
        events=[
            service.StreamEvent(
                opened=service.Opened(generation_id="gen-1", model="lab/model", provider="p", endpoint="p/lab/model")
            ),
            service.StreamEvent(delta=pb.Delta(content="")),
            service.StreamEvent(delta=pb.Delta(index=1, content="a", reasoning="r", refusal="n")),
            service.StreamEvent(
                delta=pb.Delta(
                    reasoning_details=[pb.ReasoningDetail(detail_json='{"b":1}')],
                    tool_calls=[
                        pb.ToolCallFragment(index=0, id="1", name="f", arguments_fragment=""),
                        pb.ToolCallFragment(index=1),
                    ],
                )
            ),
            service.StreamEvent(delta=pb.Delta(content="b", annotations=annotations())),
            service.StreamEvent(delta=pb.Delta(content="c", logprobs=logprobs())),
            service.StreamEvent(delta=pb.Delta(speech=pb.Speech(data="AAAA"))),
            service.StreamEvent(
                finished=service.Finished(
                    choices=[
                        service.FinishedChoice(
                            index=0, finish_reason=pb.FINISH_REASON_LENGTH, native_finish_reason="max_tokens"
                        )
                    ],
                    usage=usage_report(),
                    cost=service.Cost(cost_nanousd=7, upstream_cost_nanousd=6, fee_nanousd=1),
                    route=route_report(),
                    time_to_first_token_ms=3,
                    latency_ms=4,
                )
            ),
        ]
    )
    assert answers.stream_response(events) == expected


@pytest.mark.parametrize("bare", [True, False])
def test_absent_pieces_of_a_delta_stay_absent(bare: bool) -> None:
    """A client would take each delta for an empty piece of everything."""
    delta = Delta() if bare else Delta(tool_calls=(ToolCallFragment(0),))
    (event,) = answers.stream_response((delta,)).events
    assert not any(event.delta.HasField(name) for name in ("content", "reasoning", "refusal", "logprobs", "speech"))
    if not bare:
        assert not any(event.delta.tool_calls[0].HasField(name) for name in ("id", "name", "arguments_fragment"))


def test_a_heartbeat_says_nothing_else() -> None:
    """A sign of life would be taken for content."""
    assert answers.heartbeat() == service.StreamResponse(events=[service.StreamEvent(heartbeat=service.Heartbeat())])


@pytest.mark.parametrize(
    ("table", "kind", "wire", "prefix"),
    [
        (answers._ROLES, Role, pb.Role, "ROLE_"),
        (answers._FINISH_REASONS, FinishReason, pb.FinishReason, "FINISH_REASON_"),
        (answers._OUTCOMES, AttemptOutcome, routing.AttemptOutcome, "ATTEMPT_OUTCOME_"),
        (answers._QUANTIZATIONS, Quantization, routing.Quantization, "QUANTIZATION_"),
    ],
)
def test_every_member_has_its_number(table: dict[Enum, int], kind: type[Enum], wire: EnumTypeWrapper, prefix: str) -> None:
    """An outcome that the domain gains would end a call in a bug, and one of the protos never be sent."""
    assert {member.name: wire.Name(number).removeprefix(prefix) for member, number in table.items()} == {
        member.name: member.name for member in kind
    }
    assert {0, *table.values()} == set(wire.values())
