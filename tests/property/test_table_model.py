"""Any sequence of calls is answered by every adapter as by the simulated store, which says what the port promises."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from junctor.adapters.tables.simulated import SimulatedStore
from junctor.adapters.tables.sqlite import SqliteStore
from junctor.ports.table import (
    Absent,
    Add,
    AtLeast,
    Check,
    Delete,
    Done,
    Equals,
    Exists,
    Key,
    Operation,
    PutNew,
    Query,
    Refused,
    Remove,
    Set,
    Store,
    Table,
    Update,
)
from tests.support.tables import SAMPLE, all_items, fake_credentials, moto_store

names = st.sampled_from(["a", "b", "size"])
integers = st.one_of(st.integers(-3, 3), st.sampled_from([10**37, -(10**37), 2**64]))
scalars = st.one_of(integers, st.booleans(), st.sampled_from(["", "x", b"", b"x"]))
values = st.recursive(st.one_of(scalars, st.none()), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner))
keys = st.builds(Key, st.sampled_from(["P", "Q"]), st.sampled_from(["a", "ab", "b", "é", "🦊"]))
index_values = st.sampled_from(["1", "2", "é"])
attributes = st.fixed_dictionaries({}, optional={"a": values, "b": values, "shard": index_values, "due": index_values})
items = st.builds(lambda key, rest: {"pk": key.partition, "sk": key.sort, **rest}, keys, attributes)
condition = st.one_of(
    st.builds(Exists, names),
    st.builds(Absent, names),
    st.builds(Equals, names, scalars),
    st.builds(AtLeast, names, integers),
)
conditions = st.lists(condition, max_size=2).map(tuple)
plain = st.one_of(st.builds(Set, names, values), st.builds(Add, names, integers), st.builds(Remove, names))
indexed = st.one_of(st.builds(Set, st.sampled_from(["shard", "due"]), index_values), st.builds(Remove, st.just("shard")))
changes = st.lists(plain | indexed, min_size=1, max_size=3, unique_by=lambda change: change.attribute).map(tuple)
updates = st.builds(Update, keys, conditions, changes)
deletes = st.builds(Delete, keys, conditions)
writes = st.one_of(st.builds(PutNew, items), updates, deletes)
checks = st.builds(Check, keys, st.lists(condition, min_size=1, max_size=2).map(tuple))
transactions = st.lists(writes | checks, min_size=1, max_size=4)
bounds = st.tuples(index_values, index_values).map(lambda pair: (min(pair), max(pair)))
queries = st.builds(
    Query,
    partition=st.sampled_from(["P", "Q"]),
    prefix=st.sampled_from(["", "a", "é"]),
    limit=st.sampled_from([None, 1, 2]),
    consistent=st.booleans(),
    descending=st.booleans(),
)
index_queries = st.builds(Query, partition=index_values, between=bounds | st.none(), index=st.just("by-due"))
steps = st.lists(st.one_of(writes, transactions, queries, index_queries), min_size=1, max_size=12)

Step = Operation | Sequence[Operation] | Query


async def answer(table: Table, step: Step, number: int) -> object:
    """Return what a table says to one step, without the capacity and the words of errors."""
    try:
        match step:
            case Query():
                found = await all_items(table, step)
                # Items with equal index values may come in any order.
                return found if step.index is None else sorted(map(repr, ({k: one[k] for k in sorted(one)} for one in found)))
            case PutNew(item):
                said = await table.put_new(item)
            case Update(key, given_conditions, given_changes):
                said = await table.update(key, given_conditions, given_changes)
            case Delete(key, given_conditions):
                said = await table.delete(key, given_conditions)
            case Check():
                raise AssertionError("a check stands in a transaction only")
            case _:
                said = await table.transact(step, f"token {number}")
    except ValueError:
        return ValueError
    return (type(said), said.item) if isinstance(said, Done) else (Refused, said.old, said.index)


def typed(value: object) -> object:
    """Return a value such that True and 1 differ."""
    if isinstance(value, dict):
        return {name: typed(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [typed(part) for part in value]
    return (type(value).__name__, value)


async def compare(make: Callable[[], Store], all_steps: Sequence[Step]) -> None:
    """Put the same steps to the model and to a store."""
    model, store = SimulatedStore(), make()
    await model.create([SAMPLE])
    await store.create([SAMPLE])
    try:
        for number, step in enumerate(all_steps):
            expected = await answer(model.table(SAMPLE), step, number)
            assert typed(await answer(store.table(SAMPLE), step, number)) == typed(expected), step
    finally:
        await store.close()


@given(steps)
@settings(max_examples=120, deadline=None, derandomize=True)
def test_sqlite_answers_as_the_model(all_steps: Sequence[Step]) -> None:
    """The ledger, proved on the simulation, would behave otherwise on the embedded store."""
    asyncio.run(compare(lambda: SqliteStore(None), all_steps))


@given(steps)
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_dynamodb_answers_as_the_model(monkeypatch: pytest.MonkeyPatch, all_steps: Sequence[Step]) -> None:
    """The ledger, proved on the simulation, would behave otherwise in the cloud."""
    fake_credentials(monkeypatch)
    with mock_aws():
        asyncio.run(compare(moto_store, all_steps))
