"""What an instance holds over time: leases that are renewed and shared, crowds, callers who leave, a server that stops."""

import asyncio

import pytest

from junctor.adapters.tables.faults import CALM, Fault, FaultPlan
from junctor.domain.errors import LedgerUnavailableError
from junctor.domain.lease import LeaseState, Slot, SlotState
from junctor.ledger.scope import LEASE_LIFE_MS
from junctor.ports.telemetry import Counter
from junctor.records import generations
from junctor.records.tables import CORE
from junctor.usecases.reclaim import EVERY_S, Reclaimer
from tests.support.world import PLAN, VOID, World, call, plan, play, settled

DOWN = FaultPlan(chances=((Fault.UNAVAILABLE, 1.0),))


def test_leases_are_renewed_when_their_time_is_up() -> None:
    """Slots would be opened in a lease that anyone may close, or each call take a lease of its own."""

    async def scenario(world: World) -> None:
        first = await world.ledger.hold(call(), PLAN)
        await asyncio.sleep(LEASE_LIFE_MS / 1000 - 0.5)
        second = await world.ledger.hold(call(), PLAN)
        assert second.generation.slot == Slot("ACCOUNT", first.generation.slot.lease, 1)
        await asyncio.sleep(1)
        third = await world.ledger.hold(call(), PLAN)
        assert third.generation.slot.lease != first.generation.slot.lease
        assert [lease.account for lease in world.leases()] == ["ACCOUNT"] * 2

    play(scenario)


def test_a_lease_is_renewed_when_its_numbers_are_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A seventh digit would break the order of slots, and of everything that reads them."""
    monkeypatch.setattr("junctor.ledger.holder.SLOT_NUMBER_MAX", 39)

    async def scenario(world: World) -> None:
        world.store.dice.plan = FaultPlan(latency_s=(0.0, 0.01))
        holds = await asyncio.gather(*(world.ledger.hold(call(), PLAN) for _ in range(500)))
        places = [hold.generation.slot for hold in holds]
        assert len(set(places)) == 500
        assert max(place.number for place in places) == 39
        assert len(world.leases()) == 13

    play(scenario)


def test_two_first_calls_share_one_lease() -> None:
    """Every burst of calls would take as many leases, and as much money out of the purse."""

    async def scenario(world: World) -> None:
        world.store.dice.plan = FaultPlan(latency_s=(0.1, 0.2))
        one, other = await asyncio.gather(world.ledger.hold(call(), PLAN), world.ledger.hold(call(), PLAN))
        assert {one.generation.slot.number, other.generation.slot.number} == {0, 1}
        assert len(world.leases()) == 1

    play(scenario)


def test_accounts_do_not_share_leases() -> None:
    """One organisation would spend another's money."""

    async def scenario(world: World) -> None:
        holds = [await world.ledger.hold(call(account), PLAN) for account in ("A", "B", "A")]
        assert [hold.generation.slot.account for hold in holds] == ["A", "B", "A"]
        assert [hold.generation.slot.number for hold in holds] == [0, 0, 1]
        assert {lease.account for lease in world.leases()} == {"A", "B"}

    play(scenario)


@pytest.mark.parametrize("chance", [0.0, 0.3])
def test_a_thousand_holds_at_once(chance: float) -> None:
    """A crowd would be refused, or wait for ever, as one of its calls fenced the lease that all wait for."""

    async def scenario(world: World) -> None:
        world.store.dice.plan = FaultPlan(chances=((Fault.DROPPED, chance),), latency_s=(0.0, 0.02))
        holds = await asyncio.gather(*(world.ledger.hold(call(), PLAN) for _ in range(1_000)), return_exceptions=True)
        served = [hold for hold in holds if not isinstance(hold, BaseException)]
        refused = [error for error in holds if isinstance(error, BaseException)]
        assert all(isinstance(error, LedgerUnavailableError) for error in refused)
        # Four tries in a row must be lost for a refusal: 1 % at most of these calls.
        assert len(refused) <= 40 * chance
        assert len({hold.generation.id for hold in served}) == len(served)
        stored = world.generations()
        assert all(stored[hold.generation.id] == hold.generation for hold in served)

    play(scenario)


@pytest.mark.parametrize("pause_s", [0.0, 0.01, 5.0])
def test_a_hold_that_nobody_waits_for_is_ended(pause_s: float) -> None:
    """A caller who leaves early would leave an OPEN slot behind, and money bound in it."""

    async def scenario(world: World) -> None:
        world.store.dice.plan = FaultPlan(latency_s=(0.05, 0.05))
        holding = await world.ledger.begin(call(), PLAN)
        await asyncio.sleep(pause_s)
        await world.ledger.abandon(holding, VOID)
        (generation,) = world.generations().values()
        assert generation.state is SlotState.VOID

    play(scenario)


def test_abandoning_goes_on_when_its_caller_leaves() -> None:
    """A caller who leaves twice would leave an OPEN slot behind."""

    async def scenario(world: World) -> None:
        world.store.dice.plan = FaultPlan(latency_s=(0.5, 0.5))
        holding = await world.ledger.begin(call(), PLAN)
        task = asyncio.create_task(world.ledger.abandon(holding, VOID))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await world.ledger.drain(60) == 0
        assert [generation.state for generation in world.generations().values()] == [SlotState.VOID]

    play(scenario)


def test_a_hold_that_failed_is_known_to_have_failed() -> None:
    """Upstream work would go on, at our cost, although nothing may be answered."""

    async def scenario(world: World) -> None:
        await world.ledger.hold(call(), PLAN)
        world.store.dice.plan = DOWN
        holding = await world.ledger.begin(call(), PLAN)
        assert holding.error is None
        with pytest.raises(LedgerUnavailableError):
            await holding.ready()
        assert holding.error is not None
        await world.ledger.abandon(holding, VOID)
        world.store.dice.plan = CALM
        assert len(world.generations()) == 1

    play(scenario)


@pytest.mark.parametrize("later", [True, False])
def test_a_bug_in_a_settlement_is_told(later: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generations would go unbilled without a word."""

    async def broken(*given: object, **named: object) -> None:
        raise ZeroDivisionError

    async def scenario(world: World) -> None:
        hold = await world.ledger.hold(call(), PLAN)
        with monkeypatch.context() as patch:
            patch.setattr(world.table, "update", broken)
            if later:
                world.ledger.settle_later(hold, settled(1))
                assert await world.ledger.drain(60) == 0
            else:
                with pytest.raises(ZeroDivisionError):
                    await world.ledger.settle(hold, settled(1))
                assert await world.ledger.drain(60) == 0
            told = [(name, type(error)) for name, error in world.telemetry.incidents]
            # The one that nobody waited for, and the closing of the lease, as it could not be told how its slot ended.
            assert told == [("ledger", ZeroDivisionError)] * (1 + later)
            world.telemetry.incidents.clear()
        assert world.generations()[hold.generation.id].state is SlotState.OPEN

    play(scenario)


def test_draining_waits_for_what_begins_meanwhile() -> None:
    """A generation that is given up while the server stops would stay OPEN, its task running over a closed store."""

    async def scenario(world: World) -> None:
        world.store.dice.plan = FaultPlan(latency_s=(1.0, 1.0))
        world.ledger.abandon_later(await world.ledger.begin(call(), PLAN), VOID)
        assert await world.ledger.drain(60) == 0
        assert [generation.state for generation in world.generations().values()] == [SlotState.VOID]

    play(scenario)


def test_draining_gives_up_in_time_and_leaves_no_task() -> None:
    """A server would not stop while its store is down, or leave work running that nobody sees."""

    async def scenario(world: World) -> None:
        holds = [await world.ledger.hold(call(), PLAN) for _ in range(3)]
        world.store.dice.plan = DOWN
        for hold in holds:
            world.ledger.settle_later(hold, settled(1))
        world.ledger.abandon_later(await world.ledger.begin(call(), PLAN), VOID)
        began = world.clock.monotonic_s()
        assert await world.ledger.drain(5) == 3
        assert world.clock.monotonic_s() - began == pytest.approx(5)
        await world.ledger.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert await world.ledger.drain(0) == 0

    play(scenario)


@pytest.mark.parametrize("pause_s", [0.0, 0.5, 5.0])
def test_draining_gives_up_settlements_that_the_store_does_not_answer(pause_s: float) -> None:
    """A server would stop with a write under way that nobody sees, over a store that is closed."""

    async def scenario(world: World) -> None:
        holds = [await world.ledger.hold(call(), PLAN) for _ in range(2)]
        world.store.dice.plan = FaultPlan(latency_s=(100.0, 100.0))
        waiting = asyncio.create_task(world.ledger.settle(holds[0], settled(1)))
        world.ledger.settle_later(holds[1], settled(1))
        await asyncio.sleep(pause_s)
        waiting.cancel()
        await asyncio.wait((waiting,))
        assert await world.ledger.drain(5) == 2
        assert asyncio.all_tasks() - {asyncio.current_task()} <= {world.ledger._scopes._tidying}
        world.store.dice.plan = CALM
        await world.ledger.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(scenario)


@pytest.mark.parametrize("fault", [Fault.REPLY_LOST, Fault.DELAYED, Fault.DROPPED, Fault.UNAVAILABLE, Fault.DUPLICATED])
@pytest.mark.parametrize("left_s", [0.0, 0.4, 1.5, 60.0])
def test_a_settlement_goes_on_wherever_its_caller_leaves(fault: Fault, left_s: float) -> None:
    """A write that was cut off with its caller would be lost, or charged once more as it is sent again."""

    async def scenario(world: World) -> None:
        await world.credit(1_000)
        hold = await world.ledger.hold(call(), plan(100))
        world.store.dice.plan = FaultPlan(latency_s=(0.5, 0.5))
        world.store.dice.inject(fault)
        task = asyncio.create_task(world.ledger.settle(hold, settled(2, 30)))
        await asyncio.sleep(left_s)
        task.cancel()
        await asyncio.wait((task,))
        assert await world.ledger.drain(60) == 0
        await asyncio.sleep(10)
        stored = world.generations()[hold.generation.id]
        assert (stored.state, stored.cost_nanousd) == (SlotState.SETTLED, 30)
        assert (world.purse().spent_nanousd, world.purse().leased_nanousd) == (30, 0)

    play(scenario)


def test_backing_off_does_not_overflow() -> None:
    """The thousandth try of a settlement would die of arithmetic."""

    async def scenario(world: World) -> None:
        hold = await world.ledger.hold(call(remaining_s=40_000), PLAN)
        world.store.dice.plan = DOWN
        assert (await world.ledger.settle(hold, settled(2))).pending
        await asyncio.sleep(20_000)
        world.store.dice.plan = CALM
        assert await world.ledger.drain(60) == 0
        assert world.generations()[hold.generation.id].state is SlotState.SETTLED

    play(scenario, deadline_max_ms=40_000_000)


def test_a_server_that_ends_closes_its_leases() -> None:
    """Every deployment would leave its leases to the reclaimer, and their money with them."""

    async def scenario(world: World) -> None:
        await world.ledger.settle(await world.ledger.hold(call(), PLAN), settled(1))
        await world.ledger.settle(await world.ledger.hold(call(), PLAN), VOID)
        assert await world.ledger.drain(5) == 0
        await world.ledger.close()
        assert [lease.state for lease in world.leases()] == [LeaseState.CLOSED]
        assert all("open_until" not in item for item in world.store.items(CORE))
        assert (await world.ledger.hold(call(), PLAN)).generation.slot.lease != world.leases()[0].id

    play(scenario)


def test_a_lease_with_an_open_call_is_not_closed_by_its_owner() -> None:
    """A call that ends after the lease was closed would cost what nobody has any more."""

    async def scenario(world: World) -> None:
        hold = await world.ledger.hold(call(), PLAN)
        await world.ledger.close()
        assert [lease.state for lease in world.leases()] == [LeaseState.OPEN]
        assert not (await world.ledger.settle(hold, settled(1))).pending

    play(scenario)


def test_closing_gives_way_to_a_store_that_is_down() -> None:
    """A server would not end because its store is gone."""

    async def scenario(world: World) -> None:
        await world.ledger.settle(await world.ledger.hold(call(), PLAN), settled(1))
        world.store.dice.plan = DOWN
        await world.ledger.close()
        assert [lease.state for lease in world.leases()] == [LeaseState.OPEN]

    play(scenario)


def test_a_lease_whose_fate_is_not_known_is_left_to_the_reclaimer() -> None:
    """An owner would give back money that a write of his may still spend."""

    async def scenario(world: World) -> None:
        await world.ledger.hold(call(), PLAN)
        world.store.dice.inject(*[Fault.DELAYED] * 8)
        with pytest.raises(LedgerUnavailableError):
            await world.ledger.hold(call(), PLAN)
        await world.ledger.drain(5)
        await world.ledger.close()
        assert [lease.state for lease in world.leases()] == [LeaseState.OPEN]

    play(scenario)


def test_leases_that_a_crash_left_are_reclaimed() -> None:
    """What a killed instance held would be held for ever."""

    async def scenario(world: World) -> None:
        hold = await world.ledger.hold(call(), PLAN)
        reclaimer = Reclaimer(world.table, world.clock, world.dice, world.telemetry)
        running = asyncio.create_task(reclaimer.forever())
        (lease,) = world.leases()
        await asyncio.sleep((lease.exp_ms - world.clock.now_ms()) / 1000 - 1)
        assert [lease.state for lease in world.leases()] == [LeaseState.OPEN]
        await asyncio.sleep(1 + 1.2 * EVERY_S)
        assert [lease.state for lease in world.leases()] == [LeaseState.CLOSED]
        (slot,) = [item for item in world.store.items(CORE) if item["sk"] == "SLOT#000000"]
        assert generations.generation_of(slot, hold.generation.slot).state is SlotState.EXPIRED
        assert world.telemetry.counts[Counter.LEASE_RECLAIMED] == 1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert (await reclaimer.once()).closed == ()

    play(scenario)


def test_a_reclaimer_outlives_a_store_that_is_down() -> None:
    """One outage would end reclaiming until the next deployment."""

    async def scenario(world: World) -> None:
        await world.ledger.hold(call(), PLAN)
        (lease,) = world.leases()
        await asyncio.sleep((lease.exp_ms - world.clock.now_ms()) / 1000)
        world.store.dice.plan = DOWN
        running = asyncio.create_task(Reclaimer(world.table, world.clock, world.dice, world.telemetry).forever())
        await asyncio.sleep(3 * EVERY_S)
        assert world.telemetry.counts[Counter.RECLAIM_FAILED] > 0
        world.store.dice.plan = CALM
        await asyncio.sleep(3 * EVERY_S)
        assert [lease.state for lease in world.leases()] == [LeaseState.CLOSED]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    play(scenario)
