"""One table, in the words of what DynamoDB can promise (store.md). Everything durable stands on this port.

An item is a flat mapping with the two key attributes of its table's spec. Conditions and changes are typed values, not
expressions. A write whose condition does not hold is not an error but a `Refused` with the item as it was found, so that a
caller who repeats a write can look for his own id in it. Integers are exact and True is not 1; floats are refused with
TypeError.

What every adapter promises: one write is atomic; `transact` is all or nothing over distinct items; a consistent read sees every
write acknowledged before it; a write that raised UnknownOutcomeError may or may not have been applied, or may be applied later.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct

Value: TypeAlias = "str | int | bool | bytes | list[Value] | dict[str, Value] | None"
Item: TypeAlias = Mapping[str, Value]

TRANSACT_OPERATIONS_MAX = 100
"""The most operations of one transaction (DynamoDB's own limit)."""


class Key(Struct, frozen=True):
    """The primary key of an item."""

    partition: str
    sort: str


class IndexSpec(Struct, frozen=True, kw_only=True):
    """A sparse, eventually consistent index over all attributes: items that lack one of its two attributes are not in it.

    `partition` and `sort` name string attributes.
    """

    name: str
    partition: str
    sort: str


class TableSpec(Struct, frozen=True, kw_only=True, cache_hash=True):
    """A table as it is to be made: its key attributes are the strings `pk` and `sk`.

    `ttl` names an attribute of Unix seconds after which an item may be swept; readers must not rely on its being gone.
    `stream`: whether its changes can be followed (ports/changes).
    """

    name: str
    indexes: tuple[IndexSpec, ...] = ()
    ttl: str | None = "ttl"
    stream: bool = False


PARTITION = "pk"
"""The attribute that holds a key's partition."""

SORT = "sk"
"""The attribute that holds a key's sort part."""


class Exists(Struct, frozen=True):
    """The attribute is there."""

    attribute: str


class Absent(Struct, frozen=True):
    """The attribute is not there; true of an item that is not there."""

    attribute: str


class Equals(Struct, frozen=True):
    """The attribute is there, and has this type and value."""

    attribute: str
    value: str | int | bool | bytes


class AtLeast(Struct, frozen=True):
    """The attribute is there, is an integer, and is not below the bound."""

    attribute: str
    bound: int


Condition = Exists | Absent | Equals | AtLeast


class Set(Struct, frozen=True):
    """Give the attribute this value."""

    attribute: str
    value: Value


class Add(Struct, frozen=True):
    """Add to an integer attribute; an absent one counts as 0."""

    attribute: str
    amount: int


class Remove(Struct, frozen=True):
    """Take the attribute away, if it is there."""

    attribute: str


Change = Set | Add | Remove


class PutNew(Struct, frozen=True):
    """Write the item if its key is free."""

    item: Item


class Update(Struct, frozen=True):
    """Change one item if all conditions hold. Without a condition that needs the item, it is made where it is missing."""

    key: Key
    conditions: tuple[Condition, ...]
    changes: tuple[Change, ...]


class Delete(Struct, frozen=True):
    """Take one item away if all conditions hold; a missing item without conditions is fine."""

    key: Key
    conditions: tuple[Condition, ...] = ()


class Check(Struct, frozen=True):
    """Change nothing, but refuse the transaction unless all conditions hold."""

    key: Key
    conditions: tuple[Condition, ...]


Operation = PutNew | Update | Delete | Check


class Capacity(Struct, frozen=True):
    """Units consumed, as DynamoDB counts them (reads come in halves)."""

    read_units: float = 0.0
    write_units: float = 0.0


class Done(Struct, frozen=True):
    """The write was applied. `item` is the item after an update that was to return it, else None."""

    item: Item | None = None
    capacity: Capacity = Capacity()


class Refused(Struct, frozen=True):
    """A condition did not hold and nothing was written. `old` is the item as found, None if there was none.

    `index` is the place of the first refused operation in its transaction, 0 for a single write.
    """

    old: Item | None
    index: int = 0
    capacity: Capacity = Capacity()


class Found(Struct, frozen=True):
    """The answer to reading one item: None if there is none."""

    item: Item | None
    capacity: Capacity = Capacity()


class Page(Struct, frozen=True):
    """One page of a query in sort order. `next` continues it; None at the end."""

    items: tuple[Item, ...]
    next: str | None = None
    capacity: Capacity = Capacity()


class Query(Struct, frozen=True, kw_only=True):
    """Which items of one partition are wanted: those with the sort prefix, or between two sort values, both included.

    With `index`, partition and sort are the index's attributes, and `consistent` must be False. `limit` is the most items of a
    page. `after` is the `next` of the page before.
    """

    partition: str
    prefix: str = ""
    between: tuple[str, str] | None = None
    index: str | None = None
    limit: int | None = None
    after: str | None = None
    consistent: bool = False
    descending: bool = False


class StoreError(Exception):
    """The store could not do what was asked; the condition was not judged. `lasting`: asking again will not help."""

    lasting = False


class ThrottledError(StoreError):
    """Too many requests; nothing was written."""


class ConflictError(StoreError):
    """A transaction met another one on the same item; nothing was written."""


class UnavailableError(StoreError):
    """The store cannot be reached or does not answer; nothing was written."""


class UnknownOutcomeError(StoreError):
    """A write was sent and its fate is not known: look for your own id before you call it a failure."""


class Table(Protocol):
    """One table. Every method may raise StoreError; only writes raise UnknownOutcomeError.

    A write whose task is cancelled may or may not have been applied, or may be applied later.
    """

    @property
    def spec(self) -> TableSpec:
        """Return what the table was made from."""

    async def get(self, key: Key, *, consistent: bool = True) -> Found:
        """Read one item."""

    async def query(self, query: Query) -> Page:
        """Read one page of a partition's items."""

    async def put_new(self, item: Item) -> Done | Refused:
        """Write an item if its key is free."""

    def begin_put_new(self, item: Item) -> "asyncio.Future[Done | Refused]":
        """Begin to write an item if its key is free, for a caller who does not wait: he keeps the future and hears by it.

        A StoreError comes by the future alone. To cancel it is to cancel the write's task.
        """

    async def update(
        self, key: Key, conditions: Sequence[Condition], changes: Sequence[Change], *, returning: bool = True
    ) -> Done | Refused:
        """Change one item if all conditions hold. `returning`: whether Done is to hold the item, which takes its time."""

    async def delete(self, key: Key, conditions: Sequence[Condition] = ()) -> Done | Refused:
        """Take one item away if all conditions hold."""

    async def transact(self, operations: Sequence[Operation], token: str) -> Done | Refused:
        """Apply all operations, on distinct items, or none. The same token within ten minutes applies them once."""

    async def batch_get(self, keys: Sequence[Key]) -> Page:
        """Read many items, consistently, in any order; missing ones are left out. `next` is always None."""

    async def batch_put(self, items: Sequence[Item]) -> Capacity:
        """Write many items over whatever was there, not atomically."""


class Store(Protocol):
    """The tables of one deployment."""

    def table(self, spec: TableSpec) -> Table:
        """Return the table made from this spec."""

    async def create(self, specs: Sequence[TableSpec]) -> None:
        """Make the tables that are missing, and wait until they can be used. Safe to repeat."""

    async def close(self) -> None:
        """Finish what was acknowledged and let go of every resource."""
