"""What may be asked of a table at all: the same checks for every adapter, made before anything is sent or written.

Types are exact: a bool is not an int, a subclass is not its base. A wrong type is a TypeError; a right type with an impossible
content (a key that is empty, an integer of 39 digits, an item above 400 KB) is a ValueError. Limits are DynamoDB's own, so that
what passes on one store passes on all. Invariant: a checked item shares no mutable part with the caller's.
"""

import hashlib
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TypeVar

import msgspec

from junctor.ports.table import (
    PARTITION,
    SORT,
    TRANSACT_OPERATIONS_MAX,
    Add,
    AtLeast,
    Change,
    Check,
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

_Conditional = TypeVar("_Conditional", Update, Delete, Check)

INTEGER_MAX = 10**38 - 1
"""The largest integer, and the negative of the smallest: DynamoDB keeps 38 digits."""

ITEM_BYTES_MAX = 400 * 1024
"""The most bytes of an item, names included."""

TRANSACT_BYTES_MAX = 4 * 1024 * 1024
"""The most bytes of all items of one transaction."""

PLAIN_BYTES_MORE = 3
"""So many bytes at most a value that holds no others has more than it has in msgpack, as DynamoDB counts it."""

PARTITION_BYTES_MAX = 2048
SORT_BYTES_MAX = 1024
NESTING_MAX = 32
_NESTED = frozenset({list, dict})
_PLAIN = frozenset({str, int, bool, bytes, type(None)})
_encoder = msgspec.msgpack.Encoder()

NAMES_KEPT = 1024
"""Kinds of items and updates, by the names of their attributes, that are looked at once only."""

TOKEN_CHARACTERS = 36

TOKEN_LIFE_S = 600
"""How long a transaction's token is remembered."""


def check_item(spec: TableSpec, item: Item) -> "MeasuredItem":
    """Return a deep copy of an item that may be written. Raises TypeError, ValueError."""
    copy = MeasuredItem(item)
    sorting = _sorting_names(spec, tuple(copy))
    packed = copy.packed
    if packed is None:
        for name, value in copy.items():
            copy[name] = check_value(value)
    _check_key_text(copy.get(PARTITION), PARTITION_BYTES_MAX)
    for name in sorting:
        _check_key_text(copy.get(name), SORT_BYTES_MAX)
    if packed is None or len(packed) + PLAIN_BYTES_MORE * len(copy) > ITEM_BYTES_MAX:
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


def _packed(item: Item) -> bytes | None:
    """Return an item in msgpack where all values can be stored and hold no others; None: each is to be looked at.

    To encode them is the fastest way to look at all at once: it fails for half a surrogate pair, and beyond 64 bits.
    """
    if not _PLAIN.issuperset(map(type, item.values())):
        return None
    try:
        return _encoder.encode(item)
    except (OverflowError, UnicodeEncodeError):
        return None


def _is_plain(value: Value) -> bool:
    """Tell of most values that can be stored and hold no others, at a glance."""
    kind = type(value)
    if isinstance(value, str):
        return kind is str and value.isascii()
    if isinstance(value, int):
        return kind is bool or (kind is int and -INTEGER_MAX <= value <= INTEGER_MAX)
    return value is None or kind is bytes


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
    if isinstance(operation, PutNew):
        return PutNew(check_item(spec, operation.item))
    if isinstance(operation, Update):
        return check_update(spec, operation)
    if isinstance(operation, Delete):
        return check_conditions(operation)
    if not operation.conditions:
        raise ValueError("a check has no condition")
    return check_conditions(operation)


def check_update(spec: TableSpec, update: Update) -> Update:
    """Return an update that may be tried, its values copied. Raises TypeError, ValueError."""
    check_conditions(update)
    changes = update.changes
    indexed = _changed_names(spec, tuple([change.attribute for change in changes]))
    for change in changes:
        if type(change) is not Set or change.attribute in indexed or not _is_plain(change.value):
            break
    else:
        return update
    if not _may_stand_alone(update):
        # DynamoDB, unlike for any other update, would not make a missing item for it.
        raise ValueError("an update that only removes needs a condition that needs the item")
    return Update(update.key, update.conditions, tuple([_check_change(change, indexed) for change in changes]))


def check_conditions(operation: _Conditional) -> _Conditional:
    """Return an operation whose key and conditions are sound. Raises TypeError, ValueError."""
    check_key(operation.key)
    for condition in operation.conditions:
        _name(condition.attribute)
        if isinstance(condition, Equals):
            if condition.value is None or isinstance(condition.value, (list, dict)):
                raise TypeError(f"a condition compares no {type(condition.value).__name__}")
            check_value(condition.value)
        elif isinstance(condition, AtLeast):
            check_integer(condition.bound)
    return operation


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
    """An item that is not changed any more once it was measured: its size and whether it is flat are found out once."""

    __slots__ = ("_flat", "_packed", "_size")
    _flat: bool
    _packed: bytes | None
    _size: int

    @property
    def size(self) -> int:
        """Return its size in bytes, as `item_size` does."""
        try:
            return self._size
        except AttributeError:
            self._size = _item_size(self)
            return self._size

    @property
    def packed(self) -> bytes | None:
        """Return it in msgpack where all of its values can be stored and hold no others, else None."""
        try:
            return self._packed
        except AttributeError:
            self._packed = _packed(self)
            return self._packed

    @property
    def flat(self) -> bool:
        """Tell whether no value holds others."""
        try:
            return self._flat
        except AttributeError:
            self._flat = is_flat(self)
            return self._flat


def is_flat(item: Item) -> bool:
    """Tell whether no value of an item holds others."""
    return _NESTED.isdisjoint(map(type, item.values()))


def item_size(item: Item) -> int:
    """Return an item's size in bytes as DynamoDB counts it (developer guide, "item sizes and formats")."""
    if isinstance(item, MeasuredItem):
        return item.size
    return _item_size(item)


def _item_size(item: Item) -> int:
    size, texts = 0, list(item)
    for value in item.values():
        if type(value) is str:  # most are, and one call measures all of them
            texts.append(value)
        else:
            size += _value_size(value)
    return size + len("".join(texts).encode())


def _value_size(value: Value) -> int:
    if type(value) is int:
        digits = len(str(value).rstrip("0"))
        return (digits + 1) // 2 + 1 if value >= 0 else digits // 2 + 2
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, bytes):
        return len(value)
    if value is None or isinstance(value, int):  # as a bool is
        return 1
    if isinstance(value, list):
        return 3 + sum(1 + _value_size(part) for part in value)
    return 3 + sum(1 + len(name.encode()) + _value_size(part) for name, part in value.items())


def _copy_value(value: Value) -> Value:
    if isinstance(value, list):
        return [_copy_value(part) for part in value]
    if isinstance(value, dict):
        return {name: _copy_value(part) for name, part in value.items()}
    return value


def _may_stand_alone(update: Update) -> bool:
    """Tell whether an update makes a missing item, or needs one that is there."""
    return any(isinstance(change, (Set, Add)) for change in update.changes) or any(
        isinstance(condition, (Exists, Equals, AtLeast)) for condition in update.conditions
    )


def _check_change(change: Change, indexed: frozenset[str]) -> Change:
    if isinstance(change, Set):
        value = check_value(change.value)
        if change.attribute in indexed:
            _check_key_text(value, SORT_BYTES_MAX)
        return change if value is change.value else Set(change.attribute, value)
    if isinstance(change, Add):
        check_integer(change.amount)
        if change.attribute in indexed:
            raise ValueError("an index attribute is a string")
    return change


@lru_cache(maxsize=NAMES_KEPT)  # items of one kind have the same names
def _sorting_names(spec: TableSpec, names: tuple[str, ...]) -> tuple[str, ...]:
    """Check the names of an item's attributes, and return those whose values order items."""
    return tuple(_index_attributes(spec).intersection([_name(name) for name in names]) | {SORT})


@lru_cache(maxsize=NAMES_KEPT)  # as above
def _changed_names(spec: TableSpec, names: tuple[str, ...]) -> frozenset[str]:
    """Check the names that an update changes, and return those among them that are an index's."""
    if not names:
        raise ValueError("an update has no change")
    distinct = {_name(name) for name in names}
    if len(distinct) < len(names):
        raise ValueError("an update changes one attribute twice")
    if PARTITION in distinct or SORT in distinct:
        raise ValueError("an update cannot change a key attribute")
    return _index_attributes(spec) & distinct


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


@lru_cache(maxsize=NAMES_KEPT)  # names are few, and each is asked about with every item
def _name(name: object) -> str:
    if type(name) is not str:
        raise TypeError(f"an attribute's name is a string, not a {type(name).__name__}")
    if not name:
        raise ValueError("an attribute's name is empty")
    _check_text(name)
    return name
