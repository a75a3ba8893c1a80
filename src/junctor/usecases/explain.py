"""What would become of a request, without doing it: its plan, as the same seed and snapshots give it to a call.

Nothing is asked of any provider, nothing is held, and no rate is used up. A request that nothing may take is no error here: its
explanation says why.
"""

from msgspec import Struct

from junctor.domain.call import Call
from junctor.domain.health import EndpointHealth
from junctor.domain.money import NanoUsd
from junctor.domain.routing import Candidate, Exclusion
from junctor.policy import ceilings, routing
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail


class Explained(Struct, frozen=True):
    """An endpoint that would be tried, the most that the request could cost there, and its health where that was measured."""

    candidate: Candidate
    ceiling_nanousd: NanoUsd
    health: EndpointHealth | None


class Explanation(Struct, frozen=True):
    """The endpoints in the order in which they would be tried, and those that would not be."""

    candidates: tuple[Explained, ...]
    excluded: tuple[Exclusion, ...]


def explain(services: Services, call: Call, trail: Trail) -> Explanation:
    """Return the plan that a call would get. Raises JunctorError, as the plan of a call does."""
    trail.requested_model = call.spec.model
    snapshots = services.snapshots()
    plan = routing.plan(call, snapshots)
    candidates = tuple(
        Explained(
            candidate,
            ceilings.of(call.spec, (candidate,), snapshots.now_ms).open_nanousd,
            snapshots.health.endpoints.get(candidate.endpoint.id),
        )
        for candidate in plan.candidates
    )
    return Explanation(candidates, plan.excluded)
