"""The figures of all seeds for people and, as JSON, for other programs: the median seed and the worst one."""

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Final

from tests.simulation_routing.bars import Judged, World
from tests.simulation_routing.play import Result

Measure = Callable[[Result], float | None]

MEASURES: Final[tuple[tuple[str, str, Measure], ...]] = (
    ("requests lost", ".4%", lambda r: r.lost / r.requests),
    ("requests expected to be lost", ".4%", lambda r: r.expected_loss),
    ("attempts a request", ".3f", lambda r: r.attempts),
    ("attempts a request while it lasts", ".3f", lambda r: r.struck_attempts),
    ("its share of first tries before", ".1%", lambda r: r.share_before),
    ("seconds to eject", ".1f", lambda r: r.ejected_s),
    ("its share after ejection", ".2%", lambda r: r.share_after),
    ("seconds to full weight", ".1f", lambda r: r.back_s),
    ("cost above perfect knowledge", ".2%", lambda r: r.costs_more),
    (":floor above the cheapest", ".2%", lambda r: r.known_floor_costs_more),
    (":floor, while one comes back too", ".2%", lambda r: r.floor_costs_more),
    ("first token, median, s", ".2f", lambda r: r.first_token_p50_s),
    ("first token, p99, s", ".2f", lambda r: r.first_token_p99_s),
    ("health writes a second", ".1f", lambda r: r.writes_per_s),
    ("health reads a second", ".1f", lambda r: r.reads_per_s),
    ("sound endpoints ejected", ".0f", lambda r: r.false_ejections),
    ("instances that felt sick", ".0f", lambda r: r.sick),
)
"""What is told of each world, with its form. Small is good of all but the share before."""


def lines(world: World) -> Iterator[str]:
    """Write one world's figures."""
    yield f"\n{world.name} instances: {len(world.results)} seeds, {world.requests:,} requests"
    yield f"  {'':<36}{'median':>10}{'worst':>10}"
    for name, form, measure in MEASURES:
        found = world.found(measure)
        if found:
            yield f"  {name:<36}{_form(_median(found), form):>10}{_form(found[-1], form):>10}"


def verdicts(judged: Sequence[Judged]) -> Iterator[str]:
    """Write which bars hold."""
    yield "\nThe bars, each on the worst seed:"
    for one in judged:
        yield f"  {'holds' if one.holds else 'FAILS':<6} {one.bar:<30} {one.world:<18} {one.found} (at most {one.most})"


def data(worlds: Sequence[World], judged: Sequence[Judged]) -> dict[str, object]:
    """Return all figures as plain data; what never came is null."""
    return {
        "command": "poe simulate --write",
        "worlds": {
            world.name: {
                "seeds": len(world.results),
                "requests": world.requests,
                "measures": {
                    name: {"median": _finite(_median(found)), "worst": _finite(found[-1])}
                    for name, _, measure in MEASURES
                    if (found := world.found(measure))
                },
            }
            for world in worlds
        },
        "bars": judged,
    }


def _median(found: Sequence[float]) -> float:
    return found[len(found) // 2]


def _form(value: float, form: str) -> str:
    return "never" if value == inf else format(value, form)


def _finite(value: float) -> float | None:
    return None if value == inf else round(value, 6)
