"""What a request would cost at each endpoint, and in which rank that stands.

An offer is an endpoint that may take the call, with the price in force, the cost to expect and a rank (`ranks`). What a price
is for decides what is in it: `max_price` is asked of the prices as listed, and the cost to expect is what the account would be
charged. The order goes by the effective cost, which has on top what buying the provider's credits costs.
"""

from collections.abc import Sequence
from math import ceil

from msgspec import Struct

from junctor.domain.call import Call, Snapshots
from junctor.domain.health import EndpointHealth, Percentiles
from junctor.domain.money import PICO_IN_NANO, NanoUsd
from junctor.domain.routing import Exclusion, MaxPrice, RoutingPreferences
from junctor.policy import bounds
from junctor.policy.routing import ranks
from junctor.policy.routing.asking import Asked
from junctor.policy.routing.prepared import Card, Row, Units, service_tier

_LEAST_PICOUSD = 1.0
"""What even a free request counts for: its weight would be infinite else."""


class Offer(Struct, gc=False):
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

    @property
    def expected_nanousd(self) -> NanoUsd:
        """What the whole request is expected to cost, rounded up."""
        return ceil((self.cost_picousd - _LEAST_PICOUSD) / PICO_IN_NANO)


def offers(
    rows: Sequence[Row], call: Call, asked: Asked, snapshots: Snapshots, *, as_sorted: bool
) -> tuple[list[Offer], list[Exclusion]]:
    """Return the endpoints that have a price for the call and keep to its most, and the others with the reason."""
    spec, now_ms, measured = call.spec, snapshots.now_ms, snapshots.health.endpoints
    most = call.preferences.max_price
    size = None if most is None else bounds.size(spec)
    tokens_in, tokens_out, images = asked.input_tokens, asked.output_tokens * asked.answers, asked.images
    sound = "audio" in asked.media or "audio" in asked.outputs
    found: list[Offer] = []
    refused: list[Exclusion] = []
    for row in rows:
        card = row.always or row.card_at(now_ms)
        tier = None if spec.service_tier is None else service_tier(row.endpoint, spec)
        if card is None or (tier is not None and tier not in card.tiers) or (sound and _is_untold(card, asked)):
            refused.append(Exclusion(row.endpoint, "PRICE_UNKNOWN"))
            continue
        if most is not None and size is not None:
            input_most = bounds.input_bound(size, row.endpoint.context_tokens)
            if _exceeds(card.dearest(input_most, now_ms, tier), most):
                refused.append(Exclusion(row.endpoint, "MAX_PRICE"))
                continue
        units = card.flat or card.units(tokens_in, now_ms, tier)
        cost = _LEAST_PICOUSD + tokens_in * units.input + tokens_out * units.output + units.request + images * units.image
        rank = 0 if as_sorted else row.rank
        health = measured.get(row.endpoint.id) if measured else None
        if health is None:
            effective = cost * row.fee
            found.append(Offer(row, card, units, cost, effective, 1.0 / (effective * effective), rank))
            continue
        cost -= tokens_in * health.cache_read_share * (units.input - units.cache_read)
        effective = cost * row.fee
        chance = health.success_probability / effective
        if health.open or (health.cooling and is_cooling(row, health)):
            rank += ranks.OPEN
        elif not as_sorted:
            if health.degraded:
                rank += ranks.DEGRADED
            if health.full:
                rank += ranks.FULL
        found.append(Offer(row, card, units, cost, effective, chance * chance * health.ramp, rank, health))
    return found, refused


def is_cooling(row: Row, health: EndpointHealth) -> bool:
    """Tell whether an endpoint has credentials, and may not be asked with any of them for now."""
    return bool(row.held.names) and health.cooling.issuperset(row.held.names)


def demote(found: Sequence[Offer], asked: Asked, preferences: RoutingPreferences) -> None:
    """Raise the rank of each offer that would serve the call less well than it asks."""
    wished, needed = asked.wished, asked.input_tokens + asked.max_tokens
    prefers = preferences.preferred_min_throughput is not None or preferences.preferred_max_latency_ms is not None
    for offer in found:
        if needed > offer.row.context_tokens:
            offer.rank += ranks.TIGHT
        for name in wished:
            if name not in offer.row.parameters:
                offer.rank += ranks.DROPPED
        if prefers and offer.health is not None and _misses(offer.health, preferences):
            offer.rank += ranks.MISSED


def _is_untold(card: Card, asked: Asked) -> bool:
    """Tell whether a card does not say what the sound of a call costs."""
    return ("audio" in asked.media and not card.hears) or ("audio" in asked.outputs and not card.speaks)


def _exceeds(units: Units, most: MaxPrice) -> bool:
    pairs = (
        (units.input, most.input_picousd),
        (units.output, most.output_picousd),
        (units.request, most.request_picousd),
        (units.image, most.image_picousd),
    )
    return any(bound is not None and price > bound for price, bound in pairs)


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
