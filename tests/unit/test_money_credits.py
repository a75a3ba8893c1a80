"""Money in and out of purses: each movement once by its outside id, and what is refused."""

import asyncio

import msgspec
import pytest

from junctor.adapters.tables.faults import FaultPlan
from junctor.domain.credits import Clawback, Entry, Move, Payment, Purse, PurseState, Refund
from junctor.domain.lease import Leg
from junctor.ledger import closing, leasing
from junctor.ledger.credits import Booking, chargeback, collect, expire, move, pay, read_purses, refund, sweep, tend
from junctor.records import payments
from tests.support.bank import ACCOUNT, NOW_MS, Bank, play


def back(amount: int, purse: str = "main", outside_id: str = "r", payment: str = "pay-main") -> Refund:
    """Return a refund."""
    return Refund(account=ACCOUNT, id=outside_id, payment=payment, purse=purse, amount_nanousd=amount, at_ms=NOW_MS)


def claw(amount: int, purse: str = "main", outside_id: str = "c") -> Clawback:
    """Return a chargeback."""
    return Clawback(account=ACCOUNT, id=outside_id, payment="pay-main", purse=purse, amount_nanousd=amount, at_ms=NOW_MS)


def shift(amount: int, source: str = "main", target: str = "other", outside_id: str = "m") -> Move:
    """Return a move."""
    return Move(account=ACCOUNT, id=outside_id, source=source, target=target, amount_nanousd=amount, at_ms=NOW_MS)


async def booked(bank: Bank, entry: Entry) -> Booking:
    """Book an entry of any kind."""
    match entry:
        case Payment():
            return await pay(bank.table, bank.dice, entry)
        case Refund():
            return await refund(bank.table, bank.dice, entry)
        case Clawback():
            return await chargeback(bank.table, bank.dice, entry)
        case Move():
            return await move(bank.table, bank.dice, entry)


def test_paying_credits_a_purse() -> None:
    """Money that came in would not be there to spend, or a grant not know when it ends."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        assert await booked(bank, bank.payment(20, outside_id="second")) is Booking.BOOKED
        assert await bank.purse() == Purse(account=ACCOUNT, id="main", avail_nanousd=120, credited_nanousd=120)
        await bank.credit(5, "grant", expires_at_ms=NOW_MS + 1)
        assert (await bank.purse("grant")).expires_at_ms == NOW_MS + 1
        assert {purse.id for purse in await read_purses(bank.table, bank.dice, ACCOUNT)} == {"main", "grant"}
        entry = bank.payment(100)
        assert await bank.item(payments.key(entry)) == payments.item(entry)

    play(scenario)


@pytest.mark.parametrize("entry", [back(10), claw(10), shift(10)])
def test_an_id_counts_once_and_means_one_thing(entry: Entry) -> None:
    """A notice that a payment service sends twice would be counted twice, or a second movement be lost behind the first."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        assert await booked(bank, entry) is Booking.BOOKED
        once = await bank.purse()
        later = msgspec.structs.replace(entry, at_ms=NOW_MS + 5)
        assert await booked(bank, later) is Booking.BOOKED
        assert await booked(bank, msgspec.structs.replace(entry, amount_nanousd=9)) is Booking.DIFFERS
        assert await bank.purse() == once

    play(scenario)


def test_a_payment_counts_once_even_after_a_part_went_back() -> None:
    """A refund would make the same payment look like another one."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        assert await booked(bank, back(30)) is Booking.BOOKED
        await bank.credit(100)
        assert await booked(bank, bank.payment(99)) is Booking.DIFFERS
        assert await booked(bank, bank.payment(100, "other", "pay-main")) is Booking.DIFFERS
        assert (await bank.purse()).avail_nanousd == 70

    play(scenario)


def test_fifty_payments_make_one_purse() -> None:
    """Two first payments would each make the purse, and one be lost."""

    async def scenario(bank: Bank) -> None:
        entries = [bank.payment(3, outside_id=f"p{number % 25}") for number in range(50)]
        assert set(await asyncio.gather(*(booked(bank, entry) for entry in entries))) == {Booking.BOOKED}
        assert (await bank.purse()).credited_nanousd == 75

    for seed in range(5):
        play(scenario, plan=FaultPlan(latency_s=(0.0, 0.05)), seed=seed)


def test_no_more_goes_back_than_came_and_is_there() -> None:
    """Money would go back that was spent, or more than was paid."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        await bank.credit(500, "other")
        await bank.leased(30)
        assert await booked(bank, back(71)) is Booking.PURSE_SHORT
        assert await booked(bank, back(101, "other")) is Booking.PAYMENT_SHORT
        assert await booked(bank, back(1, payment="never")) is Booking.PAYMENT_UNKNOWN
        assert await booked(bank, back(1, "never")) is Booking.PURSE_UNKNOWN
        assert await booked(bank, back(70)) is Booking.BOOKED
        assert await booked(bank, back(31, "other", "r2")) is Booking.PAYMENT_SHORT
        assert await booked(bank, back(30, "other", "r2")) is Booking.BOOKED
        assert (await bank.purse()).credited_nanousd == 30

    play(scenario)


def test_what_went_back_of_a_payment_is_not_taken_back_again() -> None:
    """The same money would go back by our own will and be charged back too, and an organisation pay twice."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        assert await booked(bank, back(60)) is Booking.BOOKED
        assert await booked(bank, claw(41)) is Booking.PAYMENT_SHORT
        assert await booked(bank, claw(30)) is Booking.BOOKED
        assert await booked(bank, back(11, outside_id="r2")) is Booking.PAYMENT_SHORT
        assert await booked(bank, back(10, outside_id="r2")) is Booking.BOOKED
        assert ((await bank.purse()).avail_nanousd, (await bank.purse()).credited_nanousd) == (0, 0)

    play(scenario)


def test_a_chargeback_is_collected_from_what_is_there_and_what_comes() -> None:
    """What was taken back from us would stay in the purse to be spent."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        lease = await bank.leased(60)
        await bank.spent(lease, 0, 10)
        assert await booked(bank, claw(100)) is Booking.BOOKED
        assert ((await bank.purse()).avail_nanousd, (await bank.purse()).owed_nanousd) == (0, 60)
        await closing.close(bank.table, bank.dice, lease, NOW_MS)
        await collect(bank.table, bank.dice, ACCOUNT, "main")
        assert ((await bank.purse()).avail_nanousd, (await bank.purse()).owed_nanousd) == (0, 10)
        assert await booked(bank, bank.payment(25, outside_id="p2")) is Booking.BOOKED
        assert ((await bank.purse()).avail_nanousd, (await bank.purse()).owed_nanousd) == (15, 0)
        assert await booked(bank, claw(1, "main", "c2")) is Booking.PAYMENT_SHORT

    play(scenario)


def test_moving_keeps_the_sum() -> None:
    """Money would appear or vanish on its way from one purse to another."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        assert await booked(bank, shift(60)) is Booking.BOOKED
        assert await booked(bank, shift(10, "other", "main", "m2")) is Booking.BOOKED
        assert [purse.avail_nanousd for purse in (await bank.purse(), await bank.purse("other"))] == [50, 50]
        assert await booked(bank, shift(51, outside_id="m3")) is Booking.PURSE_SHORT
        assert await booked(bank, shift(1, "never", outside_id="m3")) is Booking.PURSE_UNKNOWN
        await expire(bank.table, bank.dice, ACCOUNT, "other")
        assert await booked(bank, shift(1, outside_id="m3")) is Booking.PURSE_EXPIRED
        assert await booked(bank, shift(1, "other", "main", "m3")) is Booking.PURSE_EXPIRED
        assert await booked(bank, bank.payment(1, "other")) is Booking.PURSE_EXPIRED
        await bank.leased(50)
        await booked(bank, claw(5))
        assert await booked(bank, shift(1, target="third", outside_id="m3")) is Booking.PURSE_OWES

    play(scenario)


def test_nothing_moves_out_of_a_purse_that_owes_or_expired() -> None:
    """A debt or an end could be escaped by moving the money to where it is forgotten."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        await bank.credit(100, "grant")
        lease = bank.lease(120, legs=(Leg("main", 90), Leg("grant", 30)))
        assert isinstance(await leasing.acquire(bank.table, bank.dice, lease), leasing.Leased)
        assert await booked(bank, claw(50)) is Booking.BOOKED
        await expire(bank.table, bank.dice, ACCOUNT, "grant")
        await closing.close(bank.table, bank.dice, lease, NOW_MS)
        assert [purse.avail_nanousd for purse in (await bank.purse(), await bank.purse("grant"))] == [90, 30]
        assert await booked(bank, shift(1)) is Booking.PURSE_OWES
        assert await booked(bank, shift(1, "grant")) is Booking.PURSE_EXPIRED

    play(scenario)


def test_a_grant_expires_once_and_what_leases_hold_may_be_spent() -> None:
    """A grant would be spent after its end, or what a call was promised be taken from under it."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100, expires_at_ms=NOW_MS)
        lease = await bank.leased(60)
        await sweep(bank.table, bank.dice, ACCOUNT, "main")
        assert (await bank.purse()).expired_nanousd == 0
        for _ in range(2):
            assert await expire(bank.table, bank.dice, ACCOUNT, "main") is Booking.BOOKED
        assert await expire(bank.table, bank.dice, ACCOUNT, "never") is Booking.PURSE_UNKNOWN
        assert ((await bank.purse()).state, (await bank.purse()).expired_nanousd) == (PurseState.EXPIRED, 40)
        await bank.spent(lease, 0, 10)
        await closing.close(bank.table, bank.dice, lease, NOW_MS)
        await sweep(bank.table, bank.dice, ACCOUNT, "main")
        purse = await bank.purse()
        assert (purse.avail_nanousd, purse.spent_nanousd, purse.expired_nanousd) == (0, 10, 90)

    play(scenario)


def test_a_debt_comes_before_a_sweep() -> None:
    """What an expired grant has left would be swept, and its debt never be paid."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        lease = await bank.leased(100)
        await booked(bank, claw(30))
        await closing.close(bank.table, bank.dice, lease, NOW_MS)
        await expire(bank.table, bank.dice, ACCOUNT, "main")
        purse = await bank.purse()
        assert (purse.avail_nanousd, purse.owed_nanousd, purse.expired_nanousd) == (0, 0, 70)

    play(scenario)


def test_tending_an_account_does_what_is_due_and_no_more() -> None:
    """A grant would outlive its time, or be taken before it."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(10)
        await bank.credit(10, "due", expires_at_ms=NOW_MS)
        await bank.credit(10, "later", expires_at_ms=NOW_MS + 1)
        await bank.credit(10, "owing")
        lease = await bank.leased(10)
        await booked(bank, claw(4))
        await closing.close(bank.table, bank.dice, lease, NOW_MS)
        for _ in range(2):
            await tend(bank.table, bank.dice, ACCOUNT, NOW_MS)
        found = {
            purse.id: (purse.avail_nanousd, purse.expired_nanousd, purse.owed_nanousd)
            for purse in await read_purses(bank.table, bank.dice, ACCOUNT)
        }
        assert found == {"main": (6, 0, 0), "due": (0, 10, 0), "later": (10, 0, 0), "owing": (10, 0, 0)}

    play(scenario)


@pytest.mark.parametrize("amount", [0, -1, 2**63, True, 1.0, float("nan")])
def test_what_is_no_amount_is_refused(amount: int) -> None:
    """A negative refund would be a payment that nobody made, and a float lose money by rounding."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        for entry in (bank.payment(1, outside_id="x"), back(1), claw(1), shift(1)):
            with pytest.raises(ValueError, match="an amount is"):
                await booked(bank, msgspec.structs.replace(entry, amount_nanousd=amount))

    play(scenario)


def test_movements_that_make_no_sense_are_refused() -> None:
    """More could go back than came, or a transaction meet one purse twice."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        for refundable in (-1, 2):
            with pytest.raises(ValueError, match="refundable"):
                await booked(bank, msgspec.structs.replace(bank.payment(1), refundable_nanousd=refundable))
        with pytest.raises(ValueError, match="two purses"):
            await booked(bank, shift(1, target="main"))

    play(scenario)
