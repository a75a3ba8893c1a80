"""Seeds that were played, kept as lines of JSON: many can be played in pieces, side by side, and told as one.

A line is one seed of one world, with a digest of the code that played it. What the code as it is now has played is not played
again; figures of seeds that different code played are refused, as their worst would be nobody's.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from math import inf
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from tests.simulation_routing import traces
from tests.simulation_routing.bars import World
from tests.simulation_routing.play import Result
from tests.simulation_routing.traces import Fleet, Scenario

_ROOT: Final = Path(__file__).parents[2]
_PLAYED: Final = ("src/junctor/policy", "src/junctor/usecases", "src/junctor/records", "tests/simulation_routing")
_NEVER: Final = "never"
"""Stands for a time that never came, as JSON has no infinity."""


class MixedError(Exception):
    """Seeds were played by different code. Its text is for people."""


class Kept(Struct, frozen=True, forbid_unknown_fields=True):
    """One seed: of which scenario, fleet and length in virtual seconds, played by which code, and what came of it."""

    scenario: str
    instances: int
    seconds: float
    code: str
    result: dict[str, Any]

    @classmethod
    def of(cls, scenario: Scenario, fleet: Fleet, seconds: float, result: Result) -> "Kept":
        """Return a result as it is kept."""
        fields = {name: _NEVER if value == inf else value for name, value in msgspec.structs.asdict(result).items()}
        return cls(scenario.name, fleet.instances, seconds, code(), fields)

    def told(self) -> Result:
        """Return the result. Raises msgspec.ValidationError."""
        return msgspec.convert({name: inf if value == _NEVER else value for name, value in self.result.items()}, Result)


@cache
def code() -> str:
    """Return a digest of all code and traces that a seed is played by."""
    digest = hashlib.blake2b(digest_size=8)
    for folder in _PLAYED:
        for path in sorted((_ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".json"}:
                digest.update(f"{path.relative_to(_ROOT)}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def read(paths: Iterable[Path]) -> list[Kept]:
    """Read the seeds in files; one that is not there has none. Raises OSError, msgspec.DecodeError."""
    lines = (line for path in paths if path.exists() for line in path.read_bytes().splitlines())
    return [msgspec.json.decode(line, type=Kept) for line in lines]


def write(path: Path, kept: Kept) -> None:
    """Add one seed to a file. Raises OSError."""
    with path.open("ab") as file:
        file.write(msgspec.json.encode(kept) + b"\n")


def found(all_: Iterable[Kept], scenario: Scenario, fleet: Fleet, seconds: float) -> dict[int, Result]:
    """Return what code as it is now has played of one world, by seed."""
    wanted = (scenario.name, fleet.instances, seconds, code())
    results = [kept.told() for kept in all_ if (kept.scenario, kept.instances, kept.seconds, kept.code) == wanted]
    return {result.seed: result for result in results}


def worlds(all_: Sequence[Kept]) -> Iterator[World]:
    """Return the worlds of which seeds were kept, each seed once. Raises MixedError."""
    if len(codes := {kept.code for kept in all_}) > 1:
        raise MixedError(f"These seeds were played by {len(codes)} versions of the code: {', '.join(sorted(codes))}.")
    for scenario in traces.scenarios().values():
        for fleet in scenario.fleets:
            mine = [kept for kept in all_ if (kept.scenario, kept.instances) == (scenario.name, fleet.instances)]
            for seconds in sorted({kept.seconds for kept in mine}):
                results = {result.seed: result for kept in mine if kept.seconds == seconds for result in (kept.told(),)}
                yield World(scenario, fleet, tuple(results[seed] for seed in sorted(results)))
