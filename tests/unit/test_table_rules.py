"""Sizes, limits and units of the tables, as DynamoDB's developer guide counts them."""

import msgspec
import pytest

from junctor.adapters.tables import sqlite_codec
from junctor.adapters.tables.dynamodb_values import Attributes, AttributeValue, decode_item, decode_value, encode_item
from junctor.adapters.tables.rules import decide, decide_all, read_units, write_units
from junctor.adapters.tables.values import ITEM_BYTES_MAX, check_item, item_size, table_token
from junctor.ports.table import Add, AtLeast, Done, Key, PutNew, Refused, TableSpec, Update, Value

SPEC = TableSpec(name="sample")
KEY = Key("P", "S")


def item(**attributes: Value) -> dict[str, Value]:
    """Return an item."""
    return {"pk": "P", "sk": "S", **attributes}


@pytest.mark.parametrize(
    ("value", "size"),
    [("", 0), ("é", 2), (0, 1), (1, 2), (12, 2), (123, 3), (-123, 4), (1000, 2), (10**37, 2), (True, 1), (None, 1), (b"ab", 2)],
)
def test_sizes_of_scalars(value: Value, size: int) -> None:
    """A slot would be thought to fit into one write unit, and cost two."""
    assert item_size({"name": value}) == 4 + size


def test_sizes_of_lists_and_maps() -> None:
    """Nested values would be counted as nothing."""
    assert item_size({"a": [1, "x"]}) == 1 + 3 + (1 + 2) + (1 + 1)
    assert item_size({"a": {"bc": "x"}}) == 1 + 3 + (1 + 2 + 1)


def test_an_item_is_limited_by_its_size_with_names() -> None:
    """An item that the embedded store takes would not fit on DynamoDB."""
    fits = ITEM_BYTES_MAX - item_size(item(value=""))
    assert item_size(check_item(SPEC, item(value="x" * fits))) == ITEM_BYTES_MAX
    with pytest.raises(ValueError, match="limit"):
        check_item(SPEC, item(value="x" * (fits + 1)))


def test_nesting_is_limited() -> None:
    """A value could be so deep that reading it overflows the stack."""
    deep: Value = 1
    for _ in range(32):
        deep = [deep]
    check_item(SPEC, item(value=deep))
    with pytest.raises(ValueError, match="nested"):
        check_item(SPEC, item(value=[deep]))


def test_a_write_costs_a_unit_for_each_kilobyte_of_the_larger_item() -> None:
    """The cost of a design would be reckoned wrongly."""
    small, large = item(), item(value="x" * 3000)
    assert [write_units(None), write_units(small), write_units(large, small), write_units(small, large)] == [1, 1, 3, 3]
    assert write_units(item(value="x" * (1024 - item_size(item(value=""))))) == 1
    answer, _ = decide(PutNew(large), small)
    assert (answer.capacity.write_units, answer.capacity.read_units) == (1, 0)


def test_a_transaction_costs_twice_as_much() -> None:
    """The cost of a generation would be reckoned at half."""
    answer, _ = decide_all([PutNew(item(value="x" * 3000)), Update(Key("P", "T"), (), (Add("n", 1),))], [None, None])
    assert answer.capacity.write_units == 2 * 3 + 2 * 1


def test_a_read_costs_a_unit_for_four_kilobytes_and_half_if_it_may_be_old() -> None:
    """The cost of the control plane would be reckoned wrongly."""
    assert [read_units(size, consistent=True) for size in (0, 1, 4096, 4097)] == [1, 1, 1, 2]
    assert [read_units(size, consistent=False) for size in (0, 4097)] == [0.5, 1]


def test_a_sum_of_more_than_38_digits_is_refused() -> None:
    """A sum would be rounded, or differ between stores."""
    with pytest.raises(ValueError, match="38"):
        decide(Update(KEY, (), (Add("n", 1),)), item(n=10**38 - 1))


def test_a_refusal_comes_before_a_mistake() -> None:
    """Of a transaction that is refused anyway, the caller would hear of a mistake instead of whose the item is."""
    broken = Update(Key("P", "T"), (), (Add("n", 1),))
    answer, _ = decide_all([broken, Update(KEY, (AtLeast("n", 1),), (Add("n", -1),))], [item(n="text"), None])
    assert isinstance(answer, Refused)
    assert answer.index == 1


def test_a_transaction_is_limited_by_its_size() -> None:
    """A transaction that the embedded store takes would be refused by DynamoDB."""
    puts = [PutNew({"pk": "P", "sk": str(number), "value": "x" * 400_000}) for number in range(11)]
    assert isinstance(decide_all(puts[:10], [None] * 10)[0], Done)
    with pytest.raises(ValueError, match="transaction"):
        decide_all(puts, [None] * 11)


WHOLE = item(
    values=["", 0, -1, 2**64, 10**38 - 1, 1 - 10**38, True, False, None, b"", b"\xff", [], {}, {"a": [2**63]}],
)


def test_an_item_in_dynamodbs_form_comes_back_exactly() -> None:
    """An amount would pass through a float, or a flag become a number."""
    for told in (encode_item(WHOLE), msgspec.json.decode(msgspec.json.encode(encode_item(WHOLE)))):
        assert repr(decode_item(msgspec.convert(told, Attributes))) == repr(WHOLE)


def test_an_item_in_a_file_comes_back_exactly() -> None:
    """An amount beyond 64 bits would be lost."""
    assert repr(sqlite_codec.decode(sqlite_codec.encode(WHOLE))) == repr(WHOLE)


def test_a_token_is_bound_to_its_table() -> None:
    """Of two deployments in one account, or two tables of one, the second transaction under a token would be lost."""
    tokens = {table_token("dev-core", "t"), table_token("prod-core", "t"), table_token("dev-core", "t" * 40)}
    assert len(tokens) == 3
    assert all(len(token) == 36 for token in tokens)


def test_a_sum_of_38_digits_is_exact() -> None:
    """A sum would be rounded."""
    answer, _ = decide(Update(KEY, (), (Add("n", 1),)), item(n=10**38 - 2))
    assert isinstance(answer, Done)
    assert answer.item == item(n=10**38 - 1)


@pytest.mark.parametrize(
    "strange", [{"N": "1.5"}, {"SS": ["a"]}, {"N": "1E2"}, {"BOOL": 1}, {"S": 5}, {"N": 5}, {"NULL": False}, {"B": "!"}, {}]
)
def test_what_junctor_never_wrote_is_refused(strange: dict[str, object]) -> None:
    """A hand-made item with a fraction in it would be read as an amount."""
    with pytest.raises(ValueError, match=r"table holds|Expected|Invalid"):
        decode_value(msgspec.convert(strange, AttributeValue))
