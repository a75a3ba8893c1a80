"""Leases taken, enlarged and renewed: what each transaction takes, what it refuses, and whose try is found."""

import asyncio

import msgspec
import pytest

from junctor.adapters.tables.faults import Fault
from junctor.domain.credits import Clawback, Limit
from junctor.domain.lease import LeaseState, Leg
from junctor.ledger import closing, leasing, limits
from junctor.ledger.credits import Booking, chargeback, expire
from junctor.ledger.leasing import LeaseClosed, Leased, PurseShort, WindowShort
from junctor.ports.table import UnknownOutcomeError
from tests.support.bank import ACCOUNT, DAY, MONTH, NOW_MS, Bank, play

LOST_FOR_GOOD = [Fault.REPLY_LOST] * 8


def test_acquiring_takes_from_purses_and_windows_at_once() -> None:
    """Money would be spent that was never taken from anybody."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        await bank.credit(100, "grant", expires_at_ms=NOW_MS + 5)
        await bank.limited(DAY)
        lease = bank.lease(150, DAY, legs=(Leg("grant", 100), Leg("main", 50)))
        assert await leasing.acquire(bank.table, bank.dice, lease) == Leased(lease)
        assert await bank.entry(lease) == lease
        assert [(p.avail_nanousd, p.leased_nanousd) for p in (await bank.purse(), await bank.purse("grant"))] == [
            (50, 50),
            (0, 100),
        ]
        window = await bank.window(DAY)
        assert (window.headroom_nanousd, window.leased_nanousd) == (350, 150)
        assert (await bank.limit(DAY)).ver == 1

    play(scenario)


def test_a_purse_that_is_short_is_named_and_nothing_is_taken() -> None:
    """A balance would go below zero, or a caller not be told how much there is."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        await bank.credit(10, "other")
        lease = bank.lease(150, legs=(Leg("main", 100), Leg("other", 11), Leg("absent", 39)))
        answer = await leasing.acquire(bank.table, bank.dice, lease)
        assert answer == PurseShort("other", await bank.purse("other"))
        lease = bank.lease(139, legs=(Leg("main", 100), Leg("absent", 39)))
        assert await leasing.acquire(bank.table, bank.dice, lease) == PurseShort("absent", None)
        assert (await bank.purse()).leased_nanousd == 0
        lease = bank.lease(100)
        assert await leasing.acquire(bank.table, bank.dice, lease) == Leased(lease)

    play(scenario)


def test_the_broadest_window_that_is_short_is_named() -> None:
    """A caller would be told that his key is at its limit, where his organisation is."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100_000)
        await bank.limited(MONTH)
        await bank.limited(DAY)
        both = bank.lease(5_001, MONTH, DAY)
        assert await leasing.acquire(bank.table, bank.dice, both) == WindowShort(both.windows[0], await bank.window(MONTH))
        key_only = bank.lease(501, MONTH, DAY)
        assert await leasing.acquire(bank.table, bank.dice, key_only) == WindowShort(
            key_only.windows[1], await bank.window(DAY)
        )
        unknown = bank.lease(1, msgspec.structs.replace(DAY, id="nobody"))
        assert await leasing.acquire(bank.table, bank.dice, unknown) == WindowShort(unknown.windows[0], None)
        assert (await bank.purse()).leased_nanousd == 0
        assert await bank.leased(500, MONTH, DAY) == bank.lease(500, MONTH, DAY)

    play(scenario)


def test_a_purse_that_owes_or_expired_leases_nothing() -> None:
    """A debt would be spent again, or a grant after its end."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        await bank.credit(100, "grant")
        held = await bank.leased(60)
        in_grant = bank.lease(30, number=3, legs=(Leg("grant", 30),))
        assert await leasing.acquire(bank.table, bank.dice, in_grant) == Leased(in_grant)
        entry = Clawback(account=ACCOUNT, id="c", payment="pay-main", purse="main", amount_nanousd=80, at_ms=NOW_MS)
        assert await chargeback(bank.table, bank.dice, entry) is Booking.BOOKED
        assert await closing.close(bank.table, bank.dice, held, NOW_MS, 0)
        owing = await bank.purse()
        assert (owing.avail_nanousd, owing.owed_nanousd) == (60, 40)
        assert await leasing.acquire(bank.table, bank.dice, bank.lease(1, number=1)) == PurseShort("main", owing)
        assert await expire(bank.table, bank.dice, ACCOUNT, "grant") is Booking.BOOKED
        await closing.close(bank.table, bank.dice, in_grant, NOW_MS)
        assert (await bank.purse("grant")).avail_nanousd == 30
        out_of_grant = bank.lease(1, number=2, legs=(Leg("grant", 1),))
        assert await leasing.acquire(bank.table, bank.dice, out_of_grant) == PurseShort("grant", await bank.purse("grant"))

    play(scenario)


def test_an_earlier_try_is_taken_as_it_is() -> None:
    """An instance would believe in the sum it asked for last, and spend money that nobody took."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        await bank.limited(DAY)
        bank.strike(Fault.NONE, Fault.NONE, Fault.NONE, *LOST_FOR_GOOD)  # the window is opened first
        with pytest.raises(UnknownOutcomeError):
            await leasing.acquire(bank.table, bank.dice, bank.lease(80, DAY))
        answer = await leasing.acquire(bank.table, bank.dice, bank.lease(30))
        assert answer == Leased(bank.lease(80, DAY))
        assert (await bank.purse()).leased_nanousd == 80

    play(scenario)


def test_an_earlier_try_that_a_closer_ended_is_no_lease() -> None:
    """An instance would spend from a lease whose money went back."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        lease = await bank.leased(80)
        await closing.close(bank.table, bank.dice, lease, NOW_MS)
        answer = await leasing.acquire(bank.table, bank.dice, bank.lease(30))
        assert answer == LeaseClosed(await bank.entry(lease))
        assert await leasing.grow(bank.table, bank.dice, lease, (Leg("main", 1),)) == answer
        assert (await bank.purse()).avail_nanousd == 100

    play(scenario)


def test_fifty_at_once_take_no_more_than_there_is() -> None:
    """Two instances would lease the same money."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        answers = await asyncio.gather(
            *(leasing.acquire(bank.table, bank.dice, bank.lease(7, number=number)) for number in range(50))
        )
        assert sum(isinstance(answer, Leased) for answer in answers) == 14
        assert (await bank.purse()).avail_nanousd == 2

    play(scenario)


def test_a_lease_grows_by_merged_legs() -> None:
    """A stream would be cut off although there is money, or a purse be met twice in one transaction."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        await bank.credit(100, "other")
        await bank.limited(DAY)
        lease = await bank.leased(50, DAY)
        answer = await leasing.grow(bank.table, bank.dice, lease, (Leg("other", 20), Leg("main", 5)))
        assert isinstance(answer, Leased)
        assert (answer.lease.amount_nanousd, answer.lease.legs) == (75, (Leg("main", 55), Leg("other", 20)))
        assert await bank.entry(lease) == answer.lease
        assert (await bank.window(DAY)).leased_nanousd == 75
        assert (await bank.purse("other")).leased_nanousd == 20

    play(scenario)


def test_a_lease_that_cannot_grow_says_what_is_short() -> None:
    """A stream would go on without money, or its caller not learn what ended it."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(600)
        await bank.limited(DAY)
        lease = await bank.leased(450, DAY)
        answer = await leasing.grow(bank.table, bank.dice, lease, (Leg("main", 151),))
        assert answer == PurseShort("main", await bank.purse())
        answer = await leasing.grow(bank.table, bank.dice, lease, (Leg("main", 51),))
        assert answer == WindowShort(lease.windows[0], await bank.window(DAY))
        assert await bank.entry(lease) == lease

    play(scenario)


def test_a_late_growth_is_adopted() -> None:
    """Money of a growth whose reply was lost would be bound and not be spent, and the next growth be refused for ever."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        lease = await bank.leased(50)
        bank.strike(*LOST_FOR_GOOD)
        with pytest.raises(UnknownOutcomeError):
            await leasing.grow(bank.table, bank.dice, lease, (Leg("main", 20),))
        answer = await leasing.grow(bank.table, bank.dice, lease, (Leg("main", 5),))
        assert isinstance(answer, Leased)
        assert answer.lease.legs == (Leg("main", 70),)
        assert (await bank.purse()).leased_nanousd == 70

    play(scenario)


def test_renewing_nets_what_goes_back_and_what_is_taken() -> None:
    """A purse that is all leased could never be renewed, or a period pay for another one's lease."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        await bank.credit(40, "other")
        await bank.limited(MONTH)
        await bank.limited(DAY)
        lease = await bank.leased(100, MONTH)
        await bank.spent(lease, 0, 8)
        legs = (Leg("other", 40), Leg("main", 92))
        following = bank.lease(132, MONTH, DAY, number=1, legs=legs)
        assert await leasing.renew(bank.table, bank.dice, lease, 8, following) == Leased(following)
        closed = await bank.entry(lease)
        assert (closed.state, closed.total_nanousd) == (LeaseState.CLOSED, 8)
        purse, other = await bank.purse(), await bank.purse("other")
        assert (purse.avail_nanousd, purse.leased_nanousd, purse.spent_nanousd) == (0, 92, 8)
        assert (other.avail_nanousd, other.leased_nanousd, other.spent_nanousd) == (0, 40, 0)
        month, day = await bank.window(MONTH), await bank.window(DAY)
        assert (month.leased_nanousd, month.spent_nanousd) == (132, 8)
        assert (day.leased_nanousd, day.spent_nanousd) == (132, 0)

    play(scenario)


def test_renewing_out_of_other_purses_gives_back_to_the_old_ones() -> None:
    """Money would stay bound in a purse that the new lease does not name."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        await bank.credit(40, "other")
        await bank.limited(DAY)
        lease = await bank.leased(100, DAY)
        await bank.spent(lease, 0, 8)
        following = bank.lease(30, number=1, legs=(Leg("other", 30),))
        assert await leasing.renew(bank.table, bank.dice, lease, 8, following) == Leased(following)
        purse = await bank.purse()
        assert (purse.avail_nanousd, purse.leased_nanousd, purse.spent_nanousd) == (92, 0, 8)
        window = await bank.window(DAY)
        assert (window.headroom_nanousd, window.leased_nanousd, window.spent_nanousd) == (492, 0, 8)

    play(scenario)


@pytest.mark.parametrize("smaller", [False, True])
def test_a_lowered_limit_and_a_debt_stop_a_renewal(smaller: bool) -> None:
    """A lease would go on for ever where none may be taken any more, even if the new one needs less than the old gives back."""

    async def scenario(bank: Bank) -> None:
        amount = 50 if smaller else 101
        await bank.credit(101)
        await bank.limited(DAY)
        lease = await bank.leased(100, DAY)
        lowered = msgspec.structs.replace(DAY, limit_nanousd=40, change="c")
        assert await limits.set_limit(bank.table, bank.dice, lowered) is Booking.BOOKED
        following = bank.lease(amount, DAY, number=1)
        answer = await leasing.renew(bank.table, bank.dice, lease, 0, following)
        assert answer == WindowShort(lease.windows[0], await bank.window(DAY))
        entry = Clawback(account=ACCOUNT, id="c", payment="pay-main", purse="main", amount_nanousd=80, at_ms=NOW_MS)
        assert await chargeback(bank.table, bank.dice, entry) is Booking.BOOKED
        answer = await leasing.renew(bank.table, bank.dice, lease, 0, following)
        assert answer == PurseShort("main", await bank.purse())
        assert await bank.entry(lease) == lease

    play(scenario)


def test_renewing_a_lease_that_was_closed_acquires() -> None:
    """What a closer gave back would be given back again."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        lease = await bank.leased(60)
        await bank.spent(lease, 0, 8)
        await closing.close(bank.table, bank.dice, lease, NOW_MS)
        following = bank.lease(90, number=1)
        assert await leasing.renew(bank.table, bank.dice, lease, 8, following) == Leased(following)
        assert (await bank.purse()).avail_nanousd == 2
        assert await leasing.renew(bank.table, bank.dice, lease, 8, bank.lease(1, number=1)) == Leased(following)

    play(scenario)


def test_renewing_a_lease_that_grew_unnoticed_gives_all_of_it_back() -> None:
    """The part by which it grew would be bound for ever."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        lease = await bank.leased(50)
        assert isinstance(await leasing.grow(bank.table, bank.dice, lease, (Leg("main", 20),)), Leased)
        following = bank.lease(100, number=1)
        assert await leasing.renew(bank.table, bank.dice, lease, 0, following) == Leased(following)
        assert (await bank.purse()).leased_nanousd == 100

    play(scenario)


def test_a_lease_of_nothing_may_be_taken_by_anyone() -> None:
    """Free models would be refused where no money is, or where a limit was lowered."""

    async def scenario(bank: Bank) -> None:
        await bank.limited(DAY)
        lease = bank.lease(0, DAY, legs=())
        assert await leasing.acquire(bank.table, bank.dice, lease) == Leased(lease)
        assert (await closing.close(bank.table, bank.dice, lease, NOW_MS)) is not None

    play(scenario)


@pytest.mark.parametrize(
    ("legs", "amount", "windows"),
    [
        ((Leg("main", 5),), 6, 0),
        ((Leg("main", 5), Leg("main", 1)), 6, 0),
        ((Leg("main", 6), Leg("other", 0)), 6, 0),
        ((Leg("main", 7), Leg("other", -1)), 6, 0),
        ((Leg("main", 6),), 6, 9),
    ],
)
def test_leases_that_do_not_add_up_are_refused(legs: tuple[Leg, ...], amount: int, windows: int) -> None:
    """A mistake in choosing legs would be written into the books."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        lease = await bank.leased(1)
        limited = [Limit(account=ACCOUNT, id=f"l{number}", limit_nanousd=1, interval=DAY.interval) for number in range(windows)]
        wrong = bank.lease(amount, *limited, number=1, legs=legs)
        with pytest.raises(ValueError, match=r"lease has|legs do not"):
            await leasing.acquire(bank.table, bank.dice, wrong)
        with pytest.raises(ValueError, match=r"lease has|legs do not"):
            await leasing.renew(bank.table, bank.dice, lease, 0, wrong)
        with pytest.raises(ValueError, match="one twice"):
            await leasing.acquire(bank.table, bank.dice, bank.lease(1, DAY, DAY, number=1))
        with pytest.raises(ValueError, match="by nothing"):
            await leasing.grow(bank.table, bank.dice, lease, ())
        assert (await bank.purse()).leased_nanousd == 1

    play(scenario)
