"""What instances tell each other of endpoints as items of the table `health`, bounded in what they cost.

Three kinds of items, each with a form and a body of compressed msgpack in columns, as what is alike compresses best together:

- a digest for each instance, rewritten each time: at most DIGEST_BYTES, for which it keeps fewer samples, then fewer endpoints;
- the snapshot: at most SNAPSHOT_BYTES, for which it leaves out endpoints with the least traffic, but never one that is ejected;
- the calls of five minutes, from which an aggregator that takes over goes on: at most BUCKET_BYTES, in the same way.

Digests lie in a partition for each ten minutes, so that those of instances long gone are not read again and again until they
are swept. What is of another form, or damaged, is no digest and no snapshot (None); nothing here trusts what it reads.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from junctor.domain.health import FleetView, Percentiles, Tally, Uptime, Verdict
from junctor.policy.health import sketches
from junctor.policy.health.fleet import Digest, Part
from junctor.policy.health.published import BUCKET_MS, DAY_BUCKETS, Sighting
from junctor.policy.health.sketches import Sketch
from junctor.policy.health.telling import urgency
from junctor.ports.table import Absent, Condition, Equals, Item, Key, Query, Set, Update

DIGEST_BYTES, SNAPSHOT_BYTES, BUCKET_BYTES = 880, 15_900, 24_000
"""The most bytes of a body: with its item's other attributes one, sixteen and twenty-four write units."""
INFLATED_MOST: Final = 2**21
"""The most bytes that a body is read to."""
SNAPSHOT: Final = Key("SNAPSHOT", "SNAPSHOT")
FORM, BODY, TTL, VERSION, HOLDER, SICK = "form", "body", "ttl", "version", "holder", "sick"
FORM_NOW: Final = 2
DIGESTS_MS: Final = 600_000
CLOCKS_DIFFER_MS: Final = 60_000
"""How far instances' clocks may be apart without a digest being overlooked."""
_HISTORY, _DIGESTS = "HISTORY", "DIGEST#"
_DIGEST_KEPT_S, _SNAPSHOT_KEPT_S, _BUCKET_KEPT_S = 1_200, 86_400, 90_000
_SAMPLES_MOST, _SAMPLES_ALL, _FEWER = 32, 200, 3
"""How many samples a digest keeps at most of one endpoint, and of all; and how many times fewer if it does not fit."""
_TOKENS_BITS: Final = 10
"""Tokens are told in units of 1,024."""
_TENTHS, _SHARES = 10, 10_000
_FIGURES: Final = (None, *sketches.VALUES)
"""What the figure of a percentile stands for."""
_COLUMNS: Final = 11

Name = Annotated[str, Meta(min_length=1, max_length=256)]
Count = Annotated[int, Meta(ge=0, le=2**32)]
"""More than one instance ever sees in an interval."""
Difference = Annotated[int, Meta(ge=-(2**33), le=2**33)]
Sum = Annotated[int, Meta(ge=0, le=2**53)]
Instant = Annotated[int, Meta(ge=0, le=2**48)]
T = TypeVar("T", bound=Struct)
V = TypeVar("V")


class _StoredPart(Struct, array_like=True):
    """Columns of tallies. `ahead` is by how many more calls began than ended, next to none most often; empty if not told."""

    number: Count
    at_ms: Instant
    endpoints: list[Name]
    counts: tuple[list[Count], list[Count], list[Count], list[Count], list[Count], list[Count]]
    first_token: list[bytes]
    throughput: list[bytes]
    ahead: list[Difference] = []


class _StoredDigest(Struct, array_like=True):
    instance: Name
    parts: list[_StoredPart]


class _StoredSnapshot(Struct, array_like=True):
    """Columns of verdicts. `figures` are uptimes, then percentiles, as their step and one, 0 for None.

    `ejected` and `back` name endpoints by their place; `ejected` with their probers.
    """

    at_ms: Instant
    endpoints: list[Name]
    ok: list[Sum]
    failed: list[Sum]
    cached: list[Sum]
    figures: list[list[Sum]]
    ejected: dict[int, tuple[Name, ...]]
    back: dict[int, Instant]


class _StoredBucket(Struct, array_like=True):
    endpoints: list[Name]
    ok: list[Sum]
    failed: list[Sum]


class Interval(Struct, frozen=True):
    """What is told of one interval, not yet made small: its number, its instant and all tallies; none if its teller is sick."""

    number: int
    at_ms: int
    tallies: tuple[Tally, ...]


def write_digest(instance: str, intervals: Sequence[Interval]) -> Update:
    """Return the update that writes an instance's digest of its intervals, of which the latest is the last."""
    now_ms = intervals[-1].at_ms
    where = Key(_digests_at(now_ms), instance)
    return Update(where, (), _changes(_digest_body(instance, intervals), now_ms // 1000 + _DIGEST_KEPT_S))


def digest_queries(now_ms: int) -> tuple[Query, ...]:
    """Return the queries that find every digest written of late, whatever its writer's clock says."""
    around = {_digests_at(now_ms - CLOCKS_DIFFER_MS): None, _digests_at(now_ms + CLOCKS_DIFFER_MS): None}
    return tuple(Query(partition=partition) for partition in around)


def digest_of(item: Item) -> Digest | None:
    """Return the digest in an item; None if it is damaged or of another form."""

    def read(stored: _StoredDigest) -> Digest:
        return Digest(stored.instance, tuple(_part(part) for part in stored.parts))

    return _read(item, _StoredDigest, read)


def write_snapshot(view: FleetView, holder: str, found: Item | None, *, mostly_sick: bool = False) -> Update:
    """Return the update that writes a view, and whether most instances are sick, if the snapshot is still as found."""
    version = None if found is None else found.get(VERSION)
    as_found: Condition = Equals(VERSION, version) if isinstance(version, str | int | bytes) else Absent(VERSION)
    kept = (Set(VERSION, view.version), Set(HOLDER, holder), Set(SICK, int(mostly_sick)))
    return Update(SNAPSHOT, (as_found,), (*_changes(_snapshot_body(view), view.at_ms // 1000 + _SNAPSHOT_KEPT_S), *kept))


def version_of(item: Item | None) -> int:
    """Return the version of the snapshot in an item of any form; 0 if there is none."""
    version = None if item is None else item.get(VERSION)
    return version if isinstance(version, int) else 0


def holder_of(item: Item | None) -> str | None:
    """Return which instance wrote the snapshot in an item of any form."""
    holder = None if item is None else item.get(HOLDER)
    return holder if isinstance(holder, str) else None


def says_mostly_sick(item: Item | None) -> bool:
    """Tell whether the snapshot in an item of any form says that most instances take themselves for what fails."""
    return item is not None and item.get(SICK) == 1


def snapshot_of(item: Item) -> FleetView | None:
    """Return the view in the snapshot's item; None if it is damaged or of another form."""

    def read(stored: _StoredSnapshot) -> FleetView:
        _length(stored.endpoints, stored.ok, stored.failed, stored.cached, *stored.figures)
        if stored.endpoints and len(stored.figures) != _COLUMNS:
            raise ValueError("there are other figures than these")
        verdicts = [_verdict(stored, place, figures) for place, figures in enumerate(zip(*stored.figures, strict=True))]
        return FleetView(version_of(item), stored.at_ms, {verdict.endpoint: verdict for verdict in verdicts})

    return _read(item, _StoredSnapshot, read)


def write_bucket(bucket: int, counts: Mapping[str, tuple[int, int]]) -> Update:
    """Return the update that writes the calls of five minutes, answered and failed by endpoint."""
    ranked = sorted(counts, key=lambda endpoint: sum(counts[endpoint]), reverse=True)

    def body(most: int) -> bytes:
        kept = sorted(ranked[:most])
        return _packed(_StoredBucket(kept, [counts[name][0] for name in kept], [counts[name][1] for name in kept]))

    where = Key(_HISTORY, f"{bucket:010d}")
    return Update(where, (), _changes(_fitting(body, len(ranked), BUCKET_BYTES), bucket * BUCKET_MS // 1000 + _BUCKET_KEPT_S))


def history_query(bucket: int) -> Query:
    """Return the query for the buckets of the day that ends with this one."""
    return Query(partition=_HISTORY, between=(f"{max(bucket - DAY_BUCKETS, 0):010d}", f"{bucket:010d}"))


def bucket_of(item: Item) -> tuple[int, dict[str, tuple[int, int]]] | None:
    """Return a bucket's number and its calls; None if it is damaged or of another form."""

    def read(stored: _StoredBucket) -> tuple[int, dict[str, tuple[int, int]]]:
        _length(stored.endpoints, stored.ok, stored.failed)
        return int(str(item["sk"])), dict(zip(stored.endpoints, zip(stored.ok, stored.failed, strict=True), strict=True))

    return _read(item, _StoredBucket, read)


def _digests_at(now_ms: int) -> str:
    return f"{_DIGESTS}{now_ms // DIGESTS_MS}"


def _digest_body(instance: str, intervals: Sequence[Interval]) -> bytes:
    """Return a digest's body: earlier intervals without samples, as those were most likely read already."""
    *earlier, latest = intervals
    most = max(len(interval.tallies) for interval in intervals)
    samples = min(_SAMPLES_MOST, _SAMPLES_ALL // max(most, 1))

    def body(most: int, samples: int = 0) -> bytes:
        parts = [*(_stored_part(each, 0, most) for each in earlier), _stored_part(latest, samples, most)]
        return _packed(_StoredDigest(instance, parts))

    while samples:
        if len(made := body(most, samples)) <= DIGEST_BYTES:
            return made
        samples //= _FEWER
    return _fitting(body, most, DIGEST_BYTES)


def _stored_part(interval: Interval, samples: int, most: int) -> _StoredPart:
    """Return an interval with its most urgent endpoints."""
    kept = sorted(sorted(interval.tallies, key=urgency)[:most], key=lambda tally: tally.endpoint)
    return _StoredPart(
        interval.number,
        interval.at_ms,
        [tally.endpoint for tally in kept],
        (
            [tally.ok for tally in kept],
            [tally.failed for tally in kept],
            [tally.throttled for tally in kept],
            [tally.probed for tally in kept],
            [tally.input_tokens >> _TOKENS_BITS for tally in kept],
            [tally.cache_read_tokens >> _TOKENS_BITS for tally in kept],
        ),
        [_sketched(tally.first_token_ms[:samples], tally.ok) for tally in kept],
        [_sketched(tally.throughput[:samples], tally.ok) for tally in kept],
        [tally.begun - tally.ok - tally.failed for tally in kept],
    )


def _part(stored: _StoredPart) -> Part:
    """Return a part as it was told. Raises ValueError."""
    ok, failed, throttled, probed, input_tokens, cached = stored.counts
    ahead = stored.ahead or [0] * len(stored.endpoints)
    places = range(_length(stored.endpoints, *stored.counts, stored.first_token, stored.throughput, ahead))
    sightings = [
        Sighting(
            endpoint=stored.endpoints[place],
            ok=ok[place],
            failed=failed[place],
            begun=ok[place] + failed[place] + ahead[place],
            throttled=throttled[place],
            probed=probed[place],
            first_token=_sketch(stored.first_token[place]),
            throughput=_sketch(stored.throughput[place]),
            input_tokens=input_tokens[place] << _TOKENS_BITS,
            cache_read_tokens=cached[place] << _TOKENS_BITS,
        )
        for place in places
    ]
    return Part(stored.number, stored.at_ms, tuple(sightings))


def _sketched(samples: Sequence[float], calls: int) -> bytes:
    return Sketch.of(samples, calls).encode() if samples else b""


def _sketch(data: bytes) -> Sketch | None:
    return Sketch.decode(data) if data else None


def _snapshot_body(view: FleetView) -> bytes:
    def weight(verdict: Verdict) -> tuple[bool, bool, float, str]:
        return not verdict.ejected, verdict.back_ms is None, -(verdict.ok + verdict.failed), verdict.endpoint

    ranked = [(verdict, _figures(verdict)) for verdict in sorted(view.verdicts.values(), key=weight)]
    least = sum(verdict.ejected for verdict, _ in ranked)

    def body(most: int) -> bytes:
        return _packed(_stored_snapshot(view.at_ms, sorted(ranked[:most], key=lambda row: row[0].endpoint)))

    return _fitting(body, len(ranked), SNAPSHOT_BYTES, least)


def _stored_snapshot(at_ms: int, rows: Sequence[tuple[Verdict, list[int]]]) -> _StoredSnapshot:
    kept = [verdict for verdict, _ in rows]
    return _StoredSnapshot(
        at_ms,
        [verdict.endpoint for verdict in kept],
        [round(verdict.ok * _TENTHS) for verdict in kept],
        [round(verdict.failed * _TENTHS) for verdict in kept],
        [round(verdict.cache_read_share * _SHARES) for verdict in kept],
        [list(column) for column in zip(*(figures for _, figures in rows), strict=True)],
        {place: verdict.probers for place, verdict in enumerate(kept) if verdict.ejected},
        {place: verdict.back_ms for place, verdict in enumerate(kept) if verdict.back_ms is not None},
    )


def _figures(verdict: Verdict) -> list[int]:
    up = verdict.uptime or Uptime()
    shares = (up.last_5m, up.last_30m, up.last_1d)
    percentiles = [each or Percentiles() for each in (verdict.first_token_ms, verdict.throughput)]
    values = [value for each in percentiles for value in (each.p50, each.p75, each.p90, each.p99)]
    return [
        *(0 if share is None else round(share * _SHARES) + 1 for share in shares),
        *(0 if value is None else sketches.step_of(value) + 1 for value in values),
    ]


def _verdict(stored: _StoredSnapshot, place: int, figures: tuple[int, ...]) -> Verdict:
    """Return the verdict in one place of the columns. Raises ValueError, IndexError."""
    up5, up30, up1d, *steps = figures
    first_token, throughput = ([_FIGURES[step] for step in part] for part in (steps[:4], steps[4:]))
    return Verdict(
        endpoint=stored.endpoints[place],
        ok=stored.ok[place] / _TENTHS,
        failed=stored.failed[place] / _TENTHS,
        ejected=place in stored.ejected,
        probers=stored.ejected.get(place, ()),
        back_ms=stored.back.get(place),
        uptime=Uptime(_share(up5), _share(up30), _share(up1d)) if up5 or up30 or up1d else None,
        first_token_ms=Percentiles(*first_token) if any(steps[:4]) else None,
        throughput=Percentiles(*throughput) if any(steps[4:]) else None,
        cache_read_share=stored.cached[place] / _SHARES,
    )


def _share(figure: int) -> float | None:
    return (figure - 1) / _SHARES if figure else None


def _packed(stored: Struct) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(stored), level=6)


def _fitting(body: Callable[[int], bytes], most: int, limit: int, least: int = 0) -> bytes:
    """Return the body with as many endpoints, at most `most`, as fit into so many bytes; but with `least` in any case."""
    while len(made := body(most)) > limit and most > least:
        most = max(least, min(most - 1, most * limit // len(made)))
    return made


def _changes(body: bytes, ttl: int) -> tuple[Set, ...]:
    return Set(FORM, FORM_NOW), Set(BODY, body), Set(TTL, ttl)


def _read(item: Item, kind: type[T], read: Callable[[T], V]) -> V | None:
    """Return what is read from an item's body; None if that cannot be."""
    body = item.get(BODY)
    if item.get(FORM) != FORM_NOW or not isinstance(body, bytes):
        return None
    try:
        return read(msgspec.msgpack.decode(_inflated(body), type=kind))
    except (ValueError, IndexError, zlib.error, msgspec.MsgspecError):
        return None


def _inflated(body: bytes) -> bytes:
    """Return a body as it was before it was compressed. Raises ValueError if it is cut or too large."""
    inflating = zlib.decompressobj()
    data = inflating.decompress(body, INFLATED_MOST)
    if not inflating.eof:
        raise ValueError("a body is cut, or too large")
    return data


def _length(*columns: Sequence[object]) -> int:
    """Return the length of columns. Raises ValueError if they differ."""
    if len(lengths := {len(column) for column in columns}) != 1:
        raise ValueError("columns differ in length")
    return lengths.pop()
