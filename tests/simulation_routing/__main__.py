"""`poe simulate`: play routing's real code against simulated providers in virtual time, and say which bars hold.

Each scenario of traces/faults.json is played for each of its fleets and each seed; `--requests` plays the steady scenario for
so many requests in one run. The exit status is 1 if a bar fails. With `--keep` a run that was ended goes on where it was, and
runs of other seeds may go on beside it, each with a file of its own; `--report` tells of all of them as of one.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from tests.simulation_routing import bars, kept, plot, report, traces
from tests.simulation_routing.bars import World
from tests.simulation_routing.kept import Kept, MixedError
from tests.simulation_routing.play import play
from tests.simulation_routing.traces import Fleet, Scenario

INFRA: Final = Path(__file__).parents[2] / "infra"
PICTURE: Final = INFRA / "routing-simulation.svg"
FIGURES: Final = INFRA / "routing-simulation.json"
LONG: Final = "steady"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line names, and return the exit status."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    began = time.perf_counter()
    worlds: list[World] = []
    try:
        for world in kept.worlds(kept.read(chosen.report)) if chosen.report else _played(chosen):
            worlds.append(world)
            print("\n".join(report.lines(world)), flush=True)
    except MixedError as error:
        parser.error(str(error))
    judged = bars.judge(worlds)
    print("\n".join(report.verdicts(judged)))
    requests = sum(world.requests for world in worlds)
    print(f"\n{requests:,} requests in {time.perf_counter() - began:.0f} s")
    if chosen.write:
        PICTURE.write_text(plot.draw(worlds), "utf-8")
        FIGURES.write_bytes(msgspec.json.format(msgspec.json.encode(report.data(worlds, judged)), indent=1) + b"\n")
    return 0 if all(one.holds for one in judged) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation_routing", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many of each scenario (default 100)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default 0)")
    parser.add_argument("--scenario", action="append", choices=tuple(traces.scenarios()), help="only this one; may be repeated")
    parser.add_argument("--instances", type=int, help="only fleets of so many instances")
    parser.add_argument("--requests", type=int, help=f"play {LONG!r} alone, each seed for so many requests")
    parser.add_argument("--jobs", type=int, default=2, help="processes to play them in (default 2)")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="add each seed to this file, and play none that it has")
    parser.add_argument("--report", type=Path, nargs="+", metavar="FILE", help="play nothing, and tell of the seeds kept there")
    parser.add_argument("--write", action="store_true", help="put the picture and the figures into infra/")
    return parser


def _played(chosen: argparse.Namespace) -> Iterator[World]:
    before = kept.read([chosen.keep]) if chosen.keep else []
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for scenario, fleet, seconds in _works(chosen):
            known = kept.found(before, scenario, fleet, seconds)
            left = [seed for seed in range(chosen.first, chosen.first + chosen.seeds) if seed not in known]
            for result in pool.map(partial(play, scenario, fleet, seconds=seconds), left):
                known[result.seed] = result
                if chosen.keep:
                    kept.write(chosen.keep, Kept.of(scenario, fleet, seconds, result))
            yield World(scenario, fleet, tuple(known[seed] for seed in sorted(known)))


def _works(chosen: argparse.Namespace) -> Iterator[tuple[Scenario, Fleet, float]]:
    known = traces.scenarios()
    if chosen.requests is not None:
        scenario = known[LONG]
        for fleet in scenario.fleets:
            yield scenario, fleet, chosen.requests / (fleet.instances * fleet.rates[0][1])
        return
    for name in chosen.scenario or known:
        for fleet in known[name].fleets:
            if chosen.instances in (None, fleet.instances):
                yield known[name], fleet, known[name].seconds


if __name__ == "__main__":
    sys.exit(main())
