"""How large a part of an API key's limits one instance takes, and how far it goes by itself when the store is down.

All are functions of their arguments alone. A share is about a second of the instance's own traffic, so what a quiet instance
keeps from the others is small, and a busy one asks about once a second. Whatever is taken beyond what is needed at once is at
most a quarter of what is left for all, so the scarcer it is, the more exactly it is shared.
"""

from math import ceil

from junctor.domain.rates import Need, RateLimit, Rates

MINUTE_MS = 60_000
SHARE_S = 1.0
MINUTE_SHARES = 60
FREE_PARTS = 4


def needs(rates: Rates, tokens: int) -> tuple[Need, ...]:
    """Return what a call of so many tokens needs of the limits by the minute."""
    found = []
    if rates.requests_per_min is not None:
        found.append(Need(RateLimit.REQUESTS_PER_MIN, 1, rates.requests_per_min))
    if rates.tokens_per_min is not None:
        found.append(Need(RateLimit.TOKENS_PER_MIN, max(tokens, 0), rates.tokens_per_min))
    return tuple(found)


def minute(now_ms: int) -> int:
    """Return the number of the minute that an instant in Unix milliseconds lies in."""
    return now_ms // MINUTE_MS


def rest_of_minute_s(now_ms: int) -> float:
    """Return the seconds until the next minute."""
    return (MINUTE_MS - now_ms % MINUTE_MS) / 1000


def share_size(missing: int, left: int, pace: tuple[int, float], last: int) -> int:
    """Return how much to take of what is left: what is missing now, or a second's use at a pace of so much in so many seconds.

    Beyond what is missing it is at most a quarter of what is left, and twice the share before: two calls at once say little
    about the next second.
    """
    used, elapsed_s = pace
    second = ceil(used * SHARE_S / elapsed_s) if elapsed_s > 0 else 2 * last
    return min(max(missing, min(second, 2 * last, left // FREE_PARTS)), left)


def usual(granted: int, before: int, *, failed: bool) -> int:
    """Return what counts as usual after a minute in which so much was granted, and the store `failed` or did not."""
    return max(granted, before) if failed else granted or before


def alone(allowed: int, granted: int, usual_amount: int) -> int:
    """Return how much of a minute's limit an instance may use in all while the store is down.

    What it was granted, or what it usually is, or a second's part of the limit, whichever is most.
    """
    return max(granted, usual_amount, ceil(allowed / MINUTE_SHARES))


def spare(limit: int, others: int, wanted: int) -> int:
    """Return how many calls to claim beyond those wanted: as many again, at most a quarter of what is free, at least none."""
    return max(min(max(wanted, 1), (limit - others - wanted) // FREE_PARTS), 0)


def claim_size(limit: int, others: int, in_use: int, wanted: int, *, busy: bool) -> int:
    """Return how many calls to claim where others claim so many and so many of those `wanted` are `in_use` already.

    Those in use are claimed even above the limit: they are there, and whoever reads it must know.
    """
    return max(in_use, min(wanted + (spare(limit, others, wanted) if busy else 0), limit - others))


def surplus(limit: int, others: int, claimed: int, wanted: int) -> bool:
    """Tell whether so much more is claimed than wanted that others should have it at once."""
    return claimed - wanted > 2 * spare(limit, others, wanted)
