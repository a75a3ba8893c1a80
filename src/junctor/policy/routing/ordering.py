"""In what order are offers tried? By the caller's own order or sort, else drawn by weight (routing.md, Order).

The draw takes the endpoints of the lowest rank first, without putting back. For each place two are drawn by weight, and the one
with less to wait for is taken: its time to first token times the calls it has under way, this one included. Where that is not
measured for both, the first drawn is taken. The two may be the same endpoint: else, of two endpoints, the faster one would be
taken always, whatever it costs. A conversation that has a home goes there first.

`order` and `sort` switch all this off: listed providers first, in their order, and the rest by what is sorted by, else by cost.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import inf
from struct import unpack
from typing import Final

from junctor.domain.call import Call
from junctor.domain.routing import SortBy
from junctor.policy.routing import sticky
from junctor.policy.routing.offers import Offer

DRAWS_A_PLACE: Final = 2
_NUMBER_BYTES: Final = 8


def drawn(found: Sequence[Offer], call: Call, model: str, seed: int, places: int) -> list[Offer]:
    """Return the offers of one model for the first so many places."""
    taken: list[Offer] = []
    chances = iter(_chances(f"{seed}/{model}", places))
    for rank in sorted({offer.rank for offer in found}):
        group = [offer for offer in found if offer.rank == rank]
        weights = [offer.weight for offer in group]
        total = sum(weights)
        home = sticky.home(group, call) if not taken and len(group) > 1 else None
        if home is not None:
            taken.append(group.pop(home))
            del weights[home]
        _draw(group, weights, chances, taken, places)
        for offer in taken:
            if offer.share is None and total:
                offer.share = offer.weight / total
        if len(taken) == places:
            break
    return taken


def sorted_by(found: Sequence[Offer], by: SortBy | None, order: Sequence[str]) -> list[Offer]:
    """Return all offers: those of the providers in `order` first, the rest by what is sorted by (None: by cost)."""
    listed = {slug: place for place, slug in reversed(tuple(enumerate(order)))}

    def key(offer: Offer) -> tuple[int, int, float, float, int]:
        row = offer.row
        return listed.get(row.provider, len(order)), offer.rank, _value(offer, by), offer.cost_picousd, row.rank

    return sorted(found, key=key)


def _value(offer: Offer, by: SortBy | None) -> float:
    health = offer.health
    if by is None or by is SortBy.PRICE:
        return offer.cost_picousd
    if by is SortBy.LATENCY:
        first = health.time_to_first_token_ms if health else None
        return inf if first is None else first
    speed = health.throughput_tokens_per_s if health else None
    return inf if speed is None else -speed


def _draw(group: list[Offer], weights: list[float], chances: Iterator[float], taken: list[Offer], places: int) -> None:
    """Take offers out of a group until the places, or those with a weight, are used up; then the others, as they come."""
    never = [offer for offer in group if not offer.weight] if 0.0 in weights else []
    if never:
        group, weights = [offer for offer in group if offer.weight], [weight for weight in weights if weight]
    while group and len(taken) < places:
        sums = list(accumulate(weights))
        last = len(sums) - 1
        one = bisect_right(sums, next(chances) * sums[-1], 0, last)
        two = bisect_right(sums, next(chances) * sums[-1], 0, last)
        place = two if one != two and _waits_less(group[two], group[one]) else one
        taken.append(group.pop(place))
        del weights[place]
    taken += never[: places - len(taken)]


def _waits_less(offer: Offer, other: Offer) -> bool:
    wait, others = _wait(offer), _wait(other)
    return wait is not None and others is not None and wait < others


def _wait(offer: Offer) -> float | None:
    health = offer.health
    if health is None or health.time_to_first_token_ms is None:
        return None
    return health.time_to_first_token_ms * (health.in_flight + 1)


def _chances(name: str, places: int) -> list[float]:
    """Return numbers in [0, 1) that follow from a name, enough for so many places."""
    count = places * DRAWS_A_PLACE
    noise = hashlib.blake2b(name.encode(), digest_size=count * _NUMBER_BYTES).digest()
    return [(number >> 11) * 2.0**-53 for number in unpack(f"<{count}Q", noise)]
