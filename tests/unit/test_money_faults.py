"""Every operation on money under every fault of the store: what it answers and what it leaves are as on a calm day.

One fault strikes one call of an operation, at each of its calls in turn; several in a row, and weather for all, follow. The
store is judged after every write. The same operations run over sqlite and DynamoDB, and must leave the same items.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from moto import mock_aws

from junctor.adapters.tables.faults import Fault, FaultPlan
from junctor.adapters.tables.sqlite import SqliteStore
from junctor.domain.credits import Clawback, Move, Refund
from junctor.domain.lease import Leg
from junctor.ledger import closing, leasing, limits, slots
from junctor.ledger.credits import chargeback, expire, move, pay, refund, tend
from junctor.ledger.reclaim import reclaim
from junctor.ports.table import Item
from tests.support.bank import ACCOUNT, DAY, EXP_MS, MONTH, NOW_MS, Bank, play
from tests.support.ledger_audit import violations
from tests.support.tables import fake_credentials, moto_store

Operation = Callable[[Bank, Callable[[], None]], Awaitable[object]]

FAULTS = [fault for fault in Fault if fault is not Fault.NONE]
CALLS = 5
"""At which call of an operation a fault strikes; most operations make fewer."""


async def acquiring(bank: Bank, ready: Callable[[], None]) -> object:
    """Acquire in two windows of which one is not open."""
    await bank.credit(1_000)
    await bank.limited(MONTH)
    await bank.limited(DAY)
    await limits.open_window(bank.table, bank.dice, ACCOUNT, bank.lease(1, MONTH).windows[0])
    ready()
    return await leasing.acquire(bank.table, bank.dice, bank.lease(100, MONTH, DAY))


async def acquiring_too_much(bank: Bank, ready: Callable[[], None]) -> object:
    """Be refused."""
    await bank.credit(50)
    ready()
    return await leasing.acquire(bank.table, bank.dice, bank.lease(100))


async def growing(bank: Bank, ready: Callable[[], None]) -> object:
    """Grow, out of a purse that is new to the lease and one that is not."""
    await bank.credit(1_000)
    await bank.credit(1_000, "grant")
    await bank.limited(DAY)
    lease = await bank.leased(100, DAY)
    ready()
    return await leasing.grow(bank.table, bank.dice, lease, (Leg("main", 5), Leg("grant", 20)))


async def renewing(bank: Bank, ready: Callable[[], None]) -> object:
    """Renew with other purses and other windows."""
    await bank.credit(1_000)
    await bank.credit(1_000, "grant")
    await bank.limited(MONTH)
    await bank.limited(DAY)
    lease = await bank.leased(100, MONTH)
    await bank.spent(lease, 0, 7)
    following = bank.lease(110, MONTH, DAY, number=1, legs=(Leg("grant", 50), Leg("main", 60)))
    ready()
    return await leasing.renew(bank.table, bank.dice, lease, 7, following)


async def opening(bank: Bank, ready: Callable[[], None]) -> object:
    """Open a slot."""
    await bank.credit(1_000)
    lease = await bank.leased(100)
    ready()
    return await slots.open_slot(bank.table, bank.dice, bank.generation(lease, 0, 10))


async def opening_named(bank: Bank, ready: Callable[[], None]) -> object:
    """Open a slot for a request that has a name."""
    await bank.credit(1_000)
    generation = bank.generation(await bank.leased(100), 0, 10)
    ready()
    return await slots.open_named(bank.table, bank.dice, generation, bank.record(generation), NOW_MS)


async def taking_over(bank: Bank, ready: Callable[[], None]) -> object:
    """Open a slot for a request whose first generation came to nothing."""
    await bank.credit(1_000)
    lease = await bank.leased(100)
    first, second = bank.generation(lease, 0, 10), bank.generation(lease, 1, 10)
    await slots.open_named(bank.table, bank.dice, first, bank.record(first), NOW_MS)
    await bank.end(first, None)
    ready()
    return await slots.open_named(bank.table, bank.dice, second, bank.record(second), NOW_MS)


async def settling(bank: Bank, ready: Callable[[], None]) -> object:
    """Settle for more than the hold."""
    await bank.credit(1_000)
    opened = await bank.opened(await bank.leased(100), 0, 10)
    ready()
    return await bank.end(opened, 30)


async def voiding(bank: Bank, ready: Callable[[], None]) -> object:
    """Put an unused number as VOID."""
    await bank.credit(1_000)
    lease = await bank.leased(100)
    ready()
    return await slots.put_void(bank.table, bank.dice, bank.generation(lease, 0, 10).slot)


async def closing_all(bank: Bank, ready: Callable[[], None]) -> object:
    """Close a lease with a gap, an OPEN slot and windows, as a stranger."""
    await bank.credit(1_000)
    await bank.limited(DAY)
    lease = await bank.leased(100, DAY)
    await bank.spent(lease, 0, 7)
    await bank.opened(lease, 2, 10)
    ready()
    return await closing.close(bank.table, bank.dice, lease, NOW_MS)


async def closing_own(bank: Bank, ready: Callable[[], None]) -> object:
    """Close a lease as its owner, who knows what was spent."""
    await bank.credit(1_000)
    lease = await bank.leased(100)
    await bank.spent(lease, 0, 7)
    ready()
    return await closing.close(bank.table, bank.dice, lease, NOW_MS, 7)


async def paying(bank: Bank, ready: Callable[[], None]) -> object:
    """Pay into a purse that is there."""
    await bank.credit(100)
    ready()
    return await pay(bank.table, bank.dice, bank.payment(50, outside_id="more"))


async def paying_first(bank: Bank, ready: Callable[[], None]) -> object:
    """Pay into a purse that has to be made."""
    ready()
    return await pay(bank.table, bank.dice, bank.payment(50))


async def refunding(bank: Bank, ready: Callable[[], None]) -> object:
    """Give a part back."""
    await bank.credit(100)
    entry = Refund(account=ACCOUNT, id="r", payment="pay-main", purse="main", amount_nanousd=40, at_ms=NOW_MS)
    ready()
    return await refund(bank.table, bank.dice, entry)


async def charging_back(bank: Bank, ready: Callable[[], None]) -> object:
    """Owe more than there is."""
    await bank.credit(100)
    await bank.leased(30)
    entry = Clawback(account=ACCOUNT, id="c", payment="pay-main", purse="main", amount_nanousd=90, at_ms=NOW_MS)
    ready()
    return await chargeback(bank.table, bank.dice, entry)


async def moving(bank: Bank, ready: Callable[[], None]) -> object:
    """Move money to a shard that has to be made."""
    await bank.credit(100)
    ready()
    return await move(
        bank.table, bank.dice, Move(account=ACCOUNT, id="m", source="main", target="s", amount_nanousd=60, at_ms=NOW_MS)
    )


async def expiring(bank: Bank, ready: Callable[[], None]) -> object:
    """Let a grant expire."""
    await bank.credit(100, "grant", expires_at_ms=NOW_MS)
    ready()
    return await expire(bank.table, bank.dice, ACCOUNT, "grant")


async def tending(bank: Bank, ready: Callable[[], None]) -> None:
    """Find a grant whose time is up."""
    await bank.credit(100)
    await bank.credit(100, "grant", expires_at_ms=NOW_MS)
    ready()
    await tend(bank.table, bank.dice, ACCOUNT, NOW_MS)


async def making_a_limit(bank: Bank, ready: Callable[[], None]) -> object:
    """Make a limit."""
    ready()
    return await limits.make_limit(bank.table, bank.dice, DAY)


async def setting_a_limit(bank: Bank, ready: Callable[[], None]) -> object:
    """Lower a limit below what is leased."""
    await bank.credit(1_000)
    await bank.limited(DAY)
    await bank.leased(300, DAY)
    ready()
    return await limits.set_limit(bank.table, bank.dice, msgspec.structs.replace(DAY, limit_nanousd=200, change="c1"))


async def opening_a_window(bank: Bank, ready: Callable[[], None]) -> object:
    """Open a window."""
    await bank.limited(DAY)
    ready()
    return await limits.open_window(bank.table, bank.dice, ACCOUNT, bank.lease(1, DAY).windows[0])


async def reclaiming(bank: Bank, ready: Callable[[], None]) -> object:
    """Find a lease whose owner died."""
    await bank.credit(1_000)
    await bank.opened(await bank.leased(100), 0, 10)
    ready()
    return await reclaim(bank.table, bank.dice, EXP_MS + 1)


OPERATIONS: Sequence[Operation] = (
    acquiring,
    acquiring_too_much,
    growing,
    renewing,
    opening,
    opening_named,
    taking_over,
    settling,
    voiding,
    closing_all,
    closing_own,
    paying,
    paying_first,
    refunding,
    charging_back,
    moving,
    expiring,
    tending,
    making_a_limit,
    setting_a_limit,
    opening_a_window,
    reclaiming,
)

REFUSED = {acquiring_too_much}
"""Operations that are refused: what becomes of that in doubt is in test_money_doubt."""

ONCE = {growing, renewing, taking_over, settling, closing_all, closing_own, charging_back, setting_a_limit, reclaiming}
"""Operations of which a part of what prepares them cannot be repeated; their own tests repeat them."""


def run(operation: Operation, *faults: Fault) -> tuple[list[object], list[Item]]:
    """Return what an operation answers and leaves under these faults."""
    answers: list[object] = []

    async def scenario(bank: Bank) -> None:
        answers.append(await operation(bank, lambda: bank.strike(*faults)))

    return answers, play(scenario)


@pytest.mark.parametrize("operation", [operation for operation in OPERATIONS if operation not in REFUSED])
@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_changes_nothing(operation: Operation, fault: Fault) -> None:
    """A lost reply would lose money or take it twice, or a caller be told what is not so."""
    calm = run(operation)
    for call in range(CALLS):
        assert run(operation, *[Fault.NONE] * call, fault) == calm, f"at call {call}"


@pytest.mark.parametrize("operation", [operation for operation in OPERATIONS if operation not in REFUSED])
@pytest.mark.parametrize("fault", [Fault.REPLY_LOST, Fault.DROPPED, Fault.DELAYED, Fault.CONFLICT])
def test_seven_faults_in_a_row_change_nothing(operation: Operation, fault: Fault) -> None:
    """An operation would give up too early, or lose count of its own tries."""
    calm = run(operation)
    assert run(operation, *[fault] * 7) == calm


@pytest.mark.parametrize("operation", [operation for operation in OPERATIONS if operation not in ONCE])
def test_an_operation_repeated_changes_nothing(operation: Operation) -> None:
    """A caller who never got his answer, and asks again, would move money twice."""

    async def again(bank: Bank, ready: Callable[[], None]) -> object:
        answers = [await operation(bank, ready) for _ in range(3)]
        assert answers[0] == answers[1] == answers[2]
        return answers[0]

    assert run(again) == run(operation)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_sqlite_is_left_with_the_same_items(operation: Operation, tmp_path: Path) -> None:
    """The embedded store would keep other books than the one that was proved."""
    answers, wanted = run(operation)

    async def main() -> None:
        store = SqliteStore(tmp_path / "store.sqlite3", now_s=lambda: NOW_MS / 1000)
        bank = await Bank(store).open()
        assert [await asyncio.wait_for(operation(bank, lambda: None), 30)] == answers
        assert [await bank.find(str(item["pk"]), str(item["sk"])) for item in wanted] == wanted
        await store.close()

    asyncio.run(main())
    assert violations(wanted) == []


@pytest.mark.parametrize("operation", OPERATIONS)
def test_dynamodb_is_left_with_the_same_items(operation: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was proved in memory would not hold on the store that companies use."""
    answers, wanted = run(operation)
    fake_credentials(monkeypatch)

    async def main() -> None:
        store = moto_store()
        bank = await Bank(store).open()
        assert [await operation(bank, lambda: None)] == answers
        assert [await bank.find(str(item["pk"]), str(item["sk"])) for item in wanted] == wanted
        await store.close()

    with mock_aws():
        asyncio.run(main())


@pytest.mark.parametrize("seed", range(40))
def test_bad_weather_breaks_no_invariant(seed: int) -> None:
    """Faults that come together would do what each alone does not."""
    chances = tuple((fault, 0.06) for fault in FAULTS)
    plan = FaultPlan(chances=chances, latency_s=(0.0, 0.05), delay_s=(0.01, 30.0))
    operation = OPERATIONS[seed % len(OPERATIONS)]

    async def scenario(bank: Bank) -> None:
        await operation(bank, lambda: None)

    play(scenario, plan=plan, seed=seed)
