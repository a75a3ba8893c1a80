"""Schedules for mistakes that chance seldom meets: who does what when, to the half second."""

import asyncio
from contextlib import suppress

from junctor.adapters.tables.faults import Fault, FaultPlan
from junctor.domain.credits import Refund
from junctor.domain.lease import Leg
from junctor.ledger import closing, leasing
from junctor.ledger import credits as crediting
from junctor.ports.table import StoreError, UnknownOutcomeError
from junctor.records import payments
from tests.support.bank import ACCOUNT, NOW_MS, Bank, JudgedStore
from tests.support.virtual_loop import run_virtual

ONE_EACH_WAY = FaultPlan(latency_s=(1.0, 1.0))
LATE = FaultPlan(delay_s=(50.0, 60.0))


def growth_while_closing() -> list[str]:
    """Let a stranger close a lease while its owner enlarges it and settles for more than it was; say what is wrong.

    Had the stranger read the lease's entry before he ended its slots, he would find more spent than the lease has.
    """

    async def owner(bank: Bank) -> None:
        lease = bank.lease(70)
        opened = bank.generation(lease, 0, 70)
        await asyncio.sleep(0.5)
        grown = await leasing.grow(bank.table, bank.dice, lease, (Leg("main", 30),))
        if isinstance(grown, leasing.Leased):
            with suppress(StoreError):
                await bank.end(opened, 90)

    async def stranger(bank: Bank) -> list[str]:
        try:
            await closing.close(bank.table, bank.dice, bank.lease(70), NOW_MS)
        except ValueError as error:
            return [f"I4 a lease cannot be closed: {error}"]
        return []

    async def main() -> list[str]:
        store = JudgedStore()
        bank = await Bank(store).open()
        await bank.credit(100)
        await bank.opened(await bank.leased(70), 0, 70)
        store.dice.plan = ONE_EACH_WAY
        found, _ = await asyncio.gather(stranger(bank), owner(bank))
        return [*found, *store.breaches]

    return run_virtual(main())


def refusal_in_doubt() -> list[str]:
    """Delay a refund that is refused for want of money, and then pay in; say what is wrong with the answer."""
    entry = Refund(account=ACCOUNT, id="r", payment="pay-main", purse="main", amount_nanousd=60, at_ms=NOW_MS)

    async def main() -> list[str]:
        store = JudgedStore(plan=LATE)
        bank = await Bank(store).open()
        await bank.credit(100)
        await bank.leased(70)
        bank.strike(Fault.DELAYED)
        try:
            answer = await crediting.refund(bank.table, bank.dice, entry)
        except UnknownOutcomeError:
            return store.breaches
        await crediting.pay(bank.table, bank.dice, bank.payment(100, outside_id="more"))
        await asyncio.sleep(100.0)
        booked = await bank.find(payments.key(entry).partition, payments.key(entry).sort) is not None
        return [*store.breaches, *([f"I15 {entry} was refused as {answer} and is booked"] if booked else [])]

    return run_virtual(main())
