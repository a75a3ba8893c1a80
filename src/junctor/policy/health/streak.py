"""How many calls of an endpoint failed in a row? In the order in which they began, as they end in any order.

An endpoint that dies goes on ending the long answers that it began before, and right after a start its quick failures end
before its slow answers: the order of ends would hide the one and condemn the other. So each call has a number in the order of
beginning, and failures are in a row if no call between them ended well or is still under way. What is under way may well be
good, and it parts only the rows that reach across it: those before and after stand for themselves, and once it fails it joins
them. A good call ends every row that began before it did. Calls that say nothing are as if they had never been.

Invariant: all that is remembered are two sets of bits, of numbers above `good`, of at most REMEMBERED bits each. Cost does not
grow with how many calls are under way, and a good call costs no more than a comparison where none failed.
"""

from typing import Final

from msgspec import Struct

REMEMBERED: Final = 256
"""Of so many calls it is known how they ended; so a row may have as many in between that say nothing."""


class Streak(Struct, gc=False):
    """How an endpoint's latest calls ended: bit n is call `good` + 1 + n, in `failed`, or in `silent` if it says nothing.

    `good` is the latest call that ended well, or an earlier bound where more is not remembered.
    """

    good: int = 0
    failed: int = 0
    silent: int = 0

    def fails(self, number: int) -> int:
        """Note a call that failed; return how many did in the row that it is in, 0 if a later one ended well."""
        place = self._place(number)
        if place < 0:
            return 0
        self.failed |= 1 << place
        ended = self.failed | self.silent
        above = ended >> place
        upper = place + (above ^ (above + 1)).bit_length() - 1
        lower = (~ended & ((1 << place) - 1)).bit_length()
        return ((self.failed & ((1 << upper) - 1)) >> lower).bit_count()

    def passes(self, number: int) -> None:
        """Note a call that ended and says nothing of its endpoint."""
        place = self._place(number)
        if place >= 0:
            self.silent |= 1 << place

    def serves(self, number: int) -> None:
        """Note a call that ended well."""
        if number > self.good:
            self._forget(number)

    def clear(self) -> None:
        """Forget all failures."""
        self.failed = 0

    def _place(self, number: int) -> int:
        """Return a call's bit, with room made for it; negative if it is too old to say anything."""
        if number - self.good > REMEMBERED:
            self._forget(number - REMEMBERED)
        return number - self.good - 1

    def _forget(self, number: int) -> None:
        """Forget the calls up to this one."""
        if self.failed or self.silent:
            self.failed >>= number - self.good
            self.silent >>= number - self.good
        self.good = number
