"""May a call be tried once more? Each model has a budget for that in each instance (routing.md, Failures).

Every call pays a part of a further attempt in, and every second some more; each attempt after a call's first takes one out. So
a model whose endpoints all fail is asked hardly more often than callers ask for it, and quiet models can always fall over.
"""

from typing import Final

from msgspec import Struct

SHARE: Final = 0.3
PER_S: Final = 10.0
MOST: Final = 100.0
"""What may be saved up: ten quiet seconds, so that as many calls as were under way at an endpoint that dies all fall over."""


class Retries(Struct, gc=False):
    """The budget of one model, in attempts; it begins with all that may be saved up."""

    left: float = MOST
    at_s: float = 0.0

    def asked(self, now_s: float) -> None:
        """Pay in for one call."""
        self.left = min(MOST, self.left + SHARE + PER_S * (now_s - self.at_s))
        self.at_s = now_s

    def take(self, now_s: float) -> bool:
        """Take one attempt out; return whether it was there."""
        self.left = min(MOST, self.left + PER_S * (now_s - self.at_s))
        self.at_s = now_s
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True
