"""A hold that is written beside its call: by the store alone where all goes well, in its turn, and never forgotten."""

import asyncio
from collections.abc import Sequence

import pytest

from junctor.adapters.tables.faults import CALM, Fault, FaultPlan
from junctor.domain.errors import LedgerUnavailableError
from junctor.domain.lease import LeaseState, SlotState
from junctor.ledger import closing
from junctor.ledger.holding import Holding
from junctor.ledger.ledger import Ledger
from junctor.ledger.scope import LEASE_LIFE_MS
from junctor.ports.table import Item
from tests.support.world import VOID, World, call, plan, play, settled

WIDTH = 16
CROWD = 3 * WIDTH
CEILING = 10
SLOW = FaultPlan(latency_s=(0.05, 0.05))
DOWN = FaultPlan(chances=((Fault.UNAVAILABLE, 1.0),))


async def leased(world: World) -> None:
    """Let the ledger hold a lease with room for a crowd."""
    await world.credit(10**6)
    await asyncio.gather(*(world.ledger.hold(call(), plan(CEILING * CROWD)) for _ in range(WIDTH)))
    await end(world.ledger, list(world.ledger._booked.values()))


async def end(ledger: Ledger, holdings: Sequence[Holding]) -> None:
    """End what is held."""
    for holding in holdings:
        assert (await ledger.settle(await holding.ready(), settled(1, CEILING))).cost_nanousd == CEILING


def begin(world: World, count: int) -> list[Holding]:
    """Begin so many calls in one breath: none may wait for the store."""
    holdings: list[Holding] = []
    for _ in range(count):
        beginning = world.ledger.begin(call(), plan(CEILING))
        with pytest.raises(StopIteration) as ended:
            beginning.send(None)
        holdings.append(ended.value.value)
    return holdings


def test_a_crowd_begins_without_waiting_and_is_written_in_turn() -> None:
    """A call would wait for the store before its provider is asked, or slots be sent where no closer looks for them."""

    async def scenario(world: World) -> None:
        await leased(world)
        world.store.dice.plan = SLOW
        holdings = begin(world, CROWD)
        held = holdings[0].held
        assert held is not None
        widest = 0
        while any(holding.hold is None for holding in holdings):
            widest = max(widest, len(held._unacknowledged))
            await asyncio.sleep(0.01)
        assert widest == WIDTH
        slots = [(await holding.ready()).generation.slot for holding in holdings]
        assert {slot.lease for slot in slots} == {held.lease.id}
        assert [slot.number for slot in slots] == list(range(slots[0].number, slots[0].number + CROWD))
        assert all(holding.generation_id in world.generations() for holding in holdings)
        await end(world.ledger, holdings)

    play(scenario)


def test_draining_waits_for_those_whose_turn_has_not_come() -> None:
    """A server that stops would leave calls without their slots, and their money bound."""

    async def scenario(world: World) -> None:
        await leased(world)
        world.store.dice.plan = SLOW
        holdings = begin(world, CROWD)
        assert await world.ledger.drain(60) == 0
        assert all(holding.hold is not None for holding in holdings)
        await end(world.ledger, holdings)

    play(scenario)


def test_a_crowd_whose_lease_is_closed_goes_on_in_another() -> None:
    """Calls would be lost that stood behind others when somebody closed their lease."""

    async def scenario(world: World) -> None:
        await leased(world)
        world.store.dice.plan = SLOW
        (lease,) = [lease for lease in world.leases() if lease.state is LeaseState.OPEN]
        world.store.dice.plan = CALM
        await closing.close(world.table, world.dice, lease, world.clock.now_ms())
        world.store.dice.plan = SLOW
        holdings = begin(world, CROWD)
        holds = await asyncio.gather(*(holding.ready() for holding in holdings))
        assert lease.id not in {hold.generation.slot.lease for hold in holds}
        await end(world.ledger, holdings)
        await world.ledger.close()
        assert world.purse().leased_nanousd == 0

    play(scenario)


def test_no_slot_is_opened_after_its_lease_by_who_waited_for_a_turn() -> None:
    """A slot would be opened where anyone may have closed by then, and be counted into the wrong day."""

    async def scenario(world: World) -> None:
        await leased(world)
        (lease,) = [lease for lease in world.leases() if lease.state is LeaseState.OPEN]
        calls = [asyncio.create_task(keep(world, lease.until_ms))]
        await asyncio.sleep((lease.until_ms - world.clock.now_ms()) / 1000 - 0.05)
        await asyncio.gather(*calls)
        world.store.dice.plan = SLOW
        assert world.clock.now_ms() < lease.until_ms
        holdings = begin(world, CROWD)
        holds = await asyncio.gather(*(holding.ready() for holding in holdings))
        first = [hold.generation.slot.lease == lease.id for hold in holds]
        assert first == [True] * WIDTH + [False] * (CROWD - WIDTH)
        await end(world.ledger, holdings)

    play(scenario)


async def keep(world: World, until_ms: int) -> None:
    """Let a call come now and then, so that its lease is not closed as idle, and stop shortly before an instant."""
    assert until_ms - world.clock.now_ms() <= LEASE_LIFE_MS
    while world.clock.now_ms() < until_ms - 1_000:
        await world.ledger.settle(await world.ledger.hold(call(), plan(CEILING)), VOID)
        await asyncio.sleep(0.1)


def test_what_is_given_up_is_told_and_leaves_no_task() -> None:
    """A server would stop over a write that nobody sees, and calls wait for holds that never come."""

    async def scenario(world: World) -> None:
        await leased(world)
        world.store.dice.plan = FaultPlan(latency_s=(100.0, 100.0))
        told: list[Holding] = []
        holdings = begin(world, CROWD)
        for holding in holdings:
            holding.on_failure = lambda holding=holding: told.append(holding)
        waiting = asyncio.gather(*(holding.ready() for holding in holdings), return_exceptions=True)
        await asyncio.sleep(1)
        assert told == []
        assert await world.ledger.drain(5) >= WIDTH
        assert all(isinstance(answer, LedgerUnavailableError) for answer in await waiting)
        assert sorted(map(id, told)) == sorted(map(id, holdings))
        with pytest.raises(LedgerUnavailableError):
            await holdings[-1].ready()
        assert asyncio.all_tasks() - {asyncio.current_task()} <= {world.ledger._scopes._tidying}
        await asyncio.sleep(300)
        world.store.dice.plan = CALM

    play(scenario)


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.REPLY_LOST, Fault.DROPPED, Fault.THROTTLED, Fault.DUPLICATED])
@pytest.mark.parametrize("left", [False, True])
def test_a_first_try_that_fails_is_tried_again_whoever_waits(fault: Fault, left: bool) -> None:
    """One lost packet would refuse a call, or leave an OPEN slot behind of a caller who has left."""

    async def scenario(world: World) -> None:
        await leased(world)
        world.store.dice.plan = SLOW
        world.store.dice.inject(fault)
        (holding,) = begin(world, 1)
        waiting = asyncio.create_task(holding.ready())
        await asyncio.sleep(0.02)
        if left:
            waiting.cancel()
            await asyncio.wait((waiting,))
            assert await world.ledger.drain(60) == 0
        hold = await holding.ready()
        assert world.generations()[hold.generation.id].state is SlotState.OPEN
        await end(world.ledger, [holding])

    play(scenario)


def test_all_who_wait_for_a_hold_are_told_but_who_has_left() -> None:
    """One caller who leaves, or is late, would take the hold with him from whoever else waits for it."""

    async def scenario(world: World) -> None:
        await leased(world)
        world.store.dice.plan = SLOW
        (holding,) = begin(world, 1)
        leaving, late, *staying = [
            asyncio.create_task(holding.ready(at_s)) for at_s in (None, asyncio.get_running_loop().time() + 0.01, None, None)
        ]
        await asyncio.sleep(0.02)
        leaving.cancel()
        await asyncio.wait((leaving, late))
        assert leaving.cancelled()
        assert isinstance(late.exception(), TimeoutError)
        assert [await waiting for waiting in staying] == [await holding.ready()] * 2
        assert holding._waiting == []
        await end(world.ledger, [holding])

    play(scenario)


def test_a_failure_is_told_once_when_it_is_known() -> None:
    """Upstream work would go on at our cost, or be given up while the slot is still being tried for."""

    async def scenario(world: World) -> None:
        await leased(world)
        told: list[float] = []
        world.store.dice.plan = DOWN
        (holding,) = begin(world, 1)
        holding.on_failure = lambda: told.append(world.clock.monotonic_s())
        await asyncio.sleep(0)
        assert holding.error is None
        with pytest.raises(LedgerUnavailableError):
            await holding.ready()
        assert told == [world.clock.monotonic_s()]
        assert isinstance(holding.error, LedgerUnavailableError)
        assert holding.generation_id == ""
        world.store.dice.plan = CALM

    play(scenario)


@pytest.mark.parametrize("ahead", [0, WIDTH])
def test_a_bug_in_beginning_a_write_is_told_and_keeps_no_money(ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call would wait for ever behind one that broke, or money stay set aside until the instance ends."""

    async def scenario(world: World) -> None:
        await leased(world)
        world.store.dice.plan = SLOW
        holdings = begin(world, ahead)

        def broken(_: Item) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            if ahead:
                holdings += begin(world, 3)
            patch.setattr(world.table, "begin_put_new", broken)
            if not ahead:
                with pytest.raises(ZeroDivisionError):
                    await world.ledger.begin(call(), plan(CEILING))
            answers = await asyncio.gather(*(holding.ready() for holding in holdings), return_exceptions=True)
        assert [type(answer) for answer in answers if isinstance(answer, Exception)] == [ZeroDivisionError] * bool(ahead)
        good = [holding for holding in holdings if holding.error is None]
        assert len(good) == (ahead + 2 if ahead else 0)  # the others go on in another lease, as this one is in doubt
        await end(world.ledger, good)
        assert await world.ledger.drain(60) == 0
        await world.ledger.close()
        assert world.purse().leased_nanousd == 0

    play(scenario)
