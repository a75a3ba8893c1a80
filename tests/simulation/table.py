"""What many seeds came to: one table for people, the matrix of operation and fault, and whether it all holds."""

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.simulation.run import FAULTS_MIN, OPERATIONS_MIN, OWNERS_MIN, Result, play
from tests.simulation.store import FAULTS

OPERATIONS = (
    "acquire",
    "grow",
    "renew",
    "open",
    "open named",
    "put void",
    "settle",
    "void",
    "close",
    "close own",
    "reclaim",
    "pay",
    "refund",
    "chargeback",
    "move",
    "collect",
    "expire",
    "sweep",
    "tend",
    "make limit",
    "set limit",
    "open window",
)
"""Every operation that writes."""


class Total:
    """What all seeds came to."""

    def __init__(self) -> None:
        self.seeds = 0
        self.sums: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.matrix: Counter[tuple[str, str]] = Counter()
        self.failed: list[Result] = []
        self.idle: list[int] = []

    def add(self, result: Result) -> None:
        """Count one seed."""
        self.seeds += 1
        for name in ("operations", "owners", "faults", "kills", "leases"):
            self.sums[name] += getattr(result, name)
        self.counts.update(result.counts)
        self.matrix.update(result.matrix)
        if result.violations:
            self.failed.append(result)
        busy = result.operations >= OPERATIONS_MIN and result.faults >= FAULTS_MIN
        if not busy or result.owners < OWNERS_MIN or not result.kills:
            self.idle.append(result.seed)

    @property
    def missed(self) -> list[str]:
        """Return the cells of the matrix that no seed hit."""
        return [
            f"{operation} x {fault.name}"
            for operation in OPERATIONS
            for fault in FAULTS
            if not self.matrix[operation, fault.name]
        ]

    def lines(self) -> Iterator[str]:
        """Write the table, the matrix and the first failures."""
        for name, number in (
            ("seeds", self.seeds),
            *self.sums.items(),
            ("generations settled", self.counts["settled"]),
            ("money moved, nano-USD", self.counts["money"]),
            ("found closed by others", self.counts["revenue lost"]),
            ("calls without money", self.counts["calls refused, money"]),
            ("seeds with violations", len(self.failed)),
        ):
            yield f"{name:<24}{number:>12,}"
        yield ""
        yield f"{'writes that met':<14}" + "".join(f"{fault.name:>12}" for fault in FAULTS)
        for operation in OPERATIONS:
            yield f"{operation:<15}" + "".join(f"{self.matrix[operation, fault.name]:>12,}" for fault in FAULTS)
        for result in self.failed[:3]:
            yield ""
            yield result.report()


def play_all(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    """Play seeds in so many processes, and yield what came of each, in order."""
    if jobs == 1:
        yield from map(play, seeds)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(play, seeds, chunksize=10)
