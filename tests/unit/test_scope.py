"""What one instance takes out of an account, when it gives it back, and what it says where there is too little."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from junctor.adapters.tables.faults import CALM, Fault, FaultPlan
from junctor.domain.call import Hold
from junctor.domain.credits import Interval, Limit, LimitSubject
from junctor.domain.errors import InsufficientCreditsError, KeyBudgetExceededError, LedgerUnavailableError
from junctor.domain.lease import Lease, LeaseState, Leg, SlotState
from junctor.ledger import closing, limit_changes
from junctor.ledger.credits import Booking
from junctor.ledger.scope import LEASE_LIFE_MS
from junctor.ledger.scopes import FORGET_S, IDLE_S, TIDY_S
from junctor.ledger.sizing import TRAFFIC_S
from junctor.ledger.standing import FRESH_S
from junctor.ports.table import StoreError, UnavailableError
from junctor.ports.telemetry import Counter
from junctor.records import keys, windows
from tests.support.world import CALLER, EPOCH_MS, VOID, World, call, plan, settled
from tests.support.world import play as play_free

HOLD = 1_000
DOWN = FaultPlan(chances=((Fault.UNAVAILABLE, 1.0),))
SLOW = FaultPlan(latency_s=(0.05, 0.05))
DAY_MS = 86_400_000


def play(scenario: Callable[[World], Awaitable[None]]) -> None:
    """Play a scenario; at its end, when all instances are closed, nothing may be leased, and the costs be what was spent."""

    async def main(world: World) -> None:
        await scenario(world)
        assert await world.ledger.drain(60) == 0
        await world.ledger.close()
        assert world.ledger._booked == {}
        assert world.ledger._scopes._retired == set()

    play_free(main)


def limit(amount: int, subject: LimitSubject = LimitSubject.API_KEY, interval: Interval = Interval.DAY) -> Limit:
    """Return a limit of what the tests' caller is or belongs to."""
    name = CALLER.key if subject is LimitSubject.API_KEY else ""
    return Limit(
        account=CALLER.account,
        id=windows.limit_id(subject, name, interval),
        limit_nanousd=amount,
        interval=interval,
        subject=subject,
        subject_id=name,
        change=f"{subject.value} {amount}",
    )


async def put(world: World, wanted: Limit) -> None:
    """Make or change a limit."""
    assert await limit_changes.put_limit(world.table, world.dice, wanted) is Booking.BOOKED


async def served(world: World, cost: int = HOLD, *, upstream_s: float = 0.0, ceiling: int = HOLD) -> Hold:
    """Let one call live its life."""
    hold = await world.ledger.hold(call(), plan(ceiling))
    await asyncio.sleep(upstream_s)
    assert (await world.ledger.settle(hold, settled(1, cost))).cost_nanousd == cost
    return hold


async def traffic(world: World, per_s: float, seconds: float, cost: int = HOLD) -> None:
    """Let calls come at even intervals, each of which takes a second."""
    calls = []
    for _ in range(int(per_s * seconds)):
        calls.append(asyncio.create_task(served(world, cost, upstream_s=1.0)))
        await asyncio.sleep(1 / per_s)
    await asyncio.gather(*calls)


def only_open(world: World) -> Lease:
    """Return the one lease that is OPEN."""
    (lease,) = [lease for lease in world.leases() if lease.state is LeaseState.OPEN]
    return lease


async def free_scope_busy(world: World) -> None:
    """Make the tests' scope a busy one, with one lease that is kept."""
    await traffic(world, 10, 2, 10)


def test_a_quiet_scope_takes_one_hold_and_gives_the_rest_back_at_once() -> None:
    """Who looks at his credits after a call would see money missing that nobody spent."""

    async def scenario(world: World) -> None:
        world.store.dice.plan = SLOW
        await world.credit(100 * HOLD)
        for number in range(1, 4):
            hold = await world.ledger.hold(call(), plan(HOLD))
            assert only_open(world).amount_nanousd == HOLD
            await world.ledger.settle(hold, settled(1, 300))
            purse = world.purse()
            assert (purse.avail_nanousd, purse.leased_nanousd, purse.spent_nanousd) == (
                100 * HOLD - 300 * number,
                0,
                300 * number,
            )
            await asyncio.sleep(10)

    play(scenario)


def test_a_call_that_came_to_nothing_gives_everything_back_at_once() -> None:
    """A caller who was told UNAVAILABLE would see money missing."""

    async def scenario(world: World) -> None:
        world.store.dice.plan = SLOW
        await world.credit(HOLD)
        await world.ledger.abandon(await world.ledger.begin(call(), plan(HOLD)), VOID)
        assert world.purse().avail_nanousd == HOLD

    play(scenario)


def test_a_busy_scope_takes_some_seconds_of_its_traffic() -> None:
    """Each call would write to the purse, and one account could not be served by more than some calls a second."""

    async def scenario(world: World) -> None:
        await world.credit(10**9)
        await traffic(world, 20, 20)
        before = only_open(world)
        await traffic(world, 20, 20)
        grown = only_open(world)
        assert grown.id == before.id
        grew = grown.amount_nanousd - before.amount_nanousd
        assert 20 * 20 * HOLD - 5 * 20 * HOLD <= grew <= 20 * 20 * HOLD + 2 * 20 * TRAFFIC_S * HOLD

    play(scenario)


def test_a_lease_is_at_most_an_eighth_of_what_is_left() -> None:
    """One instance would take everything, and the others refuse calls."""

    async def scenario(world: World) -> None:
        await world.credit(400 * HOLD)
        world.store.dice.plan = SLOW
        holds = await asyncio.gather(*(world.ledger.hold(call(), plan(HOLD)) for _ in range(200)))
        taken = world.purse().leased_nanousd
        assert 200 * HOLD <= taken <= 200 * HOLD + (400 - 200) * HOLD // 8
        await asyncio.gather(*(world.ledger.settle(hold, VOID) for hold in holds))

    play(scenario)


def test_an_idle_lease_goes_back() -> None:
    """Money would lie in leases that nobody uses until their time is up."""

    async def scenario(world: World) -> None:
        await world.credit(10**6)
        await free_scope_busy(world)
        assert only_open(world).amount_nanousd > 0
        await asyncio.sleep(IDLE_S + 2 * TIDY_S + 0.1)
        assert all(lease.state is LeaseState.CLOSED for lease in world.leases())
        assert world.purse().leased_nanousd == 0

    play(scenario)


def test_a_scope_is_forgotten_when_it_is_not_used() -> None:
    """A server would grow with every key that ever called."""

    async def scenario(world: World) -> None:
        await world.credit(10**6)
        for number in range(5):
            hold = await world.ledger.hold(call(key=f"K{number}"), plan(HOLD))
            await world.ledger.settle(hold, VOID)
        await served(world, 0, ceiling=0)
        await world.ledger.settle(await world.ledger.hold(call("OTHER"), plan(0)), VOID)
        await asyncio.sleep(FORGET_S + 3 * TIDY_S)
        # What costs nothing keeps its lease, as nobody waits for its money, until its time is up.
        await asyncio.sleep(LEASE_LIFE_MS / 1000)
        assert world.ledger._scopes._scopes == {}
        assert world.ledger._scopes._looked_at_s == {}
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert all(lease.state is LeaseState.CLOSED for lease in world.leases())

    play(scenario)


@pytest.mark.parametrize("until_s", [1, 60, 500])
def test_a_lease_ends_with_the_grant_that_it_is_from(until_s: int) -> None:
    """Credits that lapsed would be spent."""

    async def scenario(world: World) -> None:
        await world.credit(10 * HOLD, "grant", expires_at_ms=EPOCH_MS + until_s * 1000)
        await world.credit(10 * HOLD)
        await served(world, 0)
        (lease,) = world.leases()
        assert lease.legs == (Leg("grant", HOLD),)
        assert lease.until_ms == EPOCH_MS + min(until_s * 1000, LEASE_LIFE_MS)
        await asyncio.sleep(until_s)
        await served(world, 0)
        assert world.leases()[1].legs == (Leg("main", HOLD),)

    play(scenario)


def test_the_grant_that_lapses_first_is_spent_first() -> None:
    """Credits would lapse while others were spent."""

    async def scenario(world: World) -> None:
        for name, days in (("late", 3), ("soon", 1), ("later", 5)):
            await world.credit(HOLD, name, expires_at_ms=EPOCH_MS + days * DAY_MS)
        await world.credit(HOLD)
        for _ in range(4):
            await served(world)
        assert [leg.purse for lease in world.leases() for leg in lease.legs] == ["soon", "late", "later", "main"]
        with pytest.raises(InsufficientCreditsError) as caught:
            await served(world)
        assert caught.value.retry_after_s is None

    play(scenario)


def test_a_lease_grows_only_by_money_that_lasts_as_long() -> None:
    """A lease would go on after a part of its money has lapsed."""

    async def scenario(world: World) -> None:
        await world.credit(HOLD)
        first = await world.ledger.hold(call(), plan(HOLD))
        await world.credit(HOLD, "short", expires_at_ms=EPOCH_MS + 10_000)
        await asyncio.sleep(6)  # until the grant is known of
        second = await world.ledger.hold(call(), plan(HOLD))
        assert first.generation.slot.lease != second.generation.slot.lease
        assert [lease.until_ms - EPOCH_MS for lease in world.leases()] == [LEASE_LIFE_MS, 10_000]
        await world.ledger.settle(first, settled(1, HOLD))
        await world.ledger.settle(second, settled(2, HOLD))

    play(scenario)


def test_a_lease_ends_with_its_period() -> None:
    """What is spent tomorrow would count as today's, or a limit be used twice."""

    async def scenario(world: World) -> None:
        await world.credit(10**6)
        await put(world, limit(10**6))
        midnight_ms = windows.period(Interval.DAY, EPOCH_MS).end_ms
        assert midnight_ms is not None
        await asyncio.sleep((midnight_ms - EPOCH_MS) / 1000 - 5)
        await free_scope_busy(world)
        lease = only_open(world)
        assert lease.until_ms == midnight_ms
        before = await world.ledger.hold(call(), plan(HOLD))
        await asyncio.sleep(4)
        after = await world.ledger.hold(call(), plan(HOLD))
        assert (before.generation.slot.lease, after.generation.slot.lease) == (lease.id, only_of(world, after).id)
        assert lease.id != after.generation.slot.lease
        assert only_of(world, after).windows == (windows.name(limit(0), midnight_ms),)
        await world.ledger.settle(before, settled(1, HOLD))
        await world.ledger.settle(after, settled(1, HOLD))

    play(scenario)


def only_of(world: World, hold: Hold) -> Lease:
    """Return the lease that a hold is in."""
    (lease,) = [lease for lease in world.leases() if lease.id == hold.generation.slot.lease]
    return lease


def test_a_lease_whose_time_is_up_hands_over_to_the_next() -> None:
    """Each busy scope would pay for closing and taking a lease apart, and wait twice."""

    async def scenario(world: World) -> None:
        await world.credit(10**6)
        await free_scope_busy(world)
        first = only_open(world)
        world.clock.ahead_ms = LEASE_LIFE_MS
        written = world.store.write_units
        hold = await world.ledger.hold(call(), plan(HOLD))
        assert hold.generation.slot.lease != first.id
        assert world.store.write_units - written == 6 + 1  # two entries and the purse, twice each; the slot
        states = {lease.id: lease.state for lease in world.leases()}
        assert states == {first.id: LeaseState.CLOSED, hold.generation.slot.lease: LeaseState.OPEN}
        await world.ledger.settle(hold, VOID)

    play(scenario)


def test_a_lease_whose_time_is_up_with_a_call_in_it_is_closed_after_that() -> None:
    """A long answer would be expired by its own instance, or its lease stay open for good."""

    async def scenario(world: World) -> None:
        await world.credit(10**6)
        long = await world.ledger.hold(call(), plan(HOLD))
        await asyncio.sleep(LEASE_LIFE_MS / 1000 + 1)
        other = await world.ledger.hold(call(), plan(HOLD))
        await world.ledger.settle(other, settled(1, HOLD))
        assert only_open(world).id == long.generation.slot.lease
        assert (await world.ledger.settle(long, settled(1, HOLD))).cost_nanousd == HOLD
        assert all(lease.state is LeaseState.CLOSED for lease in world.leases())

    play(scenario)


def test_a_call_goes_on_in_another_lease_when_its_own_was_closed() -> None:
    """Callers would notice that a reclaimer looked too early."""

    async def scenario(world: World) -> None:
        await world.credit(10 * HOLD)
        first = await world.ledger.hold(call(), plan(HOLD))
        (lease,) = world.leases()
        holding = await world.ledger.begin(call(), plan(HOLD))
        await closing.close(world.table, world.dice, lease, world.clock.now_ms())
        hold = await holding.ready()
        assert hold.generation.slot.lease == lease.id  # its slot was there before
        third = await world.ledger.hold(call(), plan(HOLD))
        assert third.generation.slot.lease != lease.id
        lost = [await world.ledger.settle(held, settled(1, HOLD)) for held in (first, hold)]
        assert [receipt.cost_nanousd for receipt in lost] == [None, None]
        assert not any(receipt.pending for receipt in lost)
        assert world.telemetry.counts[Counter.SETTLE_LOST] == 2
        assert world.telemetry.counts[Counter.REVENUE_LOST] == 2 * HOLD
        assert (await world.ledger.settle(third, settled(1, HOLD))).cost_nanousd == HOLD
        await asyncio.sleep(IDLE_S + 2 * TIDY_S)
        assert (world.purse().spent_nanousd, world.purse().leased_nanousd) == (HOLD, 0)

    play(scenario)


def test_a_store_that_is_down_refuses_at_once_and_everybody() -> None:
    """A provider would be paid for what nobody can be charged for, or a crowd wait for the store one after the other."""

    async def scenario(world: World) -> None:
        await world.credit(10**6)
        world.store.dice.plan = DOWN
        crowd = (world.ledger.begin(call(), plan(HOLD)) for _ in range(500))
        answers = await asyncio.gather(*crowd, return_exceptions=True)
        assert {type(answer) for answer in answers} == {LedgerUnavailableError}
        assert world.clock.monotonic_s() < 5
        world.store.dice.plan = CALM
        await served(world)

    play(scenario)


def test_a_crowd_is_told_when_a_lease_cannot_be_taken() -> None:
    """Each of a crowd would wait for as many tries as the first, one after the other."""

    async def scenario(world: World) -> None:
        await world.credit(10**6)
        await served(world, 0)  # the account is known

        async def down(*_: object) -> None:
            raise UnavailableError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.table, "transact", down)
            crowd = (world.ledger.begin(call(), plan(HOLD)) for _ in range(500))
            answers = await asyncio.gather(*crowd, return_exceptions=True)
        assert {type(answer) for answer in answers} == {LedgerUnavailableError}
        assert world.clock.monotonic_s() < 5
        await served(world)

    play(scenario)


@pytest.mark.parametrize("fault", [Fault.REPLY_LOST, Fault.DELAYED, Fault.DROPPED])
@pytest.mark.parametrize("times", [1, 8])
def test_a_lease_of_unknown_fate_is_not_spent_from_twice(fault: Fault, times: int) -> None:
    """An instance would take a lease twice for one call, and leave the first one's money to the reclaimer."""

    async def scenario(world: World) -> None:
        await world.credit(10 * HOLD)
        await served(world, 0)
        world.store.dice.plan = FaultPlan(delay_s=(0.001, 0.05))
        world.store.dice.inject(*[fault] * times)
        await served(world)
        await asyncio.sleep(10)
        left = [lease for lease in world.leases() if lease.state is LeaseState.OPEN]
        assert len(left) <= (fault is Fault.DELAYED and times == 8)  # it landed after its owner had looked
        assert world.purse().leased_nanousd == HOLD * len(left)
        for lease in left:
            await closing.close(world.table, world.dice, lease, world.clock.now_ms())

    play(scenario)


@pytest.mark.parametrize("fault", [Fault.REPLY_LOST, Fault.DELAYED, Fault.DROPPED])
@pytest.mark.parametrize("times", [1, 8])
def test_a_growth_of_unknown_fate_is_found_again(fault: Fault, times: int) -> None:
    """A stream would end for want of credits that are in its own lease."""

    async def scenario(world: World) -> None:
        await world.credit(10 * HOLD)
        hold = await world.ledger.hold(call(), plan(HOLD))
        world.store.dice.plan = FaultPlan(delay_s=(0.001, 0.05))
        world.store.dice.inject(*[fault] * times)
        assert await world.ledger.extend(hold)
        assert (await world.ledger.settle(hold, settled(1, HOLD * 3 // 2))).cost_nanousd == HOLD * 3 // 2
        await asyncio.sleep(10)
        assert world.purse().spent_nanousd == HOLD * 3 // 2
        assert world.purse().leased_nanousd == 0

    play(scenario)


@pytest.mark.parametrize("fault", [Fault.REPLY_LOST, Fault.DELAYED, Fault.DROPPED])
def test_a_slot_of_unknown_fate_costs_nothing(fault: Fault) -> None:
    """A caller would pay for a call that was refused."""

    async def scenario(world: World) -> None:
        await world.credit(10 * HOLD)
        await served(world, 0)
        holding = await world.ledger.begin(call(), plan(HOLD))
        world.store.dice.plan = FaultPlan(chances=((fault, 1.0),))
        with pytest.raises(LedgerUnavailableError):
            await holding.ready()
        world.store.dice.plan = CALM
        await asyncio.sleep(120)
        purse = world.purse()
        assert (purse.avail_nanousd, purse.leased_nanousd, purse.spent_nanousd) == (10 * HOLD, 0, 0)

    play(scenario)


@pytest.mark.parametrize("wait_s", [0.0, 0.01, 0.06, 0.12, 0.17, 0.21, 0.22, 0.3])
@pytest.mark.parametrize("callers", [1, 5])
def test_callers_who_leave_while_they_wait_leave_nothing(wait_s: float, callers: int) -> None:
    """A crowd that hangs up would leave money set aside for nobody."""

    async def scenario(world: World) -> None:
        world.store.dice.plan = SLOW
        await world.credit(100 * HOLD)
        tasks = [asyncio.create_task(world.ledger.begin(call(), plan(HOLD))) for _ in range(callers)]
        await asyncio.sleep(wait_s)
        for task in tasks:
            task.cancel()
        for answer in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(answer, asyncio.CancelledError):
                assert not isinstance(answer, BaseException)
                await world.ledger.abandon(answer, VOID)
        # One call leaves a quiet scope, whose lease goes back at once; more of them one whose lease is found idle.
        await asyncio.sleep(1 if callers == 1 else IDLE_S + 2 * TIDY_S)
        assert world.purse().leased_nanousd == 0

    play(scenario)


def test_a_caller_who_leaves_as_he_is_served_leaves_nothing() -> None:
    """A caller who hangs up at the wrong moment would keep a lease open that nobody uses."""

    async def scenario(world: World) -> None:
        await world.credit(100 * HOLD)
        await served(world)
        await asyncio.sleep(10)
        (scope,) = world.ledger._scopes._scopes.values()
        answer = scope._answer

        async def leaving(waiting: Any) -> None:
            await answer(waiting)
            task.cancel()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scope, "_answer", leaving)
            task = asyncio.create_task(world.ledger.begin(call(), plan(HOLD)))
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.sleep(1)
        assert world.purse().leased_nanousd == 0

    play(scenario)


@pytest.mark.parametrize("wait_s", [0.0, 0.01, 0.06, 0.12, 0.3])
def test_a_stream_that_leaves_while_it_waits_for_more_leaves_nothing(wait_s: float) -> None:
    """A stream that is broken off would keep a part of its lease from all other calls."""

    async def scenario(world: World) -> None:
        await world.credit(100 * HOLD)
        other = await world.ledger.hold(call(), plan(HOLD))
        hold = await world.ledger.hold(call(), plan(HOLD))
        world.store.dice.plan = SLOW
        task = asyncio.create_task(world.ledger.extend(hold))
        await asyncio.sleep(wait_s)
        task.cancel()
        (answer,) = await asyncio.gather(task, return_exceptions=True)
        extended = answer is True
        held = world.ledger._booked[other.generation.id].held
        assert held is not None
        await asyncio.sleep(1)
        assert held.reserved_nanousd == 2 * HOLD + extended * HOLD // 2
        await world.ledger.settle(hold, settled(1, HOLD))
        await world.ledger.settle(other, settled(1, HOLD))
        assert world.purse().leased_nanousd == 0

    play(scenario)


def test_a_lease_does_not_grow_for_a_call_that_found_room_while_the_account_was_read() -> None:
    """A call would be refused by a bug, or a stream break, because another one ended at that moment and left it room."""

    async def scenario(world: World) -> None:
        await world.credit(100 * HOLD)
        first = await world.ledger.hold(call(), plan(HOLD))
        world.store.dice.plan = FaultPlan(latency_s=(3.0, 3.0))
        await asyncio.sleep(FRESH_S)  # nothing is known any more that is fresh
        second = asyncio.create_task(world.ledger.hold(call(), plan(HOLD)))
        await asyncio.sleep(0)
        world.store.dice.plan = CALM
        assert (await world.ledger.settle(first, settled(1, 0))).cost_nanousd == 0
        assert not second.done()
        assert (await world.ledger.settle(await second, settled(1, HOLD))).cost_nanousd == HOLD

    play(scenario)


def test_a_growing_answer_takes_more_until_there_is_no_more() -> None:
    """An answer would be cut although there is money, or go on without."""

    async def scenario(world: World) -> None:
        await world.credit(2 * HOLD)
        hold = await world.ledger.hold(call(), plan(HOLD))
        assert await world.ledger.extend(hold)
        assert not await world.ledger.extend(hold)
        receipt = await world.ledger.settle(hold, settled(1, 5 * HOLD, within_hold=True))
        assert receipt.cost_nanousd == HOLD * 3 // 2
        assert world.telemetry.counts[Counter.UNDERCHARGED] == 0
        assert world.purse().avail_nanousd == HOLD // 2

    play(scenario)


@pytest.mark.parametrize(("credit", "cost", "charged"), [(4, 3, 3), (4, 4, 4), (4, 5, 1), (1, 2, 1)])
def test_a_call_above_its_hold_takes_the_rest(credit: int, cost: int, charged: int) -> None:
    """The organisation would pay for what the provider's own count is above the bound, or a balance fall below zero."""

    async def scenario(world: World) -> None:
        await world.credit(credit * HOLD)
        hold = await world.ledger.hold(call(), plan(HOLD))
        receipt = await world.ledger.settle(hold, settled(1, cost * HOLD))
        assert receipt.cost_nanousd == charged * HOLD
        assert world.telemetry.counts[Counter.UNDERCHARGED] == (cost - charged) * HOLD
        (found,) = world.generations().values()
        assert (found.cost_nanousd, found.hold_nanousd) == (charged * HOLD, charged * HOLD)
        assert world.purse().avail_nanousd == (credit - charged) * HOLD
        again = await world.ledger.settle(hold, settled(1, HOLD))
        assert (again.cost_nanousd, again.pending) == (None, False)
        assert world.purse().avail_nanousd == (credit - charged) * HOLD

    play(scenario)


def test_what_is_above_a_hold_comes_out_of_the_lease_first() -> None:
    """A settlement would write to the purse although its lease has room."""

    async def scenario(world: World) -> None:
        await world.credit(10**6)
        await free_scope_busy(world)
        lease = only_open(world)
        hold = await world.ledger.hold(call(), plan(HOLD))
        written = world.store.write_units
        await world.ledger.settle(hold, settled(1, HOLD + 500))
        assert world.store.write_units - written == 1
        assert only_open(world) == lease

    play(scenario)


SUBJECTS = (LimitSubject.ORGANISATION, LimitSubject.API_KEY)


@pytest.mark.parametrize("short", SUBJECTS)
def test_a_limit_refuses_and_is_named(short: LimitSubject) -> None:
    """A key would spend more than it may, or its user not learn whom to ask."""

    async def scenario(world: World) -> None:
        await world.credit(100 * HOLD)
        for subject in SUBJECTS:
            await put(world, limit(3 * HOLD if subject is short else 50 * HOLD, subject))
        holds = [await world.ledger.hold(call(), plan(HOLD)) for _ in range(3)]
        with pytest.raises(KeyBudgetExceededError) as caught:
            await world.ledger.hold(call(), plan(HOLD))
        assert caught.value.limit == limit(0, short).id
        assert caught.value.retry_after_s == 3.0
        told = caught.value.metadata
        assert (told["needed_nanousd"], told["available_nanousd"], told["leased_nanousd"]) == (str(HOLD), "0", str(3 * HOLD))
        for hold in holds:
            await world.ledger.settle(hold, settled(1, HOLD // 2))
        assert world.purse().avail_nanousd == 100 * HOLD - 3 * HOLD // 2
        await served(world)
        with pytest.raises(KeyBudgetExceededError):
            await served(world)

    play(scenario)


def test_the_broadest_limit_that_is_short_is_named() -> None:
    """A user would have a key's limit raised, and be refused for his organisation's."""

    async def scenario(world: World) -> None:
        await world.credit(100 * HOLD)
        for subject in SUBJECTS:
            for interval in (Interval.DAY, Interval.MONTH):
                await put(world, limit(HOLD // 2, subject, interval))
        with pytest.raises(KeyBudgetExceededError) as caught:
            await served(world)
        assert caught.value.limit == limit(0, LimitSubject.ORGANISATION, Interval.MONTH).id
        assert caught.value.retry_after_s is None

    play(scenario)


def test_a_crowd_at_its_limit_is_refused_without_asking_the_store_for_each() -> None:
    """A key at its limit would wear the store out, and wait for its turn to be refused."""

    async def scenario(world: World) -> None:
        world.store.dice.plan = SLOW
        await world.credit(10**6)
        await put(world, limit(HOLD // 2))
        began, calls = world.clock.monotonic_s(), world.store.calls
        crowd = (world.ledger.begin(call(), plan(HOLD)) for _ in range(300))
        answers = await asyncio.gather(*crowd, return_exceptions=True)
        assert {type(answer) for answer in answers} == {KeyBudgetExceededError}
        assert world.store.calls - calls < 20
        assert world.clock.monotonic_s() - began < 2

    play(scenario)


def test_a_limit_that_is_lowered_stops_new_calls_within_seconds() -> None:
    """A runaway program would go on for minutes after its limit was lowered."""

    async def scenario(world: World) -> None:
        await world.credit(10**9)
        await put(world, limit(10**8))
        await traffic(world, 20, 10)
        await put(world, limit(HOLD))
        refused_at: list[float] = []
        began = world.clock.monotonic_s()
        for _ in range(200):
            try:
                await served(world)
            except KeyBudgetExceededError:
                refused_at.append(world.clock.monotonic_s() - began)
            await asyncio.sleep(0.1)
        assert refused_at[0] < 10
        assert refused_at[-1] > 19
        assert len(refused_at) > 100
        assert world.purse().leased_nanousd == 0

    play(scenario)


def test_a_limit_that_is_removed_binds_no_more() -> None:
    """A key would stay refused although its limit is gone."""

    async def scenario(world: World) -> None:
        await world.credit(10**6)
        await put(world, limit(HOLD))
        await served(world)
        with pytest.raises(KeyBudgetExceededError):
            await served(world)
        assert await limit_changes.remove_limit(world.table, world.dice, CALLER.account, limit(0).id)
        await asyncio.sleep(10)
        await served(world)

    play(scenario)


@pytest.mark.parametrize("pause_s", [0.0, 2.0, 20.0, 100.0])
def test_a_limit_that_is_removed_before_its_window_is_opened(pause_s: float) -> None:
    """A call would be refused, or the same limit made again not bind, as the instance has seen it gone."""

    async def scenario(world: World) -> None:
        await world.credit(10**6)
        await put(world, limit(HOLD, interval=Interval.MONTH))
        hold = await world.ledger.hold(call(), plan(HOLD))
        await world.ledger.settle(hold, VOID)
        world.clock.ahead_ms = 40 * DAY_MS
        assert await limit_changes.remove_limit(world.table, world.dice, CALLER.account, limit(0, interval=Interval.MONTH).id)
        long = await world.ledger.hold(call(), plan(HOLD))  # by what is believed, the limit is there
        assert only_open(world).windows == ()
        await asyncio.sleep(pause_s)
        await put(world, limit(3 * HOLD, interval=Interval.MONTH))
        await asyncio.sleep(10)
        calls = await asyncio.gather(*(served(world, upstream_s=1.0) for _ in range(4)), return_exceptions=True)
        assert sum(isinstance(answer, KeyBudgetExceededError) for answer in calls) == 1
        await world.ledger.settle(long, VOID)

    play(scenario)


def test_who_listens_is_told_where_an_account_stands() -> None:
    """Nobody would hear that a balance is low or a limit nearly used."""

    async def scenario(world: World) -> None:
        await world.credit(10**6)
        await put(world, limit(10**6))
        await traffic(world, 10, 30)
        assert 4 <= len(world.watched) <= 8
        _, purses, found = world.watched[-1]
        assert [purse.id for purse in purses] == ["main"]
        assert [window.key for window in found] == [windows.name(limit(0), EPOCH_MS)]

    play(scenario)


def test_a_bug_while_looking_around_is_told_and_does_not_end_it() -> None:
    """One bug would leave every lease of the instance held for good, without a word."""

    async def scenario(world: World) -> None:
        await world.credit(10**6)
        await free_scope_busy(world)

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.ledger._scopes, "_retire_idle", broken)
            await asyncio.sleep(10)
        assert {(name, type(error)) for name, error in world.telemetry.incidents} == {("ledger", ZeroDivisionError)}
        world.telemetry.incidents.clear()
        assert only_open(world)
        await asyncio.sleep(2 * TIDY_S)
        assert world.purse().leased_nanousd == 0

    play(scenario)


def test_looking_around_goes_on_after_an_outage() -> None:
    """An instance would not see a lowered limit any more after the store was down once."""

    async def scenario(world: World) -> None:
        await world.credit(10**6)
        await free_scope_busy(world)
        hold = await world.ledger.hold(call(), plan(HOLD))
        world.store.dice.plan = DOWN
        await asyncio.sleep(20)
        assert world.telemetry.counts[Counter.LOOK_FAILED] > 0
        world.store.dice.plan = CALM
        seen = len(world.watched)
        await asyncio.sleep(10)
        assert len(world.watched) > seen
        await world.ledger.settle(hold, VOID)

    play(scenario)


def test_no_wait_before_the_provider_is_called() -> None:
    """Every call would wait for the store before its provider is asked."""

    async def scenario(world: World) -> None:
        world.store.dice.plan = SLOW
        await world.credit(10**6)
        await put(world, limit(10**6))
        await free_scope_busy(world)
        for _ in range(5):
            beginning = world.ledger.begin(call(), plan(10))
            with pytest.raises(StopIteration) as ended:
                beginning.send(None)
            holding = ended.value.value
            assert holding.hold is None
            await world.ledger.abandon(holding, VOID)
            await asyncio.sleep(2)

    play(scenario)


def test_what_costs_nothing_needs_no_credits_and_no_money() -> None:
    """A free model could not be used without paying, or its leases pile up."""

    async def scenario(world: World) -> None:
        for _ in range(3):
            for _ in range(3):
                await served(world, 0, ceiling=0)
            await asyncio.sleep(LEASE_LIFE_MS / 1000 - 1)
            await served(world, 0, ceiling=0)
            await asyncio.sleep(2)
        found = world.leases()
        assert len(found) == 3
        assert [lease.state for lease in found[:2]] == [LeaseState.CLOSED] * 2
        assert all(slot.state is SlotState.SETTLED for slot in world.generations().values())

    play(scenario)


def test_a_void_that_cannot_be_written_leaves_no_money_behind() -> None:
    """A request sent again while the store is ill would leave its money set aside until the lease is reclaimed."""

    async def scenario(world: World) -> None:
        await world.credit(10 * HOLD)
        first = await world.ledger.hold(call(request_id="one"), plan(HOLD))
        puts = world.table.put_new

        async def broken(item: dict[str, object]) -> object:
            if str(item["sk"]).startswith(keys.SLOT_PREFIX):
                raise StoreError
            return await puts(item)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.table, "put_new", broken)
            with pytest.raises(LedgerUnavailableError):
                await world.ledger.hold(call(request_id="one"), plan(HOLD))
        await world.ledger.settle(first, settled(1, HOLD))
        assert world.purse().leased_nanousd == 0

    play(scenario)
