"""`poe simulate-ledger`: play any number of seeds over the ledger's own code, and print what they came to."""

import argparse
import sys
import time

from tests.simulation.table import Total, play_all

MATRIX_FROM = 200
"""Seeds from which on every cell of the matrix must have been hit."""


def main() -> int:
    """Play the seeds that the command line names, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes to play them in (default 1)")
    chosen = parser.parse_args()
    began = time.perf_counter()
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


if __name__ == "__main__":
    sys.exit(main())
