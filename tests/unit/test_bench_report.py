"""The benchmark's sums, with figures made up so that each answer is known."""

import msgspec
import pytest

from tests.bench import kept, ledger_cpu, parts, plot, sqlite_cpu, startup, tables
from tests.bench.cancelled import growth_of
from tests.bench.exchange import Scenario
from tests.bench.measure import DIRECT, OURS, Load, Measured, Resident, Sample
from tests.bench.report import Spread, percentile_us, slope, summarize

ONE = Load("stream-one", Scenario.ONE, 16)
BURST = Load("stream-burst", Scenario.BURST, 16, 64)
LOADS = (ONE, BURST)
CPU_MS = {(ONE.name, "proxy"): 1.0, (BURST.name, "proxy"): 1.63, (ONE.name, "junctor"): 2.0, (BURST.name, "junctor"): 3.89}
LATENCY_MS = {DIRECT: 1, "echo": 2, "proxy": 3, "junctor": 5, "junctor-dynamodb": 6, "litellm": 20}


def _sample(load: Load, server: str, number: int) -> Sample:
    """Make two calls that got slower from round to round at every server alike."""
    slower = (1, 3, 2)[number]
    latency_s = slower * LATENCY_MS[server] / 1000
    cpu_s = 2 * slower * CPU_MS.get((load.name, server), 0.5) / 1000
    return Sample(load.name, server, number, 0.1, cpu_s, (latency_s, latency_s))


def _found(*servers: str) -> Measured:
    samples = [_sample(load, server, number) for number in range(3) for load in LOADS for server in servers]
    return Measured(samples, [Resident(server, 1, 2_000_000, 3_000_000) for server in servers], [], [])


FOUND = _found(DIRECT, *OURS)


def _figures(spread: Spread | None) -> tuple[float, ...]:
    return () if spread is None else (spread.median, spread.least, spread.most)


def test_cpu_is_divided_by_calls_and_chunks() -> None:
    """A figure for all chunks of a stream would be taken for that of one."""
    rows = {(row.load, row.server): row for row in summarize(FOUND, LOADS).rows}
    assert _figures(rows["stream-one", "proxy"].cpu_us) == pytest.approx((2000.0, 1000.0, 3000.0))
    burst = rows["stream-burst", "proxy"].cpu_us
    assert burst is not None
    assert burst.median == pytest.approx(2 * 1630.0 / 64)
    assert rows["stream-one", "proxy"].calls == 6
    assert _figures(rows["stream-one", "proxy"].calls_per_s) == pytest.approx((20.0, 20.0, 20.0))


def test_added_latency_is_over_the_direct_call_of_the_same_round() -> None:
    """Latency of the stub itself would be laid to Junctor's charge, or the other way round."""
    rows = {(row.load, row.server): row for row in summarize(FOUND, LOADS).rows}
    assert _figures(rows["stream-one", "junctor"].added_p50_us) == pytest.approx((8000.0, 4000.0, 12000.0))
    assert rows["stream-one", "echo"].added_p50_us is None
    assert rows["stream-one", DIRECT].cpu_us is None


def test_ratios_are_taken_within_rounds() -> None:
    """A round in which the whole machine was slow would look as a change of Junctor."""
    compared = {row.figure: row for row in summarize(FOUND, LOADS).comparisons if row.server == "junctor"}
    assert _figures(compared["stream-one, a call"].ratio) == pytest.approx((2.0, 2.0, 2.0))
    further = compared["stream-burst, a chunk after the first"]
    assert further.beside_us.least == pytest.approx(10.0)
    assert further.server_us.least == pytest.approx(30.0)
    assert _figures(further.ratio) == pytest.approx((3.0, 3.0, 3.0))
    assert further.bar.us == 8.0


def test_no_ratio_to_nothing() -> None:
    """A proxy whose cost is not to be seen would end the report with an error."""
    idle = [Sample(load.name, "proxy", number, 0.1, 0.0, (0.001,)) for number in range(3) for load in LOADS]
    samples = [*(sample for sample in FOUND.samples if sample.server != "proxy"), *idle]
    compared = summarize(Measured(samples, [], [], []), LOADS).comparisons
    assert [row.ratio for row in compared] == [None] * 6


def test_a_peer_stands_beside_junctor() -> None:
    """A peer's figures would be set beside a proxy that does nothing, or be missing without a word."""
    report = summarize(_found(DIRECT, *OURS, "litellm"), LOADS)
    (compared,) = (row for row in report.comparisons if row.server == "litellm" and row.figure == "stream-one, a call")
    assert compared.beside == "junctor"
    assert _figures(compared.ratio) == pytest.approx((0.25, 0.25, 0.25))
    assert {row.server for row in report.rows} == {DIRECT, *OURS, "litellm"}


def test_a_peer_that_was_not_there_is_left_out() -> None:
    """Whoever has no Node, or no package index, would get no figures at all."""
    report = summarize(FOUND, LOADS)
    assert {row.server for row in report.rows} == {DIRECT, *OURS}
    assert {row.server for row in report.comparisons} == {"junctor", "junctor-dynamodb"}


def test_the_picture_has_a_bar_for_each_server_and_only_what_was_measured() -> None:
    """A server without a bar would look as one that costs nothing."""
    spaced = Load("stream-spaced", Scenario.SPACED, 16, 64)
    samples = [_sample(spaced, server, number) for number in range(3) for server in LATENCY_MS]
    residents = [Resident(server, 1, 2_000_000, 3_000_000) for server in LATENCY_MS if server != DIRECT]
    report = summarize(Measured(samples, residents, [], []), (spaced,))
    chunk, memory = plot.panels(report)
    servers = [*OURS, "litellm"]
    assert [server for server, _ in chunk.bars] == servers
    assert memory.bars == [(server, 2.0) for server in servers]
    picture = plot.draw(report, ["a < b", "c"])
    assert picture.count("<rect class=") == 2 * len(servers)
    assert "a &lt; b" in picture


@pytest.mark.parametrize(("percent", "microseconds"), [(1, 1e6), (50, 5e6), (51, 6e6), (99, 10e6), (100, 10e6)])
def test_percentiles_are_times_that_were_seen(percent: int, microseconds: float) -> None:
    """A tail latency would be told too short."""
    assert percentile_us([float(second) for second in range(10, 0, -1)], percent) == microseconds


def test_a_slope_is_that_of_the_nearest_line() -> None:
    """Growth of memory would be told by its two ends, which a single collection moves."""
    assert slope([(0, 5), (1, 8), (2, 11)]) == pytest.approx(3.0)
    assert slope([(0, 0), (1, 10), (2, 10), (3, 20)]) == pytest.approx(6.0)
    assert slope([(7, 5)]) == 0.0


def test_growth_is_that_of_the_last_half() -> None:
    """Caches that fill in the first streams would be taken for a leak, or a leak be hidden among them."""
    filling = [(1000, 50_000_000), (2000, 60_000_000), (3000, 60_020_000), (4000, 60_040_000)]
    assert growth_of(filling) == pytest.approx(20.0)
    assert growth_of([(1000, 5)]) == 0.0


def test_the_ledger_on_a_store_is_its_part_and_its_two_writes() -> None:
    """The bar would be held against one write alone, or against calls that do not share the way."""
    cost = sqlite_cpu.Cost(cpu_us=20.0, loop_us=10.0, writer_us=10.0, wall_us=100.0)
    quiet = sqlite_cpu.Pair(1, msgspec.structs.replace(cost, cpu_us=200.0), cost)
    writes = [
        tables.Cost(operation, in_flight, signed_us, 900.0)
        for operation, in_flight, signed_us in (
            ("put_new", 1, 90.0),
            ("put_new", 16, 50.0),
            ("update", 16, 40.0),
            ("get", 16, 7.0),
        )
    ]
    start = startup.Startup(**dict.fromkeys(startup.Startup.__struct_fields__, 0.25))
    written = sqlite_cpu.Report(busy=sqlite_cpu.Pair(50, cost, cost), quiet=quiet)
    found = parts.Parts(ledger_cpu.Part(30.0, 5.0, 4.0), {8: 35.0}, written, writes, start)
    assert found.on_sqlite_us == 50.0
    assert found.on_tables_us == 120.0
    told = "\n".join(parts.told(found))
    for said in ("50.0 µs with", "(bar 45 µs)", "120.0 µs with", "(bar 150 µs)", "35.0 µs over 8", "0.25 s (bar 0.6 s)"):
        assert said in told


def test_the_picture_that_is_kept_is_of_the_figures_that_are() -> None:
    """Whoever reads the picture would be told of another run, or of one without the peers."""
    run = kept.read()
    assert kept.PICTURE.read_text("utf-8") == kept.picture(run)
    assert [peer.server for peer in run.peers] == ["litellm", "portkey"]
    assert {row.server for row in run.report.rows} == {DIRECT, *OURS, "litellm", "portkey"}
    assert run.machine.cpu
