"""Typed conditions, changes and queries as DynamoDB's expressions. Pure: nothing is sent from here.

Every name and every value goes by placeholder, so no attribute name can be a reserved word or change what an expression means.
The answers are the parts of a request (API reference: UpdateItem, TransactWriteItems, Query); a part without content is left
out, because DynamoDB refuses empty ones.
"""

from collections.abc import Sequence
from typing import TypeAlias, assert_never

from junctor.adapters.tables.dynamodb_values import encode_item, encode_value
from junctor.adapters.tables.paging import Place
from junctor.ports.table import (
    PARTITION,
    SORT,
    Absent,
    Add,
    AtLeast,
    Change,
    Check,
    Condition,
    Delete,
    Equals,
    Exists,
    IndexSpec,
    Key,
    Operation,
    PutNew,
    Query,
    Remove,
    Set,
    Update,
    Value,
)

Parts: TypeAlias = dict[str, object]

OLD_ON_REFUSAL = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
"""Asks for the item as found when a condition does not hold."""


class _Placeholders:
    """The names and values of one request."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: dict[str, dict[str, object]] = {}

    def name(self, attribute: str) -> str:
        return self._names.setdefault(attribute, f"#n{len(self._names)}")

    def value(self, value: Value) -> str:
        placeholder = f":v{len(self._values)}"
        self._values[placeholder] = encode_value(value)
        return placeholder

    def parts(self) -> Parts:
        parts: Parts = {}
        if self._names:
            parts["ExpressionAttributeNames"] = {placeholder: name for name, placeholder in self._names.items()}
        if self._values:
            parts["ExpressionAttributeValues"] = self._values
        return parts


def key_part(key: Key) -> dict[str, dict[str, str]]:
    """Write a key."""
    return {PARTITION: {"S": key.partition}, SORT: {"S": key.sort}}


def operation_parts(operation: Operation) -> tuple[str, Parts]:
    """Write one write: its name within a transaction, and all parts but the table's name."""
    names = _Placeholders()
    match operation:
        case PutNew(item):
            free = f"attribute_not_exists({names.name(PARTITION)})"
            return "Put", {"Item": encode_item(item), "ConditionExpression": free, **names.parts(), **OLD_ON_REFUSAL}
        case Update(key, conditions, changes):
            parts = {"Key": key_part(key), "UpdateExpression": _update(names, changes), **_condition(names, conditions)}
            return "Update", {**parts, **names.parts(), **OLD_ON_REFUSAL}
        case Delete(key, conditions):
            parts = {"Key": key_part(key), **_condition(names, conditions)}
            return "Delete", {**parts, **names.parts(), **OLD_ON_REFUSAL}
        case Check(key, conditions):
            parts = {"Key": key_part(key), **_condition(names, conditions)}
            return "ConditionCheck", {**parts, **names.parts(), **OLD_ON_REFUSAL}
        case _:
            assert_never(operation)


def query_parts(index: IndexSpec | None, query: Query, start: Place | None) -> Parts:
    """Write a query, all parts but the table's name."""
    names = _Placeholders()
    partition, sort = (PARTITION, SORT) if index is None else (index.partition, index.sort)
    clauses = [f"{names.name(partition)} = {names.value(query.partition)}"]
    if query.between is not None:
        low, high = query.between
        clauses.append(f"{names.name(sort)} BETWEEN {names.value(low)} AND {names.value(high)}")
    elif query.prefix:
        clauses.append(f"begins_with({names.name(sort)}, {names.value(query.prefix)})")
    parts: Parts = {"KeyConditionExpression": " AND ".join(clauses), **names.parts()}
    parts["ScanIndexForward"] = not query.descending
    parts["ConsistentRead"] = query.consistent
    if index is not None:
        parts["IndexName"] = index.name
    if query.limit is not None:
        parts["Limit"] = query.limit
    if start is not None:
        attributes = (partition, sort) if index is None else (partition, sort, PARTITION, SORT)
        parts["ExclusiveStartKey"] = {name: {"S": value} for name, value in zip(attributes, start, strict=True)}
    return parts


def _condition(names: _Placeholders, conditions: Sequence[Condition]) -> Parts:
    if not conditions:
        return {}
    return {"ConditionExpression": " AND ".join(_clause(names, condition) for condition in conditions)}


def _clause(names: _Placeholders, condition: Condition) -> str:
    name = names.name(condition.attribute)
    match condition:
        case Exists():
            return f"attribute_exists({name})"
        case Absent():
            return f"attribute_not_exists({name})"
        case Equals(_, value):
            return f"{_has_type(names, name, value)} AND {name} = {names.value(value)}"
        case AtLeast(_, bound):
            return f"{_has_type(names, name, bound)} AND {name} >= {names.value(bound)}"
        case _:
            assert_never(condition)


def _has_type(names: _Placeholders, name: str, value: Value) -> str:
    # DynamoDB compares nothing across types, but not every engine that speaks its API is so strict: True is not 1 on any.
    (kind,) = encode_value(value)
    return f"attribute_type({name}, {names.value(kind)})"


def _update(names: _Placeholders, changes: Sequence[Change]) -> str:
    sets: list[str] = []
    adds: list[str] = []
    removes: list[str] = []
    for change in changes:
        name = names.name(change.attribute)
        match change:
            case Set(_, value):
                sets.append(f"{name} = {names.value(value)}")
            case Add(_, amount):
                adds.append(f"{name} {names.value(amount)}")
            case Remove():
                removes.append(name)
            case _:
                assert_never(change)
    clauses = (("SET", sets), ("ADD", adds), ("REMOVE", removes))
    return " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses if parts)
