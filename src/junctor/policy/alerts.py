"""When an organisation is told that a limit or its credits run low, and that it is not told twice.

A limit is nearly used at 80 % spent, and used up where nothing is left to lease and most is spent: what calls hold comes back,
so a lone call's hold says nothing yet. A limit of nothing is meant to refuse, and is no news.
"""

from junctor.domain.credits import Window
from junctor.domain.money import NanoUsd

NEARLY_PERCENT, WHOLLY_PERCENT = 80, 100


def reached_percent(window: Window) -> int:
    """Return which percentage of its limit a window has reached: 100, 80 or 0."""
    limit = window.limit_nanousd
    if limit <= 0 or window.spent_nanousd * WHOLLY_PERCENT < limit * NEARLY_PERCENT:
        return 0
    return WHOLLY_PERCENT if window.spent_nanousd + window.leased_nanousd >= limit else NEARLY_PERCENT


def to_tell(window: Window, told_percent: int) -> tuple[int, ...]:
    """Return the percentages that a window has reached since the highest that was told of it, 0 if none was."""
    reached = reached_percent(window)
    return tuple(percent for percent in (NEARLY_PERCENT, WHOLLY_PERCENT) if told_percent < percent <= reached)


def is_low(available: NanoUsd, low_balance: NanoUsd | None) -> bool:
    """Tell whether there is less than somebody wants to be told of."""
    return low_balance is not None and available < low_balance
