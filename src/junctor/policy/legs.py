"""How a lease's sum lies over purses: which it is taken from, and which of them what was spent came out of.

Both are functions of their arguments alone, so that every closer of a lease splits its total alike, and a balance can be
rebuilt from the leases' entries.
"""

from collections.abc import Sequence

from junctor.domain.credits import Purse, PurseState
from junctor.domain.lease import Leg
from junctor.domain.money import NanoUsd

LEGS_MAX = 32
"""The most purses of one lease: the old and the new one of a renewal, and their windows, must fit into one transaction."""


def is_usable(purse: Purse) -> bool:
    """Tell whether a purse may be leased from, were it not for its time: it is OPEN and owes nothing."""
    return purse.state is PurseState.OPEN and not purse.owed_nanousd


def has_lapsed(purse: Purse, now_ms: int) -> bool:
    """Tell whether a purse's time is up, whatever its state says yet."""
    return purse.expires_at_ms is not None and purse.expires_at_ms <= now_ms


def choose_legs(purses: Sequence[Purse], amount: NanoUsd) -> tuple[Leg, ...] | None:
    """Return the legs of an amount, soonest-expiring grant first, then in the order given; None if there is not so much."""
    usable = [purse for purse in purses if is_usable(purse) and purse.avail_nanousd > 0]
    usable.sort(key=_expiry)
    legs: list[Leg] = []
    missing = amount
    for purse in usable[:LEGS_MAX]:
        if missing <= 0:
            break
        part = min(missing, purse.avail_nanousd)
        legs.append(Leg(purse.id, part))
        missing -= part
    return tuple(legs) if missing <= 0 else None


def merge_legs(legs: Sequence[Leg], more: Sequence[Leg]) -> tuple[Leg, ...]:
    """Return the legs of a lease that grew: one for each purse, in the order in which each was first taken from."""
    amounts: dict[str, NanoUsd] = {}
    for leg in (*legs, *more):
        amounts[leg.purse] = amounts.get(leg.purse, 0) + leg.amount_nanousd
    return tuple(Leg(purse, amount) for purse, amount in amounts.items())


def split_total(legs: Sequence[Leg], total: NanoUsd) -> tuple[NanoUsd, ...]:
    """Return how much of a lease's total came out of each leg: the first is used up before the second.

    Raises:
        ValueError: the total is more than all legs, which no lease may spend.
    """
    parts: list[NanoUsd] = []
    missing = total
    for leg in legs:
        part = min(missing, leg.amount_nanousd)
        parts.append(part)
        missing -= part
    if missing:
        raise ValueError("a lease spent more than it had taken")
    return tuple(parts)


def _expiry(purse: Purse) -> tuple[bool, int]:
    return purse.expires_at_ms is None, purse.expires_at_ms or 0
