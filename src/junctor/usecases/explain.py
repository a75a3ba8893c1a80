"""What would become of a request, without doing it: its plan, as the same seed and snapshots give it to a call.

Nothing is asked of any provider, nothing is held, and no rate is used up. A request that nothing may take is no error here: its
explanation says why. Credentials are counted and not named: their names are the operator's, and Explain is for every caller.
"""

from msgspec import Struct

from junctor.domain.call import Call, Snapshots
from junctor.domain.money import NanoUsd
from junctor.domain.routing import Candidate, Exclusion
from junctor.policy import ceilings, routing
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail


class Explained(Struct, frozen=True, kw_only=True):
    """An endpoint that would be tried, with what the plan knew of it, and the most that the request could cost there.

    `cooling_count` of its `credential_count` credentials may not be used there for now.
    """

    candidate: Candidate
    ceiling_nanousd: NanoUsd
    purchase_fee_ppm: int = 0
    credential_count: int = 0
    cooling_count: int = 0


class Explanation(Struct, frozen=True):
    """The endpoints in the order in which they would be tried, and those that would not be."""

    candidates: tuple[Explained, ...]
    excluded: tuple[Exclusion, ...]


def explain(services: Services, call: Call, trail: Trail) -> Explanation:
    """Return the plan that a call would get. Raises JunctorError, as the plan of a call does."""
    trail.requested_model = call.spec.model
    snapshots = services.snapshots()
    plan = routing.plan(call, snapshots)
    return Explanation(tuple(_explained(candidate, call, snapshots) for candidate in plan.candidates), plan.excluded)


def _explained(candidate: Candidate, call: Call, snapshots: Snapshots) -> Explained:
    provider = snapshots.catalog.providers[candidate.endpoint.provider]
    credentials = snapshots.credentials.get(provider.slug, ())
    cooling = candidate.health.cooling if candidate.health else frozenset()
    return Explained(
        candidate=candidate,
        ceiling_nanousd=ceilings.of(call.spec, (candidate,), snapshots.now_ms).open_nanousd,
        purchase_fee_ppm=provider.purchase_fee_ppm,
        credential_count=len(credentials),
        cooling_count=sum(each.name in cooling for each in credentials),
    )
