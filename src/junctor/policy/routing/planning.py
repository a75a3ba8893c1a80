"""The plan of a call, step by step: models, what may take the call, order, places.

At most CANDIDATES_MAX endpoints of a model are candidates, then those of the next model that the caller names. Whoever names
several models has asked for all of them: one that his key may not use is left out, and the others stand in for it.
"""

from collections.abc import Iterable, Sequence

from junctor.domain.call import Call, Snapshots
from junctor.domain.catalog import Catalog
from junctor.domain.errors import ModelNotAllowedError
from junctor.domain.routing import Candidate, Exclusion, Partition, Plan, RoutingPreferences, Sort, SortBy
from junctor.policy.routing import credentials, filters, offers, ordering, rendezvous, resolving, sticky
from junctor.policy.routing.asking import Asked, asked_of
from junctor.policy.routing.offers import Offer
from junctor.policy.routing.ordering import CANDIDATES_MAX
from junctor.policy.routing.prepared import Prepared, Row, prepared
from junctor.policy.routing.resolving import Target


def plan(call: Call, snapshots: Snapshots) -> Plan:
    """Order the endpoints of the models that are asked for, and leave out those that may not take the call.

    Raises:
        ModelNotFoundError: the catalogue has no such model.
        ModelNotAllowedError: the caller's key allows none of the models.
        InvalidFieldError: a variant cannot be used, or a preference names a provider that there is not.
    """
    known, preferences, seed = prepared(snapshots), call.preferences, str(snapshots.seed).encode()
    filters.check_providers(call, snapshots.catalog)
    targets: Sequence[Target] = resolving.targets(call, known)
    asked, conversation = asked_of(call.spec), sticky.conversation(call)
    candidates: list[Candidate] = []
    excluded: list[Exclusion] = []
    if call.caller.allowed_models is not None:
        targets = _allowed(call.caller.allowed_models, targets, snapshots.catalog, excluded)
    for pool in _pools(targets, preferences.sort):
        by = pool[0].sort if preferences.sort is None else preferences.sort.by
        rows = _rows(pool, call, asked, known, excluded)
        found, refused = offers.offers(rows, call, asked, snapshots, by)
        excluded += refused
        taken = _ordered(found, by, preferences, seed, conversation)
        candidates += _candidates(taken, seed, conversation)
        if len(taken) < len(found):
            _leave(found, preferences, excluded)
    return Plan(tuple(candidates), tuple(excluded))


def _allowed(
    models: tuple[str, ...], targets: Sequence[Target], catalog: Catalog, excluded: list[Exclusion]
) -> Sequence[Target]:
    """Return the targets that a caller's key allows, and add the endpoints of the others to what is left out."""
    allowed = [target for target in targets if target.slug in models]
    if not allowed:
        raise ModelNotAllowedError("This API key may not ask for this model.", model=targets[0].slug)
    for target in targets:
        if target.slug not in models:
            excluded += [Exclusion(endpoint, "MODEL_NOT_ALLOWED") for endpoint in catalog.endpoints.get(target.slug, ())]
    return allowed


def _pools(targets: Sequence[Target], sort: Sort | None) -> Iterable[Sequence[Target]]:
    """Return the models whose endpoints are ordered together."""
    if len(targets) == 1 or (sort is not None and sort.partition is Partition.NONE):
        return (targets,)
    return [(target,) for target in targets]


def _rows(pool: Sequence[Target], call: Call, asked: Asked, known: Prepared, excluded: list[Exclusion]) -> Sequence[Row]:
    """Return the endpoints that pass all filters, and add the others to what is left out."""
    rows: Sequence[Row] = ()
    for target in pool:
        served = known.served(target.slug)
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
        rows = [*rows, *left] if rows else left
    return rows


def _ordered(
    found: Sequence[Offer], by: SortBy | None, preferences: RoutingPreferences, seed: bytes, conversation: int | None
) -> list[Offer]:
    if by is None and not preferences.order:
        taken = ordering.drawn(found, preferences, seed, conversation)
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


def _candidates(taken: Sequence[Offer], seed: bytes, conversation: int | None) -> list[Candidate]:
    """Return the offers that have a place as what is to be tried, each with its credentials in order."""
    found: list[Candidate] = []
    of_seed: int | None = None
    for offer in taken:
        offer.taken = True
        held, health, chosen_by = offer.row.held, offer.health, conversation
        names = held.names
        if len(names) > 1:
            if chosen_by is None or offer.units.turn is None:
                if of_seed is None:
                    of_seed = rendezvous.number_of(seed)
                chosen_by = of_seed
            names = credentials.drawn(held, frozenset() if health is None else health.cooling, chosen_by)
        found.append(
            Candidate(
                offer.row.endpoint,
                names[0] if names else None,
                offer.card.card,
                expected_nanousd=offers.expected_nanousd(offer),
                weight=offer.share,
                spare=names[1:],
                health=health,
            )
        )
    return found


def _leave(found: Sequence[Offer], preferences: RoutingPreferences, excluded: list[Exclusion]) -> None:
    """Add the offers that got no place to what is left out."""
    fall_back = preferences.allow_fallbacks or bool(preferences.order)
    for offer in found:
        if offer.taken:
            continue
        excluded.append(offer.row.beyond if fall_back else Exclusion(offer.row.endpoint, "FALLBACK_NOT_ALLOWED"))
