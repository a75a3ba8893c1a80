"""Is an endpoint to be asked as usual, last of all, or once to see whether it is back? As routing.md has it (Health, L1).

Closed, it opens at FAILURES_IN_A_ROW, in the order in which calls began (streak.py), or where most calls failed of late. Open,
it waits for a time that grows with each opening in a row and is never the same in two instances. Then it is half-open: one
probe at a time is wanted, and the first content of any call that began since it opened closes it. What failed before is
forgotten then, and the ramp is the caution instead. A failed probe opens it again.

An open breaker refuses nothing: it only puts an endpoint behind all others. So where all are open they are tried in the order
of their prices, and the last endpoint of a model is never out of reach: the plan ranks what is open, it does not leave it out.
"""

from typing import Final

from msgspec import Struct, field

from junctor.policy.health.decay import Counts
from junctor.policy.health.streak import Streak

FAILURES_IN_A_ROW: Final = 5
COUNTED_LEAST: Final = 10.0
FAILED_SHARE: Final = 0.5

OPEN_S: Final = 10.0
OPEN_MOST_S: Final = 20.0
RAMP_S: Final = 30.0
RAMP_LEAST: Final = 0.1
"""Where a ramp begins: with no traffic at all nothing would be learnt on it."""
SOUND_S: Final = 60.0
"""How long it must have been closed for its openings to be forgotten: its ramp, and as long again with all the traffic."""


class Breaker(Struct, gc=False):
    """The breaker of one endpoint. Instants are seconds that never go back; `open_until_s` is None while it is closed.

    `openings` counts those in a row. `closed_s` is when it closed last, None if it never opened.
    """

    streak: Streak = field(default_factory=Streak)
    openings: int = 0
    open_until_s: float | None = None
    opened_s: float = 0.0
    closed_s: float | None = None
    probes: int = 0

    def half_open(self, now_s: float) -> bool:
        """Say whether its time is up and it waits for a good answer."""
        return self.open_until_s is not None and now_s >= self.open_until_s

    def wants_probe(self, now_s: float) -> bool:
        """Say whether it is half-open and no probe is under way."""
        return self.probes == 0 and self.half_open(now_s)

    def failed(self, number: int, now_s: float, began_s: float, chance: float, *, most_failed: bool) -> bool:
        """Note the failure of a call that began at `began_s`; return whether it opened the breaker.

        `number` is the call's in the order of beginning, from 1 on; `chance` in [0, 1) spreads the instances' probes. Calls
        that began before the state that it is in say nothing of it.
        """
        if self.open_until_s is not None:
            if not self.half_open(now_s) or began_s < self.open_until_s:
                return False
            self._open(now_s, chance)
            return True
        if self.closed_s is not None and began_s < self.closed_s:
            return False
        if self.streak.fails(number) < FAILURES_IN_A_ROW and not most_failed:
            return False
        if self.closed_s is not None and now_s - self.closed_s >= SOUND_S:
            self.openings = 0
        self._open(now_s, chance)
        return True

    def back(self, now_s: float, began_s: float, counts: Counts) -> bool:
        """Note that content came of a call that began at `began_s`; return whether that closed the breaker."""
        if self.open_until_s is None or began_s < self.opened_s:
            return False
        self.open_until_s, self.closed_s = None, now_s
        counts.ok = counts.failed = 0.0
        return True

    def ramp(self, now_s: float) -> float:
        """Return the share of its traffic that it gets back so far."""
        return 1.0 if self.closed_s is None else ramp(now_s - self.closed_s)

    def _open(self, now_s: float, chance: float) -> None:
        wait_s = min(OPEN_MOST_S, OPEN_S * 2.0 ** min(self.openings, 8)) * (0.5 + chance)
        self.openings += 1
        self.opened_s, self.open_until_s = now_s, now_s + wait_s
        self.streak.clear()


def most_failed(counts: Counts, under_way: int) -> bool:
    """Tell whether at least half of no fewer than COUNTED_LEAST answers failed, and half of what is under way besides.

    Failures are quick and answers take their time: after a start those that fail are the first to end, however few they are.
    """
    answers = counts.ok + counts.failed
    return answers >= COUNTED_LEAST and counts.failed >= FAILED_SHARE * (answers + under_way)


def ramp(since_s: float) -> float:
    """Return the share of its traffic that an endpoint gets so many seconds after it came back."""
    return min(1.0, max(RAMP_LEAST, since_s / RAMP_S))
