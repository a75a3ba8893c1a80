"""The audit while others write, moment by moment: what merely moved is never called wrong, and what is wrong still is."""

from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import pytest

from junctor.adapters.tables.simulated import SimulatedStore
from junctor.domain.credits import Refund
from junctor.domain.lease import Lease
from junctor.ledger import closing, leasing
from junctor.ledger.auditing.audit import ROUNDS, audit
from junctor.ledger.auditing.findings import Audited
from junctor.ledger.credits import refund
from junctor.ledger.slots import open_slot
from junctor.ledger.statements import summarise
from junctor.ports.table import Page, Query, Set, Table
from junctor.records import ids, keys
from tests.support.auditing import NEXT_MONTH_MS, told
from tests.support.bank import ACCOUNT, NOW_MS, Bank
from tests.support.faulty_table import FaultyTable
from tests.support.virtual_loop import run_virtual

Event = Callable[[], Awaitable[object]]


class Meddled(FaultyTable):
    """A table whose reader is interrupted: before the n-th page of a family, counted from 1, something happens."""

    def __init__(self, table: Table, page: int | None = None) -> None:
        super().__init__(table)
        self._events: dict[tuple[str, int], Event] = {}
        self._pages: dict[str, int] = {}
        self._page = page

    def before(self, family: str, number: int, event: Event) -> None:
        """Let something happen before a page whose query has this prefix."""
        self._events[family, number] = event

    async def query(self, query: Query) -> Page:
        """Let happen what is to happen, and read."""
        self._pages[query.prefix] = number = self._pages.get(query.prefix, 0) + 1
        event = self._events.pop((query.prefix, number), None)
        if event is not None:
            await event()
        return await super().query(msgspec.structs.replace(query, limit=self._page))

    @property
    def left(self) -> int:
        """Return how many events never happened."""
        return len(self._events)


class Scene:
    """A bank with an audit that is interrupted."""

    def __init__(self, bank: Bank, page: int | None) -> None:
        self.bank = bank
        self.table = Meddled(bank.table, page)

    def lease(self, number: int, amount: int = 50, at_ms: int = NOW_MS) -> Lease:
        """Return a lease to be taken."""
        lease = self.bank.lease(amount, number=number)
        return msgspec.structs.replace(lease, id=ids.ulid(at_ms, number.to_bytes(ids.ULID_RANDOM_BYTES)))

    async def take(self, lease: Lease) -> None:
        """Acquire a lease."""
        assert isinstance(await leasing.acquire(self.bank.table, self.bank.dice, lease), leasing.Leased)

    async def close(self, lease: Lease) -> None:
        """Close a lease."""
        assert await closing.close(self.bank.table, self.bank.dice, lease, NOW_MS)

    async def audit(self) -> Audited:
        """Audit, and see that everything happened."""
        found = await audit(self.table, self.bank.dice, ACCOUNT, NOW_MS)
        assert self.table.left == 0
        return found


def play(act: Callable[[Scene], Awaitable[None]], page: int | None = None) -> None:
    """Play one scene."""

    async def main() -> None:
        bank = await Bank(SimulatedStore()).open()
        await bank.credit(1_000)
        await act(Scene(bank, page))

    run_virtual(main())


def test_a_lease_closed_between_its_purse_and_itself_is_no_mistake() -> None:
    """Any account at work would be called wrong."""

    async def act(scene: Scene) -> None:
        lease = scene.lease(1)
        await scene.take(lease)
        await scene.bank.spent(lease, 0, 7)
        scene.table.before("LEASE#", 2, lambda: scene.close(lease))
        found = await scene.audit()
        assert (told(found), found.moving) == ([], ())

    play(act)


def test_a_purse_that_looks_the_same_for_another_reason_is_no_mistake() -> None:
    """One lease gives back what another takes, while a third is summed: all counts are the same, and nothing is."""

    async def act(scene: Scene) -> None:
        summed, first, second = scene.lease(1), scene.lease(2), scene.lease(3, at_ms=NEXT_MONTH_MS)
        first = msgspec.structs.replace(first, id=scene.lease(2, at_ms=NEXT_MONTH_MS).id)
        for lease in (summed, first):
            await scene.take(lease)
        await scene.close(summed)

        async def meanwhile() -> None:
            await scene.close(second)
            await summarise(scene.bank.table, scene.bank.dice, ACCOUNT, NEXT_MONTH_MS)

        scene.table.before("LEASE#", 1, lambda: scene.close(first))
        scene.table.before("PURSE#", 2, lambda: scene.take(second))
        scene.table.before("LEASE#", 2, meanwhile)
        assert told(await scene.audit()) == []

    play(act)


def test_leases_summed_in_the_midst_of_work_are_no_mistake() -> None:
    """Each month's end would be an alarm on a busy account."""

    async def act(scene: Scene) -> None:
        old = scene.lease(1)
        await scene.take(old)
        await scene.bank.spent(old, 0, 9)
        await scene.close(old)

        def churn(number: int) -> Event:
            async def event() -> None:
                lease = scene.lease(number, at_ms=NEXT_MONTH_MS)
                await scene.take(lease)
                await scene.bank.spent(lease, 0, 2)
                await scene.close(lease)
                if number == 10 + ROUNDS - 1:
                    assert (await summarise(scene.bank.table, scene.bank.dice, ACCOUNT, NEXT_MONTH_MS)).leases == 1

            return event

        for number in range(1, ROUNDS + 1):
            scene.table.before("LEASE#", number, churn(10 + number))
        found = await scene.audit()
        assert (told(found), found.moving) == ([], ("PURSE#main",))

    play(act)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("spent_nanousd", 0, ""),
        ("spent_nanousd", 30, "I12 PURSE#main: between"),
        ("spent_nanousd", -5, "I12 PURSE#main: between"),
        ("credited_nanousd", 1_001, "I1 PURSE#main: 1001 nano-USD were credited, but its payments"),
    ],
)
def test_what_a_busy_purse_spent_and_was_credited_is_still_judged(name: str, change: int, said: str) -> None:
    """Money could go missing from every account that never rests."""

    async def act(scene: Scene) -> None:
        def churn(number: int) -> Event:
            async def event() -> None:
                lease = scene.lease(number)
                await scene.take(lease)
                await scene.bank.spent(lease, 0, 2)
                await scene.close(lease)

            return event

        await scene.bank.table.update(keys.purse(ACCOUNT, "main"), (), (Set(name, change),))
        for number in range(1, ROUNDS + 1):
            scene.table.before("LEASE#", number, churn(number))
        found = await scene.audit()
        assert found.moving == ("PURSE#main",)
        assert any(text.startswith(said) for text in told(found)) is bool(change)

    play(act)


def test_slots_that_take_each_other_s_place_are_no_mistake() -> None:
    """A lease at work would seem to hold more than it has, as its slots are read one after another."""

    async def act(scene: Scene) -> None:
        lease = scene.lease(1)
        await scene.take(lease)
        opened = await scene.bank.opened(lease, 0, 40)

        async def meanwhile() -> None:
            await scene.bank.end(opened, 1)
            await open_slot(scene.bank.table, scene.bank.dice, scene.bank.generation(lease, 1, 45))

        scene.table.before("SLOT#", 2, meanwhile)
        found = await scene.audit()
        assert (told(found), found.moving) == ([], (f"LEASE#{lease.id}",))

    play(act, page=1)


def test_a_lease_closed_while_its_slots_are_read_is_no_mistake() -> None:
    """A slot that ended just now would seem to be OPEN in a CLOSED lease, or a total to be wrong."""

    async def act(scene: Scene) -> None:
        lease = scene.lease(1)
        await scene.take(lease)
        await scene.bank.opened(lease, 0, 40)
        scene.table.before("SLOT#", 1, lambda: scene.close(lease))
        found = await scene.audit()
        assert (told(found), found.moving) == ([], (f"LEASE#{lease.id}",))

    play(act)


@pytest.mark.parametrize("family", ["REF#", "PAY#"])
def test_a_refund_in_the_midst_is_no_mistake(family: str) -> None:
    """More would seem to go back than came."""

    async def act(scene: Scene) -> None:
        entry = Refund(account=ACCOUNT, id="r", payment="pay-main", purse="main", amount_nanousd=900, at_ms=NOW_MS)
        for number in range(1, ROUNDS + 1):
            scene.table.before("PURSE#", number, partial(scene.bank.credit, 1, f"other-{number}"))
        scene.table.before(family, ROUNDS, partial(refund, scene.bank.table, scene.bank.dice, entry))
        found = await scene.audit()
        assert told(found) == []
        assert found.moving

    play(act)
