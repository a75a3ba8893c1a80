"""Whole answers that nobody bounded, many at one time: each is paid for by what was set aside for it, or is bounded."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from msgspec.structs import replace

from junctor.adapters.tables.faults import CALM, Fault, FaultPlan
from junctor.domain.call import Call
from junctor.domain.credits import Interval, Limit, LimitSubject, Refund
from junctor.domain.errors import InsufficientCreditsError, KeyBudgetExceededError, LedgerUnavailableError
from junctor.domain.lease import LeaseState
from junctor.ledger import closing, limit_changes
from junctor.ledger.credits import Booking, refund
from junctor.ledger.holding import Holding
from junctor.ledger.ledger import Ledger
from junctor.ledger.scope import Scope
from junctor.ledger.sizing import LONG_SHARE, PINCHED_S
from junctor.ledger.standing import FRESH_S
from junctor.policy.bounds import DEFAULT_OUTPUT_HOLD_TOKENS as HOLD
from junctor.ports.telemetry import Counter
from junctor.records import windows
from tests.support.world import CALLER, VOID, World, paid, play
from tests.unit.test_booking import LONGEST, TOKEN, asked, planned

MORE = (LONGEST - HOLD) * TOKEN
PLENTY = 1_000 * LONGEST * TOKEN
HOLDS = 100
"""How many holds a crowd's credit, or its key's limit, is for."""
SLOW = FaultPlan(latency_s=(0.05, 0.05))
DOWN = FaultPlan(chances=((Fault.UNAVAILABLE, 1.0),))


def streamed() -> Call:
    """Return a streamed call that nobody bounded."""
    return replace(asked(), streamed=True)


def scope_of(ledger: Ledger) -> Scope:
    """Return the one scope that is in use."""
    (scope,) = ledger._scopes._scopes.values()
    return scope


async def limited(world: World, limit_nanousd: int) -> None:
    """Put the caller's key under a limit of a day."""
    subject, of = LimitSubject.API_KEY, CALLER.key
    wanted = Limit(
        account=CALLER.account,
        id=windows.limit_id(subject, of, Interval.DAY),
        limit_nanousd=limit_nanousd,
        interval=Interval.DAY,
        subject=subject,
        subject_id=of,
        change=f"limit {limit_nanousd}",
    )
    assert await limit_changes.put_limit(world.table, world.dice, wanted) is Booking.BOOKED


async def crowd(world: World, ledgers: list[Ledger]) -> tuple[list[Holding], int]:
    """Begin twice as many calls as there are holds, let those that are let in cost as much as they may, and return them."""
    begun: list[tuple[Ledger, Holding]] = []
    for number in range(2 * HOLDS):
        ledger = ledgers[number % len(ledgers)]
        with suppress(InsufficientCreditsError, KeyBudgetExceededError):
            begun.append((ledger, await ledger.begin(asked(), planned())))
    costs = 0
    for ledger, holding in begun:
        cost = (LONGEST if holding.output_cap is None else holding.output_cap) * TOKEN
        receipt = await ledger.settle(await holding.ready(), paid(cost))
        assert receipt.cost_nanousd == cost
        costs += cost
    for ledger in ledgers:
        assert await ledger.drain(60) == 0
        await ledger.close()
    return [holding for _, holding in begun], costs


@pytest.mark.parametrize("instances", [1, 3])
@pytest.mark.parametrize("by_key", [False, True])
def test_a_crowd_of_long_answers_is_paid(instances: int, by_key: bool) -> None:
    """An organisation would get many times what it has paid for, or a key spend more than its limit, at our cost."""

    async def scenario(world: World) -> None:
        await world.credit(PLENTY if by_key else HOLDS * HOLD * TOKEN)
        if by_key:
            await limited(world, HOLDS * HOLD * TOKEN)
        ledgers = [world.ledger, *(world.instance() for _ in range(instances - 1))]
        holdings, costs = await crowd(world, ledgers)
        assert world.telemetry.counts[Counter.UNDERCHARGED] == 0
        assert world.purse().spent_nanousd == costs <= HOLDS * HOLD * TOKEN
        open_ended = [holding for holding in holdings if holding.output_cap is None]
        assert 0 < len(open_ended) * MORE <= instances * HOLDS * HOLD * TOKEN // LONG_SHARE
        assert len(holdings) >= HOLDS - instances * HOLDS // LONG_SHARE - instances

    play(scenario)


def test_many_at_once_where_there_is_plenty() -> None:
    """Answers would be cut though the organisation can pay them all, or each of them cost a write."""

    async def scenario(world: World) -> None:
        await world.credit(PLENTY)
        holdings = await asyncio.gather(*(world.ledger.begin(asked(), planned()) for _ in range(50)))
        assert [holding.output_cap for holding in holdings] == [None] * 50
        assert scope_of(world.ledger).beyond_nanousd == 50 * MORE
        await asyncio.gather(*(holding.ready() for holding in holdings))
        writes = world.store.calls
        more = [await world.ledger.begin(asked(), planned()) for _ in range(50)]
        assert {holding.output_cap for holding in more} == {None}
        await asyncio.gather(*(holding.ready() for holding in more))
        assert world.store.calls - writes < 50 + 10
        for holding in (*holdings, *more):
            await world.ledger.settle(await holding.ready(), paid(LONGEST * TOKEN))
        assert world.telemetry.counts[Counter.UNDERCHARGED] == 0
        assert scope_of(world.ledger).beyond_nanousd == 0

    play(scenario)


async def _settled(world: World, holding: Holding) -> None:
    await world.ledger.settle(await holding.ready(), paid(TOKEN))


async def _settled_twice(world: World, holding: Holding) -> None:
    hold = await holding.ready()
    await world.ledger.settle(hold, paid(LONGEST * TOKEN))
    await world.ledger.settle(hold, paid(LONGEST * TOKEN))


async def _costing_more(world: World, holding: Holding) -> None:
    """Cost more than any endpoint may give: a provider tells so."""
    await world.ledger.settle(await holding.ready(), paid((LONGEST + 5_000) * TOKEN))


async def _void(world: World, holding: Holding) -> None:
    await world.ledger.abandon(holding, VOID)


async def _caller_left(world: World, holding: Holding) -> None:
    hold = await holding.ready()
    world.store.dice.plan = SLOW
    settling = asyncio.create_task(world.ledger.settle(hold, paid(TOKEN)))
    await asyncio.sleep(0.01)
    settling.cancel()
    await asyncio.wait((settling,))


async def _never_written(world: World, holding: Holding) -> None:
    world.store.dice.plan = DOWN
    with pytest.raises(LedgerUnavailableError):
        await holding.ready()


async def _expired(world: World, holding: Holding) -> None:
    """Have the slot ended by somebody else."""
    hold = await holding.ready()
    (lease,) = [lease for lease in world.leases() if lease.state is LeaseState.OPEN]
    await closing.close(world.table, world.dice, lease, world.clock.now_ms())
    await world.ledger.settle(hold, paid(TOKEN))


async def _given_up(world: World, holding: Holding) -> None:
    hold = await holding.ready()
    world.store.dice.plan = DOWN
    assert (await world.ledger.settle(hold, paid(TOKEN))).pending


async def _fenced(world: World, holding: Holding) -> None:
    """Go on in another lease, as the first was closed before the slot was there."""
    assert (await holding.ready()).generation.hold_nanousd == LONGEST * TOKEN
    assert scope_of(world.ledger).beyond_nanousd == MORE
    await _settled(world, holding)


WAYS = [_settled, _settled_twice, _costing_more, _void, _caller_left, _never_written, _expired, _given_up, _fenced]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_set_aside_goes_back_once_however_a_call_ends(way: Callable[[World, Holding], Awaitable[None]]) -> None:
    """Every later answer would be cut for one that ended long ago, or far too much be set aside at one time."""

    async def scenario(world: World) -> None:
        await world.credit(PLENTY)
        other = await world.ledger.begin(streamed(), planned())
        await other.ready()
        first = await world.ledger.begin(asked(1), planned())
        if way is _fenced:
            (lease,) = [lease for lease in world.leases() if lease.state is LeaseState.OPEN]
            await closing.close(world.table, world.dice, lease, world.clock.now_ms())
        scope = scope_of(world.ledger)
        assert scope.beyond_nanousd == 0
        if way is _never_written:
            world.store.dice.plan = SLOW
        holding = await world.ledger.begin(asked(), planned())
        assert (holding.output_cap, scope.beyond_nanousd) == (None, MORE)
        await way(world, holding)
        await world.ledger.drain(2_000)
        world.store.dice.plan = CALM
        assert scope.beyond_nanousd == 0
        for held in (other, first):
            await world.ledger.abandon(held, VOID)
        assert scope.beyond_nanousd == 0

    play(scenario)


def test_who_leaves_while_he_waits_for_room_leaves_nothing_behind() -> None:
    """Callers who give up while money is being leased would have every later answer cut."""

    async def scenario(world: World) -> None:
        await world.credit(PLENTY)
        world.store.dice.plan = SLOW
        waiting = [asyncio.create_task(world.ledger.begin(asked(), planned())) for _ in range(3)]
        for _ in range(40):
            await asyncio.sleep(0.005)
            if world.leases():
                break
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        assert await world.ledger.drain(60) == 0
        world.store.dice.plan = CALM
        assert scope_of(world.ledger).beyond_nanousd == 0
        holding = await world.ledger.begin(asked(), planned())
        assert holding.output_cap is None
        await world.ledger.abandon(holding, VOID)

    play(scenario)


@pytest.mark.parametrize("named", [False, True])
def test_a_call_whose_lease_is_closed_when_money_is_short(named: bool) -> None:
    """A call would be refused that its hold still covers; a named one, not yet sent, get more than there is money for."""

    async def scenario(world: World) -> None:
        await world.credit(PLENTY)
        kept = await world.ledger.begin(asked(1), planned())
        await kept.ready()
        world.store.dice.plan = SLOW
        wanted = replace(asked(), request_id="a name" if named else None)
        beginning = asyncio.create_task(world.ledger.begin(wanted, planned()))
        await asyncio.sleep(0.12)  # there is room, and the slot is being written
        scope = scope_of(world.ledger)
        assert scope.beyond_nanousd == MORE
        (lease,) = [lease for lease in world.leases() if lease.state is LeaseState.OPEN]
        world.store.dice.plan = CALM
        await closing.close(world.table, world.dice, lease, world.clock.now_ms())
        back = Refund(
            account=CALLER.account,
            id="back",
            payment="main-0.0",
            purse="main",
            amount_nanousd=world.purse().avail_nanousd - HOLD * TOKEN,
            at_ms=world.clock.now_ms(),
        )
        assert await refund(world.table, world.dice, back) is Booking.BOOKED
        holding = await beginning
        hold = await holding.ready()
        assert (hold.generation.hold_nanousd, scope.beyond_nanousd) == (HOLD * TOKEN, 0)
        if named:
            assert holding.output_cap == HOLD
        receipt = await world.ledger.settle(hold, paid(LONGEST * TOKEN))
        assert receipt.cost_nanousd == HOLD * TOKEN
        assert world.telemetry.counts[Counter.UNDERCHARGED] == MORE
        await world.ledger.abandon(kept, VOID)

    play(scenario)


def test_a_key_that_is_nearly_used_up_bounds_its_answers() -> None:
    """A key's last answer would cost what its limit does not allow, while the organisation's purse is full."""

    async def scenario(world: World) -> None:
        await world.credit(PLENTY)
        await limited(world, 10 * LONGEST * TOKEN)
        for _ in range(9):
            await world.ledger.settle(await world.ledger.hold(asked(LONGEST), planned()), paid(LONGEST * TOKEN))
        await world.ledger.settle(await world.ledger.hold(asked(1_000), planned()), paid(1_000 * TOKEN))
        await asyncio.sleep(2 * PINCHED_S)
        # Nothing is leased, so nobody looks at the window: the store says that it does not allow the longest answer.
        assert scope_of(world.ledger).current is None
        holding = await world.ledger.begin(asked(), planned())
        assert holding.output_cap == HOLD
        assert (await holding.ready()).generation.hold_nanousd == HOLD * TOKEN
        receipt = await world.ledger.settle(await holding.ready(), paid(HOLD * TOKEN))
        assert receipt.cost_nanousd == HOLD * TOKEN
        assert world.telemetry.counts[Counter.UNDERCHARGED] == 0

    play(scenario)


def test_what_a_look_at_a_window_tells_is_minded() -> None:
    """One answer would take all that a key has left, and its other calls be refused meanwhile."""

    async def scenario(world: World) -> None:
        await world.credit(PLENTY)
        await limited(world, (10 * LONGEST + 5_000) * TOKEN)
        for _ in range(9):
            await world.ledger.settle(await world.ledger.hold(asked(LONGEST), planned()), paid(LONGEST * TOKEN))
        kept = await world.ledger.begin(asked(1), planned())
        await asyncio.sleep(PINCHED_S + 2 * FRESH_S)
        current = scope_of(world.ledger).current
        assert current is not None
        assert current.headroom_nanousd is not None
        assert current.headroom_nanousd + current.free_nanousd == (LONGEST + 5_000 - 1) * TOKEN
        holding = await world.ledger.begin(asked(), planned())
        assert holding.output_cap == HOLD
        for held in (kept, holding):
            await world.ledger.abandon(held, VOID)

    play(scenario)


def test_one_refusal_bounds_answers_for_a_while_only() -> None:
    """Each answer would cost a transaction that is refused, or answers be cut for ever after one refusal."""

    async def scenario(world: World) -> None:
        await world.credit(PLENTY)
        first = await world.ledger.begin(asked(1), planned())
        with pytest.raises(InsufficientCreditsError):
            await world.ledger.begin(replace(asked(LONGEST), spec=replace(asked(LONGEST).spec, n=2_000)), planned())
        holding = await world.ledger.begin(asked(), planned())
        assert holding.output_cap == HOLD
        await asyncio.sleep(PINCHED_S)
        later = await world.ledger.begin(asked(), planned())
        assert later.output_cap is None
        for held in (first, holding, later):
            await world.ledger.abandon(held, VOID)

    play(scenario)


@pytest.mark.parametrize("holds", [6, 20])
def test_long_answers_that_come_together_leave_money_for_others(holds: int) -> None:
    """Two answers that begin at once would take all that there is, and the calls beside them be refused for it."""

    async def scenario(world: World) -> None:
        await world.credit(holds * HOLD * TOKEN)
        beginning = (world.ledger.begin(asked(), planned()) for _ in range(holds - 2))
        holdings = await asyncio.gather(*beginning)
        assert [holding.output_cap for holding in holdings].count(None) == 1
        assert scope_of(world.ledger).beyond_nanousd == MORE
        for holding in holdings:
            await world.ledger.abandon(holding, VOID)
        assert scope_of(world.ledger).beyond_nanousd == 0

    play(scenario)


def test_a_long_answer_whose_money_lies_in_too_many_purses_is_bounded() -> None:
    """An organisation with many small grants would be refused every answer that it does not bound."""

    async def scenario(world: World) -> None:
        for number in range(250):
            await world.credit(HOLD * TOKEN // 20, f"grant-{number}")
        holding = await world.ledger.begin(asked(), planned())
        assert holding.output_cap == HOLD
        await world.ledger.abandon(holding, VOID)

    play(scenario)
