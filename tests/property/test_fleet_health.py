"""Health told through items: nothing lost, nothing counted twice, nothing believed that is damaged."""

import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from junctor.domain.health import FleetView, Percentiles, Tally, Uptime, Verdict
from junctor.policy.health.fleet import Digest, Fleet, Part
from junctor.policy.health.published import Sighting
from junctor.policy.health.sketches import ACCURACY, LEAST, MOST
from junctor.ports.table import Item, Set, Update
from junctor.records import health as records
from junctor.records import keys
from junctor.records.health import Interval

EXAMPLES = settings(max_examples=60, deadline=None)
NOW = 1_790_000_000_000

endpoints = st.text(st.sampled_from("abcdefghij/.-é"), min_size=1, max_size=60)
counts = st.integers(0, 10**6)
values = st.floats(LEAST, MOST)
maybe = st.none() | values
percentiles = st.none() | st.builds(Percentiles, maybe, maybe, maybe, maybe)
shares = st.floats(0, 1)
uptimes = st.none() | st.builds(Uptime, st.none() | shares, st.none() | shares, st.none() | shares)
tallies = st.lists(
    st.builds(
        Tally,
        endpoint=endpoints,
        provider=st.just("p"),
        ok=counts,
        failed=counts,
        throttled=counts,
        probed=counts,
        first_token_ms=st.lists(values, max_size=8).map(tuple),
        throughput=st.lists(values, max_size=8).map(tuple),
        input_tokens=counts,
        cache_read_tokens=counts,
    ),
    max_size=10,
    unique_by=lambda tally: tally.endpoint,
).map(tuple)
verdicts = st.lists(
    st.builds(
        Verdict,
        endpoint=endpoints,
        ok=st.floats(0, 1e6),
        failed=st.floats(0, 1e6),
        ejected=st.booleans(),
        probers=st.lists(endpoints, max_size=8).map(tuple),
        back_ms=st.none() | st.integers(0, 2**47),
        uptime=uptimes,
        first_token_ms=percentiles,
        throughput=percentiles,
        cache_read_share=shares,
    ),
    max_size=20,
    unique_by=lambda verdict: verdict.endpoint,
)


def written(update: Update) -> Item:
    """Return the item that an update makes of nothing."""
    changes = {change.attribute: change.value for change in update.changes if isinstance(change, Set)}
    return {**keys.attributes(update.key), **changes}


def near(found: float | None, told: float | None, accuracy: float) -> bool:
    """Tell whether a figure is as exact as it has to be."""
    return found is told if found is None or told is None else abs(found - told) <= accuracy


def figures(of: Percentiles | None) -> tuple[float | None, ...]:
    """Return the four figures."""
    return (None,) * 4 if of is None else (of.p50, of.p75, of.p90, of.p99)


@EXAMPLES
@given(st.lists(tallies, min_size=1, max_size=2))
def test_a_digest_says_what_was_seen(told: list[tuple[Tally, ...]]) -> None:
    """The fleet's view would be of something else than instances saw."""
    intervals = [Interval(number, NOW + number, each) for number, each in enumerate(told)]
    digest = records.digest_of(written(records.write_digest("me", intervals)))
    assert digest is not None
    assert digest.instance == "me"
    for part, interval in zip(digest.parts, intervals, strict=True):
        assert (part.number, part.at_ms) == (interval.number, interval.at_ms)
        by_name = {tally.endpoint: tally for tally in interval.tallies}
        for sighting in part.sightings:
            tally = by_name[sighting.endpoint]
            for name in ("ok", "failed", "throttled", "probed"):
                assert getattr(sighting, name) == getattr(tally, name)
            assert 0 <= tally.input_tokens - sighting.input_tokens < 1_024
            assert 0 <= tally.cache_read_tokens - sighting.cache_read_tokens < 1_024


@EXAMPLES
@given(verdicts)
def test_a_snapshot_says_what_was_judged(judged: list[Verdict]) -> None:
    """Instances would go by another view than the aggregator's."""
    view = FleetView(3, NOW, {verdict.endpoint: verdict for verdict in judged})
    found = records.snapshot_of(written(records.write_snapshot(view, "me", None)))
    assert found is not None
    assert (found.version, found.at_ms, set(found.verdicts)) == (3, NOW, set(view.verdicts))
    for name, verdict in found.verdicts.items():
        told = view.verdicts[name]
        assert (verdict.endpoint, verdict.ejected, verdict.back_ms) == (name, told.ejected, told.back_ms)
        assert verdict.probers == (told.probers if told.ejected else ())
        assert near(verdict.ok, told.ok, 0.051)
        assert near(verdict.failed, told.failed, 0.051)
        assert near(verdict.cache_read_share, told.cache_read_share, 0.0001)
        up, told_up = verdict.uptime or Uptime(), told.uptime or Uptime()
        assert near(up.last_5m, told_up.last_5m, 0.0001)
        assert near(up.last_30m, told_up.last_30m, 0.0001)
        assert near(up.last_1d, told_up.last_1d, 0.0001)
        for after, before in ((verdict.first_token_ms, told.first_token_ms), (verdict.throughput, told.throughput)):
            for one, other in zip(figures(after), figures(before), strict=True):
                assert near(one, other, (other or 0.0) * (ACCURACY + 1e-9))


@EXAMPLES
@given(st.integers(0, 10**9), st.dictionaries(endpoints, st.tuples(counts, counts), max_size=20))
def test_history_says_what_was_counted(bucket: int, told: dict[str, tuple[int, int]]) -> None:
    """A day's uptimes would change with each change of the aggregator."""
    assert records.bucket_of(written(records.write_bucket(bucket, told))) == (bucket, told)


@EXAMPLES
@given(st.binary(max_size=400), st.booleans())
def test_anything_in_the_place_of_a_body_is_passed_over(data: bytes, packed: bool) -> None:
    """One damaged item would end the sharing for all instances."""
    item: Item = {"pk": "x", "sk": "1", "form": records.FORM_NOW, "body": zlib.compress(data) if packed else data}
    for read in (records.digest_of, records.snapshot_of, records.bucket_of):
        read(item)


@EXAMPLES
@given(tallies, st.data())
def test_a_damaged_digest_does_no_harm(told: tuple[Tally, ...], data: st.DataObject) -> None:
    """A digest that a bug or a stranger changed would let the aggregator fail each round."""
    body = written(records.write_digest("me", [Interval(1, NOW + 1, told)]))["body"]
    assert isinstance(body, bytes)
    plain = bytearray(zlib.decompress(body))
    for _ in range(data.draw(st.integers(1, 4))):
        plain[data.draw(st.integers(0, len(plain) - 1))] = data.draw(st.integers(0, 255))
    digest = records.digest_of({"form": records.FORM_NOW, "body": zlib.compress(bytes(plain))})
    fleet = Fleet(None, NOW)
    if digest is not None:
        fleet.take(digest, NOW)
    assert not any(verdict.ejected for verdict in fleet.verdicts(NOW))


@EXAMPLES
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=60))
def test_whatever_is_read_how_often_is_counted_once(readings: list[tuple[int, int]]) -> None:
    """Counts would depend on how often, and in which order, the aggregator happens to read."""
    fleet, expected = Fleet(None, NOW), 0
    next_: dict[int, int] = {}
    for instance, number in readings:
        parts = [Part(each, NOW + 1, (Sighting(endpoint="p/m", ok=2**each),)) for each in (number, number + 1)]
        fleet.take(Digest(str(instance), tuple(parts)), NOW + 1)
        expected += sum(2**each for each in range(max(number, next_.get(instance, 0)), number + 2))
        next_[instance] = max(next_.get(instance, 0), number + 2)
    assert sum(verdict.ok for verdict in fleet.verdicts(NOW + 1)) == expected


@EXAMPLES
@given(st.lists(st.tuples(st.integers(0, 1), counts, counts), max_size=40), counts)
def test_one_instance_alone_ejects_nothing(told: list[tuple[int, int, int]], sound: int) -> None:
    """A single broken instance could take the last sound endpoints from the fleet."""
    fleet, now_ms = Fleet(None, NOW), NOW
    for number, (passes, ok, failed) in enumerate(told):
        fleet.take(Digest("liar", (Part(number, NOW + 1, (Sighting(endpoint="p/m", ok=ok, failed=failed),)),)), now_ms)
        fleet.take(Digest("sound", (Part(number, NOW + 1, (Sighting(endpoint="p/m", ok=sound),)),)), now_ms)
        now_ms += 5_000 * passes
        assert not any(verdict.ejected for verdict in fleet.verdicts(now_ms))
