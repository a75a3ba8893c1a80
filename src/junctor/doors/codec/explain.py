"""What Explain tells, from domain to proto: the whole plan, however long (errors tell the first entries only)."""

from junctor.domain.health import Cause, EndpointHealth
from junctor.domain.routing import Exclusion
from junctor.usecases.explain import Explained, Explanation
from junctor.v1 import catalog_service_pb2
from junctor.v1 import router_service_pb2 as pb

_CAUSES = {cause: catalog_service_pb2.OpenCause.Value(f"OPEN_CAUSE_{cause.name}") for cause in Cause}


def explain_response(explanation: Explanation) -> pb.ExplainResponse:
    """Write the plan of a request."""
    return pb.ExplainResponse(candidates=map(_candidate, explanation.candidates), excluded=map(_excluded, explanation.excluded))


def _candidate(explained: Explained) -> pb.PlannedCandidate:
    candidate = explained.candidate
    written = pb.PlannedCandidate(
        model=candidate.endpoint.model,
        provider=candidate.endpoint.provider,
        endpoint=candidate.endpoint.id,
        expected_nanousd=candidate.expected_nanousd,
        ceiling_nanousd=explained.ceiling_nanousd,
        purchase_fee_ppm=explained.purchase_fee_ppm,
        weight=candidate.weight,
        credential_count=explained.credential_count,
        cooling_credential_count=explained.cooling_count,
    )
    if candidate.health is not None:
        _write_health(written, candidate.health)
    return written


def _write_health(written: pb.PlannedCandidate, health: EndpointHealth) -> None:
    """Add what the plan knew of the endpoint; what was not measured stays absent."""
    written.success_probability = health.success_probability
    written.ramp = health.ramp
    written.in_flight = health.in_flight
    written.degraded = health.degraded
    written.full = health.full
    if health.time_to_first_token_ms is not None:
        written.expected_time_to_first_token_ms = round(health.time_to_first_token_ms)
    if health.throughput_tokens_per_s is not None:
        written.throughput_tokens_per_s = health.throughput_tokens_per_s
    if not health.open:
        return
    written.open = True
    written.probe = health.probe
    if health.cause is not None:
        written.open_cause = _CAUSES[health.cause]
    if health.open_until_ms is not None:
        written.open_until_ms = health.open_until_ms


def _excluded(exclusion: Exclusion) -> pb.ExcludedEndpoint:
    endpoint = exclusion.endpoint
    return pb.ExcludedEndpoint(model=endpoint.model, provider=endpoint.provider, endpoint=endpoint.id, reason=exclusion.reason)
