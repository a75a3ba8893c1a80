"""From samples to figures: medians of the rounds, with the least and the most beside them.

A ratio is taken within each round, between neighbours in time, and only then is its median taken: so it holds better than a
ratio of two medians on a machine that is busy with other things.
"""

import statistics
from collections.abc import Sequence

from msgspec import Struct

from tests.bench.measure import COMPARED, DIRECT, Load, Sample

JUNCTOR, PROXY = "junctor", "proxy"
SHORT = "stream-one"


class Spread(Struct, frozen=True):
    """A figure in several rounds."""

    median: float
    least: float
    most: float


class Row(Struct, frozen=True):
    """A server under a load: CPU in µs for each call or chunk; latencies in µs, the added ones over the direct caller's."""

    load: str
    server: str
    calls: int
    cpu_us: Spread | None
    p50_us: Spread
    p99_us: Spread
    added_p50_us: Spread | None
    added_p99_us: Spread | None


class Comparison(Struct, frozen=True):
    """Junctor's CPU beside the bare proxy's, in µs, and their ratio, None where the proxy's is too small to be seen."""

    figure: str
    junctor_us: Spread
    proxy_us: Spread
    added_us: Spread
    ratio: Spread | None


class Report(Struct, frozen=True):
    """What a run found."""

    rows: list[Row]
    comparisons: list[Comparison]


def summarize(samples: Sequence[Sample], loads: Sequence[Load]) -> Report:
    """Sum up a run that has every load at every server in every round."""
    rows = [_row(samples, load, server) for load in loads for server in (DIRECT, *COMPARED)]
    comparisons = []
    for load in loads:
        unit = "call" if load.chunks == 1 else "chunk"
        junctor, proxy = (_cpu_us(samples, load, server) for server in (JUNCTOR, PROXY))
        comparisons.append(_comparison(f"{load.name}, a {unit}", junctor, proxy))
    short = next((load for load in loads if load.name == SHORT), None)
    for load in (load for load in loads if load.chunks > 1):
        if short is not None:
            junctor, proxy = (_further_us(samples, load, short, server) for server in (JUNCTOR, PROXY))
            comparisons.append(_comparison(f"{load.name}, a chunk after the first", junctor, proxy))
    return Report(rows, comparisons)


def percentile_us(latencies_s: Sequence[float], percent: int) -> float:
    """Return a percentile of times, in µs: the least time that so many percent of the calls did not exceed."""
    ordered = sorted(latencies_s)
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)] * 1e6


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
    beyond = server in {JUNCTOR, PROXY}
    return Row(
        load=load.name,
        server=server,
        calls=sum(len(sample.latencies_s) for sample in here),
        cpu_us=None if server == DIRECT else _spread(_cpu_us(samples, load, server)),
        p50_us=_spread(latencies[50]),
        p99_us=_spread(latencies[99]),
        added_p50_us=_spread(added[50]) if beyond else None,
        added_p99_us=_spread(added[99]) if beyond else None,
    )


def _comparison(figure: str, junctor: Sequence[float], proxy: Sequence[float]) -> Comparison:
    pairs = list(zip(junctor, proxy, strict=True))
    ratios = [ours / bare for ours, bare in pairs if bare > 0]
    return Comparison(
        figure=figure,
        junctor_us=_spread(junctor),
        proxy_us=_spread(proxy),
        added_us=_spread([ours - bare for ours, bare in pairs]),
        ratio=_spread(ratios) if ratios else None,
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
