"""How are percentiles of many instances put together? By sketches of ddsketch, which merge without loss.

A sketch counts values in bins, each 5 % wider than the one before, so that any percentile is right within 2.5 %. Only values
from LEAST to MOST have bins of their own: what lies beyond counts as these, which bounds a sketch whatever it is fed.

Encoded, a sketch is two numbers for each bin that is not empty, in ascending order: how many bins after the one before (the
first counts from just below the lowest bin), and its count, both as unsigned varints (seven bits a byte, the lowest first, the
high bit set on all but the last). Decoding refuses whatever encoding does not write.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Final

from ddsketch.ddsketch import BaseDDSketch
from ddsketch.mapping import LogarithmicMapping
from ddsketch.store import DenseStore

from junctor.domain.health import Percentiles

ACCURACY: Final = 0.025
"""How far a percentile may be off, as a share of it."""
LEAST, MOST = 1e-2, 1e7
"""The smallest and the greatest value told apart: milliseconds, or tokens a second."""
COUNT_MAX: Final = 2**31
"""The greatest count of one bin that is encoded or decoded."""
_MAPPING: Final = LogarithmicMapping(ACCURACY)
_LOWEST: Final = _MAPPING.key(LEAST)
_BINS: Final = _MAPPING.key(MOST) - _LOWEST + 1
VALUES: Final = tuple(float(_MAPPING.value(_LOWEST + number)) for number in range(_BINS))
"""The value that stands for each bin, by its number."""
_VARINT_BITS, _VARINT_BITS_MAX = 7, 35
_MORE: Final = 1 << _VARINT_BITS


class Sketch:
    """The counts of values in bins."""

    __slots__ = ("store",)

    def __init__(self) -> None:
        self.store = DenseStore()

    @classmethod
    def of(cls, samples: Sequence[float], stand_for: int = 0) -> "Sketch":
        """Make a sketch of samples, which stand for so many measurements, if that is more."""
        made = cls()
        usable = [value for value in samples if isfinite(value) and value >= 0]
        weight = min(max(round(stand_for / len(usable)), 1), COUNT_MAX) if usable else 1
        made._fill([(number, weight * count) for number, count in sorted(Counter(map(step_of, usable)).items())])
        return made

    @property
    def count(self) -> float:
        """How many values were counted."""
        return float(self.store.count)

    def merge(self, other: "Sketch", share: float = 1.0) -> None:
        """Count the values of another sketch too, or a share of each."""
        if share >= 1:
            self.store.merge(other.store)
        elif share > 0:
            self._fill([(number, count * share) for number, count in other.bins()])

    def percentiles(self) -> Percentiles | None:
        """Return the percentiles, None where no value was counted."""
        if not self.store.count:
            return None
        whole = BaseDDSketch(_MAPPING, self.store, DenseStore(), 0.0)
        return Percentiles(*(whole.get_quantile_value(share) for share in (0.5, 0.75, 0.9, 0.99)))

    def encode(self) -> bytes:
        """Return the sketch as bytes, counts rounded to integers."""
        written = bytearray()
        before = -1
        for number, count in self.bins():
            if rounded := min(round(count), COUNT_MAX):
                _write(written, number - before)
                _write(written, rounded)
                before = number
        return bytes(written)

    @classmethod
    def decode(cls, data: bytes) -> "Sketch":
        """Read a sketch. Raises ValueError if no sketch is written like this; `data` may be anything."""
        made = cls()
        numbers = _read(data)
        at = -1
        bins: list[tuple[int, float]] = []
        for gap in numbers:
            at += gap
            count = next(numbers, 0)
            if not (gap and at < _BINS and 0 < count <= COUNT_MAX):
                raise ValueError("no sketch is written like this")
            bins.append((at, count))
        made._fill(bins)
        return made

    def bins(self) -> Iterator[tuple[int, float]]:
        """Yield the bins that are not empty, in ascending order, from 0 on, and their counts."""
        for place, count in enumerate(self.store.bins):
            if count:
                yield place + self.store.offset - _LOWEST, count

    def _fill(self, bins: list[tuple[int, float]]) -> None:
        """Count bins that are in ascending order: the last one first, so that the store grows to its size at once."""
        for number, count in bins[:1] + bins[:0:-1]:
            self.store.add(number + _LOWEST, count)


def step_of(value: float) -> int:
    """Return the number of the bin that a value lies in: a percentile as a small integer, without further loss."""
    return int(_MAPPING.key(min(max(value, LEAST), MOST))) - _LOWEST


def _write(written: bytearray, number: int) -> None:
    while number >= _MORE:
        written.append(number % _MORE | _MORE)
        number >>= _VARINT_BITS
    written.append(number)


def _read(data: bytes) -> Iterator[int]:
    """Yield the varints in bytes. Raises ValueError if one does not end, or is longer than any that is written."""
    number = shift = 0
    for byte in data:
        number |= (byte % _MORE) << shift
        shift += _VARINT_BITS
        if byte < _MORE:
            yield number
            number = shift = 0
        elif shift >= _VARINT_BITS_MAX:
            raise ValueError("a number is too long")
    if shift:
        raise ValueError("a number does not end")
