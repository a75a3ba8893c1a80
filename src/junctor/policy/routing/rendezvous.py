"""Whose turn is it? Of several with a weight each, the same one for the same number, each as often as its weight says.

Each waits for an exponential time that follows from a hash of it and of the number; its rate is the weight. Whoever waits the
least is first as often as its share, and the others in their order are a draw without putting back. One that goes moves only
the numbers that were its own.
"""

import hashlib
from collections.abc import Iterable
from math import log
from typing import Final

_BYTES: Final = 8
_MASK: Final = (1 << 64) - 1
_MIX: Final = 0x9E3779B97F4A7C15
"""Knuth's multiplier for hashing: 2**64 over the golden ratio, odd."""
_SCALE: Final = 2.0**-64


def number(name: str) -> int:
    """Return a number of 64 bits that stands for a name."""
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=_BYTES).digest())


def order(chosen_by: int, those: Iterable[tuple[int, str]]) -> list[str]:
    """Return names in the order of their waits where all weights are equal, each given with its number: no logarithm is needed.

    Whoever waits the least has the greatest hash.
    """
    turns = [((chosen_by ^ hashed) * _MIX & _MASK, name) for hashed, name in those]
    turns.sort(reverse=True)
    return [name for _, name in turns]


def waits(chosen_by: int, those: Iterable[tuple[int, float]]) -> list[float]:
    """Return how long each waits, for its number and one over its weight."""
    return [-log(((((chosen_by ^ hashed) * _MIX) & _MASK) + 0.5) * _SCALE) * mean for hashed, mean in those]
