"""What a write does, as a pure function of the item that is there: what is refused, what the changes leave, what it costs.

The simulated and the embedded store stand on these functions; DynamoDB judges by its own, and is held to the same contract
suite. Capacity is counted as DynamoDB does, without the writes to indexes.
"""

from collections.abc import Sequence
from itertools import repeat

from junctor.adapters.tables.values import (
    TRANSACT_BYTES_MAX,
    MeasuredItem,
    check_integer,
    check_size,
    item_size,
    operation_key,
)
from junctor.ports.table import (
    PARTITION,
    SORT,
    Add,
    AtLeast,
    Capacity,
    Change,
    Check,
    Condition,
    Delete,
    Done,
    Equals,
    Exists,
    Item,
    Key,
    Operation,
    PutNew,
    Refused,
    Set,
    Update,
)

WRITE_UNIT_BYTES = 1024
READ_UNIT_BYTES = 4096


def holds(condition: Condition, item: Item | None) -> bool:
    """Judge one condition on the item as it is, None if there is none."""
    there = item is not None and condition.attribute in item
    value = item[condition.attribute] if item is not None and there else None
    if isinstance(condition, Equals):
        return there and type(value) is type(condition.value) and value == condition.value
    if isinstance(condition, AtLeast):
        return type(value) is int and value >= condition.bound
    return there is isinstance(condition, Exists)


def changed(key: Key, item: Item | None, changes: Sequence[Change]) -> MeasuredItem:
    """Return the item with all changes applied. Raises ValueError if an amount meets no integer, or a limit is passed."""
    result = MeasuredItem({PARTITION: key.partition, SORT: key.sort} if item is None else item)
    for change in changes:
        if type(change) is Set:
            result[change.attribute] = change.value
        elif isinstance(change, Add):
            present = result.get(change.attribute, 0)
            if type(present) is not int:
                raise ValueError("an amount can be added to an integer only")
            result[change.attribute] = check_integer(present + change.amount)
        else:
            result.pop(change.attribute, None)
    return result


def allowed(operation: Operation, old: Item | None) -> bool:
    """Judge whether an operation may be applied to the item as it is."""
    if isinstance(operation, PutNew):
        return old is None
    return all(map(holds, operation.conditions, repeat(old)))


def applied(operation: Operation, old: Item | None) -> Item | None:
    """Return the item that an allowed operation leaves, None if none. Raises ValueError as `changed` does."""
    if isinstance(operation, Update):
        return changed(operation.key, old, operation.changes)
    if isinstance(operation, PutNew):
        return operation.item
    return None if isinstance(operation, Delete) else old


def decide(operation: Operation, old: Item | None) -> tuple[Done | Refused, Item | None]:
    """Return the answer to a single write and the item that it leaves. Raises ValueError."""
    if not allowed(operation, old):
        return Refused(old, 0, Capacity(write_units=write_units(old))), old
    new = applied(operation, old)
    capacity = Capacity(write_units=_write_units(_size(old), _checked_size(new)))
    return Done(new if isinstance(operation, Update) else None, capacity), new


def decide_all(operations: Sequence[Operation], olds: Sequence[Item | None]) -> tuple[Done | Refused, Sequence[Item | None]]:
    """Return the answer to a transaction and the items that it leaves, in the order of its operations. Raises ValueError."""
    for index, (operation, old) in enumerate(zip(operations, olds, strict=True)):
        if not allowed(operation, old):
            return Refused(old, index, Capacity(write_units=transaction_units(olds, olds))), olds
    news = [applied(operation, old) for operation, old in zip(operations, olds, strict=True)]
    sizes = [_checked_size(new) for new in news]
    if sum(sizes) > TRANSACT_BYTES_MAX:
        raise ValueError(f"a transaction's items have more than {TRANSACT_BYTES_MAX} bytes")
    units = sum([2 * _write_units(_size(old), size) for old, size in zip(olds, sizes, strict=True)])
    return Done(None, Capacity(write_units=units)), news


def writes_of(
    operations: Sequence[Operation], olds: Sequence[Item | None], news: Sequence[Item | None]
) -> list[tuple[Key, Item | None, Item | None]]:
    """Return key, old and new of each item that a transaction changes."""
    return [
        (operation_key(operation), old, new)
        for operation, old, new in zip(operations, olds, news, strict=True)
        if not isinstance(operation, Check)
    ]


def write_units(*items: Item | None) -> float:
    """Return the units of one write: by the larger of the item before and after, at least one."""
    return _write_units(*[_size(item) for item in items])


def transaction_units(olds: Sequence[Item | None], news: Sequence[Item | None]) -> float:
    """Return the units of a transaction: each item is written twice, once to prepare and once to commit."""
    return sum(2 * write_units(old, new) for old, new in zip(olds, news, strict=True))


def read_units(size: int, *, consistent: bool) -> float:
    """Return the units of reading so many bytes at once: at least one, halved when any recent state will do."""
    units = max(1, -(-size // READ_UNIT_BYTES))
    return units if consistent else units / 2


def _write_units(*sizes: int) -> float:
    return float(max(1, -(-max(sizes) // WRITE_UNIT_BYTES)))


def _size(item: Item | None) -> int:
    return 0 if item is None else item_size(item)


def _checked_size(item: Item | None) -> int:
    return 0 if item is None else check_size(item)
