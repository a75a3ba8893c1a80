"""Recurring grants: each period's credits once, whoever pays them, whatever his clock and the store do."""

import asyncio

import msgspec
import pytest

from junctor.adapters.tables.faults import Fault, FaultPlan
from junctor.domain.account import Account, GrantKind, RecurringGrant
from junctor.domain.credits import Interval, PurseState
from junctor.ledger import credits as crediting
from junctor.ledger import trying
from junctor.ledger.grants import ensure, is_recurring
from junctor.ports.table import StoreError
from junctor.records import windows
from tests.support.bank import ACCOUNT, NOW_MS, Bank, play

DAY_MS = 86_400_000
DAILY = RecurringGrant(kind=GrantKind.ALLOWANCE, amount_nanousd=100, interval=Interval.DAY)
ORGANISATION = Account(id=ACCOUNT, name="Acme", created_at_ms=NOW_MS, recurring_grant=DAILY)
TODAY = windows.period(Interval.DAY, NOW_MS)


def granted(**changes: object) -> Account:
    """Return the organisation with another grant."""
    return msgspec.structs.replace(ORGANISATION, recurring_grant=msgspec.structs.replace(DAILY, **changes))


async def due(bank: Bank, account: Account = ORGANISATION, at_ms: int = NOW_MS) -> bool:
    """Pay what is due, as an instance does that read the purses before."""
    purses = await crediting.read_purses(bank.table, bank.dice, ACCOUNT)
    return await ensure(bank.table, bank.dice, account, at_ms, purses)


def test_each_period_is_paid_once_into_a_purse_that_ends_with_it() -> None:
    """An organisation would get its grant with each look at it, or keep what should lapse."""

    async def scenario(bank: Bank) -> None:
        assert await due(bank)
        purses = await crediting.read_purses(bank.table, bank.dice, ACCOUNT)
        bank.strike(*[Fault.UNAVAILABLE] * trying.TRIES)
        assert not await ensure(bank.table, bank.dice, ORGANISATION, NOW_MS, purses)  # known without a look at the store
        with pytest.raises(StoreError):
            await ensure(bank.table, bank.dice, ORGANISATION, NOW_MS)
        assert not await ensure(bank.table, bank.dice, ORGANISATION, NOW_MS)
        purse = await bank.purse(f"grant-{TODAY.name}")
        assert (purse.avail_nanousd, purse.expires_at_ms) == (100, TODAY.end_ms)
        assert await due(bank, at_ms=NOW_MS + DAY_MS)
        await crediting.tend(bank.table, bank.dice, ACCOUNT, NOW_MS + DAY_MS)
        purses = await crediting.read_purses(bank.table, bank.dice, ACCOUNT)
        assert [(found.state, found.avail_nanousd, found.expired_nanousd) for found in purses] == [
            (PurseState.EXPIRED, 0, 100),
            (PurseState.OPEN, 100, 0),
        ]

    play(scenario)


def test_a_changed_amount_counts_from_the_next_period() -> None:
    """Changing a grant would pay it a second time, or stop it for good."""

    async def scenario(bank: Bank) -> None:
        await due(bank)
        assert not await ensure(bank.table, bank.dice, granted(amount_nanousd=500), NOW_MS)
        assert await due(bank, granted(amount_nanousd=500), NOW_MS + DAY_MS)
        tomorrow = windows.period(Interval.DAY, NOW_MS + DAY_MS).name
        assert (await bank.purse(f"grant-{tomorrow}")).avail_nanousd == 500

    play(scenario)


def test_a_line_of_credit_has_a_name_of_its_own_and_cannot_be_refunded() -> None:
    """What is to be invoiced would look like a present, or be paid out."""

    async def scenario(bank: Bank) -> None:
        await due(bank, granted(kind=GrantKind.METERED, interval=Interval.MONTH))
        month = windows.period(Interval.MONTH, NOW_MS).name
        entry = await bank.find(f"A#{ACCOUNT}", f"PAY#meter/{ACCOUNT}/{month}")
        assert entry is not None
        assert (entry["purse"], entry["refundable_nanousd"]) == (f"meter-{month}", 0)
        assert is_recurring(str(entry["id"]))
        assert not any(map(is_recurring, ("grant", "meter", "granted/1", "p/grant/1")))

    play(scenario)


@pytest.mark.parametrize(
    "account",
    [msgspec.structs.replace(ORGANISATION, disabled=True), msgspec.structs.replace(ORGANISATION, recurring_grant=None)],
)
def test_nothing_is_due_without_a_grant_or_to_a_disabled_organisation(account: Account) -> None:
    """Money would come to whom none was promised."""

    async def scenario(bank: Bank) -> None:
        assert not await due(bank, account)
        assert bank.items() == []

    play(scenario)


def test_a_slow_clock_does_not_open_a_period_that_is_over() -> None:
    """An instance whose clock is a day behind would pay yesterday's grant again, or wake its purse."""

    async def scenario(bank: Bank) -> None:
        await due(bank, at_ms=NOW_MS - DAY_MS)
        await crediting.tend(bank.table, bank.dice, ACCOUNT, NOW_MS)
        assert not await due(bank, at_ms=NOW_MS - DAY_MS)
        purses = await crediting.read_purses(bank.table, bank.dice, ACCOUNT)
        assert [(found.state, found.credited_nanousd) for found in purses] == [(PurseState.EXPIRED, 100)]

    play(scenario)


def test_many_instances_under_faults_pay_each_period_once() -> None:
    """A grant would be paid by each instance, or twice where the store loses an answer."""
    faults = (Fault.REPLY_LOST, Fault.DROPPED, Fault.DELAYED, Fault.DUPLICATED, Fault.THROTTLED, Fault.CONFLICT)
    plan = FaultPlan(chances=tuple((fault, 0.08) for fault in faults), latency_s=(0.0, 0.2), delay_s=(0.01, 60.0))

    async def instance(bank: Bank, ahead_ms: int) -> None:
        for _ in range(3):
            try:
                await ensure(bank.table, bank.dice, ORGANISATION, NOW_MS + ahead_ms)
            except StoreError:
                await asyncio.sleep(5)

    async def scenario(bank: Bank) -> None:
        await asyncio.gather(*(instance(bank, ahead * DAY_MS) for ahead in (-1, 0, 0, 0, 1)))
        await asyncio.sleep(100)
        credited = [item["credited_nanousd"] for item in bank.items() if str(item["sk"]).startswith("PURSE#")]
        assert set(credited) == {100}

    for seed in range(25):
        play(scenario, plan=plan, seed=seed)
