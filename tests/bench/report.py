"""From samples to figures: medians of the rounds, with the least and the most beside them.

A ratio is taken within each round, between neighbours in time, and only then is its median taken: so it holds better than a
ratio of two medians on a machine that is busy with other things.
"""

import statistics
from collections.abc import Iterator, Sequence

from msgspec import Struct

from tests.bench.measure import DIRECT, ECHO, JUNCTOR, JUNCTOR_DYNAMODB, OURS, PEERS, PROXY, Load, Measured, Resident, Sample

SHORT, SPACED, BURST = "stream-one", "stream-spaced", "stream-burst"


class Spread(Struct, frozen=True):
    """A figure in several rounds."""

    median: float
    least: float
    most: float


class Bar(Struct, frozen=True):
    """What a figure is to be at most: a ratio, or µs of CPU. It is printed beside the figure and judges nothing."""

    ratio: float | None = None
    us: float | None = None


BARS = {
    (JUNCTOR, "complete-1"): Bar(ratio=2.0),
    (JUNCTOR, "complete-16"): Bar(ratio=2.0),
    (JUNCTOR, "complete-64"): Bar(ratio=2.0),
    (JUNCTOR_DYNAMODB, "complete-1"): Bar(ratio=2.5),
    (JUNCTOR_DYNAMODB, "complete-16"): Bar(ratio=2.5),
    (JUNCTOR_DYNAMODB, "complete-64"): Bar(ratio=2.5),
    (JUNCTOR, SPACED): Bar(ratio=1.4),
    (JUNCTOR, BURST): Bar(us=8.0),
}


class Row(Struct, frozen=True):
    """A server under a load: CPU in µs for each call or chunk; latencies in µs, the added ones over the direct caller's."""

    load: str
    server: str
    calls: int
    calls_per_s: Spread
    cpu_us: Spread | None
    p50_us: Spread
    p99_us: Spread
    added_p50_us: Spread | None
    added_p99_us: Spread | None


class Comparison(Struct, frozen=True):
    """A server's CPU beside another's, in µs, and their ratio, None where the other's is too small to be seen."""

    figure: str
    server: str
    beside: str
    server_us: Spread
    beside_us: Spread
    added_us: Spread
    ratio: Spread | None
    bar: Bar = Bar()


class Report(Struct, frozen=True):
    """What a run found."""

    rows: list[Row]
    comparisons: list[Comparison]
    residents: list[Resident]


def summarize(found: Measured, loads: Sequence[Load]) -> Report:
    """Sum up a run that has every load at every server in every round."""
    seen = {sample.server for sample in found.samples}
    servers = [name for name in (DIRECT, *OURS, *PEERS) if name in seen]
    rows = [_row(found.samples, load, server) for load in loads for server in servers]
    comparisons = [one for load in loads for one in _comparisons(found.samples, load, seen)]
    short = next((load for load in loads if load.name == SHORT), None)
    for load in (load for load in loads if load.chunks > 1 and short is not None):
        for server in (name for name in (JUNCTOR, JUNCTOR_DYNAMODB) if name in seen):
            assert short is not None
            figures = [_further_us(found.samples, load, short, name) for name in (server, PROXY)]
            bar = BARS.get((server, load.name), Bar())
            comparisons.append(_comparison(f"{load.name}, a chunk after the first", (server, PROXY), figures, bar))
    return Report(rows, comparisons, [one for one in found.residents if one.server != DIRECT])


def percentile_us(latencies_s: Sequence[float], percent: int) -> float:
    """Return a percentile of times, in µs: the least time that so many percent of the calls did not exceed."""
    ordered = sorted(latencies_s)
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)] * 1e6


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return by how much y grows for each x, by least squares; 0 where there is but one x."""
    mean_x, mean_y = (statistics.fmean(column) for column in zip(*points, strict=True))
    across = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / across if across else 0.0


def _comparisons(samples: Sequence[Sample], load: Load, seen: set[str]) -> Iterator[Comparison]:
    """Set Junctor beside the bare proxy, and each peer beside Junctor."""
    pairs = [(JUNCTOR, PROXY), (JUNCTOR_DYNAMODB, PROXY), *((peer, JUNCTOR) for peer in PEERS)]
    unit = "call" if load.chunks == 1 else "chunk"
    for pair in pairs:
        if seen.issuperset(pair):
            figures = [_cpu_us(samples, load, server) for server in pair]
            yield _comparison(f"{load.name}, a {unit}", pair, figures, BARS.get((pair[0], load.name), Bar()))


def _row(samples: Sequence[Sample], load: Load, server: str) -> Row:
    here, direct = _of(samples, load, server), _of(samples, load, DIRECT)
    latencies = {percent: [percentile_us(sample.latencies_s, percent) for sample in here] for percent in (50, 99)}
    added = {
        percent: [
            us - percentile_us(sample.latencies_s, percent) for us, sample in zip(latencies[percent], direct, strict=True)
        ]
        for percent in (50, 99)
    }
    # An echo asks no provider, so nothing is added to one.
    beyond = server not in {DIRECT, ECHO}
    return Row(
        load=load.name,
        server=server,
        calls=sum(len(sample.latencies_s) for sample in here),
        calls_per_s=_spread([len(sample.latencies_s) / sample.elapsed_s for sample in here]),
        cpu_us=None if server == DIRECT else _spread(_cpu_us(samples, load, server)),
        p50_us=_spread(latencies[50]),
        p99_us=_spread(latencies[99]),
        added_p50_us=_spread(added[50]) if beyond else None,
        added_p99_us=_spread(added[99]) if beyond else None,
    )


def _comparison(figure: str, names: tuple[str, str], figures: Sequence[Sequence[float]], bar: Bar) -> Comparison:
    pairs = list(zip(*figures, strict=True))
    ratios = [ours / bare for ours, bare in pairs if bare > 0]
    return Comparison(
        figure=figure,
        server=names[0],
        beside=names[1],
        server_us=_spread(figures[0]),
        beside_us=_spread(figures[1]),
        added_us=_spread([ours - bare for ours, bare in pairs]),
        ratio=_spread(ratios) if ratios else None,
        bar=bar,
    )


def _of(samples: Sequence[Sample], load: Load, server: str) -> list[Sample]:
    """Return a server's samples under a load, by round."""
    found = [sample for sample in samples if (sample.load, sample.server) == (load.name, server)]
    return sorted(found, key=lambda sample: sample.round)


def _cpu_us(samples: Sequence[Sample], load: Load, server: str) -> list[float]:
    """Return the CPU of each call or chunk, by round."""
    return [sample.cpu_s / len(sample.latencies_s) / load.chunks * 1e6 for sample in _of(samples, load, server)]


def _further_us(samples: Sequence[Sample], load: Load, short: Load, server: str) -> list[float]:
    """Return what each chunk after the first adds to a stream that has one, by round."""
    calls = zip(_cpu_us(samples, load, server), _cpu_us(samples, short, server), strict=True)
    return [(chunk_us * load.chunks - short_us) / (load.chunks - 1) for chunk_us, short_us in calls]


def _spread(figures: Sequence[float]) -> Spread:
    return Spread(statistics.median(figures), min(figures), max(figures))
