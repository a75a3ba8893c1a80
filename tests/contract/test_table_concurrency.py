"""Many callers at once: exactly what is affordable is spent, and one caller's mistake is his own."""

import asyncio

import pytest

from junctor.adapters.tables.sqlite import SqliteStore
from junctor.ports.table import Add, AtLeast, Done, Item, Key, PutNew, Refused, Table, UnavailableError, Update
from tests.support import tables
from tests.support.tables import KEY, SAMPLE, done, item, stored

shared_table = tables.shared_table


async def test_a_purse_is_never_overspent(shared_table: Table) -> None:
    """A balance would go below zero, or money would be left that nobody can spend."""
    done(await shared_table.put_new(item(avail=37)))
    answers = await asyncio.gather(*(shared_table.update(KEY, [AtLeast("avail", 1)], [Add("avail", -1)]) for _ in range(100)))
    assert sum(isinstance(answer, Done) for answer in answers) == 37
    assert all(answer.old == item(avail=0) for answer in answers if isinstance(answer, Refused))
    assert await stored(shared_table) == item(avail=0)


async def test_one_of_many_puts_wins(shared_table: Table) -> None:
    """Two callers would both believe that a slot is theirs."""
    answers = await asyncio.gather(*(shared_table.put_new(item(owner=number)) for number in range(50)))
    assert sum(isinstance(answer, Done) for answer in answers) == 1
    winner = await stored(shared_table)
    assert all(answer.old == winner for answer in answers if isinstance(answer, Refused))


async def test_transactions_conserve_money(shared_table: Table) -> None:
    """Two transactions between two purses, in each other's way, would make or lose money."""
    purses = [Key("P", "a"), Key("P", "b")]
    for purse in purses:
        done(await shared_table.put_new(item(sort=purse.sort, avail=20)))

    async def move(number: int) -> bool:
        giver, taker = purses if number % 2 else purses[::-1]
        give = Update(giver, (AtLeast("avail", 3),), (Add("avail", -3),))
        take = Update(taker, (), (Add("avail", 3),))
        return isinstance(await shared_table.transact([give, take, PutNew(item(sort=f"entry {number}"))], f"t{number}"), Done)

    moved = await asyncio.gather(*(move(number) for number in range(40)))
    found = [await stored(shared_table, purse) for purse in purses]
    assert sum(amount for purse in found if purse is not None and isinstance(amount := purse["avail"], int)) == 40
    entries = [await stored(shared_table, Key("P", f"entry {number}")) for number in range(40)]
    assert [entry is not None for entry in entries] == list(moved)


async def test_a_mistake_fails_its_own_caller_only(shared_table: Table) -> None:
    """One bad write in a group commit would undo the writes of others, or be told to them."""
    done(await shared_table.put_new(item(sort="text", value="x")))

    async def write(number: int) -> Done | Refused:
        if number % 3 == 0:
            return await shared_table.update(Key("P", "text"), [], [Add("value", 1)])
        return await shared_table.update(KEY, [], [Add("count", 1)])

    answers = await asyncio.gather(*(write(number) for number in range(90)), return_exceptions=True)
    assert [isinstance(answer, ValueError) for answer in answers] == [number % 3 == 0 for number in range(90)]
    assert await stored(shared_table) == item(count=60)


async def test_a_read_sees_every_acknowledged_write(shared_table: Table) -> None:
    """A caller would look for his own write and not find it."""

    async def write_and_read(number: int) -> None:
        done(await shared_table.put_new(item(sort=str(number))))
        assert await stored(shared_table, Key("P", str(number))) is not None

    await asyncio.gather(*(write_and_read(number) for number in range(100)))


async def test_a_cancelled_caller_harms_no_other(shared_table: Table) -> None:
    """A caller who hangs up in the midst of a group commit would take the others' answers with him."""
    tasks = [asyncio.create_task(shared_table.update(KEY, [], [Add("count", 1)])) for _ in range(60)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, Done) for answer in answers[1::2])
    found = await stored(shared_table)
    assert found is not None
    assert isinstance(found["count"], int)
    assert 30 <= found["count"] <= 60


def test_a_sqlite_store_serves_several_loops() -> None:
    """A second event loop of one process, as of a synchronous client, would never get its answers."""
    store = SqliteStore(None)

    async def count() -> None:
        await store.create([SAMPLE])
        table = store.table(SAMPLE)
        await asyncio.gather(*(table.update(KEY, [], [Add("count", 1)]) for _ in range(10)))

    asyncio.run(count())
    asyncio.run(count())

    async def look() -> Item | None:
        found = await stored(store.table(SAMPLE))
        await store.close()
        return found

    assert asyncio.run(look()) == item(count=20)


async def test_a_closed_sqlite_store_answers_nobody() -> None:
    """A write after the end would wait for ever."""
    store = SqliteStore(None)
    await store.create([SAMPLE])
    table = store.table(SAMPLE)
    writes = [asyncio.create_task(table.put_new(item(sort=str(number)))) for number in range(20)]
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    assert all(isinstance(answer, Done) for answer in await asyncio.gather(*writes))
    with pytest.raises(UnavailableError):
        await table.get(KEY)
    begun = table.begin_put_new(item())  # whoever begins a write hears of it by its future alone
    with pytest.raises(UnavailableError):
        await begun
