"""Play one seed of a scenario, and work out what it came to."""

import gc
from array import array
from math import inf
from typing import Final

from msgspec import Struct

from tests.simulation_routing.notes import BUCKETS_A_S, Notes
from tests.simulation_routing.traces import Fleet, Scenario
from tests.simulation_routing.world import World
from tests.support.virtual_loop import TimersLoop, run_virtual

EJECTED_SHARE: Final = 0.01
"""An endpoint counts as ejected once less than this part of the first tries goes there, over a second of the whole fleet."""
FULL_WEIGHT: Final = 0.95
"""It counts as back once its weight in all instances' eyes, over a second, is so much of what it was before the fault."""


class Result(Struct, frozen=True, kw_only=True):
    """What came of one seed. Times are seconds since the fault began or ended, inf if it never came, None where none is asked.

    `expected_loss` is the share of requests that were to be lost: by chance, as all of a plan's candidates fail together, or
    because no further one was tried. It is what `lost / requests` tends to, without the noise of rare events.
    `struck_attempts` is attempts a request while a fault lasts. `costs_more` is by how much drawn calls cost more than with
    perfect knowledge, `floor_costs_more` by how much `:floor` ones cost more than the cheapest endpoint that would have
    answered, and the `known` one leaves out the minute in which an endpoint comes back, as nobody can know it yet. The curve is
    the struck endpoints' share of first tries, by second.
    """

    seed: int
    requests: int
    lost: int
    lost_early: int
    expected_loss: float
    attempts: float
    struck_attempts: float | None
    share_before: float | None
    ejected_s: float | None
    share_after: float | None
    back_s: float | None
    costs_more: float
    floor_costs_more: float
    known_floor_costs_more: float
    writes_per_s: float
    reads_per_s: float
    first_token_p50_s: float
    first_token_p99_s: float
    false_ejections: int
    sick: int
    incidents: int
    curve: tuple[float, ...]


def play(scenario: Scenario, fleet: Fleet, seed: int, seconds: float | None = None) -> Result:
    """Play one seed, for the scenario's own time or for so many virtual seconds."""
    lasts_s = seconds or scenario.seconds

    async def main() -> World:
        world = World(scenario, fleet, seed, lasts_s)
        await world.play()
        return world

    # Hardly anything that a world makes is in a circle: looking for those would be a fifth of all work.
    gc.collect()
    gc.disable()
    try:
        world = run_virtual(main(), TimersLoop)
    finally:
        gc.enable()
    return _result(world, scenario, seed, lasts_s)


def _result(world: World, scenario: Scenario, seed: int, lasts_s: float) -> Result:
    notes = world.notes
    requests = int(sum(notes.requests))
    times = sorted(notes.first_token_s)
    begins = min((fault.from_s for fault in scenario.faults), default=None)
    ends = max((fault.until_s for fault in scenario.faults), default=None)
    first_ends = min((fault.until_s for fault in scenario.faults), default=None)
    ejected_s = share_before = share_after = back_s = struck_attempts = None
    if begins is not None and ends is not None and first_ends is not None:
        share_before = _ratio(notes.struck, notes.first, 0.0, begins)
        ejected_s = _ejected_s(notes, begins, first_ends)
        share_after = _ratio(notes.struck, notes.first, begins + ejected_s, first_ends) if ejected_s < inf else None
        struck_attempts = _ratio(notes.attempts, notes.requests, begins, first_ends)
        back_s = _back_s(notes, begins, ends, lasts_s) if scenario.back_watched else None
    return Result(
        seed=seed,
        requests=requests,
        lost=int(sum(notes.lost)),
        lost_early=notes.lost_early,
        expected_loss=(notes.lost_by_chance + notes.lost_early) / requests,
        attempts=sum(notes.attempts) / requests,
        struck_attempts=struck_attempts,
        share_before=share_before,
        ejected_s=ejected_s,
        share_after=share_after,
        back_s=back_s,
        costs_more=notes.drawn_nanousd / notes.perfect_nanousd - 1,
        floor_costs_more=notes.floor_nanousd / notes.cheapest_nanousd - 1,
        known_floor_costs_more=notes.known_floor_nanousd / notes.known_cheapest_nanousd - 1,
        writes_per_s=world.store.writes / lasts_s,
        reads_per_s=world.store.reads / lasts_s,
        first_token_p50_s=times[len(times) // 2],
        first_token_p99_s=times[len(times) * 99 // 100],
        false_ejections=len(notes.false_ejections),
        sick=len(notes.sick),
        incidents=world.incidents(),
        curve=tuple(_ratio(notes.struck, notes.first, second, second + 1) for second in range(int(lasts_s))),
    )


def _ejected_s(notes: Notes, begins: float, ends: float) -> float:
    for bucket in range(int(begins * BUCKETS_A_S), int(ends * BUCKETS_A_S) - BUCKETS_A_S + 1):
        since_s = bucket / BUCKETS_A_S
        if _ratio(notes.struck, notes.first, since_s, since_s + 1) < EJECTED_SHARE:
            return since_s - begins
    return inf


def _back_s(notes: Notes, begins: float, ends: float, lasts_s: float) -> float:
    wanted = FULL_WEIGHT * _ratio(notes.weight, notes.views, 0.0, begins)
    for bucket in range(int(ends * BUCKETS_A_S), int(lasts_s * BUCKETS_A_S) - BUCKETS_A_S + 1):
        since_s = bucket / BUCKETS_A_S
        if _ratio(notes.weight, notes.views, since_s, since_s + 1) >= wanted:
            return since_s - ends
    return inf


def _ratio(parts: "array[float]", wholes: "array[float]", since_s: float, until_s: float) -> float:
    """Return what part of the one is the other between two instants, 0 where there is nothing."""
    window = slice(int(since_s * BUCKETS_A_S), int(until_s * BUCKETS_A_S))
    whole = sum(wholes[window])
    return sum(parts[window]) / whole if whole else 0.0
