"""The benchmark's sums, with figures made up so that each answer is known."""

import pytest

from tests.bench.exchange import Scenario
from tests.bench.measure import COMPARED, DIRECT, Load, Sample
from tests.bench.report import Spread, percentile_us, summarize

ONE = Load("stream-one", Scenario.ONE, 16)
BURST = Load("stream-burst", Scenario.BURST, 16, 64)
CPU_MS = {(ONE.name, "proxy"): 1.0, (BURST.name, "proxy"): 1.63, (ONE.name, "junctor"): 2.0, (BURST.name, "junctor"): 3.89}
LATENCY_MS = {DIRECT: 1, "echo": 2, "proxy": 3, "junctor": 5}


def _sample(load: Load, server: str, number: int) -> Sample:
    """Make two calls that got slower from round to round at every server alike."""
    slower = (1, 3, 2)[number]
    latency_s = slower * LATENCY_MS[server] / 1000
    return Sample(load.name, server, number, 2 * slower * CPU_MS.get((load.name, server), 0.5) / 1000, (latency_s, latency_s))


SAMPLES = [_sample(load, server, number) for number in range(3) for load in (ONE, BURST) for server in (DIRECT, *COMPARED)]


def _figures(spread: Spread | None) -> tuple[float, ...]:
    return () if spread is None else (spread.median, spread.least, spread.most)


def test_cpu_is_divided_by_calls_and_chunks() -> None:
    """A figure for all chunks of a stream would be taken for that of one."""
    rows = {(row.load, row.server): row for row in summarize(SAMPLES, (ONE, BURST)).rows}
    assert _figures(rows["stream-one", "proxy"].cpu_us) == pytest.approx((2000.0, 1000.0, 3000.0))
    burst = rows["stream-burst", "proxy"].cpu_us
    assert burst is not None
    assert burst.median == pytest.approx(2 * 1630.0 / 64)
    assert rows["stream-one", "proxy"].calls == 6


def test_added_latency_is_over_the_direct_call_of_the_same_round() -> None:
    """Latency of the stub itself would be laid to Junctor's charge, or the other way round."""
    rows = {(row.load, row.server): row for row in summarize(SAMPLES, (ONE, BURST)).rows}
    assert _figures(rows["stream-one", "junctor"].added_p50_us) == pytest.approx((8000.0, 4000.0, 12000.0))
    assert rows["stream-one", "echo"].added_p50_us is None
    assert rows["stream-one", DIRECT].cpu_us is None


def test_ratios_are_taken_within_rounds() -> None:
    """A round in which the whole machine was slow would look as a change of Junctor."""
    compared = {row.figure: row for row in summarize(SAMPLES, (ONE, BURST)).comparisons}
    assert _figures(compared["stream-one, a call"].ratio) == pytest.approx((2.0, 2.0, 2.0))
    further = compared["stream-burst, a chunk after the first"]
    assert further.proxy_us.least == pytest.approx(10.0)
    assert further.junctor_us.least == pytest.approx(30.0)
    assert _figures(further.ratio) == pytest.approx((3.0, 3.0, 3.0))


def test_no_ratio_to_nothing() -> None:
    """A proxy whose cost is not to be seen would end the report with an error."""
    samples = [sample for sample in SAMPLES if sample.server != "proxy"]
    idle = [Sample(load.name, "proxy", number, 0.0, (0.001,)) for number in range(3) for load in (ONE, BURST)]
    compared = summarize([*samples, *idle], (ONE, BURST)).comparisons
    assert [row.ratio for row in compared] == [None, None, None]


@pytest.mark.parametrize(("percent", "microseconds"), [(1, 1e6), (50, 5e6), (51, 6e6), (99, 10e6), (100, 10e6)])
def test_percentiles_are_times_that_were_seen(percent: int, microseconds: float) -> None:
    """A tail latency would be told too short."""
    assert percentile_us([float(second) for second in range(10, 0, -1)], percent) == microseconds
