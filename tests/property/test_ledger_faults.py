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
from junctor.domain.lease import LeaseState, SlotState
from junctor.ledger.ledger import Ledger
from junctor.ledger.reclaim import reclaim
from junctor.ports.telemetry import Counter
from tests.support.virtual_loop import run_virtual
from tests.support.world import VOID, World, call, expected, plan, settled

SEEDS = 45
CALLS = 14
HARMLESS = {Fault.NONE, Fault.DUPLICATED}
CLEARING_S = 3_000.0
CEILING = 1_000
CREDIT = 10**9

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


async def one_call(world: World, ledger: Ledger, number: int, rng: random.Random) -> Ended:
    """Let one call live its life; check at each step that what the ledger says is in the store."""
    ended = Ended()
    await asyncio.sleep(rng.uniform(0, 2))
    cost = rng.choice((0, rng.randrange(1, CEILING)))
    try:
        holding = await ledger.begin(call(), plan(CEILING if cost else 0))
    except LedgerUnavailableError:
        ended.refused = True
        return ended
    way = rng.choice(("settle", "settle", "settle", "settle_later", "abandon", "abandon_later", "gone_while_holding"))
    ended.outcome = VOID if way in {"abandon", "abandon_later", "gone_while_holding"} else settled(number, cost)
    if way == "gone_while_holding":
        await asyncio.sleep(rng.uniform(0, 0.2))
        task = ledger.abandon_later(holding, VOID)
        with_hold = await asyncio.gather(holding.ready(), return_exceptions=True)
        ended.hold = with_hold[0] if isinstance(with_hold[0], Hold) else None
        ended.refused = ended.hold is None
        await task
        return ended
    try:
        ended.hold = await holding.ready()
    except LedgerUnavailableError:
        ended.refused = True
        assert holding.error is not None
        await ledger.abandon(holding, VOID)
        return ended
    opened = ended.hold.generation
    assert world.generations()[opened.id] == opened
    assert opened.state is SlotState.OPEN
    await asyncio.sleep(rng.uniform(0, 5))
    if way == "settle":
        receipt = await ledger.settle(ended.hold, ended.outcome)
        assert receipt.generation_id == opened.id
        if not receipt.pending:
            stored = world.generations()[opened.id]
            assert stored == expected(opened, ended.outcome, stored.ended_at_ms)
    elif way == "settle_later":
        ledger.settle_later(ended.hold, ended.outcome)
    elif way == "abandon":
        await ledger.abandon(holding, VOID)
    else:
        ledger.abandon_later(holding, VOID)
    return ended


async def schedule(seed: int, weather: FaultPlan) -> None:
    """Run one schedule over two instances, and check the books at its end."""
    rng = random.Random(seed)
    world = await World(seed).open()
    await world.credit(CREDIT)
    ledgers = [world.ledger, world.instance()]
    world.store.dice.plan = weather
    async with asyncio.timeout(CLEARING_S):
        calls = await asyncio.gather(*(one_call(world, rng.choice(ledgers), number, rng) for number in range(CALLS)))
    world.store.dice.plan = CALM
    for ledger in ledgers:
        assert await ledger.drain(CLEARING_S) == 0
        await ledger.close()
        assert ledger._booked == {}
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(100)  # writes that were delayed arrive
    await asyncio.sleep(CLEARING_S)  # past the end of every lease
    assert (await reclaim(world.table, world.dice, world.clock.now_ms())).broken == ()
    assert all(lease.state is LeaseState.CLOSED for lease in world.leases())

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
    # What nobody holds was never acknowledged: it has cost nothing, and a closer has ended it.
    assert all(generation.state is SlotState.EXPIRED for generation in stored.values())
    costs = sum(ended.outcome.cost_nanousd for ended in held if ended.outcome)
    purse = world.purse()
    assert (purse.avail_nanousd, purse.leased_nanousd, purse.spent_nanousd) == (CREDIT - costs, 0, costs)
    assert len(stored) <= sum(ended.refused for ended in calls)
    assert world.telemetry.counts[Counter.SETTLE_LOST] == 0
    assert world.telemetry.incidents == []
    assert world.store.judge() == []
    harmful = [fault for fault, _ in weather.chances if fault not in HARMLESS]
    assert harmful or not any(ended.refused for ended in calls)


@pytest.mark.parametrize("name", PLANS)
def test_the_books_are_right_under_every_fault(name: str) -> None:
    """A generation could be billed twice, be lost after it was acknowledged, or cost money that nobody was told of."""
    for seed in range(SEEDS):
        with told(f"seed {seed}, faults {name}"):
            run_virtual(schedule(seed, PLANS[name]))
