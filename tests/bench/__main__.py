"""Measures what Junctor adds to a call, beside a bare echo and a bare proxy in the same run (`poe bench`).

It judges nothing: figures of a busy machine are no pass or fail. `--peers` has other gateways take part, installed on first
use; `--write` keeps the figures and a picture in infra/; `--profile` tells where a server's time goes instead.
"""

import argparse
import sys
import time
from pathlib import Path

from junctor.adapters.system.ambient import SystemClock
from junctor.bootstrap import native
from tests.bench import cancelled, kept, parts, table
from tests.bench.callers import CallError
from tests.bench.child import Function
from tests.bench.kept import Cancelled, Kept
from tests.bench.machine import describe
from tests.bench.measure import (
    JUNCTOR,
    LOADS,
    OURS,
    Load,
    Plan,
    Subject,
    drive,
    measure,
    subjects,
    warm_up,
)
from tests.bench.outside.places import MissingError
from tests.bench.process import Child, ChildError, running
from tests.bench.report import summarize
from tests.bench.sampling import sampled
from tests.bench.startup import StartError

INTERRUPTED = 130
QUICK_ROUNDS, QUICK_S, QUICK_CANCELLED = 2, 0.3, 50


async def _bench(plan: Plan, command: str, timed: int, streams: int, *, with_parts: bool) -> Kept:
    machine = await describe()
    measured_parts = None
    if with_parts:
        _progress("parts of a call")
        measured_parts = await parts.measure(plan.rounds)
    _progress("cancelled streams")
    ended = await _cancel(timed, streams)
    found = await measure(plan, _progress)
    report = summarize(found, plan.loads)
    date = time.strftime("%Y-%m-%d", time.gmtime(SystemClock().now_ms() / 1000))
    print(f"{command}, {date}", table.described(machine, plan, found), table.written(report), sep="\n\n", end="\n\n")
    if measured_parts is not None:
        print(*parts.told(measured_parts), sep="\n")
    print(f"cancelled  {cancelled.told_closing(ended.closing)}")
    if ended.growth is not None:
        print(f"cancelled  {cancelled.told_growth(ended.growth)}")
    samples = [kept.seen(sample) for sample in found.samples]
    return Kept(date, command, machine, found.peers, report, found.missing, plan, measured_parts, ended, samples)


async def _cancel(timed: int, streams: int) -> Cancelled:
    """Cancel streams at a Junctor of their own."""
    async with running("provider") as provider:
        await provider.started()
        async with running(JUNCTOR, f"http://127.0.0.1:{provider.address.port}/v1") as router:
            await router.started()
            closing = await cancelled.closing(router, provider, timed)
            growth = await cancelled.growth(router, provider, streams, told=_progress) if streams else None
    return Cancelled(closing, growth)


async def _profile(name: str, plan: Plan) -> None:
    """Profile a server under each load: by py-spy, or from within where that is not to be had."""
    async with subjects((name,)) as (_, subject):
        assert isinstance(subject.server, Child)
        await warm_up(subject, plan)
        for load in plan.loads:
            try:
                calls, functions = await _sampled(subject, subject.server, load, plan)
                by = "by py-spy, while they hold the interpreter, all threads"
            except MissingError as problem:
                _progress(f"{problem}: profiled from within, the loop's thread alone")
                calls, functions = await _from_within(subject, subject.server, load, plan)
                by = "by cProfile, which slows it down, the loop's thread alone"
            print(f"{name} under {load.name}, {calls} calls, {by}, for each call:", end="\n")
            print(table.profile(functions, calls), end="\n\n")


async def _sampled(subject: Subject, child: Child, load: Load, plan: Plan) -> tuple[int, list[Function]]:
    async with sampled(child.pid) as functions:
        calls = len(await drive(subject.caller, load, plan.seconds, plan.calls_max))
    return calls, functions


async def _from_within(subject: Subject, child: Child, load: Load, plan: Plan) -> tuple[int, list[Function]]:
    await child.profile()
    calls = len(await drive(subject.caller, load, plan.seconds, plan.calls_max))
    return calls, await child.profiled()


def _progress(text: str) -> None:
    print(text, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").partition("\n")[0])
    names = [load.name for load in LOADS]
    parser.add_argument("--rounds", type=_count, default=4, help="how often each server meets each load (default 4)")
    parser.add_argument("--seconds", type=float, default=1.5, help="how long each time, at most (default 1.5)")
    parser.add_argument("--requests", type=_count, default=100_000, help="calls each time, at most")
    parser.add_argument("--loads", nargs="+", choices=names, default=names, metavar="LOAD", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds of {QUICK_S:g} s")
    parser.add_argument("--peers", action="store_true", help="have LiteLLM's proxy and Portkey's gateway take part")
    parser.add_argument("--no-parts", action="store_true", help="leave out single parts of a call, and starts")
    parser.add_argument("--timed", type=_count, default=cancelled.TIMED, help="cancelled streams whose closing is timed")
    parser.add_argument("--streams", type=int, default=0, help="cancel so many more, and see how memory grows (default none)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file too")
    parser.add_argument("--write", action="store_true", help="put the figures and a picture into infra/")
    parser.add_argument("--profile", choices=OURS, help="profile one server under the loads instead")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _plan(options: argparse.Namespace) -> Plan:
    loads = tuple(load for load in LOADS if load.name in options.loads)
    rounds, seconds = (QUICK_ROUNDS, QUICK_S) if options.quick else (options.rounds, options.seconds)
    return Plan(rounds, seconds, options.requests, loads, options.peers)


def _command(options: argparse.Namespace, plan: Plan) -> str:
    """Write what was run, without anything of this machine."""
    flags = [f" --{name}" for name in ("peers", "no-parts") if vars(options)[name.replace("-", "_")]]
    streams = f" --streams {options.streams}" if options.streams else ""
    return f"poe bench --rounds {plan.rounds} --seconds {plan.seconds:g}{''.join(flags)}{streams}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(arguments)
    plan = _plan(options)
    timed = QUICK_CANCELLED if options.quick else options.timed
    try:
        if options.profile:
            native.run(_profile(options.profile, plan))
            return 0
        command = _command(options, plan)
        run = native.run(_bench(plan, command, timed, options.streams, with_parts=not options.no_parts))
    except (CallError, ChildError, StartError) as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    if options.json is not None:
        options.json.write_bytes(kept.written(run))
    if options.write:
        kept.FIGURES.write_bytes(kept.written(run))
        kept.PICTURE.write_text(kept.picture(run), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
