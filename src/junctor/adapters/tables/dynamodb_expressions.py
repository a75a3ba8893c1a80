"""Typed conditions, changes and queries as DynamoDB's expressions. Pure: nothing is sent from here.

Every name and every value goes by placeholder, so no attribute name can be a reserved word or change what an expression means.
The answers are the parts of a request (API reference: UpdateItem, TransactWriteItems, Query); a part without content is left
out, because DynamoDB refuses empty ones. Words depend on the kinds and attributes only, of which there are few, and are kept;
what is made anew for each request is its values.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from msgspec import Struct

from junctor.adapters.tables.dynamodb_values import encode_item, encode_value
from junctor.adapters.tables.paging import Place
from junctor.ports.table import (
    PARTITION,
    SORT,
    Absent,
    Add,
    AtLeast,
    Change,
    Condition,
    Delete,
    Equals,
    Exists,
    IndexSpec,
    Key,
    Operation,
    PutNew,
    Query,
    Set,
    Update,
)

Parts: TypeAlias = dict[str, object]

_WORDS_KEPT = 1_024
_KINDS: dict[str, dict[str, object]] = {kind: {"S": kind} for kind in ("S", "N", "B", "BOOL")}
"""The types that a condition can ask for, as values."""

_Kind: TypeAlias = tuple[type[Condition | Change], str]
_Shape: TypeAlias = tuple[_Kind, ...]
"""Kinds and attributes of conditions or changes, without their values."""

_FREE: _Shape = ((Absent, PARTITION),)
"""The key is free."""


class _Words(Struct, frozen=True):
    """A request's expressions and names, and the placeholders of its values: first the changes', then the conditions'."""

    parts: Parts
    values: tuple[str, ...]


class _Placeholders:
    """The names and values of one request."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self.values: list[str] = []

    def name(self, attribute: str) -> str:
        return self._names.setdefault(attribute, f"#n{len(self._names)}")

    def value(self) -> str:
        self.values.append(f":v{len(self.values)}")
        return self.values[-1]

    def names(self) -> Parts:
        if not self._names:
            return {}
        return {"ExpressionAttributeNames": {placeholder: name for name, placeholder in self._names.items()}}


def key_part(key: Key) -> dict[str, dict[str, object]]:
    """Write a key."""
    return {PARTITION: {"S": key.partition}, SORT: {"S": key.sort}}


def operation_parts(operation: Operation) -> tuple[str, Parts]:
    """Write one write: its name within a transaction, and all parts but the table's name."""
    if isinstance(operation, PutNew):
        return "Put", {"Item": encode_item(operation.item), **_words(_FREE, ()).parts}
    values: list[dict[str, object]] = []
    if type(operation) is Update:
        name, changes = "Update", _changed(operation.changes, values)
    else:
        name, changes = ("Delete" if type(operation) is Delete else "ConditionCheck"), ()
    words = _words(_asked(operation.conditions, values), changes)
    parts = {"Key": key_part(operation.key), **words.parts}
    if values:
        parts["ExpressionAttributeValues"] = dict(zip(words.values, values, strict=True))
    return name, parts


def query_parts(index: IndexSpec | None, query: Query, start: Place | None) -> Parts:
    """Write a query, all parts but the table's name."""
    names = _Placeholders()
    partition, sort = (PARTITION, SORT) if index is None else (index.partition, index.sort)
    clauses = [f"{names.name(partition)} = {names.value()}"]
    values = [query.partition]
    if query.between is not None:
        clauses.append(f"{names.name(sort)} BETWEEN {names.value()} AND {names.value()}")
        values += query.between
    elif query.prefix:
        clauses.append(f"begins_with({names.name(sort)}, {names.value()})")
        values.append(query.prefix)
    parts: Parts = {"KeyConditionExpression": " AND ".join(clauses), **names.names()}
    parts["ExpressionAttributeValues"] = {name: {"S": value} for name, value in zip(names.values, values, strict=True)}
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


def _changed(changes: Sequence[Change], values: list[dict[str, object]]) -> _Shape:
    """Return the shape of changes, and add their values in their order."""
    shape: list[_Kind] = []
    for change in changes:
        shape.append((type(change), change.attribute))
        # By exact type: to ask for an instance takes several times as long where the answer is no.
        if type(change) is Add:
            values.append({"N": str(change.amount)})
        elif type(change) is Set:
            values.append(encode_value(change.value))
    return tuple(shape)


def _asked(conditions: Sequence[Condition], values: list[dict[str, object]]) -> _Shape:
    """Return the shape of conditions, and add their values in their order, each after its type."""
    shape: list[_Kind] = []
    for condition in conditions:
        shape.append((type(condition), condition.attribute))
        if type(condition) is Equals:
            value = encode_value(condition.value)
            (kind,) = value
            values += (_KINDS[kind], value)
        elif type(condition) is AtLeast:
            values += (_KINDS["N"], {"N": str(condition.bound)})
    return tuple(shape)


@lru_cache(_WORDS_KEPT)
def _words(conditions: _Shape, changes: _Shape) -> _Words:
    """Write expressions for these kinds and attributes, and ask for the item as found when a condition does not hold."""
    names = _Placeholders()
    parts: Parts = {}
    if changes:
        parts["UpdateExpression"] = _update(names, changes)
    if conditions:
        parts["ConditionExpression"] = " AND ".join([_clause(names, kind, attribute) for kind, attribute in conditions])
    parts |= names.names() | {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    return _Words(parts, tuple(names.values))


def _clause(names: _Placeholders, kind: type[Condition | Change], attribute: str) -> str:
    name = names.name(attribute)
    if kind is Exists:
        return f"attribute_exists({name})"
    if kind is Absent:
        return f"attribute_not_exists({name})"
    # DynamoDB compares nothing across types, but not every engine that speaks its API is so strict: True is not 1 on any.
    return f"attribute_type({name}, {names.value()}) AND {name} {'=' if kind is Equals else '>='} {names.value()}"


def _update(names: _Placeholders, changes: _Shape) -> str:
    sets: list[str] = []
    adds: list[str] = []
    removes: list[str] = []
    for kind, attribute in changes:
        name = names.name(attribute)
        if kind is Set:
            sets.append(f"{name} = {names.value()}")
        elif kind is Add:
            adds.append(f"{name} {names.value()}")
        else:
            removes.append(name)
    clauses = (("SET", sets), ("ADD", adds), ("REMOVE", removes))
    return " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses if parts)
