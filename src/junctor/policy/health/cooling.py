"""What follows from an endpoint's wish to be asked less, or not with this credential? As routing.md has it (Failures).

A credential that is throttled cools at the endpoint that said so, one that is refused is off for a while; neither says
anything of the endpoint itself. How many calls an endpoint bears at one time is learnt as TCP learns it: less by a part at
each wish to slow down, more by one after as many answers as it bears.
"""

from typing import Final

from msgspec import Struct

REFUSED_S: Final = 60.0
THROTTLED_LEAST_S: Final = 1.0
THROTTLED_MOST_S: Final = 30.0
HINT_MOST_S: Final = 60.0
"""How long a provider's hint is believed. Some name the end of a day's quota, and some are mistaken: one call a minute finds
out whether that still holds, and costs no more than its fallback."""

SHRINK: Final = 0.7
LIMIT_FORGOTTEN_S: Final = 300.0


class Cooling(Struct, gc=False):
    """Until when one credential is not to be used, in seconds that never go back. `throttled` counts 429 in a row."""

    until_s: float = 0.0
    throttled: int = 0

    def refuse(self, now_s: float) -> None:
        """Note that the credential was refused."""
        self.until_s = max(self.until_s, now_s + REFUSED_S)

    def throttle(self, now_s: float, began_s: float, hint_s: float | None) -> None:
        """Note a 429 for a call that began at `began_s`; without a hint, each in a row cools for twice as long.

        Of the calls that were under way together only the first one counts in the row: they are one wish to slow down.
        """
        if hint_s is not None:
            self.until_s = max(self.until_s, now_s + min(hint_s, HINT_MOST_S))
        elif began_s >= self.until_s or self.throttled == 0:
            self.until_s = max(self.until_s, now_s + min(THROTTLED_MOST_S, THROTTLED_LEAST_S * 2.0 ** min(self.throttled, 8)))
            self.throttled += 1

    def answered(self) -> None:
        """Note that an answer came with the credential."""
        self.throttled = 0


class Limit(Struct, gc=False):
    """How many calls an endpoint bears at one time; `most` is None where it never asked to slow down, or long ago."""

    most: float | None = None
    cut_s: float = 0.0

    def throttle(self, now_s: float, began_s: float, in_flight: int) -> None:
        """Note a 429 for a call that began at `began_s`, when so many were under way with it.

        Calls that were under way at the last cut say nothing of the limit since: a burst of 429 cuts once, not down to one.
        """
        if self.most is not None and began_s < self.cut_s:
            return
        found = max(1.0, SHRINK * in_flight)
        self.most = found if self.most is None else min(self.most, found)
        self.cut_s = now_s

    def answered(self, now_s: float) -> None:
        """Note an answer."""
        if self.most is not None:
            self.most = None if now_s - self.cut_s > LIMIT_FORGOTTEN_S else self.most + 1.0 / self.most

    def full(self, now_s: float, in_flight: int) -> bool:
        """Say whether it has as many calls under way as it bears."""
        return self.most is not None and in_flight >= self.most and now_s - self.cut_s <= LIMIT_FORGOTTEN_S
