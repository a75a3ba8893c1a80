"""The figures for people: a table of servers, a table of comparisons, one of memory, and what they stand for."""

from collections.abc import Sequence

from tests.bench.child import Function
from tests.bench.machine import Machine
from tests.bench.measure import PEERS, Measured, Plan
from tests.bench.report import Bar, Comparison, Report, Row, Spread
from tests.support.transports import CHOSEN

_SERVERS = ("load", "server", "calls", "calls/s", "CPU µs", "p50 µs", "p99 µs", "added p50", "added p99")
_COMPARISONS = ("CPU of", "server", "µs", "beside", "µs", "added µs", "ratio", "bar")
_RESIDENTS = ("memory", "at start MB", "after MB", "most MB")
_FUNCTIONS_MAX = 40
_NOTES = """\
Median of the rounds (least-most). Each load runs for 0.3 s before it counts. CPU: user and system time of the server's
processes alone, for each call; for each chunk under stream-burst and stream-spaced. Latency: to the whole answer; of a
stream, to its first content. Added: over the direct caller of the stub. A ratio is the median of the rounds' own ratios.
Calls/s are what one caller gets who shares the machine with all of it. Bars are the project's own, and judge nothing here.
complete-1, -16, -64: calls in flight; streams have 16. stream-one: 1 chunk; stream-burst: 64 in one network write;
stream-spaced: 64, 10 ms apart.
direct: the stub of a provider, called over a plain socket. echo: grpc.aio with answers made ready. proxy: grpc.aio and
Junctor's transport, least translation. junctor: all of it over gRPC: key check, routing over 8 endpoints, exact money, a
durable record of each call, log; its records are on disk before its answers end. junctor-dynamodb: the same, its tables
in a stub of DynamoDB that is a process of its own."""
_PEER_NOTES = """\
litellm, portkey: one process each, over HTTP, called over plain sockets as the stub is; one endpoint to choose from, no
database, so no money and no durable record, which junctor has in the figures beside them. Portkey itself waits 25 ms before
the first event of a stream."""


def described(machine: Machine, plan: Plan, found: Measured) -> str:
    """Write on what was measured, and with what."""
    packages = machine.packages
    commit = f"{machine.commit[:12] or 'unknown'}{' (modified)' if machine.modified else ''}"
    lines = [
        f"machine    {machine.cpu or 'unknown'}, {machine.cores} cores, {machine.memory_mb} MB, {machine.system}",
        f"software   Python {machine.python}, {', '.join(f'{name} {number}' for name, number in packages.items())}",
        f"commit     {commit}",
        f"transport  {CHOSEN} {packages[CHOSEN]} (HTTP/1.1, loopback), the same in proxy and junctor",
        "store      junctor: sqlite, WAL, synchronous=FULL; junctor-dynamodb: a stub of DynamoDB over HTTP, on loopback",
        f"rounds     {plan.rounds}, each server under each load for {plan.seconds:g} s or {plan.calls_max} calls",
    ]
    for peer in found.peers:
        node = f" on Node {machine.node}" if peer.server == "portkey" else ""
        lines.append(f"peer       {peer.server} {peer.version}{node}, listening {peer.start_s:.1f} s after its start")
    lines += [f"peer       left out: {reason}" for reason in found.missing]
    return "\n".join(lines)


def written(report: Report) -> str:
    """Write all figures."""
    servers = _table(_SERVERS, [_server(row) for row in report.rows])
    comparisons = _table(_COMPARISONS, [_compared(row) for row in report.comparisons])
    residents = _table(
        _RESIDENTS,
        [(one.server, *(f"{size / 1e6:.1f}" for size in (one.started, one.after, one.peak))) for one in report.residents],
    )
    peers = {row.server for row in report.rows} & set(PEERS)
    return "\n\n".join((servers, comparisons, residents, f"{_NOTES}\n{_PEER_NOTES}" if peers else _NOTES))


def profile(functions: Sequence[Function], calls: int) -> str:
    """Write a profile, for each of so many calls; a sampled one does not know how often a function was called."""
    rows = [
        (
            f"{found.own_s / calls * 1e6:.1f}",
            f"{found.total_s / calls * 1e6:.1f}",
            f"{found.calls / calls:.1f}" if found.calls else "-",
            found.place,
        )
        for found in functions[:_FUNCTIONS_MAX]
    ]
    return _table(("own µs", "total µs", "times", "function"), rows)


def _server(row: Row) -> tuple[str, ...]:
    latencies = (row.p50_us, row.p99_us, row.added_p50_us, row.added_p99_us)
    rate = f"{row.calls_per_s.median:.0f}"
    return (row.load, row.server, str(row.calls), rate, _spread(row.cpu_us), *(_median(latency) for latency in latencies))


def _compared(row: Comparison) -> tuple[str, ...]:
    ratio = "-" if row.ratio is None else f"{row.ratio.median:.2f}x ({row.ratio.least:.2f}-{row.ratio.most:.2f})"
    figures = (_spread(row.server_us), row.beside, _spread(row.beside_us), _spread(row.added_us))
    return (row.figure, row.server, *figures, ratio, _bar(row.bar))


def _bar(bar: Bar) -> str:
    if bar.ratio is not None:
        return f"bar {bar.ratio:.1f}x"
    return f"bar {bar.us:.1f} µs" if bar.us is not None else ""


def _spread(figure: Spread | None) -> str:
    return "-" if figure is None else f"{figure.median:.1f} ({figure.least:.1f}-{figure.most:.1f})"


def _median(figure: Spread | None) -> str:
    return "-" if figure is None else f"{figure.median:.0f}"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Set rows in columns, texts to the left and figures to the right."""
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    left = [bool(rows) and rows[0][place][:1].isalpha() for place in range(len(names))]
    lines = (
        "  ".join(
            cell.ljust(width) if flush else cell.rjust(width) for cell, width, flush in zip(row, widths, left, strict=True)
        )
        for row in (names, *rows)
    )
    return "\n".join(line.rstrip() for line in lines)
