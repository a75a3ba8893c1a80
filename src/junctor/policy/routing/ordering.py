"""In what order are offers tried? By the caller's own order or sort, else drawn by weight (routing.md, Order).

The draw takes the endpoints of the lowest rank first, without putting back. For each place two are drawn by weight, and the one
with less to wait for is taken: its time to first token times the calls it has under way, this one included. Where that is not
measured for both, the first drawn is taken. The two may be the same endpoint: else, of two endpoints, the faster one would be
taken always, whatever it costs. A conversation that has a home goes there first.

Before all of these goes an endpoint that is to be probed, as it can come back in no other way: one at a time, where it has what
the call needs as well as any other, and where others may take over if it is still down.

`order` and `sort` switch all this off, the probe too: listed providers first, in their order, and the rest by what is sorted
by, else by cost.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate
from math import inf
from struct import Struct as Packed
from typing import Final

from junctor.domain.routing import RoutingPreferences, SortBy
from junctor.policy.routing import ranks, sticky
from junctor.policy.routing.offers import Offer, is_cooling

CANDIDATES_MAX: Final = 4
"""With three, of which each fails three calls in a hundred, a call in 18,000 is lost; with four one in 500,000 (012)."""

DRAWS_A_PLACE: Final = 2
_NUMBERS: Final = Packed(f"<{CANDIDATES_MAX * DRAWS_A_PLACE}Q")
_HASH: Final = blake2b(digest_size=_NUMBERS.size)
"""Nothing hashed yet: to copy it takes less than to make one."""
_SPARE_BITS, _UNIT = 64 - 53, 2.0**-53
"""Of a number of 64 bits as many are used as a float has."""


def drawn(found: Sequence[Offer], preferences: RoutingPreferences, seed: bytes, conversation: int | None) -> list[Offer]:
    """Return the offers of one model that have a place. One may be tried before all others if others may take over from it.

    `seed` is the call's, in decimal; `conversation` a number that stands for its conversation, None if it has none.
    """
    if not found:
        return []
    groups = _by_rank(found)
    taken = (
        _probe(found, groups, int(seed))
        if preferences.allow_fallbacks and groups[len(groups) - 1][0].rank >= ranks.OPEN
        else []
    )
    numbers = iter(_numbers(seed, found[0].row.draws))
    for group in groups:
        total, weights = 0.0, []
        for offer in group:
            total += offer.weight
            weights.append(offer.weight)
        if conversation is not None and group is groups[0] and len(group) > 1:
            home = sticky.home(group, conversation)
            if home is not None:
                taken.append(group.pop(home))
                taken[-1].share = weights.pop(home) / total if total else None
        _draw(group, weights, total, numbers, taken)
        if len(taken) == CANDIDATES_MAX:
            break
    return taken


def sorted_by(found: Sequence[Offer], by: SortBy | None, order: Sequence[str]) -> list[Offer]:
    """Return all offers: those of the providers in `order` first, the rest by what is sorted by (None: by cost)."""
    listed = {slug: place for place, slug in reversed(tuple(enumerate(order)))}

    def key(offer: Offer) -> tuple[int, int, float, float, int]:
        row = offer.row
        return listed.get(row.provider, len(order)), offer.rank, _value(offer, by), offer.effective_picousd, row.rank

    return sorted(found, key=key)


def _value(offer: Offer, by: SortBy | None) -> float:
    health = offer.health
    if by is None or by is SortBy.PRICE:
        return offer.effective_picousd
    if by is SortBy.LATENCY:
        first = health.time_to_first_token_ms if health else None
        return inf if first is None else first
    speed = health.throughput_tokens_per_s if health else None
    return inf if speed is None else -speed


def _by_rank(found: Sequence[Offer]) -> list[list[Offer]]:
    """Return the offers of each rank, the lowest first: most often all are of one."""
    first = found[0].rank
    for offer in found:
        if offer.rank != first:
            present = sorted({each.rank for each in found})
            return [[each for each in found if each.rank == rank] for rank in present]
    return [[*found]]


def _probe(found: Sequence[Offer], groups: Sequence[list[Offer]], seed: int) -> list[Offer]:
    """Take the offer that is to be probed out of its group, if there is one; if there are several, any of them."""
    least = min(ranks.need(group[0].rank) for group in groups)
    due = [offer for offer in found if offer.rank & ranks.OPEN and ranks.need(offer.rank) == least and _is_due(offer)]
    if not due:
        return []
    probe = due[seed % len(due)]
    for group in groups:
        if group[0].rank == probe.rank:
            group.remove(probe)
            break
    return [probe]


def _is_due(offer: Offer) -> bool:
    return offer.health is not None and offer.health.probe and not is_cooling(offer.row, offer.health)


def _draw(group: list[Offer], weights: list[float], total: float, numbers: Iterator[int], taken: list[Offer]) -> None:
    """Take offers out of a group until the places, or those with a weight, are used up; then the others, as they come."""
    never = [offer for offer in group if not offer.weight] if 0.0 in weights else []
    if never:
        group, weights = [offer for offer in group if offer.weight], [weight for weight in weights if weight]
    while group and len(taken) < CANDIDATES_MAX:
        sums = [*accumulate(weights)]
        last = len(sums) - 1
        unit = sums[last] * _UNIT
        one = bisect_right(sums, (next(numbers) >> _SPARE_BITS) * unit, 0, last)
        two = bisect_right(sums, (next(numbers) >> _SPARE_BITS) * unit, 0, last)
        place = two if one != two and _waits_less(group[two], group[one]) else one
        offer = group.pop(place)
        offer.share = weights.pop(place) / total
        taken.append(offer)
    if never:
        for offer in never[: CANDIDATES_MAX - len(taken)]:
            offer.share = 0.0 if total else None
            taken.append(offer)


def _waits_less(offer: Offer, other: Offer) -> bool:
    """Judge whether a call would wait less at one than at the other, as far as that is measured for both."""
    mine, others = offer.health, other.health
    if mine is None or others is None:
        return False
    first, second = mine.time_to_first_token_ms, others.time_to_first_token_ms
    if first is None or second is None:
        return False
    return first * (mine.in_flight + 1) < second * (others.in_flight + 1)


def _numbers(seed: bytes, model: bytes) -> tuple[int, ...]:
    """Return numbers of 64 bits that follow from a seed and what stands for a model, enough for all places."""
    hashing = _HASH.copy()
    hashing.update(seed)
    hashing.update(model)
    return _NUMBERS.unpack(hashing.digest())
