"""What the operator changed in the catalogue, as items of the table `catalog`: one item a record, and one for their version.

Every change raises the version in the same transaction, if it is as it was read. So who has read all records, after the version
that he keeps, reads the version alone until it moves. The version is read first: records that change meanwhile are read again.
A record is kept whole in one attribute, and what this version cannot read of one is passed over by who reads.
"""

from typing import TypeAlias, cast

import msgspec

from junctor.domain.overlay import Discount, PriceOverride, PrivateEndpoint, Record
from junctor.ports.table import SORT, Absent, Delete, Equals, Exists, Item, Query, Set, Update, Value
from junctor.records import keys

Kind: TypeAlias = type[PriceOverride] | type[Discount] | type[PrivateEndpoint]

_RECORD, _VERSION = "record", "version"
_KINDS: dict[str, Kind] = {"OVERRIDE": PriceOverride, "DISCOUNT": Discount, "ENDPOINT": PrivateEndpoint}
_WORDS = {kind: word for word, kind in _KINDS.items()}


def name_of(record: Record) -> str:
    """Return what tells a record from others of its kind."""
    if isinstance(record, PriceOverride):
        return override_name(record.endpoint, record.valid_from)
    return record.subject if isinstance(record, Discount) else record.id


def override_name(endpoint: str, valid_from: int | None) -> str:
    """Return what tells an override from others: an endpoint has one for each instant from which one holds (Unix seconds)."""
    return f"{endpoint}@{valid_from or 0}"


def version_of(item: Item | None) -> int:
    """Return the version in its item, 0 where none was ever written."""
    return 0 if item is None else cast("int", item[_VERSION])


def next_version(version: int) -> Update:
    """Return the write that raises the version, if it is still this one."""
    conditions = (Equals(_VERSION, version),) if version else (Absent(_VERSION),)
    return Update(keys.overlay_version(), conditions, (Set(_VERSION, version + 1),))


def put(record: Record) -> Update:
    """Return the write of a record, over the one that has its name."""
    place = keys.overlay_record(_WORDS[type(record)], name_of(record))
    plain: Value = msgspec.json.decode(msgspec.json.encode(record))
    return Update(place, (), (Set(_RECORD, plain),))


def no_record(kind: Kind, name: str) -> Delete:
    """Return the write that takes a record away that is there."""
    return Delete(keys.overlay_record(_WORDS[kind], name), (Exists(_RECORD),))


def all_records(after: str | None) -> Query:
    """Return the query for a page of the records."""
    partition = keys.overlay_version().partition
    return Query(partition=partition, prefix=keys.OVERLAY_PREFIX, after=after, consistent=True)


def record_of(item: Item) -> Record:
    """Return the record in an item. Raises ValueError if it is of a kind or form that this version does not know."""
    word, _, _ = str(item[SORT]).removeprefix(keys.OVERLAY_PREFIX).partition("#")
    kind = _KINDS.get(word)
    if kind is None:
        raise ValueError(word)
    return msgspec.convert(item.get(_RECORD), kind)


def shown_name(item: Item) -> str:
    """Return the name of a record that cannot be read, as its key has it."""
    return str(item[SORT]).removeprefix(keys.OVERLAY_PREFIX).partition("#")[2]
