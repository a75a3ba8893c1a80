"""What only the simulated store promises: each fault does what its name says, and a seed repeats everything."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from junctor.adapters.tables.faults import Fault, FaultPlan
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.ports.table import (
    Add,
    ConflictError,
    Done,
    Item,
    Key,
    Query,
    Refused,
    StoreError,
    Table,
    ThrottledError,
    UnavailableError,
    UnknownOutcomeError,
    Update,
)
from tests.support.tables import KEY, SAMPLE, done, item, refused, stored
from tests.support.virtual_loop import run_virtual


def simulate(test: Callable[[SimulatedStore, Table], Awaitable[None]], plan: FaultPlan | None = None, seed: int = 0) -> None:
    """Run a test on a new store, in virtual time."""

    async def main() -> None:
        store = SimulatedStore(seed, plan=plan or FaultPlan())
        await store.create([SAMPLE])
        await test(store, store.table(SAMPLE))

    run_virtual(main())


async def count(table: Table) -> Done | Refused:
    """Add one to a counter."""
    return await table.update(KEY, [], [Add("count", 1)])


@pytest.mark.parametrize(
    ("fault", "error", "expected"),
    [
        (Fault.NONE, None, item(count=1)),
        (Fault.REPLY_LOST, UnknownOutcomeError, item(count=1)),
        (Fault.DROPPED, UnknownOutcomeError, None),
        (Fault.DELAYED, UnknownOutcomeError, None),
        (Fault.DUPLICATED, None, item(count=2)),
        (Fault.THROTTLED, ThrottledError, None),
        (Fault.CONFLICT, ConflictError, None),
        (Fault.UNAVAILABLE, UnavailableError, None),
    ],
)
def test_a_fault_does_to_a_write_what_its_name_says(
    fault: Fault, error: type[StoreError] | None, expected: Item | None
) -> None:
    """The ledger would be shown to survive faults that never happened."""

    async def test(store: SimulatedStore, table: Table) -> None:
        store.dice.inject(fault)
        if error is None:
            done(await count(table))
        else:
            with pytest.raises(error):
                await count(table)
        assert await stored(table) == expected
        await asyncio.sleep(3600)
        assert await stored(table) == (item(count=1) if fault is Fault.DELAYED else expected)

    simulate(test)


def test_a_repeated_put_comes_back_refused_with_ones_own_item() -> None:
    """Callers would never be seen to look for their own id."""

    async def test(store: SimulatedStore, table: Table) -> None:
        store.dice.inject(Fault.DUPLICATED)
        assert refused(await table.put_new(item(owner="me"))).old == item(owner="me")

    simulate(test)


def test_a_repeated_transaction_applies_once_by_its_token() -> None:
    """A token would be no protection in a simulation."""

    async def test(store: SimulatedStore, table: Table) -> None:
        store.dice.inject(Fault.DUPLICATED)
        done(await table.transact([Update(KEY, (), (Add("count", 1),))], "token"))
        assert await stored(table) == item(count=1)
        await asyncio.sleep(601)
        done(await table.transact([Update(KEY, (), (Add("count", 1),))], "token"))
        assert await stored(table) == item(count=2)

    simulate(test)


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Fault.THROTTLED, ThrottledError), (Fault.UNAVAILABLE, UnavailableError), (Fault.DROPPED, UnavailableError)],
)
def test_a_read_that_fails_has_no_unknown_outcome(fault: Fault, error: type[StoreError]) -> None:
    """A reader would have to look for an id of a write that never was."""

    async def test(store: SimulatedStore, table: Table) -> None:
        store.dice.inject(fault)
        with pytest.raises(error):
            await table.get(KEY)
        assert await stored(table) is None

    simulate(test)


def test_latency_passes_in_virtual_time() -> None:
    """Timeouts and races of a simulation would all happen at one instant."""

    async def test(store: SimulatedStore, table: Table) -> None:
        began = asyncio.get_running_loop().time()
        await count(table)
        assert 20 <= asyncio.get_running_loop().time() - began <= 40

    simulate(test, FaultPlan(latency_s=(10.0, 20.0)))


def test_a_cancelled_write_may_still_arrive() -> None:
    """A simulation would never show what a killed caller's last write does."""

    async def test(store: SimulatedStore, table: Table) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(count(table), 5)
        assert store.items(SAMPLE) == []
        await asyncio.sleep(60)
        assert store.items(SAMPLE) == [item(count=1)]

    simulate(test, FaultPlan(latency_s=(10.0, 10.0)))


def test_an_eventual_read_may_be_stale_and_a_consistent_one_never() -> None:
    """Code that must read consistently, and does not, would never be found out."""

    async def test(store: SimulatedStore, table: Table) -> None:
        seen: set[object] = set()
        for number in range(1, 200):
            done(await table.update(KEY, [], [Add("count", 1)]))
            assert await stored(table) == item(count=number)
            eventual = (await table.get(KEY, consistent=False)).item
            page = await table.query(Query(partition="P"))
            assert len(page.items) <= 1
            behind = number - int(str(eventual["count"] if eventual is not None else 0))
            assert 0 <= behind <= 10
            seen.add(behind)
            await asyncio.sleep(1)
        assert len(seen) > 5

    simulate(test, FaultPlan(stale_s=10.0))


def test_a_sweep_takes_what_has_expired_when_told_to() -> None:
    """An item's going would never be simulated, or an item would go before its time."""

    async def test(store: SimulatedStore, table: Table) -> None:
        done(await table.put_new(item(ttl=100)))
        done(await table.put_new(item(sort="other", ttl=101)))
        store.sweep(SAMPLE, 100)
        assert await stored(table) is not None
        store.sweep(SAMPLE, 101)
        assert store.items(SAMPLE) == [item(sort="other", ttl=101)]

    simulate(test)


def history(seed: int) -> list[str]:
    """Return what happened to a hundred writes."""
    happened: list[str] = []
    plan = FaultPlan(chances=tuple((fault, 0.1) for fault in Fault if fault is not Fault.NONE), latency_s=(0.0, 1.0))

    async def test(store: SimulatedStore, table: Table) -> None:
        async def one(number: int) -> None:
            try:
                answer: object = await table.put_new(item(sort=str(number % 30), number=number))
            except StoreError as error:
                answer = type(error).__name__
            happened.append(f"{asyncio.get_running_loop().time():.6f} {number} {answer}")

        await asyncio.gather(*(one(number) for number in range(100)))
        await asyncio.sleep(3600)
        happened.append(repr(store.items(SAMPLE)))

    simulate(test, plan, seed)
    return happened


def test_a_seed_repeats_everything() -> None:
    """A schedule that found a fault could not be run again."""
    assert history(7) == history(7)
    assert history(7) != history(8)


def test_a_plan_draws_its_faults_at_their_chances() -> None:
    """A storm of faults would be a calm."""
    happened = history(3)
    assert 15 <= sum("UnknownOutcomeError" in line for line in happened) <= 50
    assert 1 <= sum("ThrottledError" in line for line in happened) <= 30


def test_no_two_keys_share_an_item() -> None:
    """Items of one partition would be seen in another that begins with the same letters."""

    async def test(store: SimulatedStore, table: Table) -> None:
        done(await table.put_new(item(partition="A#1", sort="2")))
        done(await table.put_new(item(partition="A", sort="1#2")))
        assert await stored(table, Key("A#1", "2")) == item(partition="A#1", sort="2")
        assert (await table.query(Query(partition="A"))).items == (item(partition="A", sort="1#2"),)

    simulate(test)
