"""What every table adapter promises for transactions: all or nothing, the first refusal named, one token applied once."""

import pytest

from junctor.ports.table import (
    Absent,
    Add,
    AtLeast,
    Check,
    Delete,
    Equals,
    Exists,
    Item,
    Key,
    Operation,
    PutNew,
    Query,
    Set,
    Table,
    Update,
)
from tests.support import tables
from tests.support.tables import all_items, done, item, refused, stored

store = tables.store
table = tables.table
shared_table = tables.shared_table

PURSE = Key("P", "purse")


def debit(amount: int) -> Update:
    """Return the update that takes money from the purse."""
    return Update(PURSE, (AtLeast("avail", amount),), (Add("avail", -amount), Add("leased", amount)))


async def test_a_transaction_applies_every_operation(table: Table) -> None:
    """A lease would be written without taking its money."""
    done(await table.put_new(item(sort="purse", avail=10)))
    done(await table.put_new(item(sort="old", state="OPEN")))
    done(await table.put_new(item(sort="seen", ver=1)))
    answer = await table.transact(
        [
            PutNew(item(sort="lease")),
            debit(4),
            Delete(Key("P", "old"), (Equals("state", "OPEN"),)),
            Check(Key("P", "seen"), (Equals("ver", 1),)),
            Delete(Key("P", "missing")),
        ],
        "token",
    )
    assert done(answer).item is None
    assert await all_items(table, Query(partition="P", consistent=True)) == [
        item(sort="lease"),
        item(sort="purse", avail=6, leased=4),
        item(sort="seen", ver=1),
    ]


@pytest.mark.parametrize(
    ("operation", "old"),
    [
        (PutNew(item(sort="there", mine=True)), item(sort="there", n=1)),
        (Update(Key("P", "there"), (Equals("n", 2),), (Add("n", 1),)), item(sort="there", n=1)),
        (Update(Key("P", "missing"), (Exists("n"),), (Add("n", 1),)), None),
        (Delete(Key("P", "there"), (Absent("n"),)), item(sort="there", n=1)),
        (Check(Key("P", "there"), (AtLeast("n", 2),)), item(sort="there", n=1)),
        (Check(Key("P", "missing"), (Exists("n"),)), None),
    ],
    ids=repr,
)
async def test_a_refused_operation_undoes_all(table: Table, operation: Operation, old: Item | None) -> None:
    """Money would be taken although the lease could not be written; or the wrong account would be told of it."""
    done(await table.put_new(item(sort="there", n=1)))
    done(await table.put_new(item(sort="purse", avail=10)))
    for place in range(3):
        operations: list[Operation] = [debit(3), PutNew(item(sort="new"))]
        operations.insert(place, operation)
        answer = refused(await table.transact(operations, f"token {place}"))
        assert (answer.index, answer.old) == (place, old)
    assert await all_items(table, Query(partition="P", consistent=True)) == [
        item(sort="purse", avail=10),
        item(sort="there", n=1),
    ]


async def test_the_first_of_several_refusals_is_named(table: Table) -> None:
    """The caller would be told of the narrow window although the broad one was the first in the way."""
    done(await table.put_new(item(sort="purse", avail=1)))
    done(await table.put_new(item(sort="there")))
    answer = await table.transact([PutNew(item(sort="new")), debit(2), PutNew(item(sort="there"))], "token")
    assert (refused(answer).index, refused(answer).old) == (1, item(sort="purse", avail=1))


async def test_negative_bounds_hold_in_a_netted_update(table: Table) -> None:
    """A renewal that gives back more than it takes would be refused on an empty purse."""
    done(await table.put_new(item(sort="purse", avail=-3)))
    give_back = Update(PURSE, (AtLeast("avail", -5),), (Add("avail", 5),))
    done(await table.transact([give_back], "token"))
    assert await stored(table, PURSE) == item(sort="purse", avail=2)


@pytest.mark.parametrize(
    ("operations", "token"),
    [
        ([], "token"),
        ([PutNew(item())], ""),
        ([PutNew(item()), Check(Key("P", "S"), (Exists("a"),))], "token"),
        ([PutNew(item()), PutNew(item())], "token"),
        ([PutNew(item(sort=str(number))) for number in range(101)], "token"),
        ([Check(Key("P", "S"), ())], "token"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_transactions_that_no_store_could_apply(table: Table, operations: list[Operation], token: str) -> None:
    """Code that works on the embedded store would fail in the cloud."""
    with pytest.raises(ValueError, match=r"transaction|check"):
        await table.transact(operations, token)
    assert await all_items(table, Query(partition="P", consistent=True)) == []


async def test_a_hundred_operations_fit(table: Table) -> None:
    """A lease with many legs and windows would be refused."""
    operations = [PutNew(item(sort=f"{number:03}")) for number in range(100)]
    done(await table.transact(operations, "t" * 64))
    assert len(await all_items(table, Query(partition="P", consistent=True))) == 100


async def test_a_mistake_in_one_operation_undoes_all(table: Table) -> None:
    """Half a transaction would stay behind after an amount met a text."""
    done(await table.put_new(item(sort="text", value="x")))
    with pytest.raises(ValueError, match=r"integer|malformed"):
        await table.transact([PutNew(item(sort="a")), Update(Key("P", "text"), (), (Add("value", 1),))], "token")
    assert await all_items(table, Query(partition="P", consistent=True)) == [item(sort="text", value="x")]


async def test_one_token_applies_once(shared_table: Table) -> None:
    """A debit whose answer was lost, and that was sent again, would be taken twice."""
    long = "a token of more than thirty-six characters, as of a lease and a slot"
    done(await shared_table.put_new(item(sort="purse", avail=10)))
    done(await shared_table.transact([debit(2)], long))
    again = done(await shared_table.transact([debit(2)], long))
    assert again.capacity.read_units + again.capacity.write_units > 0
    assert await stored(shared_table, PURSE) == item(sort="purse", avail=8, leased=2)
    done(await shared_table.transact([debit(2)], "another"))
    assert await stored(shared_table, PURSE) == item(sort="purse", avail=6, leased=4)


async def test_a_token_belongs_to_its_operations(shared_table: Table) -> None:
    """Another transaction under a used token would be taken for applied, and lost."""
    done(await shared_table.put_new(item(sort="purse", avail=10)))
    done(await shared_table.transact([debit(2)], "token"))
    with pytest.raises(ValueError, match=r"token|malformed"):
        await shared_table.transact([debit(3)], "token")
    assert await stored(shared_table, PURSE) == item(sort="purse", avail=8, leased=2)


async def test_a_refused_transaction_may_be_tried_again_under_its_token(shared_table: Table) -> None:
    """A purse that was filled up meanwhile would go on refusing."""
    assert refused(await shared_table.transact([debit(2)], "token")).old is None
    done(await shared_table.update(PURSE, [], [Set("avail", 2)]))
    done(await shared_table.transact([debit(2)], "token"))
    assert await stored(shared_table, PURSE) == item(sort="purse", avail=0, leased=2)
