"""A run as it is kept: all figures as JSON, and a picture of them, which is drawn from nothing else."""

from pathlib import Path

import msgspec
from msgspec import Struct

from tests.bench import plot
from tests.bench.cancelled import Closing, Growth
from tests.bench.machine import Machine
from tests.bench.measure import Plan, Sample, Versioned
from tests.bench.parts import Parts
from tests.bench.report import Report, percentile_us

_INFRA = Path(__file__).parents[2] / "infra"
FIGURES, PICTURE = _INFRA / "bench.json", _INFRA / "bench.svg"
_NOTE = (
    "junctor: gRPC, key check, routing over 8 endpoints, exact money, a durable record of each call. "
    "litellm, portkey: HTTP, no money, no record."
)


class Seen(Struct, frozen=True):
    """A sample, with two percentiles for all of its latencies."""

    load: str
    server: str
    round: int
    calls: int
    elapsed_s: float
    cpu_s: float
    p50_us: float
    p99_us: float


class Cancelled(Struct, frozen=True):
    """What became of cancelled streams; how memory grows only if it was asked for."""

    closing: Closing
    growth: Growth | None


class Drawn(Struct, frozen=True):
    """As much of a run as its picture needs: when, by which command, on what, with which peers, and what was found."""

    date: str
    command: str
    machine: Machine
    peers: list[Versioned]
    report: Report


class Kept(Drawn, frozen=True):
    """All of a run; `missing` says which peers were not there, and why."""

    missing: list[str]
    plan: Plan
    parts: Parts | None
    cancelled: Cancelled
    samples: list[Seen]


def seen(sample: Sample) -> Seen:
    """Sum a sample up."""
    latencies_s = sample.latencies_s
    p50_us, p99_us = percentile_us(latencies_s, 50), percentile_us(latencies_s, 99)
    calls = len(latencies_s)
    return Seen(sample.load, sample.server, sample.round, calls, sample.elapsed_s, sample.cpu_s, p50_us, p99_us)


def written(run: Kept) -> bytes:
    """Return a run as it stands in a file."""
    return msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n"


def read(file: Path = FIGURES) -> Drawn:
    """Read as much of a run from a file as its picture needs."""
    return msgspec.json.decode(file.read_bytes(), type=Drawn)


def picture(run: Drawn) -> str:
    """Draw a run."""
    machine = f"{run.machine.cpu}, {run.machine.cores} cores, Python {run.machine.python}"
    versions = ", ".join(f"{peer.server} {peer.version}" for peer in run.peers)
    return plot.draw(
        run.report, [f"{run.command}: {run.date}, {machine}", *([f"Peers: {versions}."] if versions else []), _NOTE]
    )
