"""How large one scope's leases are, and which of them are worth keeping: by its traffic, and by what the account has left.

A lease grows by a few seconds of what the scope spends, or by what is set aside already, so that it reaches any number of calls
under way in few steps; by one call at least, and at most by an eighth of what is left. A quiet scope takes what its call needs.
So does one that was refused of late, or whose account has less than eight calls left: there everything goes back as soon as no
call is under way, so that others find it. A whole answer of which nobody said how long it may get has as much set aside as it
can cost, where that leaves most of the money to others. It decides nothing about whether money is there.
"""

from collections.abc import Sequence

from junctor.domain.credits import Purse
from junctor.domain.lease import Leg
from junctor.domain.money import NanoUsd
from junctor.ledger.holder import HeldLease
from junctor.ledger.traffic import Traffic
from junctor.policy.legs import choose_legs
from junctor.ports.ambient import Clock, Dice

TRAFFIC_S = 5.0
PURSE_SHARE = 8
LONG_SHARE, ALONE_SHARE = 8, 2
"""Which part of what is left a scope sets aside for whole answers beyond their holds: for all under way, and for one alone."""
PINCHED_S = 5.0
"""For how long after a refusal no more is taken than calls need, and nothing is kept that no call is under way in."""


class Sizing:
    """The size of one scope's leases."""

    def __init__(self, clock: Clock, dice: Dice) -> None:
        self._clock = clock
        self._dice = dice
        self._scarce = False
        self._pinched_until_s = 0.0
        self.traffic = Traffic()

    def pinch(self) -> None:
        """Note that money or headroom was short."""
        self._pinched_until_s = self._clock.monotonic_s() + PINCHED_S

    def spares(self, more: NanoUsd, beyond: NanoUsd, left: NanoUsd, now_s: float) -> bool:
        """Tell whether so much more than its hold is to be set aside for a whole answer: not soon after a refusal.

        `beyond` is what is set aside so already, `left` what the holds of other calls are taken from as well.
        """
        if now_s < self._pinched_until_s:
            return False
        return (beyond + more) * LONG_SHARE <= left or (not beyond and more * ALONE_SHARE <= left)

    @property
    def keeps(self) -> bool:
        """Whether a lease is worth keeping that no call is under way in."""
        now_s = self._clock.monotonic_s()
        return not (self._scarce or now_s < self._pinched_until_s or self.traffic.quiet(now_s))

    def hoards(self, held: HeldLease, available: NanoUsd) -> bool:
        """Tell whether more is free in a lease than its calls need and than it would be given of what the account has left."""
        needed = max(self.traffic.expected(TRAFFIC_S, self._clock.monotonic_s()), held.reserved_nanousd)
        return held.free_nanousd - needed > available // PURSE_SHARE

    def legs(
        self, purses: Sequence[Purse], needed: NanoUsd, unit: NanoUsd, *, crowd: NanoUsd, modest: bool
    ) -> tuple[Leg, ...] | None:
        """Choose where to take at least what is needed from; None if there is not so much.

        `unit` is what the call that waits first holds, `crowd` what all need that wait, or is set aside for those under way. No
        more than needed is taken if `modest`.
        """
        now_s = self._clock.monotonic_s()
        share = sum(purse.avail_nanousd for purse in purses) // PURSE_SHARE
        self._scarce = share < unit
        shuffled = sorted(purses, key=lambda _: self._dice.uniform())
        if not modest and now_s >= self._pinched_until_s and not self._scarce and not self.traffic.quiet(now_s):
            seconds = TRAFFIC_S * (0.75 + 0.5 * self._dice.uniform())  # else instances that began together go on to meet
            wanted = max(self.traffic.expected(seconds, now_s), crowd, unit)
            legs = choose_legs(shuffled, max(needed, min(wanted, share)))
            if legs is not None:
                return legs
        return choose_legs(shuffled, needed)
