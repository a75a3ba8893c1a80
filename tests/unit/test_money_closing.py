"""Leases closed, by owner and stranger, alone and in a race: what goes back is what was not spent."""

import asyncio

import msgspec
import pytest

from junctor.adapters.tables.faults import Fault, FaultPlan
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.domain.lease import Lease, LeaseState, Leg, SlotState
from junctor.ledger import closing, leasing, limits, slots
from junctor.ledger.credits import Booking, expire
from junctor.ledger.leasing import Leased
from junctor.ledger.reclaim import reclaim
from junctor.ledger.trying import TRIES
from junctor.ports.table import UnknownOutcomeError
from junctor.records import generations, keys
from junctor.records.leases import OPEN_SHARDS
from junctor.records.tables import OPEN_LEASES
from tests.support.bank import ACCOUNT, DAY, EXP_MS, NOW_MS, WIDTH, Bank, play


def test_closing_returns_what_was_not_spent_and_leaves_the_index() -> None:
    """Money would stay bound, or be spent and given back."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(60)
        await bank.credit(40, "other")
        await bank.limited(DAY)
        lease = bank.lease(100, DAY, legs=(Leg("other", 40), Leg("main", 60)))
        assert await leasing.acquire(bank.table, bank.dice, lease) == Leased(lease)
        for number in range(5):
            await bank.spent(lease, number, 9)
        closed = await closing.close(bank.table, bank.dice, lease, NOW_MS, 45)
        assert closed == msgspec.structs.replace(lease, state=LeaseState.CLOSED, total_nanousd=45)
        assert await bank.entry(lease) == closed
        other, main = await bank.purse("other"), await bank.purse()
        assert (other.avail_nanousd, other.spent_nanousd, main.avail_nanousd, main.spent_nanousd) == (0, 40, 55, 5)
        window = await bank.window(DAY)
        assert (window.headroom_nanousd, window.leased_nanousd, window.spent_nanousd) == (455, 0, 45)
        item = await bank.item(keys.lease(ACCOUNT, lease.id))
        assert {OPEN_LEASES.partition, OPEN_LEASES.sort}.isdisjoint(item)
        assert await bank.states(lease) == [SlotState.SETTLED] * 5

    play(scenario)


def test_a_stranger_ends_every_slot_first() -> None:
    """An owner who was only slow would go on to spend money that went back."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        lease = await bank.leased(100)
        await bank.spent(lease, 0, 7)
        await slots.put_void(bank.table, bank.dice, bank.generation(lease, 1, 0).slot)
        opened = await bank.opened(lease, 3, 10)
        closed = await closing.close(bank.table, bank.dice, lease, NOW_MS + 9)
        assert closed is not None
        assert closed.total_nanousd == 7
        assert await bank.states(lease) == [
            SlotState.SETTLED,
            SlotState.VOID,
            SlotState.SEALED,
            SlotState.EXPIRED,
            *[SlotState.SEALED] * WIDTH,
        ]
        expired = await bank.item(keys.slot(opened.slot))
        assert (expired["cost_nanousd"], expired["ended_at_ms"]) == (0, NOW_MS + 9)
        assert await bank.end(opened, 5) is slots.Ending.OURS_NOT
        for number in (2, 3, 4, 6):
            late = bank.generation(lease, number, 1)
            assert await slots.open_slot(bank.table, bank.dice, late) is slots.Opening.FENCED
        assert (await bank.purse()).avail_nanousd == 93

    play(scenario)


def test_closing_reads_more_than_one_page_of_slots() -> None:
    """What was settled behind the first page would never be billed."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(10_000)
        lease = await bank.leased(10_000)
        for number in range(40):
            generation = msgspec.structs.replace(bank.generation(lease, number, 5), requested_model="x" * 40_000)
            await slots.open_slot(bank.table, bank.dice, generation)
            await bank.end(generation, 5)
        assert (await bank.table.query(generations.all_of(ACCOUNT, lease.id, None))).next is not None
        closed = await closing.close(bank.table, bank.dice, lease, NOW_MS)
        assert closed is not None
        assert closed.total_nanousd == 200

    play(scenario)


def test_any_number_of_closers_may_race() -> None:
    """Money would go back twice."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        lease = await bank.leased(100)
        await bank.spent(lease, 0, 7)
        await bank.opened(lease, 1, 10)
        closed = await asyncio.gather(*(closing.close(bank.table, bank.dice, lease, NOW_MS + n) for n in range(8)))
        assert {entry.total_nanousd for entry in closed if entry} == {7}
        assert len(set(map(repr, closed))) == 1
        assert (await bank.purse()).avail_nanousd == 93

    for seed in range(30):
        play(scenario, plan=FaultPlan(latency_s=(0.0, 0.05)), seed=seed)


def test_closers_race_with_an_owner_who_opens_settles_and_grows() -> None:
    """A growth that lands while a closer works would be lost, or a settled cost not be in the total."""

    async def owner(bank: Bank, lease: Lease) -> None:
        for number in range(6):
            opened = bank.generation(lease, number, 10)
            if await slots.open_slot(bank.table, bank.dice, opened) is not slots.Opening.OPEN:
                return
            if number == 2:
                await leasing.grow(bank.table, bank.dice, lease, (Leg("main", 30),))
            await bank.end(opened, 9)

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        lease = await bank.leased(60)

        async def closer(after_s: float) -> None:
            await asyncio.sleep(after_s)
            await closing.close(bank.table, bank.dice, lease, NOW_MS)

        await asyncio.gather(owner(bank, lease), closer(0.1), closer(0.3), closer(0.5))
        purse = await bank.purse()
        assert (purse.leased_nanousd, purse.avail_nanousd + purse.spent_nanousd) == (0, 100)

    for seed in range(60):
        play(scenario, plan=FaultPlan(latency_s=(0.0, 0.05)), seed=seed)


def test_a_growth_between_reading_and_closing_is_given_back() -> None:
    """The part by which a lease grew would be lost to its purse for ever."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        lease = await bank.leased(50)
        real = bank.table.transact
        tries = 0

        async def growing_first(operations: object, token: str) -> object:
            nonlocal tries
            tries += 1
            if tries == 1:
                assert isinstance(await leasing.grow(bank.table, bank.dice, lease, (Leg("main", 20),)), Leased)
            return await real(operations, token)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bank.table, "transact", growing_first)
            closed = await closing.close(bank.table, bank.dice, lease, NOW_MS)
        assert closed is not None
        assert (closed.amount_nanousd, closed.total_nanousd) == (70, 0)
        assert tries == 3
        assert (await bank.purse()).avail_nanousd == 100

    play(scenario)


def test_closing_gives_back_to_a_purse_that_expired_and_a_window_that_was_lowered() -> None:
    """A lease could not be closed any more, and its money be bound for ever."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        await bank.limited(DAY)
        lease = await bank.leased(100, DAY)
        await bank.spent(lease, 0, 8)
        assert await expire(bank.table, bank.dice, ACCOUNT, "main") is Booking.BOOKED
        lowered = msgspec.structs.replace(DAY, limit_nanousd=1, change="c")
        assert await limits.set_limit(bank.table, bank.dice, lowered) is Booking.BOOKED
        assert await closing.close(bank.table, bank.dice, lease, NOW_MS) is not None
        assert (await bank.purse()).avail_nanousd == 92
        assert (await bank.window(DAY)).headroom_nanousd == -7

    play(scenario)


def test_closing_what_is_closed_or_was_never_there_changes_nothing() -> None:
    """A second closer would fail, or take a lease for closed that may still land."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        lease = await bank.leased(100)
        closed = await closing.close(bank.table, bank.dice, lease, NOW_MS)
        assert await closing.close(bank.table, bank.dice, lease, NOW_MS + 5, 0) == closed
        never = bank.lease(1, number=9)
        assert await closing.close(bank.table, bank.dice, never, NOW_MS) is None
        assert await leasing.acquire(bank.table, bank.dice, never) == Leased(never)
        assert await slots.open_slot(bank.table, bank.dice, bank.generation(never, 0, 1)) is slots.Opening.FENCED
        await closing.close(bank.table, bank.dice, never, NOW_MS)

    play(scenario)


def test_the_reclaimer_closes_what_is_past_its_end_and_nothing_else() -> None:
    """Money of an instance that died would be bound for ever, or a living one's lease be taken from it."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(1_000)
        dead = [await bank.leased(10, number=number) for number in range(20)]
        alive = msgspec.structs.replace(bank.lease(10, number=99), exp_ms=EXP_MS + 1_000)
        assert await leasing.acquire(bank.table, bank.dice, alive) == Leased(alive)
        await bank.opened(dead[3], 0, 5)
        assert (await reclaim(bank.table, bank.dice, EXP_MS - 1)).closed == ()
        done = await reclaim(bank.table, bank.dice, EXP_MS)
        assert {lease.id for lease in done.closed} == {lease.id for lease in dead}
        assert (done.failed, done.broken) == (0, ())
        assert (await bank.purse()).leased_nanousd == 10
        assert await bank.entry(alive) == alive
        assert (await reclaim(bank.table, bank.dice, EXP_MS)).closed == ()

    play(scenario)


def test_reclaimers_may_race_and_see_an_old_index() -> None:
    """Two machines with a reclaimer would give money back twice, or close a lease anew that the index still shows."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(1_000)
        for number in range(5):
            await bank.leased(10, number=number)
        await asyncio.sleep(20)
        await asyncio.gather(*(reclaim(bank.table, bank.dice, EXP_MS) for _ in range(3)))
        await reclaim(bank.table, bank.dice, EXP_MS)
        assert (await bank.purse()).avail_nanousd == 1_000

    for seed in range(10):
        play(scenario, plan=FaultPlan(latency_s=(0.0, 0.05), stale_s=10.0), seed=seed)


def test_the_reclaimer_collects_and_sweeps() -> None:
    """What comes back to a grant that expired would look like money that can be spent."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100, expires_at_ms=EXP_MS)
        lease = await bank.leased(30)
        await bank.spent(lease, 0, 4)
        await reclaim(bank.table, bank.dice, EXP_MS)
        purse = await bank.purse()
        assert (purse.avail_nanousd, purse.expired_nanousd, purse.spent_nanousd) == (0, 96, 4)

    play(scenario)


def test_the_reclaimer_goes_on_behind_what_it_cannot_do() -> None:
    """One lease or one part of the index that cannot be read would bind everybody's money."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        await bank.leased(10, number=0)
        await bank.leased(10, number=1)
        bank.strike(*[Fault.NONE] * OPEN_SHARDS, *[Fault.UNAVAILABLE] * TRIES)
        first = await reclaim(bank.table, bank.dice, EXP_MS)
        assert (len(first.closed), first.failed) == (1, 1)
        bank.strike(*[Fault.UNAVAILABLE] * TRIES)
        second = await reclaim(bank.table, bank.dice, EXP_MS)
        assert (len(second.closed), second.failed) == (1, 1)

    play(scenario)


async def test_a_lease_whose_books_are_wrong_is_told_and_left() -> None:
    """A corrupt lease would stop the reclaimer, or be closed with money out of nothing."""
    bank = await Bank(SimulatedStore()).open()
    await bank.credit(100)
    wrong, right = await bank.leased(10, number=0), await bank.leased(10, number=1)
    await bank.spent(wrong, 0, 11, hold=11)
    done = await reclaim(bank.table, bank.dice, EXP_MS)
    assert done.broken == ((ACCOUNT, wrong.id),)
    assert [lease.id for lease in done.closed] == [right.id]
    assert (await bank.purse()).leased_nanousd == 10


def test_a_close_whose_fate_is_unknown_may_be_repeated() -> None:
    """A closer who loses all replies would leave books that no later closer can end."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        lease = await bank.leased(100)
        await bank.spent(lease, 0, 7)
        bank.strike(Fault.NONE, *[Fault.DELAYED] * 8)
        with pytest.raises(UnknownOutcomeError):
            await closing.close(bank.table, bank.dice, lease, NOW_MS, 7)
        closed = await closing.close(bank.table, bank.dice, lease, NOW_MS)
        assert closed is not None
        assert closed.total_nanousd == 7

    play(scenario)
