"""A store in trouble: how soon a call is told, how often the store is asked for it, and what a passing fault does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from junctor.adapters.tables.dynamodb import DynamoStore
from junctor.adapters.tables.faults import FaultPlan
from junctor.domain.account import Account, KeyScope
from junctor.domain.errors import LedgerUnavailableError
from junctor.domain.lease import LeaseState, SlotState
from junctor.ledger import trying
from junctor.ledger.scopes import PATIENT_AT_ONCE
from junctor.policy import api_keys
from junctor.ports.table import Key, StoreError
from junctor.ports.telemetry import Counter
from junctor.records import accounts
from junctor.records.tables import CATALOG, CORE, HEALTH
from junctor.usecases.admit import Admission
from junctor.usecases.bookkeeping import EVERY_S, JITTER, Bookkeeper, Kept
from junctor.usecases.catalog_overlay import CatalogOverlay, Ground
from tests.support.stage import Stage, Vault
from tests.support.trouble import Trouble, TroubledSender, TroubledTable
from tests.support.virtual_loop import run_virtual
from tests.support.world import LoopClock, NotedTelemetry, SeededDice, World, call, paid, plan

T = TypeVar("T")

TOLD_S = 5.0
"""How soon whoever waits is told that the store fails."""
KEY = api_keys.mint(b"\x01" * 8, b"\x02" * 32)
LASTING = {
    Trouble.SILENT: (3, 3.2),
    Trouble.BLACKHOLE: (3, 3.2),
    Trouble.REFUSED: (8, 2.4),
    Trouble.BROKEN: (8, 2.4),
    Trouble.THROTTLED: (8, 2.4),
}
"""The most requests of one read, and its time, in each lasting trouble."""


def lasting(trouble: Trouble, attempt: Callable[[DynamoStore], Awaitable[object]]) -> tuple[list[str], float]:
    """Return what was sent to a DynamoDB that is in trouble for good, and how long it took until an attempt failed."""

    async def main() -> tuple[list[str], float]:
        sender = TroubledSender(trouble)
        with pytest.raises((StoreError, LedgerUnavailableError)):
            await attempt(DynamoStore(sender, "x-"))
        return sender.operations, asyncio.get_running_loop().time()

    return run_virtual(main())


@pytest.mark.parametrize("trouble", Trouble)
def test_a_read_is_given_up_soon(trouble: Trouble) -> None:
    """A caller would keep his place in the gate for minutes; or a throttled table would get many times the reads."""
    sent, took_s = lasting(trouble, lambda store: trying.get(store.table(CORE), SeededDice(), Key("a", "b")))
    requests, at_most_s = LASTING[trouble]
    assert 2 <= len(sent) <= requests
    assert took_s <= at_most_s


@pytest.mark.parametrize("trouble", Trouble)
def test_a_key_that_cannot_be_looked_up_is_told_soon(trouble: Trouble) -> None:
    """Calls would pile up before the gate at each outage."""

    async def admit(store: DynamoStore) -> None:
        admission = Admission(store.table(CORE), Vault(), LoopClock(), SeededDice())
        await admission.admit(KEY, KeyScope.COMPLETION)

    sent, took_s = lasting(trouble, admit)
    assert len(sent) <= LASTING[trouble][0]
    assert took_s <= LASTING[trouble][1]


@pytest.mark.parametrize("trouble", Trouble)
def test_a_key_is_looked_up_over_a_passing_fault(trouble: Trouble) -> None:
    """Callers would be refused at each hiccup of the store, with keys that are good."""

    async def main() -> None:
        stage = await Stage().open()
        stage.put(accounts.account_item(Account(id="ACCOUNT", name="n", created_at_ms=0)))
        key = await stage.accounts.create_api_key("ACCOUNT", "test", KeyScope.COMPLETION)
        table = TroubledTable(stage.table)
        table.begin(trouble, 0.4)
        admission = Admission(table, stage.vault, stage.clock, stage.dice)
        assert (await admission.admit(key, KeyScope.COMPLETION)).account == "ACCOUNT"

    run_virtual(main())


@pytest.mark.parametrize("trouble", Trouble)
def test_a_call_whose_account_cannot_be_read_is_told_soon(trouble: Trouble) -> None:
    """A caller with ten minutes of time would wait for them."""

    async def begin(store: DynamoStore) -> None:
        await World().instance(store.table(CORE)).begin(call(remaining_s=600), plan(1000))

    sent, took_s = lasting(trouble, begin)
    assert len(sent) <= 3 * LASTING[trouble][0]  # an account is read in three parts
    assert took_s <= LASTING[trouble][1]


@pytest.mark.parametrize("trouble", Trouble)
def test_a_start_is_not_kept_by_a_store_in_trouble(trouble: Trouble) -> None:
    """New instances would come up minutes after an outage, or not at all where a platform's patience ends."""

    async def start() -> tuple[int, float]:
        sender, telemetry = TroubledSender(trouble), NotedTelemetry()
        store = DynamoStore(sender, "x-")
        await store.check((CORE, HEALTH, CATALOG))
        ground: Ground = Ground(None, None, ())  # type: ignore[arg-type] # nothing is read that could be laid over anything
        await CatalogOverlay(store.table(CATALOG), SeededDice(), telemetry, ground).look()
        assert telemetry.incidents == []
        return len(sender.operations), asyncio.get_running_loop().time()

    requests, took_s = run_virtual(start())
    assert requests <= 3 + LASTING[trouble][0]
    assert took_s <= TOLD_S


@pytest.mark.parametrize("lands", [False, True])
@pytest.mark.parametrize("trouble", Trouble)
@pytest.mark.parametrize("step", ["room", "slot", "named"])
def test_a_call_that_cannot_be_written_is_told_soon(step: str, trouble: Trouble, lands: bool) -> None:
    """A call whose money is known to be there would wait for a store that does not take its writes."""

    async def main() -> None:
        loop, world = asyncio.get_running_loop(), await World().open()
        await world.credit(1_000_000)
        table = TroubledTable(world.table, lands=lands)
        ledger = world.instance(table)
        if step == "room":
            await ledger._scopes.read(call().caller)  # its account is known, and no lease is held
        else:
            for _ in range(20):  # such a busy scope keeps its lease
                await ledger.settle(await ledger.hold(call(), plan(1000)), paid(10))
        asked, began_s = table.requests, loop.time()
        table.begin(trouble)
        with pytest.raises(LedgerUnavailableError):
            await (await ledger.begin(call(request_id="r" if step == "named" else None), plan(1000))).ready()
        assert loop.time() - began_s <= TOLD_S
        # A lease is tried for twice, as its fate is not known, and the account is looked at beside all calls, in three parts.
        assert table.requests - asked <= 4 * trying.TRIES
        table.begin(trouble, 0.0)
        await asyncio.sleep(trying.LEISURE_S)
        assert await ledger.drain(1_000) == 0
        await ledger.close()
        assert world.store.judge() == []
        assert {lease.state for lease in world.leases()} <= {LeaseState.CLOSED}
        assert world.purse().leased_nanousd == 0

    run_virtual(main())


@pytest.mark.parametrize("lands", [False, True])
@pytest.mark.parametrize("trouble", Trouble)
@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.03, 0.05, 0.07, 0.09])
def test_a_passing_fault_is_not_noticed(trouble: Trouble, after_s: float, lands: bool) -> None:
    """Every hiccup of the store, of which there are many in a day, would fail calls or leave their bills pending."""

    async def main() -> None:
        world = await World(plan=FaultPlan(latency_s=(0.005, 0.005))).open()
        await world.credit(1_000_000)
        table = TroubledTable(world.table, lands=lands)
        ledger = world.instance(table)
        table.begin(trouble, 0.4, after_s=after_s)
        receipts = []
        for name in (None, "r"):
            hold = await ledger.hold(call(request_id=name), plan(1000))
            receipts.append(await ledger.settle(hold, paid(10)))
        assert [receipt.cost_nanousd for receipt in receipts] == [10, 10]
        assert await ledger.drain(1_000) == 0
        await ledger.close()
        states = [generation.state for generation in world.generations().values()]
        assert states.count(SlotState.SETTLED) == 2
        assert world.purse().spent_nanousd == 20
        assert world.store.judge() == []
        assert world.telemetry.incidents == []

    run_virtual(main())


@pytest.mark.parametrize("lands", [False, True])
@pytest.mark.parametrize("trouble", Trouble)
def test_a_lease_is_closed_by_its_owner_after_an_outage(trouble: Trouble, lands: bool) -> None:
    """After each outage the money of idle organisations would stay leased until a reclaimer may take it, minutes later."""

    async def main() -> None:
        world = await World().open()
        await world.credit(1_000_000)
        table = TroubledTable(world.table, lands=lands)
        ledger = world.instance(table)
        for _ in range(20):  # such a busy scope keeps its lease for some seconds
            await ledger.settle(await ledger.hold(call(), plan(1000)), paid(10))
        assert world.purse().leased_nanousd > 0
        table.begin(trouble, 60.0)
        await asyncio.sleep(60.0 + 3 * trying.LEISURE_PAUSE_MAX_S)
        assert (world.purse().leased_nanousd, world.purse().spent_nanousd) == (0, 200)
        assert world.telemetry.counts[Counter.CLOSE_FAILED] == 0
        assert await ledger.drain(1_000) == 0
        await ledger.close()
        assert world.store.judge() == []

    run_virtual(main())


@pytest.mark.parametrize("trouble", Trouble)
def test_books_are_kept_after_an_outage(trouble: Trouble) -> None:
    """A grant that is due would not be paid for another hour."""

    async def main() -> None:
        world = await World().open()
        table = TroubledTable(world.table)
        kept = Bookkeeper(table, world.clock, world.dice, world.telemetry)
        runs: list[Kept] = []
        once = kept.once

        async def noted() -> Kept:
            table.begin(trouble, 60.0)
            runs.append(await once())
            return runs[-1]

        kept.once = noted  # type: ignore[method-assign]
        keeping = asyncio.create_task(kept.forever())
        await asyncio.sleep(EVERY_S * (1 + JITTER) + 60.0 + 3 * trying.LEISURE_PAUSE_MAX_S)
        assert runs == [Kept()]
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    run_virtual(main())


class _ReadOnly(TroubledTable):
    """A table in trouble that is read as ever."""

    async def _read(self, work: Callable[[], Awaitable[T]], lasts_s: float = 0.0) -> T:
        return await work()


@pytest.mark.parametrize("trouble", Trouble)
def test_leases_in_doubt_do_not_pile_up(trouble: Trouble) -> None:
    """Where a store takes no writes, every call would leave minutes of work behind, and ask the more of it the longer."""

    async def main() -> None:
        world = await World().open()
        await world.credit(1_000_000)
        table = _ReadOnly(world.table)
        ledger = world.instance(table)
        await ledger.settle(await ledger.hold(call(), plan(1000)), paid(10))
        await asyncio.sleep(10)
        table.begin(trouble)
        for _ in range(30):
            with pytest.raises(LedgerUnavailableError):
                await ledger.begin(call(), plan(1000))
        assert len(ledger._tasks) <= 2 * PATIENT_AT_ONCE
        await ledger.drain(0)
        await ledger.close()
        assert ledger._scopes._patient == {}

    run_virtual(main())
