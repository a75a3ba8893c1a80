"""The world's time and chance. A simulation replaces all of it, and the event loop with it for sleeping and timeouts."""

from typing import Protocol


class Clock(Protocol):
    """Time."""

    def now_ms(self) -> int:
        """Return the wall clock in Unix milliseconds; it may jump."""

    def monotonic_s(self) -> float:
        """Return seconds since some instant; it never goes back."""


class Dice(Protocol):
    """Chance."""

    def draw(self, count: int) -> bytes:
        """Return so many unpredictable bytes."""

    def uniform(self) -> float:
        """Return a number in [0, 1)."""
