"""What the issue asks of routing, as bars that hold or do not: each on the worst seed.

How many requests are lost is a matter of chance for one seed, as one in ten thousand is rare: so there are two bars for it. The
expected loss (Result.expected_loss) must be small enough in every seed, and what was really lost in all seeds together.
"""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from tests.simulation_routing.play import Result
from tests.simulation_routing.traces import Fleet, Scenario

LOST_MOST: Final = 1e-4
FLEET_OF_THE_BAR: Final = 40


class World(Struct, frozen=True):
    """All seeds of one scenario with one fleet."""

    scenario: Scenario
    fleet: Fleet
    results: tuple[Result, ...]

    @property
    def name(self) -> str:
        """How it is called in reports."""
        return f"{self.scenario.name} x {self.fleet.instances:,}"

    @property
    def requests(self) -> int:
        """The requests of all seeds."""
        return sum(result.requests for result in self.results)

    def found(self, measure: Callable[[Result], float | None]) -> list[float]:
        """Return a measure of all seeds, the best first, where small is good."""
        return sorted(value for result in self.results if (value := measure(result)) is not None)


class Bar(Struct, frozen=True):
    """A bound of a measure that is to be at most `most`, in the worlds that it is `for_`. `form` writes it."""

    name: str
    measure: Callable[[Result], float | None]
    most: float
    form: str
    for_: Callable[[World], bool]


class Judged(Struct, frozen=True):
    """A bar in one world: the worst that was found, and whether it holds."""

    bar: str
    world: str
    found: str
    most: str
    holds: bool


def _dead_in_a_fleet(world: World) -> bool:
    """Judge whether it is what the issue's bars are for: one dead endpoint, seen by many instances."""
    return world.scenario.name == "dead" and (world.fleet.busy or world.fleet.thin)


def _priced(world: World) -> bool:
    return world.scenario.name == "steady" or _dead_in_a_fleet(world)


BARS: Final = (
    Bar("requests expected to be lost", lambda r: r.expected_loss, LOST_MOST, ".4%", _dead_in_a_fleet),
    Bar("seconds to eject", lambda r: r.ejected_s, 1.0, ".1f", lambda w: _dead_in_a_fleet(w) and w.fleet.busy),
    Bar("seconds to eject", lambda r: r.ejected_s, 6.0, ".1f", lambda w: _dead_in_a_fleet(w) and w.fleet.thin),
    Bar("seconds to full weight", lambda r: r.back_s, 60.0, ".1f", _dead_in_a_fleet),
    Bar("sound endpoints ejected", lambda r: r.false_ejections, 0, "d", lambda w: w.scenario.name == "steady"),
    Bar("attempts a request, all dead", lambda r: r.struck_attempts, 1.3, ".2f", lambda w: w.scenario.name == "all dead"),
    Bar("cost above perfect knowledge", lambda r: r.costs_more, 0.05, ".1%", _priced),
    Bar(":floor above the cheapest", lambda r: r.known_floor_costs_more, 0.01, ".1%", _priced),
    Bar("health writes a second", lambda r: r.writes_per_s, 20.0, ".1f", lambda w: w.fleet.instances == FLEET_OF_THE_BAR),
    Bar("incidents", lambda r: r.incidents, 0, "d", lambda _: True),
)


def judge(worlds: Sequence[World]) -> list[Judged]:
    """Hold each bar against the worst seed of each world that it is for."""
    judged: list[Judged] = []
    for bar in BARS:
        for world in worlds:
            if bar.for_(world):
                worst = world.found(bar.measure)[-1]
                found, most = format(worst, bar.form), format(bar.most, bar.form)
                judged.append(Judged(bar.name, world.name, found, most, worst <= bar.most))
    for world in worlds:
        if _dead_in_a_fleet(world):
            lost = sum(result.lost for result in world.results)
            found = f"{lost / world.requests:.4%} ({lost:,} of {world.requests:,})"
            judged.append(
                Judged(
                    "requests lost, all seeds", world.name, found, format(LOST_MOST, ".4%"), lost <= LOST_MOST * world.requests
                )
            )
    return judged
