"""The world's own time and chance: the only code that reads the clock or the system's entropy."""

import os
import random
import time


class SystemClock:
    """Time, as this machine has it."""

    def now_ms(self) -> int:
        """Return the wall clock in Unix milliseconds; it may jump."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Return seconds since some instant; it never goes back."""
        return time.monotonic()


class SystemDice:
    """Chance from the system's entropy, so that keys and ids made of it cannot be guessed and forks do not repeat it."""

    def __init__(self) -> None:
        """Need no seed."""
        self._source = random.SystemRandom()

    def draw(self, count: int) -> bytes:
        """Return so many unpredictable bytes."""
        return os.urandom(count)

    def uniform(self) -> float:
        """Return a number in [0, 1)."""
        return self._source.random()
