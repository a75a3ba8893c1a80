"""What the writer's thread does for one table: it looks at the item that is there, judges, and writes at most once.

Whatever may be refused is judged before anything is written, so that a caller's mistake fails his own write only. What a write
costs is told from the length of the encoded item wherever that is proof enough: DynamoDB's way of counting takes as long as the
write. Every method is to run in the writer's thread, which owns the connection and what `recent` knows; `put_alone` and
`apply_alone` without a transaction too, as they write by one statement. What is known is compared again by that statement, and
whatever it does not do is done by what the file holds: what anybody else wrote there is seen.
"""

import sqlite3
from collections.abc import Mapping, Sequence

from junctor.adapters.tables.rules import (
    WRITE_UNIT_BYTES,
    allowed,
    applied,
    changed,
    decide_all,
    transaction_units,
    write_units,
    writes_of,
)
from junctor.adapters.tables.sqlite_codec import decode, encode
from junctor.adapters.tables.sqlite_recent import Recent
from junctor.adapters.tables.sqlite_rows import SWEEP_MAX, Rows, remember, repeats
from junctor.adapters.tables.values import PLAIN_BYTES_MORE, check_size, is_flat, key_of, operation_key
from junctor.ports.table import Capacity, Delete, Done, Item, Key, Operation, Refused, Update

TIMES_MOST = 4
"""An item has at most so many times the bytes that it has in msgpack, as DynamoDB counts it: the worst is a list of digits."""

_UNIT = Capacity(write_units=1.0)
_DONE = Done(None, _UNIT)


class Writes:
    """One table, to be written."""

    def __init__(self, rows: Rows, recent: Recent) -> None:
        self._rows = rows
        self._recent = recent

    def put_alone(self, connection: sqlite3.Connection, key: Key, item: Item, data: bytes) -> Done | None:
        """Do as `put_new` by one statement; None, and nothing is written, if the key is taken or an index is to follow."""
        capacity = cost(item, data)
        if self._rows.is_indexed(item) or not self._rows.insert(connection, key, item, data):
            return None
        self._recent.keep(key, data)
        return _DONE if capacity is _UNIT else Done(None, capacity)

    def put_new(self, connection: sqlite3.Connection, key: Key, item: Item, data: bytes) -> Done | Refused:
        """Write an item, of which `data` is the encoded form, if its key is free."""
        done = self.put_alone(connection, key, item, data)
        if done is not None:
            return done
        found = self._rows.find(connection, key)
        if found is not None:
            old = decode(found)
            return Refused(old, 0, cost(old, found))
        self._write(connection, key, None, item, data)
        return Done(None, cost(item, data))

    def apply_alone(self, connection: sqlite3.Connection, operation: Update | Delete) -> Done | None:
        """Change an item that was written lately, by one statement which fails if it is not the same any more.

        None, and nothing is written, if it is not known, if it is another by now, or if it is not to be changed in this way.
        """
        key = operation.key
        known = self._recent.find(key)
        if known is None or not isinstance(operation, Update):
            return None
        old = decode(known)
        if not allowed(operation, old):
            return None
        try:
            new = changed(key, old, operation.changes)
            data = encode(new)
            before, after = cost(old, known), cost(new, data)
        except ValueError:
            # It is for the item that is there to say so.
            return None
        if not self._rows.stays(old, new) or not self._rows.exchange(connection, key, known, data):
            return None
        self._recent.keep(key, data)
        return Done(new, before if before.write_units > after.write_units else after)

    def apply(self, connection: sqlite3.Connection, operation: Update | Delete) -> Done | Refused:
        """Change one item, or take it away, if all conditions hold. Raises ValueError."""
        done = self.apply_alone(connection, operation)
        if done is not None:
            return done
        key = operation.key
        found = self._rows.find(connection, key)
        old = None if found is None else decode(found)
        before = cost(old, found)
        if not allowed(operation, old):
            return Refused(old, 0, before)
        new = applied(operation, old)
        data = None if new is None else encode(new)
        after = cost(new, data)
        self._write(connection, key, old, new, data)
        return Done(new, before if before.write_units > after.write_units else after)

    def transact(
        self, connection: sqlite3.Connection, operations: Sequence[Operation], token: str, now_s: float
    ) -> Done | Refused:
        """Apply all operations or none, once under this token. Raises ValueError."""
        olds = [self._rows.read(connection, operation_key(operation)) for operation in operations]
        if repeats(connection, operations, token, now_s):
            return Done(None, Capacity(read_units=transaction_units(olds, olds)))
        answer, news = decide_all(operations, olds)
        if isinstance(answer, Done):
            for key, old, new in writes_of(operations, olds, news):
                self._write(connection, key, old, new, None if new is None else encode(new))
            remember(connection, operations, token, now_s)
        return answer

    def put(self, connection: sqlite3.Connection, items: Mapping[Key, Item]) -> float:
        """Write many items over whatever was there, and return the units that they cost."""
        units = 0.0
        for key, item in items.items():
            old = self._rows.read(connection, key)
            self._write(connection, key, old, item, encode(item))
            units += write_units(old, item)
        return units

    def sweep(self, connection: sqlite3.Connection, now_s: float) -> bool:
        """Take away some of the items that expired before this Unix second, and tell whether more may be waiting."""
        expired = self._rows.expired(connection, now_s)
        for item in expired:
            self._write(connection, key_of(item), item, None, None)
        return len(expired) == SWEEP_MAX

    def _write(self, connection: sqlite3.Connection, key: Key, old: Item | None, new: Item | None, data: bytes | None) -> None:
        """Replace an item by another, None for no item; `data` is the other one, encoded."""
        if new is None or data is None:
            if old is not None:
                self._rows.delete(connection, key, old)
        elif old is None:
            self._rows.insert(connection, key, new, data)
        else:
            self._rows.replace(connection, key, old, new, data)
        self._recent.keep(key, data)


def cost(item: Item | None, data: bytes | None) -> Capacity:
    """Return what writing an item costs, of which `data` is the encoded form. Raises ValueError if it is too large."""
    if item is None or data is None or TIMES_MOST * len(data) <= WRITE_UNIT_BYTES:
        return _UNIT
    if len(data) + PLAIN_BYTES_MORE * len(item) <= WRITE_UNIT_BYTES and is_flat(item):
        return _UNIT
    check_size(item)
    return Capacity(write_units=write_units(item))
