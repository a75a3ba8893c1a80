"""How much one scope is used of late: what decides the size of its leases. A decaying count, so nothing is kept of calls."""

from math import exp

from junctor.domain.money import NanoUsd

DECAY_S = 3.0
"""A call counts for 1 when it comes and 1/e after so many seconds."""
QUIET_CALLS = 1.5
"""Fewer calls than these of late are under one in each DECAY_S."""
GRAIN_S = 0.01
"""What comes within so short a time is counted as of one moment."""


class Traffic:
    """The calls and the spending of one scope."""

    def __init__(self) -> None:
        self._calls = 0.0
        self._spent = 0.0
        self._at_s = 0.0
        self.used_at_s = 0.0

    def called(self, now_s: float) -> None:
        """Count a call."""
        if now_s - self._at_s > GRAIN_S:
            self._decay(now_s)
        self._calls += 1
        self.used_at_s = now_s

    def spent(self, cost: NanoUsd, now_s: float) -> None:
        """Count what a call cost."""
        if now_s - self._at_s > GRAIN_S:
            self._decay(now_s)
        self._spent += cost
        self.used_at_s = now_s

    def quiet(self, now_s: float) -> bool:
        """Tell whether there was less than a call in each DECAY_S of late."""
        self._decay(now_s)
        return self._calls < QUIET_CALLS

    def expected(self, seconds: float, now_s: float) -> NanoUsd:
        """Return what so many seconds cost at the rate of late."""
        self._decay(now_s)
        return int(self._spent / DECAY_S * seconds)

    def _decay(self, now_s: float) -> None:
        left = exp((self._at_s - now_s) / DECAY_S)
        self._calls *= left
        self._spent *= left
        self._at_s = now_s
