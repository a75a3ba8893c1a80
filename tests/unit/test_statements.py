"""Statements: each closed lease of a month that is over is summed exactly once, whoever sums and whatever is lost."""

import asyncio
import itertools
from collections.abc import Sequence

import msgspec
import pytest

from junctor.adapters.tables.faults import Fault, FaultPlan
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.domain.account import Account
from junctor.domain.lease import Lease, LeaseState, Leg
from junctor.ledger import closing, leasing
from junctor.ledger import statements as stating
from junctor.ledger.statements import KEPT_S, Summed, summarise
from junctor.ports.table import ConflictError, Item, StoreError, UnavailableError
from junctor.ports.telemetry import Counter
from junctor.records import ids, keys, leases, organisations, statements
from junctor.records.statements import Statement
from junctor.records.tables import CORE
from junctor.usecases import bookkeeping
from junctor.usecases.bookkeeping import Bookkeeper, Kept
from tests.support.auditing import DAY_MS, NEXT_MONTH_MS, audited_here, told
from tests.support.bank import ACCOUNT, DAY, NOW_MS, Bank
from tests.support.faulty_table import FaultyTable
from tests.support.virtual_loop import run_virtual
from tests.support.world import LoopClock, NotedTelemetry, SeededDice

MONTH = "2026-09"
MONTH_END_MS = 1_790_812_800_000
"""The first instant of October 2026."""


async def a_bank(store: SimulatedStore | None = None) -> Bank:
    """Return a bank with some money, whose store is not judged: the tests' own auditor knows no statements."""
    bank = await Bank(store or SimulatedStore()).open()
    await bank.credit(1_000_000)
    return bank


async def closed(bank: Bank, number: int, cost: int = 3, at_ms: int = NOW_MS) -> Lease:
    """Acquire, spend from and close a lease whose id was made at an instant."""
    lease = msgspec.structs.replace(bank.lease(10), id=ids.ulid(at_ms, number.to_bytes(ids.ULID_RANDOM_BYTES)))
    assert isinstance(await leasing.acquire(bank.table, bank.dice, lease), leasing.Leased)
    await bank.spent(lease, 0, cost)
    ended = await closing.close(bank.table, bank.dice, lease, at_ms)
    assert ended is not None
    return ended


def put_closed(store: SimulatedStore, count: int, names: int = 0) -> None:
    """Put so many CLOSED leases of 2 nano-USD each into a store, each with so many windows of its own, and nothing else."""
    for number in range(count):
        lease = Lease(
            id=ids.ulid(NOW_MS, number.to_bytes(ids.ULID_RANDOM_BYTES)),
            account=ACCOUNT,
            scope=ACCOUNT,
            owner="O",
            until_ms=NOW_MS,
            exp_ms=NOW_MS,
            width=1,
            amount_nanousd=5,
            legs=(Leg("main", 5),),
            windows=tuple(f"WINDOW#k{number}-{each}#ALL" for each in range(names)),
            state=LeaseState.CLOSED,
            total_nanousd=2,
        )
        item = {name: value for name, value in leases.item(lease).items() if not name.startswith("open_")}
        store.put(CORE, keys.lease(ACCOUNT, lease.id), item)


def kept(store: SimulatedStore) -> list[Statement]:
    """Return the statements in a store."""
    return [
        statements.statement_of(item, ACCOUNT)
        for item in sorted(store.items(CORE), key=lambda item: str(item["sk"]))
        if str(item["sk"]).startswith(keys.STATEMENT_PREFIX)
    ]


def entries(store: SimulatedStore) -> list[Item]:
    """Return the entries of leases in a store."""
    return [item for item in store.items(CORE) if str(item["sk"]).startswith(keys.LEASE_PREFIX)]


def test_a_lease_is_summed_once_its_month_is_over_and_may_go_90_days_later() -> None:
    """Entries would stay for ever, or go while somebody may still ask about them."""

    async def main() -> None:
        store = SimulatedStore()
        bank = await a_bank(store)
        lease = await closed(bank, 1)
        margin_ms = stating.MARGIN_MS
        assert await summarise(bank.table, bank.dice, ACCOUNT, MONTH_END_MS + margin_ms - 1) == Summed()
        assert kept(store) == []
        assert await summarise(bank.table, bank.dice, ACCOUNT, MONTH_END_MS + margin_ms) == Summed(leases=1)
        (item,) = entries(store)
        assert leases.statement_of(item) == f"{MONTH}#000000"
        assert item["ttl"] == (MONTH_END_MS + margin_ms) // 1000 + KEPT_S
        assert leases.lease_of(item) == lease
        (statement,) = kept(store)
        assert statement == Statement(account=ACCOUNT, name=f"{MONTH}#000000", leases=1, total_nanousd=3, purses={"main": 3})
        assert await summarise(bank.table, bank.dice, ACCOUNT, NEXT_MONTH_MS) == Summed()
        assert kept(store) == [statement]

    run_virtual(main())


def test_what_is_open_is_summed_when_it_is_closed() -> None:
    """A lease that was closed late would be missing in its month for ever."""

    async def main() -> None:
        store = SimulatedStore()
        bank = await a_bank(store)
        await closed(bank, 1)
        late = await bank.leased(10, number=2)
        await closed(bank, 3)
        assert await summarise(bank.table, bank.dice, ACCOUNT, NEXT_MONTH_MS) == Summed(leases=2)
        assert await summarise(bank.table, bank.dice, ACCOUNT, NEXT_MONTH_MS) == Summed()
        await closing.close(bank.table, bank.dice, late, NEXT_MONTH_MS)
        assert await summarise(bank.table, bank.dice, ACCOUNT, NEXT_MONTH_MS) == Summed(leases=1)
        assert [statement.leases for statement in kept(store)] == [3]
        assert told(await audited_here(store.items(CORE), now_ms=NEXT_MONTH_MS)) == []

    run_virtual(main())


def test_each_month_has_its_own_statement() -> None:
    """Nobody could say what a month cost."""

    async def main() -> None:
        store = SimulatedStore()
        bank = await a_bank(store)
        for number, at_ms in enumerate((NOW_MS, MONTH_END_MS - 1, MONTH_END_MS, MONTH_END_MS + 31 * DAY_MS)):
            await closed(bank, number, cost=number + 1, at_ms=at_ms)
        assert (await summarise(bank.table, bank.dice, ACCOUNT, NEXT_MONTH_MS + 32 * DAY_MS)).leases == 3
        assert [(one.name, one.total_nanousd) for one in kept(store)] == [("2026-09#000000", 3), ("2026-10#000000", 3)]

    run_virtual(main())


def test_what_was_summed_is_not_read_again_and_again() -> None:
    """Each hour every instance would read three months of every account."""

    async def main() -> None:
        store = SimulatedStore()
        bank = await a_bank(store)
        put_closed(store, 250)
        assert (await summarise(bank.table, bank.dice, ACCOUNT, NEXT_MONTH_MS)).leases == 250
        last = max(leases.id_at(item) for item in entries(store))
        assert statements.noted(await bank.item(keys.summed(ACCOUNT))) == last
        asked = FaultyTable(bank.table)
        assert await summarise(asked, bank.dice, ACCOUNT, NEXT_MONTH_MS) == Summed()
        assert asked.calls == {"get": 1, "query": 1}

    run_virtual(main())


@pytest.mark.parametrize(("count", "names"), [(95, 0), (60, 8), (700, 1)])
def test_a_month_of_any_size_fits(count: int, names: int) -> None:
    """A thousand keys with limits of their own have more windows in a month than one item, or one write, can hold."""

    async def main() -> None:
        store = SimulatedStore()
        bank = await a_bank(store)
        put_closed(store, count, names)
        assert await summarise(bank.table, bank.dice, ACCOUNT, NEXT_MONTH_MS) == Summed(leases=count)
        parts = kept(store)
        assert sum(part.leases for part in parts) == count
        assert sum(part.total_nanousd for part in parts) == 2 * count
        assert len({name for part in parts for name in part.windows}) == count * names
        assert max(len(part.windows) for part in parts) <= stating.PART_NAMES + stating.BATCH_NAMES
        assert [part.name for part in parts] == [f"{MONTH}#{number:06d}" for number in range(len(parts))]
        assert len(parts) == 1 or names

    run_virtual(main())


FAULTS = FaultPlan(
    chances=tuple((fault, 0.08) for fault in Fault if fault is not Fault.NONE), latency_s=(0.0, 0.05), delay_s=(0.01, 20.0)
)


@pytest.mark.parametrize("seed", range(12))
def test_racing_bookkeepers_sum_each_lease_once_whatever_is_lost(seed: int) -> None:
    """Money would be spent twice, or not at all, once the entries are gone."""

    async def one(store: SimulatedStore, number: int) -> None:
        dice = SeededDice(seed * 10 + number)
        for _ in range(6):
            try:
                await summarise(store.table(CORE), dice, ACCOUNT, NEXT_MONTH_MS + (number - 1) * DAY_MS)
            except StoreError:
                await asyncio.sleep(dice.uniform())

    async def main() -> None:
        store = SimulatedStore(seed)
        await store.create([CORE])
        put_closed(store, 230, 1)
        store.dice.plan = FAULTS
        await asyncio.gather(*(one(store, number) for number in range(3)))
        store.dice.plan = FaultPlan()
        await asyncio.sleep(60)
        await summarise(store.table(CORE), SeededDice(), ACCOUNT, NEXT_MONTH_MS)
        found = entries(store)
        assert all(leases.statement_of(item) for item in found)
        parts = kept(store)
        assert sum(part.leases for part in parts) == len(found) == 230
        assert sum(part.total_nanousd for part in parts) == 460
        windows = list(itertools.chain.from_iterable(part.windows.items() for part in parts))
        assert len(windows) == 230
        assert {amount for _, amount in windows} == {2}

    run_virtual(main())


def test_a_lease_whose_books_are_wrong_keeps_its_entry() -> None:
    """A mistake would be summed with the rest, and could never be found again."""

    async def main() -> None:
        store = SimulatedStore()
        bank = await a_bank(store)
        put_closed(store, 5)
        wrong: Sequence[tuple[int, dict[str, object]]] = (
            (1, {"total_nanousd": 6}),
            (2, {"total_nanousd": None}),
            (3, {"account": "OTHER"}),
            (4, {"legs": "none"}),
        )
        names = []
        for number, changes in wrong:
            item = sorted(entries(store), key=leases.id_at)[number]
            names.append(leases.id_at(item))
            changed = {name: value for name, value in {**item, **changes}.items() if value is not None}
            store.put(CORE, keys.lease(ACCOUNT, names[-1]), changed)  # type: ignore[arg-type]
        for summed in (1, 0):
            done = await summarise(bank.table, bank.dice, ACCOUNT, NEXT_MONTH_MS)
            assert done == Summed(leases=summed, broken=tuple(names))

    run_virtual(main())


def test_one_who_is_never_first_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged statement would keep a bookkeeper busy for ever."""

    async def main() -> None:
        store = SimulatedStore()
        bank = await a_bank(store)
        put_closed(store, 1)
        place = keys.statement(ACCOUNT, f"{MONTH}#000000")
        store.put(CORE, place, {"pk": place.partition, "sk": place.sort, "leases": 0})
        with pytest.raises(ConflictError):
            await summarise(bank.table, bank.dice, ACCOUNT, NEXT_MONTH_MS)

    monkeypatch.setattr(stating, "PASSES_MAX", 5)
    run_virtual(main())


async def listed(store: SimulatedStore, *accounts: str) -> None:
    """Put accounts into the list."""
    for account in accounts:
        await store.table(CORE).put_new(organisations.listing_item(Account(id=account, name=account, created_at_ms=0)))


def test_a_bookkeeper_sees_to_every_account() -> None:
    """One account's trouble would keep all others from being summed."""

    async def main() -> None:
        store = SimulatedStore()
        bank = await a_bank(store)
        put_closed(store, 3)
        names = [f"org-{number}" for number in range(40)]
        await listed(store, ACCOUNT, *names)
        clock, telemetry = LoopClock(), NotedTelemetry()
        clock.ahead_ms = NEXT_MONTH_MS - NOW_MS
        damaged = {"pk": f"A#{names[7]}", "sk": f"LEASE#{ids.ulid(NOW_MS, bytes(10))}", "state": "CLOSED"}
        store.put(CORE, keys.lease(names[7], ids.ulid(NOW_MS, bytes(10))), damaged)
        keeper = Bookkeeper(bank.table, clock, bank.dice, telemetry)
        assert await keeper.once() == Kept(leases=3, broken=((names[7], ids.ulid(NOW_MS, bytes(10))),))
        assert telemetry.counts[Counter.LEASE_BROKEN] == 1
        table = FaultyTable(bank.table)
        table.always("get", UnavailableError("x"))
        assert await Bookkeeper(table, clock, bank.dice, telemetry).once() == Kept(failed=41)

    run_virtual(main())


def test_it_goes_on_hour_by_hour_whatever_ends_one_run() -> None:
    """After one bug or one lost store, no statement would ever be written again by this instance."""

    async def main() -> None:
        bank = await a_bank()
        telemetry = NotedTelemetry()
        keeper = Bookkeeper(bank.table, LoopClock(), bank.dice, telemetry)
        ran: list[float] = []

        async def once() -> Kept:
            ran.append(asyncio.get_running_loop().time())
            if len(ran) < 3:
                raise (UnavailableError("x"), ZeroDivisionError)[len(ran) - 1]
            return Kept()

        keeper.once = once  # type: ignore[method-assign]
        task = asyncio.create_task(keeper.forever())
        await asyncio.sleep(5 * bookkeeping.EVERY_S)
        task.cancel()
        assert len(ran) in {4, 5, 6}
        assert [type(error) for _, error in telemetry.incidents] == [ZeroDivisionError]

    run_virtual(main())


def test_days_of_a_limit_are_summed_by_window() -> None:
    """What a key spent in a period could not be rebuilt."""

    async def main() -> None:
        store = SimulatedStore()
        bank = await a_bank(store)
        await bank.limited(DAY)
        lease = await bank.leased(30, DAY)
        await bank.spent(lease, 0, 7)
        await closing.close(bank.table, bank.dice, lease, NOW_MS)
        await summarise(bank.table, bank.dice, ACCOUNT, NEXT_MONTH_MS)
        (statement,) = kept(store)
        assert dict(statement.windows) == {lease.windows[0]: 7}
        store.sweep(CORE, NEXT_MONTH_MS // 1000 + KEPT_S + 1)
        assert entries(store) == []
        assert told(await audited_here(store.items(CORE), now_ms=NEXT_MONTH_MS)) == []

    run_virtual(main())


@pytest.mark.parametrize(
    ("at_ms", "month"),
    [
        (0, "1970-01"),
        (MONTH_END_MS - 1, "2026-09"),
        (MONTH_END_MS, "2026-10"),
        (951_782_400_000, "2000-02"),
        (2**47, "6429-10"),
    ],
)
def test_a_lease_s_month_is_that_in_which_its_id_was_made(at_ms: int, month: str) -> None:
    """Each bookkeeper's clock would put the same lease into another month."""
    lease = ids.ulid(at_ms, b"\xff" * ids.ULID_RANDOM_BYTES)
    assert ids.made_at_ms(lease) == at_ms
    assert statements.month_of(lease) == month
    begin = statements.month_begin_ms(at_ms)
    assert begin <= at_ms
    assert statements.month_at(begin) == month
    assert begin == 0 or statements.month_at(begin - 1) < month
