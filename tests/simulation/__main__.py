"""`poe simulate-ledger`: play any number of seeds over the ledger's own code, and print what they came to.

`lost` carries out operations while one reply in ten is lost; `load` puts one account under load.
"""

import argparse
import sys
import time

from tests.simulation.load import load
from tests.simulation.lost import lose
from tests.simulation.table import Total, play_all

MATRIX_FROM = 200
"""Seeds from which on every cell of the matrix must have been hit."""

AT_FIRST_MIN = 0.95
SHOWN = 5


def main() -> int:
    """Do what the command line names, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes to play them in (default 1)")
    parser.set_defaults(run=_seeds)
    others = parser.add_subparsers()
    lost = others.add_parser("lost", help="lose one reply in ten")
    lost.add_argument("--operations", type=int, default=100_000, help="how many (default 100,000)")
    lost.set_defaults(run=_lost)
    loaded = others.add_parser("load", help="put one account under load")
    loaded.add_argument("--rate", type=float, default=1_000.0, help="calls a second (default 1,000)")
    loaded.add_argument("--instances", type=int, default=10, help="which answer them (default 10)")
    loaded.add_argument("--purses", type=int, default=4, help="that the account's money lies in (default 4)")
    loaded.add_argument("--seconds", type=float, default=60.0, help="for how long, in virtual time (default 60)")
    loaded.set_defaults(run=_load)
    chosen = parser.parse_args()
    began = time.perf_counter()
    status: int = chosen.run(chosen, began)
    return status


def _seeds(chosen: argparse.Namespace, began: float) -> int:
    total = Total()
    for result in play_all(range(chosen.first, chosen.first + chosen.seeds), chosen.jobs):
        total.add(result)
    print("\n".join(total.lines()))
    took_s = time.perf_counter() - began
    print(f"\n{total.seeds / took_s:.1f} seeds a second")
    missed = total.missed if total.seeds >= MATRIX_FROM else []
    if missed:
        print(f"never met: {', '.join(missed)}")
    if total.idle:
        print(f"too little happened in seeds {total.idle}")
    return 1 if total.failed or missed or total.idle else 0


def _lost(chosen: argparse.Namespace, began: float) -> int:
    losses = lose(chosen.operations)
    print(f"{losses.operations:,} operations, {losses.lost:,} replies lost, in {time.perf_counter() - began:.1f} s")
    print(f"{len(losses.failures):,} false failures, {len(losses.breaches):,} wrong sums")
    print("\n".join((*losses.failures[:SHOWN], *losses.breaches[:SHOWN])))
    return 1 if losses.failures or losses.breaches else 0


def _load(chosen: argparse.Namespace, began: float) -> int:
    loaded = load(rate=chosen.rate, instances=chosen.instances, purses=chosen.purses, seconds=chosen.seconds)
    print(f"{loaded.calls:,} calls in {time.perf_counter() - began:.1f} s, {loaded.refused:,} times no lease was to be had")
    print(f"{loaded.transactions:,} transactions on the account, {loaded.share:.1%} succeeded at the first try")
    print("\n".join(loaded.breaches[:SHOWN]))
    return 1 if loaded.breaches or loaded.refused or loaded.share < AT_FIRST_MIN else 0


if __name__ == "__main__":
    sys.exit(main())
