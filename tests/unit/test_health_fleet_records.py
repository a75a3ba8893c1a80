"""Items of health: what they may cost at most, what they leave out first, and where they lie."""

import random
import zlib

import msgspec
import pytest

from junctor.adapters.catalog.packaged import PackagedCatalog
from junctor.adapters.tables.values import check_item, item_size
from junctor.domain.health import FleetView, Percentiles, Tally, Uptime, Verdict
from junctor.policy.health.published import BUCKET_MS, bucket_of
from junctor.policy.health.telling import ENDPOINTS_MOST
from junctor.ports.table import Equals, Item, Set, Update
from junctor.records import health as records
from junctor.records import keys
from junctor.records.health import Interval
from junctor.records.tables import HEALTH

NOW = 1_790_000_000_000
INSTANCE = "01" + "Z" * 24
CATALOGUE = 2_600


def ids(number: int) -> list[str]:
    """Return the ids of so many real endpoints."""
    served = PackagedCatalog().current().endpoints.values()
    return [endpoint.id for endpoints in served for endpoint in endpoints][:number]


def written(update: Update) -> Item:
    """Return the item that an update makes of nothing, as a table would keep it."""
    changes = {change.attribute: change.value for change in update.changes if isinstance(change, Set)}
    return check_item(HEALTH, {**keys.attributes(update.key), **changes})


def busy(endpoint: str, chance: random.Random) -> Tally:
    """Return what a busy instance saw of an endpoint."""
    times, speeds = (tuple(chance.lognormvariate(mean, 0.5) for _ in range(256)) for mean in (6, 4))
    ok, failed = chance.randrange(2_000), chance.randrange(20)
    return Tally(
        endpoint=endpoint,
        provider=endpoint.partition("/")[0],
        ok=ok,
        failed=failed,
        begun=ok + failed + chance.randrange(-50, 50),
        throttled=chance.randrange(20),
        first_token_ms=times,
        throughput=speeds,
        input_tokens=chance.randrange(10**7),
        cache_read_tokens=chance.randrange(10**6),
    )


def measured(endpoint: str, chance: random.Random, **more: bool | tuple[str, ...]) -> Verdict:
    """Return the verdict on a busy endpoint."""

    def percentiles() -> Percentiles:
        return Percentiles(*sorted(chance.lognormvariate(6, 0.5) for _ in range(4)))

    return Verdict(
        endpoint=endpoint,
        ok=chance.uniform(0, 10_000),
        failed=chance.uniform(0, 100),
        uptime=Uptime(chance.random(), chance.random(), chance.random()),
        first_token_ms=percentiles(),
        throughput=percentiles(),
        cache_read_share=chance.random(),
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("number", [1, 10, ENDPOINTS_MOST])
def test_a_digest_costs_one_unit(number: int) -> None:
    """Forty instances would write more than twenty units a second."""
    chance = random.Random(number)
    intervals = [Interval(each, NOW + each, tuple(busy(name, chance) for name in ids(number))) for each in (1, 2)]
    item = written(records.write_digest(INSTANCE, intervals))
    assert item_size(item) <= 1_024
    digest = records.digest_of(item)
    assert digest is not None
    assert [len(part.sightings) for part in digest.parts] == [number, number]
    assert all(sighting.first_token is None for sighting in digest.parts[0].sightings)
    if number <= 10:
        assert all(sighting.first_token is not None for sighting in digest.parts[1].sightings)


def test_what_began_is_told_and_not_missed_where_it_is_not() -> None:
    """Quick failures would be taken for most calls, or what instances of the version before tell be thrown away."""
    tallies = tuple(Tally(endpoint=f"p/{begun}", provider="p", ok=2, failed=3, begun=begun) for begun in (-7, 0, 5, 900))
    digest = records.digest_of(written(records.write_digest(INSTANCE, [Interval(1, NOW, tallies)])))
    assert digest is not None
    assert {row.endpoint: row.begun for row in digest.parts[0].sightings} == {"p/-7": -7, "p/0": 0, "p/5": 5, "p/900": 900}
    earlier = ["i", [[1, NOW, ["a/b"], [[2], [3], [0], [0], [0], [0]], [b""], [b""]]]]
    digest = records.digest_of({"form": records.FORM_NOW, "body": zlib.compress(msgspec.msgpack.encode(earlier))})
    assert digest is not None
    assert [row.begun for row in digest.parts[0].sightings] == [5]


def test_a_digest_without_room_keeps_what_is_urgent() -> None:
    """A failure would be lost behind endpoints that are well, where much is to be told at once."""
    chance = random.Random(4)
    sound = [busy(name, chance) for name in ids(400)]
    urgent = Tally(endpoint="zz/urgent", provider="zz", failed=30)
    item = written(records.write_digest(INSTANCE, [Interval(each, NOW, (*sound, urgent)) for each in range(8)]))
    assert item_size(item) <= 1_024
    digest = records.digest_of(item)
    assert digest is not None
    assert len(digest.parts) == 8
    assert all(part.sightings[-1].endpoint == "zz/urgent" for part in digest.parts)


def test_a_snapshot_of_a_whole_catalogue_costs_sixteen_units() -> None:
    """With hundreds of models the snapshot would outgrow its item, or what is ejected be lost of it."""
    chance = random.Random(5)
    names = ids(CATALOGUE)
    assert len(names) == CATALOGUE
    out = set(chance.sample(names, 100))
    verdicts = {name: measured(name, chance) for name in names}
    verdicts |= {name: measured(name, chance, ejected=True, probers=(INSTANCE,)) for name in out}
    item = written(records.write_snapshot(FleetView(8, NOW, verdicts), INSTANCE, None))
    assert item_size(item) <= 16_384
    view = records.snapshot_of(item)
    assert view is not None
    assert out <= set(view.verdicts)
    assert {name for name, verdict in view.verdicts.items() if verdict.ejected} == out
    kept = [verdicts[name].ok + verdicts[name].failed for name in view.verdicts if name not in out]
    left_out = [verdict.ok + verdict.failed for name, verdict in verdicts.items() if name not in view.verdicts]
    assert len(view.verdicts) > 300
    assert min(kept) >= max(left_out)


def test_what_is_ejected_is_never_left_out() -> None:
    """In the worst hour the snapshot would send traffic to what is down."""
    chance = random.Random(6)
    verdicts = {name: measured(name, chance, ejected=True, probers=(INSTANCE,)) for name in ids(CATALOGUE)}
    item = written(records.write_snapshot(FleetView(8, NOW, verdicts), INSTANCE, None))
    view = records.snapshot_of(item)
    assert view is not None
    assert set(view.verdicts) == set(verdicts)


def test_history_of_a_whole_catalogue_fits() -> None:
    """An aggregator could not keep a day's uptimes for its heir."""
    chance = random.Random(7)
    counts = {name: (chance.randrange(3_000), chance.randrange(10)) for name in ids(CATALOGUE)}
    bucket = bucket_of(NOW)
    item = written(records.write_bucket(bucket, counts))
    assert records.bucket_of(item) == (bucket, counts)
    assert item_size(item) <= 24_576
    assert item["ttl"] == (bucket * BUCKET_MS) // 1000 + 25 * 3_600


def test_history_without_room_keeps_the_busiest() -> None:
    """History could cost more than everything else."""
    chance = random.Random(8)
    counts = {f"{chance.randbytes(20).hex()}/x": (chance.randrange(10**6), chance.randrange(10**6)) for _ in range(2_000)}
    item = written(records.write_bucket(5, counts))
    assert item_size(item) <= 24_576
    found = records.bucket_of(item)
    assert found is not None
    assert len(found[1]) > 500
    assert min(sum(kept) for kept in found[1].values()) >= max(sum(counts[name]) for name in counts.keys() - found[1].keys())


def test_a_snapshot_is_written_over_the_one_that_was_found_only() -> None:
    """Two aggregators would undo each other's ejections."""
    view = FleetView(8, NOW, {})
    found = written(records.write_snapshot(FleetView(7, NOW, {}), "other", None))
    assert records.write_snapshot(view, INSTANCE, found).conditions == (Equals("version", 7),)
    assert records.version_of(found) == 7
    assert records.holder_of(found) == "other"
    assert (records.version_of(None), records.holder_of(None)) == (0, None)
    assert records.version_of({"version": "x"}) == 0


def test_digests_of_any_clock_within_a_minute_are_found() -> None:
    """Instances whose clocks differ would not hear of each other for a while every ten minutes."""
    for off_ms in (-59_000, -2_000, 0, 2_000, 59_000):
        for now_ms in range(NOW, NOW + 1_200_000, 7_000):
            update = records.write_digest(INSTANCE, [Interval(1, now_ms + off_ms, ())])
            assert update.key.partition in {query.partition for query in records.digest_queries(now_ms)}
    assert all(len(records.digest_queries(now_ms)) <= 2 for now_ms in range(NOW, NOW + 1_200_000, 7_000))


def test_a_history_query_finds_a_day() -> None:
    """A day's uptime would be that of an hour, or all history be read."""
    query = records.history_query(bucket_of(NOW))
    assert query.between is not None
    low, high = query.between
    for back, expected in ((0, True), (1, True), (288, True), (289, False), (-1, False)):
        key = records.write_bucket(bucket_of(NOW) - back, {}).key
        assert key.partition == query.partition
        assert (low <= key.sort <= high) is expected


@pytest.mark.parametrize("form", [0, 1, "2", None])
def test_another_form_is_passed_over(form: int | str | None) -> None:
    """In the middle of an update instances would misread each other."""
    snapshot = {**written(records.write_snapshot(FleetView(8, NOW, {}), INSTANCE, None)), "form": form}
    digest = {**written(records.write_digest(INSTANCE, [Interval(1, NOW, ())])), "form": form}
    bucket = {**written(records.write_bucket(5, {})), "form": form}
    assert (records.snapshot_of(snapshot), records.digest_of(digest), records.bucket_of(bucket)) == (None, None, None)
    assert records.version_of(snapshot) == 8


def test_a_small_item_cannot_fill_the_memory() -> None:
    """Two kilobytes could unpack to gigabytes in the aggregator."""
    endpoints, ones, none = ["x" * 200] * 20_000, [1] * 20_000, [b""] * 20_000
    bomb = zlib.compress(msgspec.msgpack.encode(["i", [[1, NOW, endpoints, [ones] * 6, none, none]]]))
    assert len(bomb) < 30_000
    assert records.digest_of({"form": records.FORM_NOW, "body": bomb}) is None


def test_a_body_that_is_cut_is_none() -> None:
    """Half of a body could pass for a whole one."""
    item = written(records.write_snapshot(FleetView(8, NOW, {"p/m": Verdict(endpoint="p/m", ok=5)}), INSTANCE, None))
    body = item["body"]
    assert isinstance(body, bytes)
    assert all(records.snapshot_of({**item, "body": body[:length]}) is None for length in range(len(body)))


@pytest.mark.parametrize(
    "stored",
    [
        ["i", [[1, NOW, ["a/b", "c/d"], [[1], [1], [1], [1], [1], [1]], [b""], [b""]]]],  # columns of other lengths
        ["i", [[1, NOW, ["a/b"], [[-1], [1], [1], [1], [1], [1]], [b""], [b""]]]],
        ["i", [[1, NOW, ["a/b"], [[1.5], [1], [1], [1], [1], [1]], [b""], [b""]]]],
        ["i", [[1, NOW, ["x" * 300], [[1], [1], [1], [1], [1], [1]], [b""], [b""]]]],
        ["i", [[1, NOW, ["a/b"], [[1], [1], [1], [1], [1], [1]], [b""], [b""], [1, 1]]]],
        ["i", [[1, NOW, ["a/b"], [[1], [1], [1], [1], [1], [1]], [b""], [b""], [1 << 40]]]],
        ["", []],
        ["i", [[1, NOW, ["a/b"], [[1], [1], [1], [1], [1], [1]], [b"\x80"], [b""]]]],  # no sketch
        {"instance": "i"},
        7,
    ],
)
def test_a_digest_that_makes_no_sense_is_none(stored: object) -> None:
    """One instance could spoil what is known of all endpoints."""
    assert records.digest_of({"form": records.FORM_NOW, "body": zlib.compress(msgspec.msgpack.encode(stored))}) is None
