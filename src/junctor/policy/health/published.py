"""How did an endpoint do of late? Its uptimes of five minutes, half an hour and a day, its percentiles of five minutes.

Counts are kept in buckets of five minutes, which begin at whole multiples of it, so that they can be stored and taken up again
by another aggregator. A window ends now, and its oldest bucket counts by the part of it that still lies in the window, as if
its calls had come evenly. Refuses to state an uptime of fewer than a hundred calls. Time never goes back here: what is told of
an earlier bucket counts in the present one.
"""

from array import array
from typing import Final

from msgspec import Struct

from junctor.domain.health import Percentiles, Uptime
from junctor.policy.health.sketches import Sketch

BUCKET_MS: Final = 300_000
DAY_BUCKETS: Final = 288
HALF_HOUR_BUCKETS: Final = 6
CALLS_MIN: Final = 100
"""An uptime of fewer calls is chance."""
_SLOTS: Final = DAY_BUCKETS + 1


class Sighting(Struct, frozen=True, kw_only=True):
    """What one instance saw of one endpoint in one interval, as a Tally, but with sketches in the place of samples."""

    endpoint: str
    ok: int = 0
    failed: int = 0
    begun: int = 0
    throttled: int = 0
    probed: int = 0
    first_token: Sketch | None = None
    throughput: Sketch | None = None
    input_tokens: int = 0
    cache_read_tokens: int = 0


def bucket_of(at_ms: int) -> int:
    """Return the number of the bucket that an instant in Unix milliseconds lies in."""
    return at_ms // BUCKET_MS


class _Recent:
    """What is kept of one bucket only while it is in the last five minutes."""

    __slots__ = ("cache_read_tokens", "first_token", "input_tokens", "throughput")

    def __init__(self) -> None:
        self.first_token, self.throughput = Sketch(), Sketch()
        self.input_tokens = self.cache_read_tokens = 0


class Published:
    """What was seen of one endpoint within a day."""

    __slots__ = ("_before", "_failed", "_latest", "_now", "_ok")

    def __init__(self, now_ms: int) -> None:
        self._latest = bucket_of(now_ms)
        self._ok, self._failed = (array("Q", bytes(8 * _SLOTS)) for _ in range(2))
        self._before, self._now = _Recent(), _Recent()

    def note(self, sighting: Sighting, now_ms: int) -> None:
        """Count what was sighting."""
        self._go_on(now_ms)
        slot, recent = self._latest % _SLOTS, self._now
        self._ok[slot] += sighting.ok
        self._failed[slot] += sighting.failed
        recent.input_tokens += sighting.input_tokens
        recent.cache_read_tokens += sighting.cache_read_tokens
        if sighting.first_token is not None:
            recent.first_token.merge(sighting.first_token)
        if sighting.throughput is not None:
            recent.throughput.merge(sighting.throughput)

    def restore(self, bucket: int, ok: int, failed: int) -> None:
        """Take up what another aggregator counted in a bucket."""
        if self._latest - _SLOTS < bucket <= self._latest:
            self._ok[bucket % _SLOTS] += ok
            self._failed[bucket % _SLOTS] += failed

    def counts(self, bucket: int) -> tuple[int, int]:
        """Return how many calls of a bucket were answered, and how many failed."""
        if not self._latest - _SLOTS < bucket <= self._latest:
            return 0, 0
        return self._ok[bucket % _SLOTS], self._failed[bucket % _SLOTS]

    def uptime(self, now_ms: int) -> Uptime:
        """Return the uptimes at this instant."""
        self._go_on(now_ms)
        return Uptime(*(self._share(buckets, now_ms) for buckets in (1, HALF_HOUR_BUCKETS, DAY_BUCKETS)))

    def first_token(self, now_ms: int) -> Percentiles | None:
        """Return the percentiles of the time to the first token, in milliseconds."""
        return self._percentiles(self._before.first_token, self._now.first_token, now_ms)

    def throughput(self, now_ms: int) -> Percentiles | None:
        """Return the percentiles of the throughput, in tokens a second."""
        return self._percentiles(self._before.throughput, self._now.throughput, now_ms)

    def cache_read_share(self, now_ms: int) -> float:
        """Return how much of the last five minutes' input was read from the cache, 0 to 1."""
        part = self._part_left(now_ms)
        total = self._now.input_tokens + part * self._before.input_tokens
        read = self._now.cache_read_tokens + part * self._before.cache_read_tokens
        return min(read / total, 1.0) if total else 0.0

    @property
    def idle(self) -> bool:
        """Whether no call of the last day is known."""
        return not (any(self._ok) or any(self._failed))

    def _share(self, buckets: int, now_ms: int) -> float | None:
        last, part = self._latest, self._part_left(now_ms)
        oldest = (last - buckets) % _SLOTS
        if buckets == DAY_BUCKETS:
            sums = [sum(counts) - (1 - part) * counts[oldest] for counts in (self._ok, self._failed)]
        else:
            slots = [(last - back) % _SLOTS for back in range(buckets)]
            sums = [sum(counts[slot] for slot in slots) + part * counts[oldest] for counts in (self._ok, self._failed)]
        ok, failed = sums
        return ok / (ok + failed) if ok + failed >= CALLS_MIN else None

    def _part_left(self, now_ms: int) -> float:
        """Return how much of a window's oldest bucket still lies in it, 0 to 1."""
        return 1 - min(max(now_ms - self._latest * BUCKET_MS, 0) / BUCKET_MS, 1.0)

    def _percentiles(self, before: Sketch, now: Sketch, now_ms: int) -> Percentiles | None:
        whole = Sketch()
        whole.merge(now)
        whole.merge(before, self._part_left(now_ms))
        return whole.percentiles()

    def _go_on(self, now_ms: int) -> None:
        """Make room for the present bucket."""
        bucket = bucket_of(now_ms)
        if bucket <= self._latest:
            return
        for passed in range(max(self._latest, bucket - _SLOTS) + 1, bucket + 1):
            self._ok[passed % _SLOTS] = self._failed[passed % _SLOTS] = 0
        self._before = self._now if bucket == self._latest + 1 else _Recent()
        self._now, self._latest = _Recent(), bucket
