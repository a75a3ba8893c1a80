"""The ledger's own code under seeded faults, deaths and races; `poe simulate-ledger` plays any number of seeds more."""

import os
import re
from pathlib import Path

import pytest

from tests.simulation import run
from tests.simulation.mutations import MUTATIONS, Mutation, mutated
from tests.simulation.run import Result, play
from tests.simulation.table import Total, play_all
from tests.support.virtual_loop import VirtualLoop

SEEDS = int(os.environ.get("TESTS_SUITE_SEEDS", "2000"))
"""So many that a mistake which shows itself once in a thousand seeds is found; `.ci/run` plays fewer on the other Pythons."""

PART = 500
"""Seeds that are played and judged together, by one worker (tests/conftest.py): so many that all faults are met."""

CAUGHT_WITHIN = 60
"""Seeds in which a mistake must show itself."""

INVARIANT = re.compile(r"I\d+ ")
"""What is wrong by the books, and not because the mistake is none that runs."""

DESIGN = Path(__file__).parents[3] / "shared" / "design" / "ledger.md"


def part(first: int) -> range:
    """Return the seeds of the part that begins with this one."""
    return range(first, min(first + PART, SEEDS))


@pytest.fixture(scope="module", params=[pytest.param(part(first), id=f"seeds{first}") for first in range(0, SEEDS, PART)])
def total(request: pytest.FixtureRequest) -> Total:
    """Play a part of the suite's seeds, once for all tests, and add up what came of them."""
    seeds: range = request.param
    added = Total()
    for result in play_all(seeds, 1):
        added.add(result)
    assert added.seeds == len(seeds)
    return added


def test_money_is_right_in_every_seed(total: Total) -> None:
    """Somebody would be charged twice, or not what he was told, or a balance go below zero."""
    assert not total.failed, "\n\n".join(result.report() for result in total.failed[:3])


def test_every_seed_is_hard_enough(total: Total) -> None:
    """The seeds would pass because nothing happens in them."""
    assert total.idle == []
    assert total.counts["settled"] > 10 * total.seeds
    assert total.counts["revenue lost"] > 0
    assert total.counts["calls refused, money"] > 0


def test_every_operation_meets_every_fault(total: Total) -> None:
    """An operation would be right only because the fault that breaks it never came."""
    assert total.missed == []


def test_a_seed_is_one_run() -> None:
    """A failure could not be looked at again."""

    def told(result: Result) -> tuple[object, ...]:
        return result.digest, result.counts, result.matrix, result.trace

    assert told(play(7)) == told(play(7)) != told(play(8))


def test_time_passes_as_in_any_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation would play in an order of events that no real loop has."""
    quick = play(3)
    monkeypatch.setattr(run, "TimersLoop", VirtualLoop)
    assert play(3) == quick


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mistake_is_caught(mutation: Mutation) -> None:
    """The simulation would find nothing wrong with a ledger that loses money."""
    if mutation.schedule is not None:
        assert mutation.schedule() == []
        with mutated(mutation):
            assert any(map(INVARIANT.match, mutation.schedule()))
        return
    with mutated(mutation):
        found = ((seed, play(seed).violations) for seed in range(CAUGHT_WITHIN))
        caught = next((seed for seed, violations in found if any(map(INVARIANT.match, violations))), None)
    assert caught is not None
    assert not play(caught).violations


@pytest.mark.skipif(not DESIGN.exists(), reason="the design lies beside the checkout, or not at all")
def test_every_mistake_of_the_design_is_made() -> None:
    """A mistake that the design names would be left out, and the simulation be blind to it."""
    listed = DESIGN.read_text().split("Mutations that a checker must catch:")[1].split(".")[0]
    assert {" ".join(name.split()) for name in listed.split(",")} <= {mutation.name for mutation in MUTATIONS}
