"""The figures for people: a table of servers, a table of comparisons, and what they stand for."""

from collections.abc import Sequence

from tests.bench.child import Function
from tests.bench.machine import Machine
from tests.bench.measure import Plan
from tests.bench.report import Comparison, Report, Row, Spread
from tests.support.transports import CHOSEN

_SERVERS = ("load", "server", "calls", "CPU µs", "p50 µs", "p99 µs", "added p50", "added p99")
_COMPARISONS = ("CPU of", "junctor µs", "proxy µs", "added µs", "junctor/proxy")
_FUNCTIONS_MAX = 40
_NOTES = """\
Median of the rounds (least-most). CPU: user and system time of the server's process alone, for each call; for each
chunk under stream-burst and stream-spaced. Latency: to the whole answer; of a stream, to its first content. Added:
over the direct caller of the stub. A ratio is the median of the rounds' own ratios.
complete-1, complete-16: calls in flight; streams have 16. stream-one: 1 chunk; stream-burst: 64 in one network write;
stream-spaced: 64, 10 ms apart.
direct: the stub of a provider, called over a plain socket. echo: grpc.aio with answers made ready. proxy: grpc.aio and
Junctor's transport, least translation. junctor: all of it, key check, ledger and log; its records are on disk before its
answers end."""


def described(machine: Machine, plan: Plan) -> str:
    """Write on what was measured, and with what."""
    packages = machine.packages
    commit = f"{machine.commit[:12] or 'unknown'}{' (modified)' if machine.modified else ''}"
    return "\n".join(
        (
            f"machine    {machine.cpu or 'unknown'}, {machine.cores} cores, {machine.system}",
            f"software   Python {machine.python}, {', '.join(f'{name} {number}' for name, number in packages.items())}",
            f"commit     {commit}",
            f"transport  {CHOSEN} {packages[CHOSEN]} (HTTP/1.1, loopback), the same in proxy and junctor",
            "store      sqlite, WAL, synchronous=FULL; in junctor only",
            f"rounds     {plan.rounds}, each server under each load for {plan.seconds:g} s or {plan.calls_max} calls",
        )
    )


def written(report: Report) -> str:
    """Write all figures."""
    servers = _table(_SERVERS, [_server(row) for row in report.rows])
    comparisons = _table(_COMPARISONS, [_compared(row) for row in report.comparisons])
    return f"{servers}\n\n{comparisons}\n\n{_NOTES}"


def profile(functions: Sequence[Function], calls: int) -> str:
    """Write a profile, for each of so many calls."""
    rows = [
        (f"{found.own_s / calls * 1e6:.1f}", f"{found.total_s / calls * 1e6:.1f}", f"{found.calls / calls:.1f}", found.place)
        for found in functions[:_FUNCTIONS_MAX]
    ]
    return _table(("own µs", "total µs", "times", "function"), rows)


def _server(row: Row) -> tuple[str, ...]:
    latencies = (row.p50_us, row.p99_us, row.added_p50_us, row.added_p99_us)
    return (row.load, row.server, str(row.calls), _spread(row.cpu_us), *(_median(latency) for latency in latencies))


def _compared(row: Comparison) -> tuple[str, ...]:
    ratio = "-" if row.ratio is None else f"{row.ratio.median:.2f}x ({row.ratio.least:.2f}-{row.ratio.most:.2f})"
    return (row.figure, _spread(row.junctor_us), _spread(row.proxy_us), _spread(row.added_us), ratio)


def _spread(figure: Spread | None) -> str:
    return "-" if figure is None else f"{figure.median:.1f} ({figure.least:.1f}-{figure.most:.1f})"


def _median(figure: Spread | None) -> str:
    return "-" if figure is None else f"{figure.median:.0f}"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Set rows in columns, texts to the left and figures to the right."""
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    left = [rows[0][place][:1].isalpha() for place in range(len(names))]
    lines = (
        "  ".join(
            cell.ljust(width) if flush else cell.rjust(width) for cell, width, flush in zip(row, widths, left, strict=True)
        )
        for row in (names, *rows)
    )
    return "\n".join(line.rstrip() for line in lines)
