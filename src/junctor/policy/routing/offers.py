"""What a request would cost at each endpoint, and in which rank that stands.

An offer is an endpoint that may take the call, with the price in force, the cost to expect and a rank (`ranks`). What a price
is for decides what is in it: `max_price` is asked of the prices as listed, and the cost to expect is what the account would be
charged. The order goes by the effective cost, which has on top what buying the provider's credits costs.
"""

from collections.abc import Sequence
from math import ceil, inf

from msgspec import Struct

from junctor.domain.call import Call, Snapshots
from junctor.domain.completion import CompletionSpec
from junctor.domain.health import EndpointHealth, Percentiles
from junctor.domain.money import PICO_IN_NANO, NanoUsd
from junctor.domain.routing import Exclusion, MaxPrice, RoutingPreferences, SortBy
from junctor.policy import bounds
from junctor.policy.routing import ranks
from junctor.policy.routing.asking import Asked
from junctor.policy.routing.prepared import Card, Row, Units, service_tier

_LEAST_PICOUSD = 1.0
"""What even a free request counts for: its weight would be infinite else."""


class Offer(Struct, eq=False, gc=False):
    """An endpoint that may take a call. `cost_picousd` is what the whole request is expected to cost, never nothing.

    `effective_picousd` has on top what the credits for it cost; `weight` is by that and the chance of an answer, both squared,
    and the ramp. `share` is its part of what was drawn from, once it was drawn; `taken`: whether it has a place.
    """

    row: Row
    card: Card
    units: Units
    cost_picousd: float
    effective_picousd: float
    weight: float
    rank: int
    health: EndpointHealth | None = None
    share: float | None = None
    taken: bool = False


def offers(
    rows: Sequence[Row], call: Call, asked: Asked, snapshots: Snapshots, by: SortBy | None
) -> tuple[list[Offer], list[Exclusion]]:
    """Return the endpoints that have a price for the call and keep to its most, and the others with the reason.

    `by` is what they are to be sorted by, None if they are to be drawn.
    """
    spec, preferences, now_ms, as_sorted = call.spec, call.preferences, snapshots.now_ms, by is not None
    measured = snapshots.health.endpoints
    prefers = preferences.preferred_min_throughput is not None or preferences.preferred_max_latency_ms is not None
    wished, needed = asked.wished, asked.input_tokens + asked.max_tokens
    # As floats, like the prices: whole numbers are exact in them, and nothing is converted at each endpoint.
    tokens_in, tokens_out, images = float(asked.input_tokens), float(asked.output_tokens * asked.answers), float(asked.images)
    # In a service tier nothing is usual: its prices are looked up.
    usual = tokens_in if spec.service_tier is None else inf
    found: list[Offer] = []
    refused: list[Exclusion] = []
    if spec.service_tier is not None or preferences.max_price is not None or "audio" in asked.media or "audio" in asked.outputs:
        rows, refused = _affordable(rows, call, asked, now_ms)
    for row in rows:
        priced = (row.card, row.usual) if usual < row.usual_below else _priced(row, asked, now_ms, spec)
        if priced is None:
            refused.append(Exclusion(row.endpoint, "PRICE_UNKNOWN"))
            continue
        card, units = priced
        given, made, saved, request, image, _ = units
        cost = _LEAST_PICOUSD + tokens_in * given + tokens_out * made + request + images * image
        rank = 0 if as_sorted else row.rank
        if needed > row.context_tokens:
            rank += ranks.TIGHT
        if wished and not wished <= row.parameters:
            rank += ranks.DROPPED * len(wished - row.parameters)
        health = measured.get(row.id)
        if health is None:
            effective = cost * row.fee
            found.append(Offer(row, card, units, cost, effective, 1.0 / (effective * effective), rank))
            continue
        cost -= tokens_in * health.cache_read_share * saved
        effective = cost * row.fee
        chance = health.success_probability / effective
        if health.open or (health.cooling and is_cooling(row, health)):
            rank += ranks.OPEN
        elif not as_sorted and (health.degraded or health.full):
            rank += ranks.DEGRADED * health.degraded + ranks.FULL * health.full
        if prefers and _misses(health, preferences):
            rank += ranks.MISSED
        found.append(Offer(row, card, units, cost, effective, chance * chance * health.ramp, rank, health))
    return found, refused


def expected_nanousd(offer: Offer) -> NanoUsd:
    """Return what the whole request is expected to cost there, rounded up."""
    return ceil((offer.cost_picousd - _LEAST_PICOUSD) / PICO_IN_NANO)


def is_cooling(row: Row, health: EndpointHealth) -> bool:
    """Tell whether an endpoint has credentials, and may not be asked with any of them for now."""
    return bool(row.held.names) and health.cooling.issuperset(row.held.names)


def _priced(row: Row, asked: Asked, now_ms: int, spec: CompletionSpec) -> tuple[Card, Units] | None:
    """Return the card in force at an endpoint and what a request costs by it, None if there is none."""
    card = row.card_at(now_ms)
    return None if card is None else (card, card.units(asked.input_tokens, now_ms, service_tier(row.endpoint, spec)))


def _affordable(rows: Sequence[Row], call: Call, asked: Asked, now_ms: int) -> tuple[list[Row], list[Exclusion]]:
    """Return the endpoints that say what a service tier or sound costs and keep to the call's most, and the others."""
    most = call.preferences.max_price
    size = None if most is None else bounds.size(call.spec)
    kept: list[Row] = []
    refused: list[Exclusion] = []
    for row in rows:
        card, tier = row.card_at(now_ms), service_tier(row.endpoint, call.spec)
        if card is None or (tier is not None and tier not in card.tiers) or _is_untold(card, asked):
            refused.append(Exclusion(row.endpoint, "PRICE_UNKNOWN"))
            continue
        if most is not None and size is not None:
            input_most = bounds.input_bound(size, row.endpoint.context_tokens)
            if _exceeds(card.dearest(input_most, now_ms, tier), most):
                refused.append(Exclusion(row.endpoint, "MAX_PRICE"))
                continue
        kept.append(row)
    return kept, refused


def _is_untold(card: Card, asked: Asked) -> bool:
    """Tell whether a card does not say what the sound of a call costs."""
    return ("audio" in asked.media and not card.hears) or ("audio" in asked.outputs and not card.speaks)


def _exceeds(prices: Sequence[float], most: MaxPrice) -> bool:
    limits = (most.input_picousd, most.output_picousd, most.request_picousd, most.image_picousd)
    return any(limit is not None and price > limit for price, limit in zip(prices, limits, strict=True))


def _misses(health: EndpointHealth, preferences: RoutingPreferences) -> bool:
    least, most = preferences.preferred_min_throughput, preferences.preferred_max_latency_ms
    if least is not None:
        pairs = _measured(least, health.throughput_percentiles, health.throughput_tokens_per_s)
        if any(value < bound for value, bound in pairs):
            return True
    if most is None:
        return False
    return any(
        value > bound
        for value, bound in _measured(most, health.time_to_first_token_percentiles_ms, health.time_to_first_token_ms)
    )


def _measured(asked: Percentiles, found: Percentiles | None, typical: float | None) -> list[tuple[float, float]]:
    """Return the measured percentiles that have a bound, each with it; a typical value stands for a median."""
    values = found or Percentiles(p50=typical)
    names = Percentiles.__struct_fields__
    pairs = ((getattr(values, name), getattr(asked, name)) for name in names)
    return [(value, bound) for value, bound in pairs if value is not None and bound is not None]
