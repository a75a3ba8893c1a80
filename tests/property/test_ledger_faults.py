"""The ledger under every fault of the store, in virtual time: what it says of a generation is so, and nothing is left over.

Each seed is one schedule: calls come close together, hold, and end in one of the ways in which calls end, while the store
loses, delays, repeats and refuses. Then the weather clears, and the books are checked.
"""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from junctor.adapters.tables.faults import CALM, Fault, FaultPlan
from junctor.domain.call import Hold, Outcome
from junctor.domain.errors import LedgerUnavailableError
from junctor.domain.lease import SlotState
from junctor.ports.telemetry import Counter
from tests.support.virtual_loop import run_virtual
from tests.support.world import PLAN, VOID, World, call, expected, settled

SEEDS = 45
CALLS = 14
HARMLESS = {Fault.NONE, Fault.DUPLICATED}
CLEARING_S = 3_000.0

LATENCY = (0.0, 0.05)
PLANS = {
    fault.name: FaultPlan(chances=((fault, 0.35),), latency_s=LATENCY, delay_s=(0.01, 90.0))
    for fault in Fault
    if fault is not Fault.NONE
}
PLANS["EVERY"] = FaultPlan(
    chances=tuple((fault, 0.07) for fault in Fault if fault is not Fault.NONE), latency_s=LATENCY, delay_s=(0.01, 90.0)
)


@contextmanager
def told(note: str) -> Iterator[None]:
    """Add a note to whatever fails within."""
    try:
        yield
    except BaseException as error:
        error.add_note(note)
        raise


class Ended:
    """What a call was told, and what the books must say."""

    def __init__(self) -> None:
        self.hold: Hold | None = None
        self.outcome: Outcome | None = None
        self.refused = False


async def one_call(world: World, number: int, rng: random.Random) -> Ended:
    """Let one call live its life; check at each step that what the ledger says is in the store."""
    ended = Ended()
    await asyncio.sleep(rng.uniform(0, 2))
    holding = await world.ledger.begin(call(), PLAN)
    way = rng.choice(("settle", "settle", "settle", "settle_later", "abandon", "abandon_later", "gone_while_holding"))
    ended.outcome = VOID if way in {"abandon", "abandon_later", "gone_while_holding"} else settled(number)
    if way == "gone_while_holding":
        await asyncio.sleep(rng.uniform(0, 0.2))
        task = world.ledger.abandon_later(holding, VOID)
        with_hold = await asyncio.gather(holding.task, return_exceptions=True)
        ended.hold = with_hold[0] if isinstance(with_hold[0], Hold) else None
        ended.refused = ended.hold is None
        await task
        return ended
    try:
        ended.hold = await holding.ready()
    except LedgerUnavailableError:
        ended.refused = True
        assert holding.failed
        await world.ledger.abandon(holding, VOID)
        return ended
    opened = ended.hold.generation
    assert world.generations()[opened.id] == opened
    assert opened.state is SlotState.OPEN
    await asyncio.sleep(rng.uniform(0, 5))
    if way == "settle":
        receipt = await world.ledger.settle(ended.hold, ended.outcome)
        assert receipt.generation_id == opened.id
        if not receipt.pending:
            stored = world.generations()[opened.id]
            assert stored == expected(opened, ended.outcome, stored.ended_at_ms)
    elif way == "settle_later":
        world.ledger.settle_later(ended.hold, ended.outcome)
    elif way == "abandon":
        await world.ledger.abandon(holding, VOID)
    else:
        world.ledger.abandon_later(holding, VOID)
    return ended


async def schedule(seed: int, plan: FaultPlan) -> None:
    """Run one schedule and check the books at its end."""
    rng = random.Random(seed)
    world = await World(seed, plan).open()
    async with asyncio.timeout(CLEARING_S):
        calls = await asyncio.gather(*(one_call(world, number, rng) for number in range(CALLS)))
    world.store.dice.plan = CALM
    assert await world.ledger.drain(CLEARING_S) == 0
    await world.ledger.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(100)  # writes that were delayed arrive

    stored = world.generations()
    held = [ended for ended in calls if ended.hold is not None]
    assert len({ended.hold.generation.id for ended in held if ended.hold}) == len(held)
    for ended in held:
        assert ended.hold is not None
        assert ended.outcome is not None
        opened = ended.hold.generation
        found = stored.pop(opened.id)
        assert found == expected(opened, ended.outcome, found.ended_at_ms)
        assert found.ended_at_ms is not None
    # What nobody holds was never acknowledged: it has cost nothing, and is for a closer, if he was not there already.
    assert all(generation.state in {SlotState.OPEN, SlotState.EXPIRED} for generation in stored.values())
    assert len(stored) <= sum(ended.refused for ended in calls)
    assert world.telemetry.counts[Counter.SETTLE_LOST] == 0
    assert world.telemetry.incidents == []
    assert world.store.judge() == []
    harmful = [fault for fault, _ in plan.chances if fault not in HARMLESS]
    assert harmful or not any(ended.refused for ended in calls)


@pytest.mark.parametrize("name", PLANS)
def test_the_books_are_right_under_every_fault(name: str) -> None:
    """A generation could be billed twice, be lost after it was acknowledged, or cost money that nobody was told of."""
    for seed in range(SEEDS):
        with told(f"seed {seed}, faults {name}"):
            run_virtual(schedule(seed, PLANS[name]))
