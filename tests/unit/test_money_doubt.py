"""Refusals while an earlier try's fate is unknown: nobody is told that nothing happens where it happens later.

The first try of each operation is delayed, the second is refused, and then comes what was short: the first one lands.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from msgspec import Struct

from junctor.adapters.tables.faults import Fault, FaultPlan
from junctor.domain.credits import Clawback, Move, PurseState, Refund
from junctor.domain.lease import Leg
from junctor.ledger import closing, leasing, limits
from junctor.ledger.credits import Booking, chargeback, expire, move, pay, refund
from junctor.ledger.leasing import LeaseClosed, Leased, PurseShort, WindowShort
from junctor.ports.table import UnknownOutcomeError
from tests.support.bank import ACCOUNT, DAY, NOW_MS, Bank, play

LATE = FaultPlan(delay_s=(50.0, 60.0))
LANDED_S = 100.0
SURE = [Fault.NONE, Fault.THROTTLED, Fault.CONFLICT, Fault.UNAVAILABLE, Fault.DUPLICATED]
HIGHER = msgspec.structs.replace(DAY, limit_nanousd=5_000, change="higher")


class Case(Struct, frozen=True):
    """An operation that is refused: what is there before, what is asked, how it is refused, what comes, and how it ends."""

    name: str
    before: Callable[[Bank], Awaitable[object]]
    ask: Callable[[Bank], Awaitable[object]]
    refusal: object
    comes: Callable[[Bank], Awaitable[object]]
    then: object


def back(amount: int) -> Refund:
    """Return a refund."""
    return Refund(account=ACCOUNT, id="r", payment="pay-main", purse="main", amount_nanousd=amount, at_ms=NOW_MS)


def claw(amount: int) -> Clawback:
    """Return a chargeback."""
    return Clawback(account=ACCOUNT, id="c", payment="pay-main", purse="main", amount_nanousd=amount, at_ms=NOW_MS)


def shift(amount: int) -> Move:
    """Return a move."""
    return Move(account=ACCOUNT, id="m", source="main", target="other", amount_nanousd=amount, at_ms=NOW_MS)


async def nothing(_: Bank) -> None:
    """Leave the account empty."""


async def other(bank: Bank) -> None:
    """Have another purse than the one that is asked for."""
    await bank.credit(1, "other")


async def hundred(bank: Bank) -> None:
    """Pay in, and lease most of it."""
    await other(bank)
    await bank.credit(100)
    await bank.leased(70)


async def in_debt(bank: Bank) -> None:
    """Owe what is all leased."""
    await hundred(bank)
    await bank.leased(30, number=8)
    await chargeback(bank.table, bank.dice, claw(10))


async def more(bank: Bank) -> None:
    """Pay in so much that nothing is short."""
    assert await pay(bank.table, bank.dice, bank.payment(5_000, outside_id="more")) is Booking.BOOKED


async def limited(bank: Bank) -> None:
    """Pay in enough, and limit it to less."""
    await bank.credit(5_000)
    await bank.limited(DAY)


async def acquire(bank: Bank, *, windows: bool = False) -> object:
    """Ask for a lease of more than there is."""
    lease = bank.lease(501, *([DAY] if windows else []), number=5)
    return _kind(await leasing.acquire(bank.table, bank.dice, lease))


async def grow(bank: Bank) -> object:
    """Ask for more in a lease than there is."""
    return _kind(await leasing.grow(bank.table, bank.dice, bank.lease(70), _leg(200)))


async def renew(bank: Bank) -> object:
    """Ask for a lease of more than there is, even with what the old one gives back."""
    old = bank.lease(70)
    return _kind(await leasing.renew(bank.table, bank.dice, old, 0, bank.lease(101, number=6)))


def _leg(amount: int) -> tuple[Leg, ...]:
    return (Leg("main", amount),)


def _kind(answer: object) -> object:
    return type(answer)


CASES = [
    Case("acquire", hundred, acquire, PurseShort, more, Leased),
    Case(
        "acquire in a window",
        limited,
        lambda bank: acquire(bank, windows=True),
        WindowShort,
        lambda bank: limits.set_limit(bank.table, bank.dice, HIGHER),
        Leased,
    ),
    Case("grow", hundred, grow, PurseShort, more, Leased),
    Case("renew", hundred, renew, PurseShort, more, Leased),
    Case(
        "refund more than there is",
        hundred,
        lambda bank: refund(bank.table, bank.dice, back(60)),
        Booking.PURSE_SHORT,
        more,
        Booking.BOOKED,
    ),
    Case(
        "refund an unknown payment",
        more,
        lambda bank: refund(bank.table, bank.dice, back(60)),
        Booking.PAYMENT_UNKNOWN,
        lambda bank: bank.credit(100),
        Booking.BOOKED,
    ),
    Case(
        "move more than there is",
        hundred,
        lambda bank: move(bank.table, bank.dice, shift(60)),
        Booking.PURSE_SHORT,
        more,
        Booking.BOOKED,
    ),
    Case(
        "move out of a purse that owes",
        in_debt,
        lambda bank: move(bank.table, bank.dice, shift(60)),
        Booking.PURSE_OWES,
        more,
        Booking.BOOKED,
    ),
    Case(
        "move out of an unknown purse",
        other,
        lambda bank: move(bank.table, bank.dice, shift(60)),
        Booking.PURSE_UNKNOWN,
        more,
        Booking.BOOKED,
    ),
    Case(
        "charge back of an unknown payment",
        nothing,
        lambda bank: chargeback(bank.table, bank.dice, claw(60)),
        Booking.PAYMENT_UNKNOWN,
        hundred,
        Booking.BOOKED,
    ),
    Case(
        "expire an unknown purse",
        nothing,
        lambda bank: expire(bank.table, bank.dice, ACCOUNT, "main"),
        Booking.PURSE_UNKNOWN,
        more,
        Booking.BOOKED,
    ),
]
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@by_name
def test_a_refusal_in_doubt_is_no_answer(case: Case) -> None:
    """A caller would be told that no money moved, and later it moves."""

    async def scenario(bank: Bank) -> None:
        await case.before(bank)
        bank.strike(Fault.DELAYED)
        with pytest.raises(UnknownOutcomeError):
            await case.ask(bank)
        await case.comes(bank)
        before = bank.items()
        await asyncio.sleep(LANDED_S)
        assert bank.items() != before, "the try that was delayed has not landed, so the schedule shows nothing"
        assert await case.ask(bank) == case.then

    play(scenario, plan=LATE)


@by_name
@pytest.mark.parametrize("fault", SURE)
def test_a_refusal_without_doubt_is_final(case: Case, fault: Fault) -> None:
    """A caller who is short of money would be told that the store is out of order, or be charged after he was refused."""

    async def scenario(bank: Bank) -> None:
        await case.before(bank)
        bank.strike(fault)
        assert await case.ask(bank) == case.refusal
        await case.comes(bank)
        before = bank.items()
        await asyncio.sleep(LANDED_S)
        assert bank.items() == before

    play(scenario, plan=LATE)


async def into_the_expired(bank: Bank) -> object:
    """Pay into a grant that expired."""
    return await pay(bank.table, bank.dice, bank.payment(50, "grant", outside_id="more"))


async def out_of_the_expired(bank: Bank) -> object:
    """Move out of a grant that expired."""
    return await move(bank.table, bank.dice, msgspec.structs.replace(shift(10), source="grant"))


async def too_much_back(bank: Bank) -> object:
    """Give more of a payment back than it was."""
    return await refund(bank.table, bank.dice, back(101))


async def another_of_its_id(bank: Bank) -> object:
    """Pay under an id that was another amount's."""
    return await pay(bank.table, bank.dice, bank.payment(50))


async def a_closed_lease(bank: Bank) -> object:
    """Grow a lease that a stranger closed."""
    return _kind(await leasing.grow(bank.table, bank.dice, bank.lease(60), _leg(10)))


FINAL = [
    (into_the_expired, Booking.PURSE_EXPIRED),
    (out_of_the_expired, Booking.PURSE_EXPIRED),
    (too_much_back, Booking.PAYMENT_SHORT),
    (another_of_its_id, Booking.DIFFERS),
    (a_closed_lease, LeaseClosed),
]


@pytest.mark.parametrize(("ask", "answer"), FINAL)
def test_a_refusal_that_no_try_can_outlive_is_an_answer(ask: Callable[[Bank], Awaitable[object]], answer: object) -> None:
    """A caller would ask again and again for what can never be."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        await bank.credit(100, "grant")
        await expire(bank.table, bank.dice, ACCOUNT, "grant")
        assert (await bank.purse("grant")).state is PurseState.EXPIRED
        await closing.close(bank.table, bank.dice, await bank.leased(60), NOW_MS)
        bank.strike(Fault.DELAYED)
        assert await ask(bank) == answer
        await more(bank)
        before = bank.items()
        await asyncio.sleep(LANDED_S)
        assert bank.items() == before

    play(scenario, plan=LATE)


def test_a_renewal_that_learned_of_a_growth_is_in_no_doubt() -> None:
    """An owner would close a lease for nothing, as the try that did not know how large it was can never land."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(100)
        known = await bank.leased(70)
        await leasing.grow(bank.table, bank.dice, known, _leg(10))
        bank.strike(Fault.DELAYED)
        answer = await leasing.renew(bank.table, bank.dice, known, 0, bank.lease(101, number=6))
        assert answer == PurseShort("main", await bank.purse())
        await more(bank)
        before = bank.items()
        await asyncio.sleep(LANDED_S)
        assert bank.items() == before

    play(scenario, plan=LATE)
