"""Generations from domain to proto, and what is asked of them from proto to plain values."""

from junctor.domain.completion import FinishReason
from junctor.domain.generation import Generation
from junctor.domain.lease import SlotState
from junctor.v1 import completion_pb2
from junctor.v1 import usage_service_pb2 as pb

_STATES = {
    SlotState.OPEN: pb.GENERATION_STATE_OPEN,
    SlotState.SETTLED: pb.GENERATION_STATE_SETTLED,
    SlotState.VOID: pb.GENERATION_STATE_VOID,
    SlotState.EXPIRED: pb.GENERATION_STATE_EXPIRED,
}
"""A SEALED slot holds no generation."""
_FINISH_REASONS = {reason.value: completion_pb2.FinishReason.Value(f"FINISH_REASON_{reason.name}") for reason in FinishReason}
_NO_REASON = completion_pb2.FINISH_REASON_UNSPECIFIED


def generation(found: Generation) -> pb.Generation:
    """Write a generation. One that has ended without a charge cost nothing, which differs from not knowing it yet."""
    cost = 0 if found.cost_nanousd is None and found.state is not SlotState.OPEN else found.cost_nanousd
    return pb.Generation(
        id=found.id,
        state=_STATES[found.state],
        api_key=found.api_key,
        requested_model=found.requested_model,
        model=found.model,
        provider=found.provider,
        endpoint=found.endpoint,
        started_at_ms=found.started_at_ms,
        ended_at_ms=found.ended_at_ms,
        streamed=found.streamed,
        usage=_usage(found),
        cost_nanousd=cost,
        hold_nanousd=found.hold_nanousd,
        price_version=found.price_version,
        upstream_id=found.upstream_id,
        finish_reason=_FINISH_REASONS.get(found.finish_reason, _NO_REASON),
        time_to_first_token_ms=found.time_to_first_token_ms,
    )


def _usage(found: Generation) -> completion_pb2.Usage:
    return completion_pb2.Usage(
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        cache_read_tokens=found.cache_read_tokens,
        cache_write_tokens=found.cache_write_tokens,
        reasoning_tokens=found.reasoning_tokens,
        estimated=found.estimated,
        audio_input_tokens=found.audio_input_tokens,
        audio_output_tokens=found.audio_output_tokens,
        accepted_prediction_tokens=found.accepted_prediction_tokens,
        rejected_prediction_tokens=found.rejected_prediction_tokens,
    )
