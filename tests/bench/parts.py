"""What single parts of a call take by themselves, and a start, each measured by its own program here, before all servers.

Bars stand beside the figures and judge nothing. The ledger on a store is its own part and its two writes there,
when many calls share the way: one write opens a slot, one ends it.
"""

import asyncio
from collections.abc import Iterator

from msgspec import Struct

from tests.bench import ledger_cpu, plans, sqlite_cpu, startup, tables

LEDGER_ROUNDS, SQLITE_ROUNDS, TABLES_ROUNDS = 80, 4, 1
"""Rounds of each for one of the servers': they take milliseconds to tenths of a second."""

BAR_SQLITE_US, BAR_TABLES_US = 45.0, 150.0
BAR_LISTENING_S, BAR_HELP_S = 0.6, 0.2


class Parts(Struct, frozen=True):
    """The parts, in µs of CPU, those of a plan by the number of endpoints; and a start, in seconds."""

    ledger: ledger_cpu.Part
    plans_us: dict[int, float]
    sqlite: sqlite_cpu.Report
    tables: list[tables.Cost]
    startup: startup.Startup

    @property
    def on_sqlite_us(self) -> float:
        """Return what the ledger takes of a call with its writes in the embedded store, with many calls at once."""
        return self.ledger.whole_us + self.sqlite.busy.best.cpu_us

    @property
    def on_tables_us(self) -> float:
        """Return the same with its writes sent to DynamoDB."""
        busy = max(cost.in_flight for cost in self.tables)
        writes = {cost.operation: cost.signed_us for cost in self.tables if cost.in_flight == busy}
        return self.ledger.whole_us + writes["put_new"] + writes["update"]


async def measure(rounds: int) -> Parts:
    """Measure them all, for as many rounds as the servers are to have. Raises StartError."""
    planned = {
        count: plans.measure(plans.CALLS["plain"], plans.crowd(count, measured=True, tiered=False))[0]
        for count in plans.BARS_US
    }
    return Parts(
        ledger=await ledger_cpu.measure(rounds * LEDGER_ROUNDS),
        plans_us=planned,
        sqlite=await sqlite_cpu.measure(rounds * SQLITE_ROUNDS),
        tables=await tables.measure(rounds * TABLES_ROUNDS),
        startup=await asyncio.to_thread(startup.measure, rounds),
    )


def told(parts: Parts) -> Iterator[str]:
    """Write a line for each."""
    yield f"ledger     {ledger_cpu.told(parts.ledger)}, the store's part left out"
    yield f"           {parts.on_sqlite_us:.1f} µs with its two writes on sqlite (bar {BAR_SQLITE_US:g} µs)"
    yield f"           {parts.on_tables_us:.1f} µs with its two writes on a stub of DynamoDB (bar {BAR_TABLES_US:g} µs)"
    for pair in (parts.sqlite.busy, parts.sqlite.quiet):
        yield f"sqlite     {sqlite_cpu.told(pair)}"
    for cost in parts.tables:
        figures = f"{cost.signed_us:.1f} µs of CPU, {cost.boto3_us:.1f} µs by boto3"
        yield f"tables     {cost.operation}, {cost.in_flight} in flight: {figures}"
    for count, us in parts.plans_us.items():
        yield f"plan       {us:.1f} µs over {count} measured endpoints (bar {plans.BARS_US[count]} µs)"
    found = parts.startup
    listening = f"{found.listening_s:.2f} s (bar {BAR_LISTENING_S:g} s), {found.listening_cpu_s:.2f} s of CPU"
    yield f"start      junctor serve listens after {listening}"
    yield f"           junctor --help takes {found.help_s:.2f} s (bar {BAR_HELP_S:g} s), {found.help_cpu_s:.2f} s of CPU"
    yield f"           beside them python -c pass {found.python_s:.2f} s, import grpc {found.grpc_s:.2f} s, best of the rounds"
