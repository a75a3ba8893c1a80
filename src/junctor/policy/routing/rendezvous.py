"""Whose turn is it? Of several with a weight each, the same one for the same number, each as often as its weight says.

Each waits for an exponential time that follows from a hash of it and of the number; its rate is the weight. Whoever waits the
least is first as often as its share, and the others in their order are a draw without putting back. One that goes moves only
the numbers that were its own.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from math import log
from struct import Struct as Packed
from typing import Final

_NUMBER: Final = Packed(">Q")
_HASH: Final = blake2b(digest_size=_NUMBER.size)
"""Nothing hashed yet: to copy it takes less than to make one."""
_MASK: Final = (1 << 64) - 1
_MIX: Final = 0x9E3779B97F4A7C15
"""Knuth's multiplier for hashing: 2**64 over the golden ratio, odd."""
_SCALE: Final = 2.0**-64
_FEW: Final = 3
"""So many are put in order by hand, as sorting costs twice as much and a plan does it for each candidate."""


def number(name: str) -> int:
    """Return a number of 64 bits that stands for a name."""
    return number_of(name.encode("utf-8", "surrogatepass"))


def number_of(name: bytes) -> int:
    """Return a number of 64 bits that stands for a name in UTF-8."""
    hashing = _HASH.copy()
    hashing.update(name)
    found: int = _NUMBER.unpack(hashing.digest())[0]
    return found


def order(chosen_by: int, numbers: Sequence[int], names: Sequence[str]) -> Sequence[str]:
    """Return names, each with its number, in the order of their waits where all weights are equal: no logarithm is needed.

    Whoever waits the least has the greatest hash.
    """
    if len(names) != _FEW:
        hashes = [(chosen_by ^ number) * _MIX & _MASK for number in numbers]
        return [name for _, name in sorted(zip(hashes, names, strict=True), reverse=True)]
    one, two, three = numbers
    first, second, third = names
    one = (chosen_by ^ one) * _MIX & _MASK
    two = (chosen_by ^ two) * _MIX & _MASK
    three = (chosen_by ^ three) * _MIX & _MASK
    if one < two:
        one, two, first, second = two, one, second, first
    if three < two:
        return first, second, third
    return (first, third, second) if three < one else (third, first, second)


def waits(chosen_by: int, those: Iterable[tuple[int, float]]) -> list[float]:
    """Return how long each waits, for its number and one over its weight."""
    return [-log(((((chosen_by ^ hashed) * _MIX) & _MASK) + 0.5) * _SCALE) * mean for hashed, mean in those]
