"""Credits booked over a store that fails: whoever is told that it is not known asks again, and it happens once.

Each fault strikes each call of the store that a movement makes, and then it is asked again until it is answered.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from junctor.adapters.tables.faults import Fault, FaultPlan
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.domain.errors import LedgerUnavailableError, OutcomeUnknownError
from junctor.domain.money import NanoUsd
from junctor.ledger import trying
from junctor.usecases.credits import Deposit, Return
from junctor.usecases.stored import told
from tests.support.bank import ACCOUNT, Bank, play
from tests.support.desk import OPERATOR, Desk

STORE_CALLS = 9
FAULTS = [Fault.REPLY_LOST, Fault.DROPPED, Fault.DELAYED, Fault.DUPLICATED, Fault.THROTTLED, Fault.CONFLICT, Fault.UNAVAILABLE]


async def add(desk: Desk) -> NanoUsd:
    """Credit a payment."""
    payment, _ = await told(desk.credits.add(OPERATOR, ACCOUNT, Deposit(id="p", amount_nanousd=100, fee_ppm=0)))
    return payment.amount_nanousd


async def refund(desk: Desk) -> NanoUsd:
    """Give a part back."""
    back = Return(id="r", payment_id="first", amount_nanousd=30)
    return (await told(desk.credits.refund(OPERATOR, ACCOUNT, back))).amount_nanousd


async def charge_back(desk: Desk) -> NanoUsd:
    """Book that a part was taken back."""
    back = Return(id="c", payment_id="first", amount_nanousd=70)
    return (await told(desk.credits.charge_back(OPERATOR, ACCOUNT, back))).amount_nanousd


def credited_of(bank: Bank) -> object:
    """Return what is credited to the main purse, without asking a store that fails."""
    return next(item["credited_nanousd"] for item in bank.items() if item["sk"] == "PURSE#main")


@pytest.mark.parametrize("outlasting", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("ask", "amount", "credited"), [(add, 100, 1_100), (refund, 30, 970), (charge_back, 70, 930)])
def test_what_is_asked_again_is_booked_once(
    ask: Callable[[Desk], Awaitable[NanoUsd]], amount: int, credited: int, fault: Fault, outlasting: bool
) -> None:
    """A payment would be credited twice, or be told as refused and booked all the same."""

    async def scenario(calls_before: int, bank: Bank) -> None:
        assert isinstance(bank.store, SimulatedStore)
        desk = await Desk(bank).open()
        await bank.credit(900, "other")
        first = Deposit(id="first", amount_nanousd=1_000, fee_ppm=0)
        await desk.credits.add(OPERATOR, ACCOUNT, first)
        bank.strike(*[Fault.NONE] * calls_before, *[fault] * (trying.TRIES if outlasting else 1))
        answer = None
        for _ in range(4):
            try:
                answer = await ask(desk)
                break
            except OutcomeUnknownError:
                await asyncio.sleep(0.1)
            except LedgerUnavailableError:
                assert credited_of(bank) == 1_000
        assert answer == amount
        bank.store.dice._next.clear()
        await asyncio.sleep(100)
        assert await ask(desk) == amount
        assert credited_of(bank) == (await bank.purse()).avail_nanousd == credited

    for calls_before in range(STORE_CALLS):
        play(partial(scenario, calls_before), plan=FaultPlan(delay_s=(20.0, 30.0)))
