"""Answers and events from domain to proto."""

from collections.abc import Sequence

from junctor.domain.call import Answer, Finished, Opened, Receipt, Route, StreamEvent
from junctor.domain.catalog import Quantization
from junctor.domain.completion import (
    Annotation,
    Choice,
    ChoiceEnd,
    Delta,
    FinishReason,
    Logprobs,
    Message,
    Role,
    Speech,
    TextPart,
    TokenLogprob,
    UrlCitation,
    Usage,
)
from junctor.domain.routing import Adjustment, Attempt, AttemptOutcome
from junctor.v1 import completion_pb2, router_service_pb2, routing_pb2

_ROLES = {role: completion_pb2.Role.Value(f"ROLE_{role.name}") for role in Role}
_FINISH_REASONS = {reason: completion_pb2.FinishReason.Value(f"FINISH_REASON_{reason.name}") for reason in FinishReason}
_OUTCOMES = {outcome: routing_pb2.AttemptOutcome.Value(f"ATTEMPT_OUTCOME_{outcome.name}") for outcome in AttemptOutcome}
_QUANTIZATIONS = {kind: routing_pb2.Quantization.Value(f"QUANTIZATION_{kind.name}") for kind in Quantization}


def complete_response(answer: Answer) -> router_service_pb2.CompleteResponse:
    """Write a whole answer."""
    return router_service_pb2.CompleteResponse(
        generation_id=answer.receipt.generation_id,
        choices=map(_choice, answer.choices),
        usage=_usage(answer.usage),
        cost=_cost(answer.receipt),
        billing_pending=answer.receipt.pending,
        route=_route(answer.route),
        time_to_first_token_ms=answer.time_to_first_token_ms,
        latency_ms=answer.latency_ms,
    )


def stream_response(events: Sequence[StreamEvent]) -> router_service_pb2.StreamResponse:
    """Write the events of one read."""
    return router_service_pb2.StreamResponse(events=map(_event, events))


def heartbeat() -> router_service_pb2.StreamResponse:
    """Write a sign of life."""
    event = router_service_pb2.StreamEvent(heartbeat=router_service_pb2.Heartbeat())
    return router_service_pb2.StreamResponse(events=(event,))


def _event(event: StreamEvent) -> router_service_pb2.StreamEvent:
    if isinstance(event, Delta):
        return router_service_pb2.StreamEvent(delta=_delta(event))
    if isinstance(event, Opened):
        endpoint = event.candidate.endpoint
        return router_service_pb2.StreamEvent(
            opened=router_service_pb2.Opened(
                generation_id=event.generation_id, model=endpoint.model, provider=endpoint.provider, endpoint=endpoint.id
            )
        )
    return router_service_pb2.StreamEvent(finished=_finished(event))


def _finished(finished: Finished) -> router_service_pb2.Finished:
    return router_service_pb2.Finished(
        choices=map(_choice_end, finished.choices),
        usage=_usage(finished.usage),
        cost=_cost(finished.receipt),
        billing_pending=finished.receipt.pending,
        route=_route(finished.route),
        time_to_first_token_ms=finished.time_to_first_token_ms,
        latency_ms=finished.latency_ms,
    )


def _choice(choice: Choice) -> completion_pb2.Choice:
    return completion_pb2.Choice(
        index=choice.index,
        message=_message(choice.message),
        finish_reason=_FINISH_REASONS[choice.finish_reason],
        native_finish_reason=choice.native_finish_reason,
        logprobs=None if choice.logprobs is None else _logprobs(choice.logprobs),
    )


def _choice_end(end: ChoiceEnd) -> router_service_pb2.FinishedChoice:
    return router_service_pb2.FinishedChoice(
        index=end.index, finish_reason=_FINISH_REASONS[end.finish_reason], native_finish_reason=end.native_finish_reason
    )


def _message(message: Message) -> completion_pb2.Message:
    texts = (part for part in message.parts if isinstance(part, TextPart))
    return completion_pb2.Message(
        role=_ROLES[message.role],
        parts=(completion_pb2.Part(text=completion_pb2.TextPart(text=part.text)) for part in texts),
        tool_calls=(
            completion_pb2.ToolCall(id=call.id, name=call.name, arguments_json=call.arguments) for call in message.tool_calls
        ),
        reasoning=message.reasoning,
        reasoning_details=map(_detail, message.reasoning_details),
        refusal=message.refusal,
        annotations=map(_annotation, message.annotations),
        speech=None if message.speech is None else _speech(message.speech),
    )


def _delta(delta: Delta) -> completion_pb2.Delta:
    if not (delta.tool_calls or delta.reasoning_details or delta.annotations or delta.logprobs or delta.speech):
        return completion_pb2.Delta(index=delta.index, content=delta.content, reasoning=delta.reasoning, refusal=delta.refusal)
    return completion_pb2.Delta(
        index=delta.index,
        content=delta.content,
        reasoning=delta.reasoning,
        reasoning_details=map(_detail, delta.reasoning_details),
        tool_calls=(
            completion_pb2.ToolCallFragment(index=call.index, id=call.id, name=call.name, arguments_fragment=call.arguments)
            for call in delta.tool_calls
        ),
        refusal=delta.refusal,
        annotations=map(_annotation, delta.annotations),
        logprobs=None if delta.logprobs is None else _logprobs(delta.logprobs),
        speech=None if delta.speech is None else _speech(delta.speech),
    )


def _speech(speech: Speech) -> completion_pb2.Speech:
    return completion_pb2.Speech(id=speech.id, data=speech.data, transcript=speech.transcript, expires_at=speech.expires_at)


def _annotation(annotation: Annotation) -> completion_pb2.Annotation:
    if not isinstance(annotation, UrlCitation):
        return completion_pb2.Annotation(other_json=annotation.json)
    citation = completion_pb2.UrlCitation(
        url=annotation.url,
        title=annotation.title,
        content=annotation.content,
        start_index=annotation.start,
        end_index=annotation.end,
    )
    return completion_pb2.Annotation(url_citation=citation)


def _logprobs(logprobs: Logprobs) -> completion_pb2.Logprobs:
    return completion_pb2.Logprobs(content=map(_token, logprobs.content), refusal=map(_token, logprobs.refusal))


def _token(token: TokenLogprob) -> completion_pb2.TokenLogprob:
    return completion_pb2.TokenLogprob(
        token=token.token,
        logprob=token.logprob,
        token_bytes=token.token_bytes,
        top_logprobs=(
            completion_pb2.TopLogprob(token=other.token, logprob=other.logprob, token_bytes=other.token_bytes)
            for other in token.top
        ),
    )


def _detail(text: str) -> completion_pb2.ReasoningDetail:
    return completion_pb2.ReasoningDetail(detail_json=text)


def _usage(usage: Usage) -> completion_pb2.Usage:
    return completion_pb2.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        estimated=usage.estimated,
        audio_input_tokens=usage.audio_input_tokens,
        audio_output_tokens=usage.audio_output_tokens,
        accepted_prediction_tokens=usage.accepted_prediction_tokens,
        rejected_prediction_tokens=usage.rejected_prediction_tokens,
    )


def _cost(receipt: Receipt) -> router_service_pb2.Cost | None:
    if receipt.cost_nanousd is None:
        return None
    return router_service_pb2.Cost(
        cost_nanousd=receipt.cost_nanousd,
        upstream_cost_nanousd=receipt.upstream_cost_nanousd or 0,
        fee_nanousd=receipt.fee_nanousd or 0,
    )


def _route(route: Route) -> routing_pb2.RouteReport:
    endpoint = route.served.endpoint
    return routing_pb2.RouteReport(
        requested_model=route.requested_model,
        served_model=endpoint.model,
        provider=endpoint.provider,
        endpoint=endpoint.id,
        quantization=_QUANTIZATIONS[endpoint.quantization],
        is_byok=route.served.is_byok,
        adjustments=map(_adjustment, route.adjustments),
        attempts=map(_attempt, route.attempts),
    )


def _adjustment(adjustment: Adjustment) -> routing_pb2.Adjustment:
    kind = routing_pb2.Adjustment.KIND_DROPPED if adjustment.sent is None else routing_pb2.Adjustment.KIND_ADJUSTED
    return routing_pb2.Adjustment(parameter=adjustment.parameter, kind=kind, sent=adjustment.sent)


def _attempt(tried: Attempt) -> routing_pb2.Attempt:
    return routing_pb2.Attempt(
        provider=tried.provider,
        endpoint=tried.endpoint,
        outcome=_OUTCOMES[tried.outcome],
        latency_ms=tried.latency_ms,
        http_status=tried.http_status,
    )
