"""Where a page of a query begins and ends, the same for every adapter.

A place is what orders items within a partition: (pk, sk) in the table, (index partition, index sort, pk, sk) in an index. A
page token is an encoded place and nothing else, so it stays good across processes and releases. Order is that of UTF-8 bytes,
which for Python strings is the order of code points. As on DynamoDB, a page that reached its limit or 1 MB has a `next`, even
if nothing follows.
"""

import base64
import binascii
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from junctor.adapters.tables.rules import read_units
from junctor.adapters.tables.values import PARTITION_BYTES_MAX, check_key, item_size
from junctor.ports.table import PARTITION, SORT, Capacity, IndexSpec, Item, Key, Page, Query, TableSpec

PAGE_BYTES_MAX = 1024 * 1024
"""The most bytes of one page, unless its first item alone has more."""

Place: TypeAlias = tuple[str, ...]


def check_query(spec: TableSpec, query: Query) -> IndexSpec | None:
    """Return the index that a query is about, None for the table itself. Raises ValueError for what no store could answer."""
    if not query.partition or len(query.partition.encode()) > PARTITION_BYTES_MAX:
        raise ValueError("a query's partition is a string that is not empty and can be a key")
    if query.limit is not None and query.limit < 1:
        raise ValueError("a page has at least one item")
    if query.between is not None:
        low, high = query.between
        if query.prefix:
            raise ValueError("a query has a prefix or bounds, not both")
        if not low or high < low:
            raise ValueError("a query's bounds are not empty, and the lower one comes first")
    if query.index is None:
        return None
    if query.consistent:
        raise ValueError("an index cannot be read consistently")
    for index in spec.indexes:
        if index.name == query.index:
            return index
    raise ValueError(f"the table {spec.name} has no index {query.index}")


def place_of(index: IndexSpec | None, item: Item) -> Place | None:
    """Return where an item lies, None if it is not in the index."""
    own = (str(item[PARTITION]), str(item[SORT]))
    if index is None:
        return own
    if index.partition not in item or index.sort not in item:
        return None
    return (str(item[index.partition]), str(item[index.sort]), *own)


def wanted(query: Query, place: Place) -> bool:
    """Judge whether a query asks for what lies at this place."""
    if query.between is None:
        return place[0] == query.partition and place[1].startswith(query.prefix)
    low, high = query.between
    return place[0] == query.partition and low <= place[1] <= high


def token_of(place: Place) -> str:
    """Write a place as a page token."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()


def start_of(index: IndexSpec | None, query: Query) -> Place | None:
    """Read the place after which a page begins, None at the start. Raises ValueError for a token of another query."""
    if query.after is None:
        return None
    try:
        place = msgspec.json.decode(base64.urlsafe_b64decode(query.after.encode()), type=tuple[str, ...])
    except (binascii.Error, msgspec.DecodeError, UnicodeError):
        raise ValueError("a page token cannot be read") from None
    if len(place) != (2 if index is None else 4) or not wanted(query, place):
        raise ValueError("a page token belongs to another query")
    check_key(Key(*place[-2:]))
    return place


def cut_page(rows: Iterable[tuple[Place, Item]], limit: int | None, *, consistent: bool) -> Page:
    """Take one page from rows that stand in the query's order and begin after its start."""
    items: list[Item] = []
    last: Place | None = None
    full = False
    bytes_read = 0
    for place, item in rows:
        size = item_size(item)
        if items and bytes_read + size > PAGE_BYTES_MAX:
            full = True
            break
        bytes_read += size
        items.append(item)
        last = place
        if len(items) == limit:
            full = True
            break
    token = token_of(last) if full and last is not None else None
    return Page(tuple(items), token, Capacity(read_units=read_units(bytes_read, consistent=consistent)))
