"""How tables lie in a SQLite file, and the few statements that read and write them.

A table is `table:<name>` (pk, sk, item, expires_at), an index `index:<table>:<index>` (its two attributes and the item's key),
changed in the item's own transaction. Keys are UTF-8 in BLOBs, so that order is that of bytes. `applied` holds the tokens of
transactions, as durable as their effects. Names come from specs and are quoted; every value is bound.
"""

import contextlib
import hashlib
import sqlite3
from collections.abc import Generator, Sequence
from operator import is_
from string import Template

from junctor.adapters.tables.paging import Place, place_of
from junctor.adapters.tables.sqlite_codec import decode
from junctor.adapters.tables.values import TOKEN_LIFE_S
from junctor.ports.table import IndexSpec, Item, Key, Operation, Query, TableSpec

FORMAT = 1
"""The layout's version, kept as the file's user_version."""

SWEEP_MAX = 100
"""The most expired items that one sweep of a table takes away, so that no write waits long for it."""

_CREATE_TOKENS = """
    CREATE TABLE IF NOT EXISTS applied (token TEXT PRIMARY KEY, digest BLOB NOT NULL, until REAL NOT NULL) WITHOUT ROWID
"""
_CREATE_AGE = "CREATE INDEX IF NOT EXISTS applied_until ON applied (until)"
_CREATE_TABLE = Template("""
    CREATE TABLE IF NOT EXISTS $table (pk BLOB, sk BLOB, item BLOB NOT NULL, expires_at INTEGER, PRIMARY KEY (pk, sk))
    WITHOUT ROWID
""")
_CREATE_EXPIRY = Template("CREATE INDEX IF NOT EXISTS $expiry ON $table (expires_at) WHERE expires_at IS NOT NULL")
_CREATE_INDEX = Template("CREATE TABLE $index (at BLOB, by BLOB, pk BLOB, sk BLOB, PRIMARY KEY (at, by, pk, sk)) WITHOUT ROWID")
_EXISTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
_READ_ALL = Template("SELECT item FROM $table")
_READ = Template("SELECT item FROM $table WHERE pk = ? AND sk = ?")
_EXPIRED = Template("SELECT item FROM $table WHERE expires_at < ? LIMIT ?")
_INSERT = Template("INSERT INTO $table VALUES (?, ?, ?, ?) ON CONFLICT (pk, sk) DO NOTHING")
_CHANGE = Template("UPDATE $table SET item = ? WHERE pk = ? AND sk = ?")
_EXCHANGE = Template("UPDATE $table SET item = ? WHERE pk = ? AND sk = ? AND item = ?")
_REPLACE = Template("UPDATE $table SET item = ?, expires_at = ? WHERE pk = ? AND sk = ?")
_DELETE = Template("DELETE FROM $table WHERE pk = ? AND sk = ?")
_ENTER = Template("INSERT OR REPLACE INTO $index VALUES (?, ?, ?, ?)")
_LEAVE = Template("DELETE FROM $index WHERE at = ? AND by = ? AND pk = ? AND sk = ?")
_QUERY_TABLE = Template("SELECT item FROM $table WHERE pk = ? AND sk >= ? AND sk < ? AND sk $beyond ? ORDER BY sk $direction")
_QUERY_INDEX = Template("""
    SELECT t.item FROM $index AS i JOIN $table AS t ON t.pk = i.pk AND t.sk = i.sk
    WHERE i.at = ? AND i.by >= ? AND i.by < ? AND (i.by, i.pk, i.sk) $beyond (?, ?, ?)
    ORDER BY i.by $direction, i.pk $direction, i.sk $direction
""")
_FORGET = "DELETE FROM applied WHERE until <= ?"
_RECALL = "SELECT digest FROM applied WHERE token = ?"
_REMEMBER = "INSERT INTO applied VALUES (?, ?, ?)"

_LAST = b"\xff"
"""Above every key: no UTF-8 begins with this byte."""


class Rows:
    """One table's statements. Every method is given the connection of the thread that it runs in."""

    def __init__(self, spec: TableSpec) -> None:
        self._spec = spec
        self._ordering = tuple(name for index in spec.indexes for name in (index.partition, index.sort))
        if spec.ttl is not None:
            self._ordering += (spec.ttl,)
        self._names = {"table": _quoted(f"table:{spec.name}"), "expiry": _quoted(f"expiry:{spec.name}")}
        self._read = _READ.substitute(self._names)
        self._insert = _INSERT.substitute(self._names)
        self._change = _CHANGE.substitute(self._names)
        self._exchange = _EXCHANGE.substitute(self._names)
        self._replace = _REPLACE.substitute(self._names)
        self._delete = _DELETE.substitute(self._names)
        self._expired = _EXPIRED.substitute(self._names)

    def create(self, connection: sqlite3.Connection) -> None:
        """Make the table and its indexes where they are missing; a new index over an old table is filled."""
        connection.execute(_CREATE_TABLE.substitute(self._names))
        connection.execute(_CREATE_EXPIRY.substitute(self._names))
        for index in self._spec.indexes:
            name = f"index:{self._spec.name}:{index.name}"
            if connection.execute(_EXISTS, (name,)).fetchone() is None:
                # Read before it is made: what cannot be read must not leave an index behind that looks as if it was filled.
                items = [decode(data) for (data,) in connection.execute(_READ_ALL.substitute(self._names)).fetchall()]
                connection.execute(_CREATE_INDEX.substitute(index=_quoted(name)))
                for item in items:
                    self._move(connection, index, None, item)

    def find(self, connection: sqlite3.Connection, key: Key) -> bytes | None:
        """Return an item as it is stored, None if there is none."""
        row = connection.execute(self._read, (key.partition.encode(), key.sort.encode())).fetchone()
        data: bytes | None = None if row is None else row[0]
        return data

    def read(self, connection: sqlite3.Connection, key: Key) -> Item | None:
        """Return an item, None if there is none."""
        found = self.find(connection, key)
        return None if found is None else decode(found)

    def is_indexed(self, item: Item) -> bool:
        """Tell whether an item may be in an index."""
        return any(index.partition in item for index in self._spec.indexes)

    def insert(self, connection: sqlite3.Connection, key: Key, item: Item, data: bytes) -> bool:
        """Write an item, and return whether its key was free; nothing is written if not."""
        row = (key.partition.encode(), key.sort.encode(), data, self._expires_at(item))
        if not connection.execute(self._insert, row).rowcount:
            return False
        for index in self._spec.indexes:
            if index.partition in item:
                self._move(connection, index, None, item)
        return True

    def stays(self, old: Item, new: Item) -> bool:
        """Tell whether an item keeps its place in every index."""
        # What a change left alone is the same object in both; where it is not, more is written than need be.
        return all(map(is_, map(old.get, self._ordering), map(new.get, self._ordering)))

    def exchange(self, connection: sqlite3.Connection, key: Key, known: bytes, data: bytes) -> bool:
        """Write over an item whose place `stays`, if it still is what is known, encoded, and return whether this was done."""
        row = (data, key.partition.encode(), key.sort.encode(), known)
        return connection.execute(self._exchange, row).rowcount == 1

    def replace(self, connection: sqlite3.Connection, key: Key, old: Item, new: Item, data: bytes) -> None:
        """Write over an item that is there, and keep the indexes with it."""
        pk, sk = key.partition.encode(), key.sort.encode()
        if self.stays(old, new):
            connection.execute(self._change, (data, pk, sk))
            return
        connection.execute(self._replace, (data, self._expires_at(new), pk, sk))
        for index in self._spec.indexes:
            self._move(connection, index, old, new)

    def delete(self, connection: sqlite3.Connection, key: Key, old: Item) -> None:
        """Take an item away, and out of the indexes."""
        connection.execute(self._delete, (key.partition.encode(), key.sort.encode()))
        for index in self._spec.indexes:
            self._move(connection, index, old, None)

    def query(
        self, connection: sqlite3.Connection, index: IndexSpec | None, query: Query, start: Place | None
    ) -> Generator[tuple[Place, Item], None, None]:
        """Yield what a query asks for, in its order, after `start`."""
        low, high = _bounds(query)
        order = {"beyond": "<", "direction": "DESC"} if query.descending else {"beyond": ">", "direction": "ASC"}
        width = 1 if index is None else 3
        edge = _as_bytes(start[1:]) if start is not None else (_LAST if query.descending else b"",) * width
        if index is None:
            statement = _QUERY_TABLE.substitute(self._names, **order)
        else:
            statement = _QUERY_INDEX.substitute(self._names, index=self._index(index), **order)
        # Closed at the end of the page: an open cursor would hold its snapshot, and the file could not be checkpointed.
        with contextlib.closing(connection.execute(statement, (query.partition.encode(), low, high, *edge))) as cursor:
            for (data,) in cursor:
                item = decode(data)
                place = place_of(index, item)
                if place is not None:
                    yield place, item

    def expired(self, connection: sqlite3.Connection, now_s: float) -> list[Item]:
        """Return some of the items that expired before this Unix second."""
        return [decode(data) for (data,) in connection.execute(self._expired, (int(now_s), SWEEP_MAX)).fetchall()]

    def _move(self, connection: sqlite3.Connection, index: IndexSpec, old: Item | None, new: Item | None) -> None:
        before = None if old is None else place_of(index, old)
        after = None if new is None else place_of(index, new)
        if before == after:
            return
        if before is not None:
            connection.execute(_LEAVE.substitute(index=self._index(index)), _as_bytes(before))
        if after is not None:
            connection.execute(_ENTER.substitute(index=self._index(index)), _as_bytes(after))

    def _index(self, index: IndexSpec) -> str:
        return _quoted(f"index:{self._spec.name}:{index.name}")

    def _expires_at(self, item: Item) -> int | None:
        expires_at = item.get(self._spec.ttl) if self._spec.ttl is not None else None
        return expires_at if type(expires_at) is int and 0 <= expires_at < 2**63 else None


def create_tokens(connection: sqlite3.Connection) -> None:
    """Make the table of transaction tokens where it is missing."""
    connection.execute(_CREATE_TOKENS)
    connection.execute(_CREATE_AGE)


def repeats(connection: sqlite3.Connection, operations: Sequence[Operation], token: str, now_s: float) -> bool:
    """Judge whether a transaction was applied under this token before. Raises ValueError if it was another one."""
    connection.execute(_FORGET, (now_s,))
    row = connection.execute(_RECALL, (token,)).fetchone()
    if row is not None and row[0] != _digest(operations):
        raise ValueError("a transaction's token was used for other operations")
    return row is not None


def remember(connection: sqlite3.Connection, operations: Sequence[Operation], token: str, now_s: float) -> None:
    """Note that a transaction was applied under this token."""
    connection.execute(_REMEMBER, (token, _digest(operations), now_s + TOKEN_LIFE_S))


def _bounds(query: Query) -> tuple[bytes, bytes]:
    """Return the least sort value that is wanted, and a value above all that are."""
    if query.between is not None:
        low, high = query.between
        return low.encode(), high.encode() + b"\x00"
    prefix = query.prefix.encode()
    # The last byte of UTF-8 is never 0xff, so the next prefix is one byte higher at its end.
    return prefix, prefix[:-1] + bytes((prefix[-1] + 1,)) if prefix else _LAST


def _as_bytes(place: Place) -> tuple[bytes, ...]:
    return tuple(part.encode() for part in place)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _digest(operations: Sequence[Operation]) -> bytes:
    return hashlib.sha256(repr(operations).encode()).digest()
