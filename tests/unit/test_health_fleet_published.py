"""What is published of an endpoint: uptimes over their windows, percentiles and cache of five minutes."""

import pytest

from junctor.policy.health.published import BUCKET_MS, DAY_BUCKETS, Published, Sighting, bucket_of
from junctor.policy.health.sketches import ACCURACY, Sketch

DAY = 1_790_000_100_000 // BUCKET_MS * BUCKET_MS
"""An instant at which a bucket begins."""
MINUTE = 60_000


def saw(ok: int = 0, failed: int = 0, **more: int) -> Sighting:
    """Return what an instance saw."""
    return Sighting(endpoint="p/m", ok=ok, failed=failed, **more)  # type: ignore[arg-type]


def test_an_uptime_of_few_calls_is_none() -> None:
    """One failed call of three would be published as an uptime of 67 %."""
    published = Published(DAY)
    published.note(saw(90, 9), DAY)
    assert published.uptime(DAY).last_5m is None
    published.note(saw(0, 1), DAY)
    assert published.uptime(DAY).last_5m == pytest.approx(0.9)
    assert published.uptime(DAY).last_1d == pytest.approx(0.9)


def test_throttled_calls_are_no_part_of_an_uptime() -> None:
    """A caller above a provider's rate would make it look broken."""
    published = Published(DAY)
    published.note(saw(100, 0, throttled=900), DAY)
    assert published.uptime(DAY).last_5m == 1.0


def test_each_window_forgets_in_its_own_time() -> None:
    """An outage of this morning would be shown as one of now, or be forgotten by noon."""
    published = Published(DAY)
    published.note(saw(0, 1_000), DAY)
    for minute in range(1, 24 * 60):
        published.note(saw(100), DAY + minute * MINUTE)
        uptime = published.uptime(DAY + minute * MINUTE)
        if minute < 5:
            assert uptime.last_5m == pytest.approx(minute / (minute + 10))
        if minute >= 10:
            assert uptime.last_5m == 1.0
        if 10 < minute < 30:
            assert uptime.last_30m is not None
            assert uptime.last_30m < 0.8
        if minute >= 35:
            assert uptime.last_30m == 1.0
        if minute < 24 * 60 - 1:
            assert uptime.last_1d is not None
            assert uptime.last_1d < 1.0
    later = DAY + (24 * 60 + 5) * MINUTE
    published.note(saw(100), later)
    assert published.uptime(later).last_1d == 1.0


def test_the_oldest_bucket_counts_by_its_part() -> None:
    """Uptimes would jump each five minutes."""
    published = Published(DAY)
    published.note(saw(0, 1_000), DAY)
    now = DAY + BUCKET_MS + BUCKET_MS // 4
    published.note(saw(750), now)
    assert published.uptime(now).last_5m == pytest.approx(0.5)


def test_the_oldest_bucket_of_a_day_counts_by_its_part() -> None:
    """A day's uptime would be that of a day and five minutes."""
    published = Published(DAY)
    published.note(saw(0, 1_000), DAY)
    now = DAY + DAY_BUCKETS * BUCKET_MS + BUCKET_MS // 4
    published.note(saw(750), now)
    assert published.uptime(now).last_1d == pytest.approx(0.5)


def test_nothing_of_a_time_without_news_is_left() -> None:
    """After a quiet weekend Friday's calls would count as today's."""
    published = Published(DAY)
    published.note(saw(1_000, 1_000, input_tokens=10, cache_read_tokens=5), DAY)
    later = DAY + (DAY_BUCKETS + 1) * BUCKET_MS
    assert published.uptime(later).last_1d is None
    assert published.idle
    assert published.cache_read_share(later) == 0.0


def test_a_clock_that_goes_back_loses_nothing() -> None:
    """A corrected clock would wipe the day's counts."""
    published = Published(DAY)
    published.note(saw(200), DAY)
    published.note(saw(200), DAY - BUCKET_MS)
    assert published.uptime(DAY - 3 * BUCKET_MS).last_1d == 1.0
    assert published.counts(bucket_of(DAY)) == (400, 0)


def test_history_is_taken_up_where_it_belongs() -> None:
    """A new aggregator would publish uptimes of its own minutes as those of a day."""
    before, after = Published(DAY), Published(DAY + BUCKET_MS)
    before.note(saw(300, 100), DAY)
    bucket = bucket_of(DAY)
    after.restore(bucket, *before.counts(bucket))
    assert after.uptime(DAY + BUCKET_MS).last_30m == pytest.approx(0.75)
    assert after.counts(bucket) == (300, 100)
    for strange in (bucket + 2, bucket - 400):
        after.restore(strange, 0, 10_000)
        assert after.counts(strange) == (0, 0)
    assert after.uptime(DAY + BUCKET_MS).last_1d == pytest.approx(0.75)


def test_percentiles_and_cache_are_those_of_five_minutes() -> None:
    """An endpoint that became slow would be shown as fast for as long as the instance runs."""
    published = Published(DAY)
    assert published.first_token(DAY) is None
    fast = Sighting(endpoint="p/m", first_token=Sketch.of([100.0] * 50), throughput=Sketch.of([90.0] * 50), input_tokens=100)
    slow = Sighting(endpoint="p/m", first_token=Sketch.of([900.0] * 50), input_tokens=100, cache_read_tokens=100)
    published.note(fast, DAY)
    published.note(slow, DAY + BUCKET_MS)
    halfway = DAY + BUCKET_MS + BUCKET_MS // 2
    first_token, throughput = published.first_token(halfway), published.throughput(halfway)
    assert first_token is not None
    assert throughput is not None
    assert first_token.p50 == pytest.approx(900, rel=ACCURACY)
    assert throughput.p50 == pytest.approx(90, rel=ACCURACY)
    assert published.cache_read_share(halfway) == pytest.approx(100 / 150)
    end = DAY + 2 * BUCKET_MS
    published.note(saw(1), end)
    assert published.throughput(end) is None
    assert published.cache_read_share(end) == 1.0
