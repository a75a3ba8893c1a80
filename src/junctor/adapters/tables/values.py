"""What may be asked of a table at all: the same checks for every adapter, made before anything is sent or written.

Types are exact: a bool is not an int, a subclass is not its base. A wrong type is a TypeError; a right type with an impossible
content (a key that is empty, an integer of 39 digits, an item above 400 KB) is a ValueError. Limits are DynamoDB's own, so that
what passes on one store passes on all. Invariant: a checked item shares no mutable part with the caller's.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import assert_never

from junctor.ports.table import (
    PARTITION,
    SORT,
    TRANSACT_OPERATIONS_MAX,
    Absent,
    Add,
    AtLeast,
    Change,
    Check,
    Condition,
    Delete,
    Equals,
    Exists,
    Item,
    Key,
    Operation,
    PutNew,
    Set,
    TableSpec,
    Update,
    Value,
)

INTEGER_MAX = 10**38 - 1
"""The largest integer, and the negative of the smallest: DynamoDB keeps 38 digits."""

ITEM_BYTES_MAX = 400 * 1024
"""The most bytes of an item, names included."""

TRANSACT_BYTES_MAX = 4 * 1024 * 1024
"""The most bytes of all items of one transaction."""

PARTITION_BYTES_MAX = 2048
SORT_BYTES_MAX = 1024
NESTING_MAX = 32
_NESTED = frozenset({list, dict})

TOKEN_CHARACTERS = 36

TOKEN_LIFE_S = 600
"""How long a transaction's token is remembered."""


def check_item(spec: TableSpec, item: Item) -> "MeasuredItem":
    """Return a deep copy of an item that may be written. Raises TypeError, ValueError."""
    copy = MeasuredItem({_name(name): check_value(value) for name, value in item.items()})
    _check_key_text(copy.get(PARTITION), PARTITION_BYTES_MAX)
    _check_key_text(copy.get(SORT), SORT_BYTES_MAX)
    for name in _index_attributes(spec):
        if name in copy:
            _check_key_text(copy[name], SORT_BYTES_MAX)
    check_size(copy)
    return copy


def check_size(item: Item) -> int:
    """Return an item's size in bytes. Raises ValueError above the most that an item may have."""
    size = item_size(item)
    if size > ITEM_BYTES_MAX:
        raise ValueError(f"an item of {size} bytes is above the limit of {ITEM_BYTES_MAX}")
    return size


def check_value(value: Value, depth: int = 0) -> Value:
    """Return a deep copy of a value. Raises TypeError for floats and other strangers, ValueError for what cannot be stored."""
    kind = type(value)
    if isinstance(value, str) and kind is str:
        if not value.isascii():
            _check_text(value)
        return value
    if kind is int:
        return check_integer(value)
    if value is None or kind is bool or kind is bytes:
        return value
    if depth >= NESTING_MAX:
        raise ValueError(f"a value is nested more than {NESTING_MAX} levels deep")
    if isinstance(value, list) and kind is list:
        return [check_value(part, depth + 1) for part in value]
    if isinstance(value, dict) and kind is dict:
        return {_name(name): check_value(part, depth + 1) for name, part in value.items()}
    raise TypeError(f"a table holds no {kind.__name__}")


def copy_item(item: Item) -> Item:
    """Return a deep copy of a checked item."""
    if isinstance(item, MeasuredItem) and item.flat:
        return dict(item)
    return {name: _copy_value(value) for name, value in item.items()}


def check_integer(value: object) -> int:
    """Return an exact integer. Raises TypeError for anything else, ValueError beyond 38 digits."""
    if type(value) is not int:
        raise TypeError(f"an integer is wanted, not a {type(value).__name__}")
    if not -INTEGER_MAX <= value <= INTEGER_MAX:
        raise ValueError("an integer has more than 38 digits")
    return value


def check_key(key: Key) -> Key:
    """Return a key whose parts are strings that can be keys. Raises ValueError."""
    _check_key_text(key.partition, PARTITION_BYTES_MAX)
    _check_key_text(key.sort, SORT_BYTES_MAX)
    return key


def key_of(item: Item) -> Key:
    """Return the key of a checked item."""
    return Key(str(item[PARTITION]), str(item[SORT]))


def check_operation(spec: TableSpec, operation: Operation) -> Operation:
    """Return an operation that may be tried, its values copied. Raises TypeError, ValueError."""
    match operation:
        case PutNew(item):
            return PutNew(check_item(spec, item))
        case Update(key, conditions, changes):
            check_key(key)
            _check_conditions(conditions)
            return Update(key, conditions, _check_changes(spec, conditions, changes))
        case Delete(key, conditions):
            check_key(key)
            _check_conditions(conditions)
            return operation
        case Check(key, conditions):
            check_key(key)
            _check_conditions(conditions)
            if not conditions:
                raise ValueError("a check has no condition")
            return operation
        case _:
            assert_never(operation)


def check_transaction(spec: TableSpec, operations: Sequence[Operation], token: str) -> tuple[Operation, ...]:
    """Return a transaction's operations, checked and copied. Raises TypeError, ValueError."""
    if not token:
        raise ValueError("a transaction has no token")
    _check_text(token)
    if not 1 <= len(operations) <= TRANSACT_OPERATIONS_MAX:
        raise ValueError(f"a transaction has 1 to {TRANSACT_OPERATIONS_MAX} operations, not {len(operations)}")
    checked = tuple([check_operation(spec, operation) for operation in operations])
    if len({operation_key(operation) for operation in checked}) < len(checked):
        raise ValueError("a transaction has two operations on one item")
    return checked


def table_token(table: str, token: str) -> str:
    """Return a transaction's token as it is kept: bound to its table, and of the 36 characters that DynamoDB takes.

    DynamoDB knows a token for a whole account and region, in which several deployments may live.
    """
    return hashlib.sha256(f"{table}\n{token}".encode()).hexdigest()[:TOKEN_CHARACTERS]


def operation_key(operation: Operation) -> Key:
    """Return the key of the item that a checked operation is about."""
    return key_of(operation.item) if isinstance(operation, PutNew) else operation.key


def check_batch(spec: TableSpec, items: Sequence[Item]) -> "dict[Key, MeasuredItem]":
    """Return the items of a batch by key, checked and copied; of two with one key the later counts. Raises as check_item."""
    checked = (check_item(spec, item) for item in items)
    return {key_of(item): item for item in checked}


class MeasuredItem(dict[str, Value]):
    """An item that is never changed any more, with its size and whether it is flat, so that both are found out once."""

    __slots__ = ("flat", "size")

    def __init__(self, item: Item) -> None:
        super().__init__(item)
        self.size = item_size(item)
        self.flat = _NESTED.isdisjoint(map(type, item.values()))


def item_size(item: Item) -> int:
    """Return an item's size in bytes as DynamoDB counts it (developer guide, "item sizes and formats")."""
    if isinstance(item, MeasuredItem):
        return item.size
    return len("".join(item).encode()) + sum(map(_value_size, item.values()))


def _value_size(value: Value) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, int):
        digits = len(str(abs(value)).rstrip("0"))
        return (digits + 1) // 2 + 1 + (value < 0)
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, list):
        return 3 + sum(1 + _value_size(part) for part in value)
    return 3 + sum(1 + len(name.encode()) + _value_size(part) for name, part in value.items())


def _copy_value(value: Value) -> Value:
    if isinstance(value, list):
        return [_copy_value(part) for part in value]
    if isinstance(value, dict):
        return {name: _copy_value(part) for name, part in value.items()}
    return value


def _check_conditions(conditions: Iterable[Condition]) -> None:
    for condition in conditions:
        _name(condition.attribute)
        match condition:
            case Equals(_, value):
                if value is None or isinstance(value, (list, dict)):
                    raise TypeError(f"a condition compares no {type(value).__name__}")
                check_value(value)
            case AtLeast(_, bound):
                check_integer(bound)
            case Exists() | Absent():
                pass
            case _:
                assert_never(condition)


def _check_changes(spec: TableSpec, conditions: Sequence[Condition], changes: Sequence[Change]) -> tuple[Change, ...]:
    names = [_name(change.attribute) for change in changes]
    if not names:
        raise ValueError("an update has no change")
    distinct = set(names)
    if len(distinct) < len(names):
        raise ValueError("an update changes one attribute twice")
    if PARTITION in distinct or SORT in distinct:
        raise ValueError("an update cannot change a key attribute")
    if all(type(change) is not Set and type(change) is not Add for change in changes) and not any(
        isinstance(condition, (Exists, Equals, AtLeast)) for condition in conditions
    ):
        # DynamoDB, unlike for any other update, would not make a missing item for it.
        raise ValueError("an update that only removes needs a condition that needs the item")
    index_attributes = _index_attributes(spec)
    return tuple([_check_change(change, index_attributes) for change in changes])


def _check_change(change: Change, index_attributes: frozenset[str]) -> Change:
    if isinstance(change, Set):
        value = check_value(change.value)
        if change.attribute in index_attributes:
            _check_key_text(value, SORT_BYTES_MAX)
        return change if value is change.value else Set(change.attribute, value)
    if isinstance(change, Add):
        check_integer(change.amount)
        if change.attribute in index_attributes:
            raise ValueError("an index attribute is a string")
    return change


@cache
def _index_attributes(spec: TableSpec) -> frozenset[str]:
    return frozenset(name for index in spec.indexes for name in (index.partition, index.sort))


def _check_key_text(value: Value, bytes_max: int) -> None:
    if type(value) is not str or not value:
        raise ValueError("a key attribute is a string that is not empty")
    if (len(value) if value.isascii() else _check_text(value)) > bytes_max:
        raise ValueError(f"a key attribute has more than {bytes_max} bytes")


def _check_text(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("a string holds half of a surrogate pair") from None


@lru_cache(maxsize=1024)  # names are few, and each is asked about with every item
def _name(name: object) -> str:
    if type(name) is not str:
        raise TypeError(f"an attribute's name is a string, not a {type(name).__name__}")
    if not name:
        raise ValueError("an attribute's name is empty")
    _check_text(name)
    return name
