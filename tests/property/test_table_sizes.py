"""What an item's length in msgpack proves of its size as DynamoDB counts it: where it is said to be enough, it is."""

from hypothesis import given, settings
from hypothesis import strategies as st

from junctor.adapters.tables.rules import write_units
from junctor.adapters.tables.sqlite_codec import encode
from junctor.adapters.tables.sqlite_writes import TIMES_MOST, cost
from junctor.adapters.tables.values import PLAIN_BYTES_MORE, check_item, item_size
from junctor.ports.table import Capacity, TableSpec, Value

SPEC = TableSpec(name="sample")

names = st.text("ab\u00e9\u65e5", min_size=1, max_size=4)
integers = st.one_of(st.integers(-40, 130), st.integers(-(2**63), 2**64), st.integers(-(10**38) + 1, 10**38 - 1))
plain = st.one_of(integers, st.booleans(), st.none(), st.text("a\u00e9\u65e5", max_size=60), st.binary(max_size=60))
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=2), max_leaves=8
)
flat = st.dictionaries(names, plain, max_size=20)
nested = st.dictionaries(names, values, max_size=4)
many = st.builds(lambda value, count: {"many": [value] * count}, plain, st.integers(0, 400))

wide = st.builds(lambda value, count: dict.fromkeys(map(str, range(count)), value), plain, st.integers(0, 200))


def item(attributes: dict[str, Value]) -> dict[str, Value]:
    """Return an item."""
    return {"pk": "P", "sk": "S", **attributes}


@given(flat | nested | many | wide)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_length_of_an_item_tells_what_it_costs(attributes: dict[str, Value]) -> None:
    """A design's cost would be reckoned wrongly, or an item be stored that is too large for DynamoDB."""
    found = item(attributes)
    data = encode(found)
    assert cost(found, data) == Capacity(write_units=write_units(found))
    assert item_size(found) <= TIMES_MOST * len(data)


@given(flat | wide)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_values_that_hold_no_others_are_hardly_larger_than_they_are_encoded(attributes: dict[str, Value]) -> None:
    """An item just above the limit would be taken for one below."""
    checked = check_item(SPEC, item(attributes))
    assert dict(checked) == item(attributes)
    assert item_size(checked) <= len(encode(checked)) + PLAIN_BYTES_MORE * len(checked)
