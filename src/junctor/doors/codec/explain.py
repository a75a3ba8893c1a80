"""What Explain tells, from domain to proto: the whole plan, however long (errors tell the first entries only)."""

from junctor.domain.routing import Exclusion
from junctor.usecases.explain import Explained, Explanation
from junctor.v1 import router_service_pb2 as pb


def explain_response(explanation: Explanation) -> pb.ExplainResponse:
    """Write the plan of a request."""
    return pb.ExplainResponse(candidates=map(_candidate, explanation.candidates), excluded=map(_excluded, explanation.excluded))


def _candidate(explained: Explained) -> pb.PlannedCandidate:
    candidate, health = explained.candidate, explained.health
    first = health.time_to_first_token_ms if health else None
    return pb.PlannedCandidate(
        model=candidate.endpoint.model,
        provider=candidate.endpoint.provider,
        endpoint=candidate.endpoint.id,
        ceiling_nanousd=explained.ceiling_nanousd,
        success_probability=health.success_probability if health else None,
        expected_time_to_first_token_ms=None if first is None else round(first),
        weight=candidate.weight,
    )


def _excluded(exclusion: Exclusion) -> pb.ExcludedEndpoint:
    endpoint = exclusion.endpoint
    return pb.ExcludedEndpoint(model=endpoint.model, provider=endpoint.provider, endpoint=endpoint.id, reason=exclusion.reason)
