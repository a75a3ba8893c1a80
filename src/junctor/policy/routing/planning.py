"""The plan of a call, step by step: models, what may take the call, order, places.

At most CANDIDATES_MAX endpoints of a model are candidates, then those of the next model that the caller names. Whoever names
several models has asked for all of them: one that his key may not use is left out, and the others stand in for it.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from junctor.domain.call import Call, Snapshots
from junctor.domain.catalog import Catalog
from junctor.domain.errors import ModelNotAllowedError
from junctor.domain.routing import Candidate, Exclusion, Partition, Plan, RoutingPreferences, SortBy
from junctor.policy.routing import credentials, filters, offers, ordering, resolving, sticky
from junctor.policy.routing.asking import Asked, asked_of
from junctor.policy.routing.offers import Offer
from junctor.policy.routing.ordering import Chance
from junctor.policy.routing.prepared import Prepared, Row, prepared
from junctor.policy.routing.resolving import Target

CANDIDATES_MAX: Final = 4
"""With three, of which each fails three calls in a hundred, a call in 18,000 is lost; with four one in 500,000 (012)."""


class _Pool(Struct, frozen=True):
    """Models whose endpoints are ordered together, and what they are sorted by, None if they are drawn."""

    models: tuple[str, ...]
    by: SortBy | None


def plan(call: Call, snapshots: Snapshots) -> Plan:
    """Order the endpoints of the models that are asked for, and leave out those that may not take the call.

    Raises:
        ModelNotFoundError: the catalogue has no such model.
        ModelNotAllowedError: the caller's key allows none of the models.
        InvalidFieldError: a variant cannot be used, or a preference names a provider that there is not.
    """
    known = prepared(snapshots)
    filters.check_providers(call, snapshots.catalog)
    targets = resolving.targets(call, known)
    asked, chance = asked_of(call.spec), Chance(snapshots.seed, sticky.conversation(call))
    allowed, excluded = _allowed(call, targets, snapshots.catalog)
    candidates: list[Candidate] = []
    for pool in _pools(call, allowed):
        rows, filtered = _rows(pool, call, asked, known)
        found, unpriced = offers.offers(rows, call, asked, snapshots, as_sorted=pool.by is not None)
        offers.demote(found, asked, call.preferences)
        taken = _ordered(found, pool, call.preferences, chance)
        candidates += [_candidate(offer, chance) for offer in taken]
        excluded += filtered
        excluded += unpriced
        excluded += _left(found, taken, call)
    return Plan(tuple(candidates), tuple(excluded))


def _allowed(call: Call, targets: Sequence[Target], catalog: Catalog) -> tuple[Sequence[Target], list[Exclusion]]:
    models = call.caller.allowed_models
    if models is None:
        return targets, []
    allowed = [target for target in targets if target.slug in models]
    if not allowed:
        raise ModelNotAllowedError("This API key may not ask for this model.", model=targets[0].slug)
    refused = [target.slug for target in targets if target.slug not in models]
    return allowed, [
        Exclusion(endpoint, "MODEL_NOT_ALLOWED") for slug in refused for endpoint in catalog.endpoints.get(slug, ())
    ]


def _pools(call: Call, targets: Sequence[Target]) -> list[_Pool]:
    sort = call.preferences.sort
    if sort is None:
        return [_Pool((target.slug,), target.sort) for target in targets]
    if sort.partition is Partition.NONE:
        return [_Pool(tuple(target.slug for target in targets), sort.by)]
    return [_Pool((target.slug,), sort.by) for target in targets]


def _rows(pool: _Pool, call: Call, asked: Asked, known: Prepared) -> tuple[list[Row], list[Exclusion]]:
    """Return the endpoints that pass all filters, and the others."""
    rows: list[Row] = []
    excluded: list[Exclusion] = []
    for model in pool.models:
        served = known.served(model)
        excluded += served.excluded
        left: Sequence[Row] = served.rows
        for reason, refuses in filters.filters(call, asked, served):
            excluded += [Exclusion(row.endpoint, reason) for row in left if refuses(row)]
            left = [row for row in left if not refuses(row)]
        rows += left
    return rows, excluded


def _ordered(found: Sequence[Offer], pool: _Pool, preferences: RoutingPreferences, chance: Chance) -> list[Offer]:
    if pool.by is None and not preferences.order:
        taken = ordering.drawn(found, chance, CANDIDATES_MAX, probing=preferences.allow_fallbacks)
    else:
        taken = _first_of_each(ordering.sorted_by(found, pool.by, preferences.order))
    return taken if preferences.allow_fallbacks or preferences.order else taken[:1]


def _first_of_each(found: Sequence[Offer]) -> list[Offer]:
    """Return the first offers of each model, as many as may be candidates."""
    counts: dict[str, int] = {}
    taken: list[Offer] = []
    for offer in found:
        model = offer.row.endpoint.model
        counts[model] = counts.get(model, 0) + 1
        if counts[model] <= CANDIDATES_MAX:
            taken.append(offer)
    return taken


def _candidate(offer: Offer, chance: Chance) -> Candidate:
    row = offer.row
    names = row.held.names
    if len(names) > 1:
        names = _credentials(offer, chance)
    return Candidate(
        row.endpoint,
        names[0] if names else None,
        offer.card.card,
        expected_nanousd=offer.expected_nanousd,
        weight=offer.share,
        spare=names[1:],
        health=offer.health,
    )


def _credentials(offer: Offer, chance: Chance) -> tuple[str, ...]:
    """Name the credentials to ask an endpoint with that has several, in order."""
    kept = chance.conversation if sticky.caches(offer) else None
    cooling = offer.health.cooling if offer.health else frozenset()
    return credentials.drawn(offer.row.held, cooling, chance.of_seed if kept is None else kept)


def _left(found: Sequence[Offer], taken: Sequence[Offer], call: Call) -> list[Exclusion]:
    """Return the exclusions of the offers that got no place."""
    for offer in taken:
        offer.taken = True
    if call.preferences.allow_fallbacks or call.preferences.order:
        return [offer.row.beyond for offer in found if not offer.taken]
    return [Exclusion(offer.row.endpoint, "FALLBACK_NOT_ALLOWED") for offer in found if not offer.taken]
