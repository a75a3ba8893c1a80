"""The world's own time and chance: the only code that reads the clock or the system's entropy."""

import os
import random
import time


class SystemClock:
    """Time, as this machine has it."""

    def now_ms(self) -> int:
        """Return the wall clock in Unix milliseconds; it may jump."""
        return time.time_ns() // 1_000_000

    monotonic_s = staticmethod(time.monotonic)
    """Return seconds since some instant; it never goes back."""


class SystemDice:
    """Chance that no fork repeats: what is drawn is the system's entropy, so that keys and ids made of it cannot be guessed."""

    def draw(self, count: int) -> bytes:
        """Return so many unpredictable bytes."""
        return os.urandom(count)

    uniform = staticmethod(random.random)
    """Return a number in [0, 1), for choices and waits that may be guessed: the system is asked for its seed only."""
