"""The plan of a call, step by step: models, what may take the call, order, places.

At most CANDIDATES_MAX endpoints of a model are candidates, then those of the next model that the caller names. Whoever names
several models has asked for all of them: one that his key may not use is left out, and the others stand in for it.
"""

from collections.abc import Sequence
from typing import TypeAlias

from junctor.domain.call import Call, Snapshots
from junctor.domain.catalog import Catalog
from junctor.domain.errors import ModelNotAllowedError
from junctor.domain.routing import Candidate, Exclusion, Partition, Plan, RoutingPreferences, SortBy
from junctor.policy.routing import credentials, filters, offers, ordering, rendezvous, resolving, sticky
from junctor.policy.routing.asking import Asked, asked_of
from junctor.policy.routing.offers import Offer
from junctor.policy.routing.ordering import CANDIDATES_MAX, Chance
from junctor.policy.routing.prepared import Prepared, Row, prepared
from junctor.policy.routing.resolving import Target

_Pool: TypeAlias = tuple[tuple[str, ...], SortBy | None]
"""Models whose endpoints are ordered together, and what they are sorted by, None if they are drawn."""


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
    for models, by in _pools(call, allowed):
        rows, filtered = _rows(models, call, asked, known)
        found, unpriced = offers.offers(rows, call, asked, snapshots, as_sorted=by is not None)
        taken = _ordered(found, by, call.preferences, chance)
        candidates += _candidates(taken, chance)
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
        return [((target.slug,), target.sort) for target in targets]
    if sort.partition is Partition.NONE:
        return [(tuple(target.slug for target in targets), sort.by)]
    return [((target.slug,), sort.by) for target in targets]


def _rows(models: tuple[str, ...], call: Call, asked: Asked, known: Prepared) -> tuple[list[Row], list[Exclusion]]:
    """Return the endpoints that pass all filters, and the others."""
    rows: list[Row] = []
    excluded: list[Exclusion] = []
    for model in models:
        served = known.served(model)
        excluded += served.excluded
        left: Sequence[Row] = served.rows
        for reason, refuses in filters.filters(call, asked, served):
            kept: list[Row] = []
            for row in left:
                if refuses(row):
                    excluded.append(Exclusion(row.endpoint, reason))
                else:
                    kept.append(row)
            left = kept
        rows += left
    return rows, excluded


def _ordered(found: Sequence[Offer], by: SortBy | None, preferences: RoutingPreferences, chance: Chance) -> list[Offer]:
    if by is None and not preferences.order:
        taken = ordering.drawn(found, chance, probing=preferences.allow_fallbacks)
    else:
        taken = _first_of_each(ordering.sorted_by(found, by, preferences.order))
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


def _candidates(taken: Sequence[Offer], chance: Chance) -> list[Candidate]:
    """Return the offers that have a place as what is to be tried, each with its credentials in order."""
    found: list[Candidate] = []
    of_seed: int | None = None
    for offer in taken:
        held, health, chosen_by = offer.row.held, offer.health, chance.conversation
        names = held.names
        if len(names) > 1:
            if chosen_by is None or offer.units.turn is None:
                if of_seed is None:
                    of_seed = rendezvous.number(str(chance.seed))
                chosen_by = of_seed
            names = credentials.drawn(held, frozenset() if health is None else health.cooling, chosen_by)
        found.append(
            Candidate(
                offer.row.endpoint,
                names[0] if names else None,
                offer.card.card,
                expected_nanousd=offer.expected_nanousd,
                weight=offer.share,
                spare=names[1:],
                health=health,
            )
        )
    return found


def _left(found: Sequence[Offer], taken: Sequence[Offer], call: Call) -> list[Exclusion]:
    """Return the exclusions of the offers that got no place."""
    for offer in taken:
        offer.taken = True
    if call.preferences.allow_fallbacks or call.preferences.order:
        return [offer.row.beyond for offer in found if not offer.taken]
    return [Exclusion(offer.row.endpoint, "FALLBACK_NOT_ALLOWED") for offer in found if not offer.taken]
