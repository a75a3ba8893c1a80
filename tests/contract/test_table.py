"""What every table adapter promises for one item at a time: exact values, judged conditions, refusals that show the item."""

import asyncio

import pytest

from junctor.ports.table import (
    Absent,
    Add,
    AtLeast,
    Change,
    Condition,
    Done,
    Equals,
    Exists,
    Item,
    Key,
    Query,
    Refused,
    Remove,
    Set,
    Store,
    Table,
    TableSpec,
    UnavailableError,
    Value,
)
from tests.support import tables
from tests.support.tables import KEY, SAMPLE, done, item, refused, stored

store = tables.store
table = tables.table

BIG = 10**38 - 1

VALUES: list[Value] = [
    "",
    "text",
    "naïve 日本 🦊",
    "nul \x00 inside",
    0,
    -1,
    2**63,
    -(2**63) - 1,
    BIG,
    -BIG,
    True,
    False,
    None,
    b"",
    b"\x00\xff",
    [],
    {},
    [1, True, None, "x", b"y", [BIG], {"a": -BIG}],
    {"deep": {"er": [False, 0, ""]}},
]


def same(left: object, right: object) -> bool:
    """Judge equality with types, since Python calls True and 1 equal."""
    return repr(left) == repr(right)


async def test_values_come_back_as_they_went_in(table: Table) -> None:
    """A balance, a digest or a flag would come back as another value or another type."""
    for number, value in enumerate(VALUES):
        done(await table.put_new(item(sort=str(number), value=value)))
        found = await stored(table, Key("P", str(number)))
        assert found is not None
        assert same(found["value"], value), value


UNSTORABLE: list[tuple[Item, type[Exception]]] = [
    (item(value=1.0), TypeError),
    (item(value=[{"deep": 0.5}]), TypeError),
    (item(value=(1, 2)), TypeError),
    (item(value={1: "x"}), TypeError),
    (item(value=BIG + 1), ValueError),
    (item(value=-BIG - 1), ValueError),
    (item(value="half \ud800"), ValueError),
    (item(value="x" * 410_000), ValueError),
    ({"pk": "P"}, ValueError),
    ({"sk": "S"}, ValueError),
    (item(partition=""), ValueError),
    (item(sort=""), ValueError),
    ({"pk": "P", "sk": 1}, ValueError),
    (item(sort="s" * 1025), ValueError),
    (item(partition="p" * 2049), ValueError),
    ({**item(), "": 1}, ValueError),
    (item(shard=5), ValueError),
    (item(due=""), ValueError),
]


async def test_what_cannot_be_stored_is_refused_by_type(table: Table) -> None:
    """An item would pass on one store and fail on another, or a float would creep into money."""
    for bad, error in UNSTORABLE:
        with pytest.raises(error):
            await table.put_new(bad)
        with pytest.raises(error):
            await table.batch_put([item(sort="fine"), bad])
    assert await stored(table, Key("P", "fine")) is None


async def test_an_item_may_be_large_but_not_grow_too_large(table: Table) -> None:
    """An item that fits on SQLite would not fit on DynamoDB."""
    large = item(value="x" * 390_000)
    done(await table.put_new(large))
    with pytest.raises(ValueError, match=r"bytes|malformed"):
        await table.update(KEY, [], [Set("more", "x" * 30_000)])
    assert await stored(table) == large


async def test_an_answer_is_the_callers_own(table: Table) -> None:
    """A caller that changes what he wrote or read would change what others read."""
    inner: dict[str, Value] = {"a": [1]}
    done(await table.put_new(item(value=inner)))
    inner["a"] = "changed"
    found = await stored(table)
    assert found is not None
    assert isinstance(found["value"], dict)
    found["value"]["a"] = "changed too"
    assert await stored(table) == item(value={"a": [1]})


async def test_a_put_takes_a_free_key_only(table: Table) -> None:
    """The second of two payments with one id would replace the first, or be counted again."""
    assert done(await table.put_new(item(owner="first"))).item is None
    assert refused(await table.put_new(item(owner="second"))).old == item(owner="first")
    assert await stored(table) == item(owner="first")


async def test_a_put_that_is_begun_goes_on_by_itself(table: Table) -> None:
    """A slot would be written only if its caller stays, or wait for him; or another's item be replaced."""
    first, second = table.begin_put_new(item(owner="first")), table.begin_put_new(item(sort="other"))
    assert not first.done()
    await asyncio.wait((first, second))
    assert done(first.result()).item is None
    assert await stored(table) == item(owner="first")
    refusal = refused(await table.begin_put_new(item(owner="second")))
    assert refusal.old == item(owner="first")
    assert refusal.capacity.write_units > 0
    left = table.begin_put_new(item(sort="left"))
    left.cancel()
    await asyncio.wait((left,))
    assert left.cancelled()
    assert await stored(table, Key("P", "other")) == item(sort="other")


async def test_reading_what_is_not_there(table: Table) -> None:
    """A missing item would be an error, or an empty item."""
    assert await stored(table) is None
    assert (await table.get(KEY, consistent=False)).item is None


JUDGEMENTS: list[tuple[Item | None, Condition, bool]] = [
    (None, Exists("a"), False),
    (None, Absent("a"), True),
    (None, Equals("a", 1), False),
    (None, AtLeast("a", -5), False),
    (item(), Exists("a"), False),
    (item(), Absent("a"), True),
    (item(), Exists("pk"), True),
    (item(a=None), Exists("a"), True),
    (item(a=None), Absent("a"), False),
    (item(a=1), Equals("a", 1), True),
    (item(a=1), Equals("a", True), False),
    (item(a=True), Equals("a", 1), False),
    (item(a=0), Equals("a", False), False),
    (item(a=True), Equals("a", True), True),
    (item(a="1"), Equals("a", 1), False),
    (item(a=b"x"), Equals("a", "x"), False),
    (item(a=b"x"), Equals("a", b"x"), True),
    (item(a=""), Equals("a", ""), True),
    (item(a=BIG), Equals("a", BIG), True),
    (item(a=BIG), Equals("a", BIG - 1), False),
    (item(), Equals("a", 0), False),
    (item(a=5), AtLeast("a", 5), True),
    (item(a=4), AtLeast("a", 5), False),
    (item(a=-5), AtLeast("a", -5), True),
    (item(a=-6), AtLeast("a", -5), False),
    (item(a=BIG), AtLeast("a", BIG), True),
    (item(a=BIG - 1), AtLeast("a", BIG), False),
    (item(a=True), AtLeast("a", 0), False),
    (item(a="9"), AtLeast("a", 0), False),
    (item(a=None), AtLeast("a", -1), False),
    (item(), AtLeast("a", -1), False),
]


async def test_a_condition_is_judged_by_type_and_value(table: Table) -> None:
    """Money would be spent that is not there, or a write of another owner taken for one's own."""
    for old, condition, holds in JUDGEMENTS:
        await table.delete(KEY)
        if old is not None:
            done(await table.put_new(old))
        refusal = await table.delete(KEY, [condition, Equals("pk", "other")])
        assert refusal == Refused(old, 0, refusal.capacity), condition
        answer = await table.update(KEY, [condition], [Set("seen", value=True)])
        if holds:
            assert isinstance(answer, Done), (old, condition)
            assert answer.item == {**(old or item()), "seen": True}
        else:
            assert answer == Refused(old, 0, answer.capacity), (old, condition)
            assert await stored(table) == old


async def test_all_conditions_must_hold(table: Table) -> None:
    """A purse that is closed would still be spent from, because it has money."""
    done(await table.put_new(item(state="EXPIRED", avail=10)))
    answer = await table.update(KEY, [AtLeast("avail", 5), Equals("state", "OPEN")], [Add("avail", -5)])
    assert refused(answer).old == item(state="EXPIRED", avail=10)


async def test_an_update_returns_the_whole_new_item(table: Table) -> None:
    """A caller would go on with amounts that are not the stored ones."""
    done(await table.put_new(item(avail=10, note="x", size=1)))
    changes: list[Change] = [
        Add("avail", -4),
        Add("leased", 4),
        Remove("note"),
        Remove("missing"),
        Set("size", [1]),
        Set("status", "new"),
    ]
    answer = done(await table.update(KEY, [AtLeast("avail", 4)], changes))
    assert answer.item == item(avail=6, leased=4, size=[1], status="new")
    assert await stored(table) == answer.item


async def test_an_update_that_is_to_return_nothing_does_all_the_same(table: Table) -> None:
    """A slot would be settled by a write that is another one, or a refusal of it hide who ended the slot before."""
    done(await table.put_new(item(state="OPEN", note="x")))
    changes: list[Change] = [Set("state", "SETTLED"), Remove("note")]
    for _ in range(2):  # what was written lately is written over in a way of its own, and what was not in another
        ended = done(await table.update(KEY, [Equals("state", "OPEN")], changes, returning=False))
        assert ended.item is None
        assert ended.capacity.write_units > 0
        assert await stored(table) == item(state="SETTLED")
        refusal = refused(await table.update(KEY, [Equals("state", "OPEN")], changes, returning=False))
        assert refusal.old == item(state="SETTLED")
        await table.batch_put([item(state="OPEN", large="x" * 2_000)])
        changes = [*changes, Remove("large")]
    assert done(await table.update(Key("P", "other"), [], [Add("count", 1)], returning=False)).item is None
    assert await stored(table, Key("P", "other")) == item(sort="other", count=1)


async def test_an_update_makes_a_missing_item(table: Table) -> None:
    """The first count of a rollup would be lost."""
    assert done(await table.update(KEY, [], [Add("count", 1)])).item == item(count=1)
    assert done(await table.update(KEY, [], [Add("count", 0)])).item == item(count=1)


async def test_big_sums_are_exact(table: Table) -> None:
    """A sum beyond 64 bits, or beyond a float's 53, would be rounded."""
    done(await table.put_new(item(sum=2**64)))
    assert done(await table.update(KEY, [], [Add("sum", 2**53 + 1)])).item == item(sum=2**64 + 2**53 + 1)
    # 28 digits, because an emulator in use counts no further; sums of 38 digits are tested with the rules.
    assert done(await table.update(KEY, [], [Add("sum", -(10**27))])).item == item(sum=2**64 + 2**53 + 1 - 10**27)


async def test_an_amount_is_added_to_an_integer_only(table: Table) -> None:
    """A text or a flag would turn into a number."""
    done(await table.put_new(item(text="5")))
    with pytest.raises(ValueError, match=r"integer|malformed"):
        await table.update(KEY, [], [Add("text", 1)])
    assert await stored(table) == item(text="5")


IMPOSSIBLE: list[tuple[list[Change], type[Exception]]] = [
    ([], ValueError),
    ([Set("a", 1), Remove("a")], ValueError),
    ([Set("pk", "other")], ValueError),
    ([Remove("sk")], ValueError),
    ([Remove("a")], ValueError),
    ([Set("a", 0.5)], TypeError),  # type: ignore[arg-type]  # what is tested
    ([Add("a", True)], TypeError),
    ([Add("a", BIG + 1)], ValueError),
    ([Set("due", 7)], ValueError),
    ([Add("due", 7)], ValueError),
    ([Set("", 7)], ValueError),
]


async def test_changes_that_no_store_could_make(table: Table) -> None:
    """A mistake of a caller would show on one store only."""
    for changes, error in IMPOSSIBLE:
        with pytest.raises(error):
            await table.update(KEY, [], changes)
    assert await stored(table) is None


async def test_conditions_that_no_store_could_judge(table: Table) -> None:
    """A condition on a value without a sure comparison would hold by accident."""
    values: list[object] = [None, [], {}, 0.5]
    for value in values:
        with pytest.raises(TypeError):
            await table.delete(KEY, [Equals("a", value)])  # type: ignore[arg-type]  # what is tested
    for bound in (True, 0.5, "1"):
        with pytest.raises(TypeError):
            await table.delete(KEY, [AtLeast("a", bound)])  # type: ignore[arg-type]  # what is tested


async def test_names_are_never_read_as_expressions(table: Table) -> None:
    """An attribute whose name is a reserved word, or looks like a path, would fail on DynamoDB only."""
    names = ["size", "status", "ttl", "a.b", "a-b", "#x", ":y", "name with space", "ключ"]
    done(await table.put_new({**item(), **dict.fromkeys(names, 1)}))
    conditions: list[Condition] = [Equals(name, 1) for name in names]
    changes: list[Change] = [Add(name, 1) for name in names]
    answer = await table.update(KEY, conditions, changes)
    assert done(answer).item == {**item(), **dict.fromkeys(names, 2)}


async def test_a_delete_takes_the_item_away(table: Table) -> None:
    """A used-up entry would stay, or a protected one go."""
    done(await table.delete(KEY))
    done(await table.put_new(item(owner="me")))
    assert refused(await table.delete(KEY, [Equals("owner", "you")])).old == item(owner="me")
    assert done(await table.delete(KEY, [Equals("owner", "me")])).item is None
    assert await stored(table) is None
    assert refused(await table.delete(KEY, [Exists("owner")])).old is None


async def test_batches(table: Table) -> None:
    """What is loaded in bulk would be cut at the store's own batch size."""
    items = [item(sort=f"{number:03}", number=number) for number in range(130)]
    done(await table.put_new(item(sort="007", number="old")))
    assert (await table.batch_put(items)).write_units >= 1
    keys = [Key("P", f"{number:03}") for number in range(130)]
    page = await table.batch_get([*keys, Key("P", "none"), keys[0]])
    assert sorted(page.items, key=lambda found: str(found["sk"])) == items
    assert page.next is None
    assert (await table.batch_get([])).items == ()
    assert (await table.batch_put([])).write_units == 0
    await table.batch_put([item(number="earlier"), item(number="later")])
    assert await stored(table) == item(number="later")


async def test_capacity_comes_with_every_answer(table: Table) -> None:
    """Nobody could say what a call cost."""
    assert done(await table.put_new(item(a=1))).capacity.write_units >= 1
    assert refused(await table.put_new(item(a=1))).capacity.write_units >= 1
    assert done(await table.update(KEY, [], [Add("a", 1)])).capacity.write_units > 0
    assert (await table.get(KEY)).capacity.read_units > 0
    assert (await table.query(Query(partition="P"))).capacity.read_units > 0
    assert done(await table.delete(KEY)).capacity.write_units > 0


async def test_a_table_that_was_never_made(store: Store, table: Table) -> None:
    """A forgotten table would answer as an empty one."""
    missing = store.table(TableSpec(name="missing"))
    with pytest.raises(UnavailableError):
        await missing.get(KEY)
    with pytest.raises(UnavailableError):
        await missing.put_new(item())
    begun = missing.begin_put_new(item())
    with pytest.raises(UnavailableError):
        await begun
    assert table.spec is SAMPLE


async def test_making_tables_again_changes_nothing(store: Store, table: Table) -> None:
    """The second start of a deployment would fail, or lose what is stored."""
    done(await table.put_new(item(a=1)))
    await store.create([SAMPLE])
    assert await stored(table) == item(a=1)
