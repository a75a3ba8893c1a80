"""Measures what Junctor adds to a call, beside a bare echo and a bare proxy in the same run (`poe bench`).

It judges nothing: figures of a busy machine are no pass or fail. `--profile` tells where a server's time goes instead.
"""

import argparse
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from junctor.bootstrap import native
from tests.bench import ledger_cpu, plans, table
from tests.bench.callers import CallError
from tests.bench.machine import Machine, describe
from tests.bench.measure import COMPARED, LOADS, Plan, Sample, drive, measure, subjects, warm_up
from tests.bench.process import ChildError
from tests.bench.report import Report, percentile_us, summarize

INTERRUPTED = 130
PART_ROUNDS = 80
"""Rounds of a part for each of the servers': they take milliseconds."""


class _Seen(Struct, frozen=True):
    """A sample as it is kept."""

    load: str
    server: str
    round: int
    calls: int
    cpu_s: float
    p50_us: float
    p99_us: float


class _Parts(Struct, frozen=True):
    """What single parts of a call take by themselves, without store and network: µs of CPU, those of a plan by endpoints."""

    ledger: ledger_cpu.Part
    plans_us: dict[int, float]


class _Kept(Struct, frozen=True):
    """What `--json` writes."""

    machine: Machine
    plan: Plan
    parts: _Parts
    report: Report
    samples: list[_Seen]


async def _bench(plan: Plan) -> _Kept:
    machine = await describe()
    parts = await _parts(plan.rounds)
    samples = await measure(plan, lambda progress: print(progress, file=sys.stderr))
    report = summarize(samples, plan.loads)
    print(table.described(machine, plan), table.written(report), sep="\n\n")
    print(f"\nledger     {ledger_cpu.told(parts.ledger)}, the store's part left out")
    print(*(f"plan       {us:.1f} µs over {count} measured endpoints" for count, us in parts.plans_us.items()), sep="\n")
    return _Kept(machine, plan, parts, report, [_seen(sample) for sample in samples])


async def _parts(rounds: int) -> _Parts:
    """Measure the ledger's part and the plan's, before anything else runs."""
    planned = {
        count: plans.measure(plans.CALLS["plain"], plans.crowd(count, measured=True, tiered=False))[0]
        for count in plans.BARS_US
    }
    return _Parts(await ledger_cpu.measure(rounds * PART_ROUNDS), planned)


async def _profile(name: str, plan: Plan) -> None:
    """Profile the loop thread of a server under each load; a store's own threads are not seen."""
    async with subjects((name,)) as (_, subject):
        assert subject.child is not None
        await warm_up(subject, plan)
        for load in plan.loads:
            await subject.child.profile()
            calls = len(await drive(subject.caller, load, plan.seconds, plan.calls_max))
            functions = await subject.child.profiled()
            print(
                f"{name} under {load.name}, {calls} calls, for each call:",
                table.profile(functions, calls),
                sep="\n",
                end="\n\n",
            )


def _seen(sample: Sample) -> _Seen:
    latencies_s = sample.latencies_s
    p50_us, p99_us = percentile_us(latencies_s, 50), percentile_us(latencies_s, 99)
    return _Seen(sample.load, sample.server, sample.round, len(latencies_s), sample.cpu_s, p50_us, p99_us)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").partition("\n")[0])
    names = [load.name for load in LOADS]
    parser.add_argument("--rounds", type=_count, default=5, help="how often each server meets each load (default 5)")
    parser.add_argument("--seconds", type=float, default=0.7, help="how long each time, at most (default 0.7)")
    parser.add_argument("--requests", type=_count, default=100_000, help="calls each time, at most")
    parser.add_argument("--loads", nargs="+", choices=names, default=names, metavar="LOAD", help=f"of {', '.join(names)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file too")
    parser.add_argument("--profile", choices=COMPARED, help="profile one server under the loads instead")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(arguments)
    loads = tuple(load for load in LOADS if load.name in options.loads)
    plan = Plan(options.rounds, options.seconds, options.requests, loads)
    try:
        if options.profile:
            native.run(_profile(options.profile, plan))
            return 0
        kept = native.run(_bench(plan))
    except (CallError, ChildError) as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
