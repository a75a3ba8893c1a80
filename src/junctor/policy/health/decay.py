"""What of the past still counts? Measurements that fade: counts of answers, a peak that is held, and a mean.

Small state that its owner changes in place, as an endpoint has it for every call; no clock: each step is given the instant, in
seconds that never go back. Invariant: a step at the same instant as the last one fades nothing, and no count is negative.
"""

from math import exp
from typing import Final

from msgspec import Struct

HALF_LIFE_S: Final = 30.0
PEAK_S: Final = 10.0
MEAN_S: Final = 30.0

_OK_BEFORE, _ALL_BEFORE = 9, 10
"""What is taken for granted of an endpoint of which nothing is known: nine answers of ten."""


class Counts(Struct, gc=False):
    """Answers and failures, of which half are forgotten after HALF_LIFE_S."""

    ok: float = 0.0
    failed: float = 0.0
    at_s: float = 0.0

    def add(self, now_s: float, *, ok: bool) -> None:
        """Count one."""
        self.fade(now_s)
        if ok:
            self.ok += 1.0
        else:
            self.failed += 1.0

    def fade(self, now_s: float) -> None:
        """Let the counts be what they are worth at this instant."""
        if now_s > self.at_s:
            worth = 0.5 ** ((now_s - self.at_s) / HALF_LIFE_S)
            self.ok *= worth
            self.failed *= worth
            self.at_s = now_s


def success_probability(ok: float, failed: float) -> float:
    """Return the chance of an answer, (ok + 9)/(ok + failed + 10) by routing.md: nine in ten before anything is known."""
    return (ok + _OK_BEFORE) / (ok + failed + _ALL_BEFORE)


class Faded(Struct, gc=False):
    """A measurement that goes over to new values within a time of its own. `value` is None before the first."""

    within_s: float
    value: float | None = None
    at_s: float = 0.0

    def add(self, now_s: float, value: float) -> None:
        """Take in one value, the more of it the longer the last one is past."""
        if self.value is None:
            self.value = value
        else:
            kept = exp(-(now_s - self.at_s) / self.within_s)
            self.value = self.value * kept + value * (1.0 - kept)
        self.at_s = now_s

    def peak(self, now_s: float, value: float) -> None:
        """Take in one value, all of it if it is higher: what became slow is known at once, and what became fast in time."""
        if self.value is None or value >= self.value:
            self.value, self.at_s = value, now_s
        else:
            self.add(now_s, value)

    def known(self, now_s: float, for_s: float) -> float | None:
        """Return the value, None if it is older than so many seconds."""
        return self.value if now_s - self.at_s <= for_s else None
