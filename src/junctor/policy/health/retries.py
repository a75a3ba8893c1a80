"""May a call be tried once more? Each model has a budget for that in each instance (routing.md, Failures).

Every call pays a part of a further attempt in, and every second some more; each attempt after a call's first takes one out. So
a model whose endpoints all fail is asked hardly more often than callers ask for it, and quiet models can always fall over.

An attempt at an endpoint that is open, and so likely in vain, needs a part of a second and smaller budget besides, into which
only calls pay: where all endpoints are dead, time alone would pay for one such attempt after the other.
"""

from typing import Final

from msgspec import Struct

SHARE: Final = 0.3
PER_S: Final = 10.0
OPEN_SHARE: Final = 0.2
OPEN_MOST: Final = 5.0
MOST: Final = 100.0
"""What may be saved up: ten quiet seconds, so that as many calls as were under way at an endpoint that dies all fall over."""


class Retries(Struct, gc=False):
    """The budget of one model, in attempts; it begins with all that may be saved up."""

    left: float = MOST
    at_s: float = 0.0
    open_left: float = OPEN_MOST

    def asked(self, now_s: float) -> None:
        """Pay in for one call."""
        self.left = min(MOST, self.left + SHARE + PER_S * (now_s - self.at_s))
        self.open_left = min(OPEN_MOST, self.open_left + OPEN_SHARE)
        self.at_s = now_s

    def take(self, now_s: float, *, is_open: bool) -> bool:
        """Take one attempt out, at an endpoint that is open or at one that is not; return whether it was there."""
        self.left = min(MOST, self.left + PER_S * (now_s - self.at_s))
        self.at_s = now_s
        if self.left < 1.0 or (is_open and self.open_left < 1.0):
            return False
        self.open_left -= is_open
        self.left -= 1.0
        return True
