"""Answers and events from domain to proto.

Each part is written into its place in the message: to make it first and hand it over takes three times as long, as it is
copied at each level.
"""

from collections.abc import Sequence

from junctor.domain.call import Answer, Finished, Opened, Receipt, Route, StreamEvent
from junctor.domain.catalog import Quantization
from junctor.domain.completion import (
    Annotation,
    Choice,
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
from junctor.domain.routing import AttemptOutcome
from junctor.v1 import completion_pb2, router_service_pb2, routing_pb2

_ROLES = {role: completion_pb2.Role.Value(f"ROLE_{role.name}") for role in Role}
_FINISH_REASONS = {reason: completion_pb2.FinishReason.Value(f"FINISH_REASON_{reason.name}") for reason in FinishReason}
_OUTCOMES = {outcome: routing_pb2.AttemptOutcome.Value(f"ATTEMPT_OUTCOME_{outcome.name}") for outcome in AttemptOutcome}
_QUANTIZATIONS = {kind: routing_pb2.Quantization.Value(f"QUANTIZATION_{kind.name}") for kind in Quantization}


def complete_response(answer: Answer) -> router_service_pb2.CompleteResponse:
    """Write a whole answer."""
    response = router_service_pb2.CompleteResponse(
        generation_id=answer.receipt.generation_id,
        billing_pending=answer.receipt.pending,
        time_to_first_token_ms=answer.time_to_first_token_ms,
        latency_ms=answer.latency_ms,
    )
    for choice in answer.choices:
        _choice(response.choices.add(), choice)
    _usage(response.usage, answer.usage)
    _cost(response, answer.receipt)
    _route(response.route, answer.route)
    return response


def stream_response(events: Sequence[StreamEvent]) -> router_service_pb2.StreamResponse:
    """Write the events of one read."""
    response = router_service_pb2.StreamResponse()
    add = response.events.add
    for event in events:
        if isinstance(event, Delta):
            _delta(add().delta, event)
        elif isinstance(event, Opened):
            endpoint = event.candidate.endpoint
            opened = add().opened
            opened.generation_id = event.generation_id
            opened.model, opened.provider, opened.endpoint = endpoint.model, endpoint.provider, endpoint.id
        else:
            _finished(add().finished, event)
    return response


def heartbeat() -> router_service_pb2.StreamResponse:
    """Write a sign of life."""
    event = router_service_pb2.StreamEvent(heartbeat=router_service_pb2.Heartbeat())
    return router_service_pb2.StreamResponse(events=(event,))


def _finished(target: router_service_pb2.Finished, finished: Finished) -> None:
    for end in finished.choices:
        target.choices.add(
            index=end.index, finish_reason=_FINISH_REASONS[end.finish_reason], native_finish_reason=end.native_finish_reason
        )
    _usage(target.usage, finished.usage)
    _cost(target, finished.receipt)
    target.billing_pending = finished.receipt.pending
    _route(target.route, finished.route)
    target.time_to_first_token_ms = finished.time_to_first_token_ms
    target.latency_ms = finished.latency_ms


def _choice(target: completion_pb2.Choice, choice: Choice) -> None:
    target.index = choice.index
    target.finish_reason = _FINISH_REASONS[choice.finish_reason]
    target.native_finish_reason = choice.native_finish_reason
    _message(target.message, choice.message)
    if choice.logprobs is not None:
        _logprobs(target.logprobs, choice.logprobs)


def _message(target: completion_pb2.Message, message: Message) -> None:
    target.role = _ROLES[message.role]
    for part in message.parts:
        if isinstance(part, TextPart):
            target.parts.add().text.text = part.text
    for call in message.tool_calls:
        target.tool_calls.add(id=call.id, name=call.name, arguments_json=call.arguments)
    if message.reasoning is not None:
        target.reasoning = message.reasoning
    _rest(target, message)


def _delta(target: completion_pb2.Delta, delta: Delta) -> None:
    target.index = delta.index
    if delta.content is not None:
        target.content = delta.content
    if delta.reasoning is not None:
        target.reasoning = delta.reasoning
    for call in delta.tool_calls:
        target.tool_calls.add(index=call.index, id=call.id, name=call.name, arguments_fragment=call.arguments)
    if delta.logprobs is not None:
        _logprobs(target.logprobs, delta.logprobs)
    if delta.reasoning_details or delta.refusal is not None or delta.annotations or delta.speech is not None:
        _rest(target, delta)


def _rest(target: completion_pb2.Message | completion_pb2.Delta, given: Message | Delta) -> None:
    """Write what messages and deltas have in common besides their texts."""
    for text in given.reasoning_details:
        target.reasoning_details.add(detail_json=text)
    if given.refusal is not None:
        target.refusal = given.refusal
    for annotation in given.annotations:
        _annotation(target.annotations.add(), annotation)
    if given.speech is not None:
        _speech(target.speech, given.speech)


def _speech(target: completion_pb2.Speech, speech: Speech) -> None:
    target.MergeFrom(
        completion_pb2.Speech(id=speech.id, data=speech.data, transcript=speech.transcript, expires_at=speech.expires_at)
    )
    target.SetInParent()


def _annotation(target: completion_pb2.Annotation, annotation: Annotation) -> None:
    if not isinstance(annotation, UrlCitation):
        target.other_json = annotation.json
        return
    target.url_citation.MergeFrom(
        completion_pb2.UrlCitation(
            url=annotation.url,
            title=annotation.title,
            content=annotation.content,
            start_index=annotation.start,
            end_index=annotation.end,
        )
    )
    target.url_citation.SetInParent()


def _logprobs(target: completion_pb2.Logprobs, logprobs: Logprobs) -> None:
    target.SetInParent()
    for token in logprobs.content:
        _token(target.content.add(), token)
    for token in logprobs.refusal:
        _token(target.refusal.add(), token)


def _token(target: completion_pb2.TokenLogprob, token: TokenLogprob) -> None:
    target.token = token.token
    target.logprob = token.logprob
    if token.token_bytes is not None:
        target.token_bytes = token.token_bytes
    for other in token.top:
        target.top_logprobs.add(token=other.token, logprob=other.logprob, token_bytes=other.token_bytes)


def _usage(target: completion_pb2.Usage, usage: Usage) -> None:
    target.input_tokens = usage.input_tokens
    target.output_tokens = usage.output_tokens
    target.cache_read_tokens = usage.cache_read_tokens
    target.cache_write_tokens = usage.cache_write_tokens
    target.reasoning_tokens = usage.reasoning_tokens
    target.estimated = usage.estimated
    target.audio_input_tokens = usage.audio_input_tokens
    target.audio_output_tokens = usage.audio_output_tokens
    target.accepted_prediction_tokens = usage.accepted_prediction_tokens
    target.rejected_prediction_tokens = usage.rejected_prediction_tokens


def _cost(target: router_service_pb2.CompleteResponse | router_service_pb2.Finished, receipt: Receipt) -> None:
    if receipt.cost_nanousd is None:
        return
    cost = target.cost
    cost.cost_nanousd = receipt.cost_nanousd
    cost.upstream_cost_nanousd = receipt.upstream_cost_nanousd or 0
    cost.fee_nanousd = receipt.fee_nanousd or 0


def _route(target: routing_pb2.RouteReport, route: Route) -> None:
    endpoint = route.served.endpoint
    target.requested_model = route.requested_model
    target.served_model = endpoint.model
    target.provider = endpoint.provider
    target.endpoint = endpoint.id
    target.quantization = _QUANTIZATIONS[endpoint.quantization]
    target.is_byok = route.served.is_byok
    for adjustment in route.adjustments:
        kind = routing_pb2.Adjustment.KIND_DROPPED if adjustment.sent is None else routing_pb2.Adjustment.KIND_ADJUSTED
        target.adjustments.add(parameter=adjustment.parameter, kind=kind, sent=adjustment.sent)
    for tried in route.attempts:
        target.attempts.add(
            provider=tried.provider,
            endpoint=tried.endpoint,
            outcome=_OUTCOMES[tried.outcome],
            latency_ms=tried.latency_ms,
            http_status=tried.http_status,
        )
