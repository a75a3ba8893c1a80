"""The table port in one SQLite file: the embedded default, good for one machine.

One thread writes, with group commit, WAL and synchronous=FULL, so an acknowledged write survives kill -9 and power loss.
Another thread reads on its own connection: in WAL mode a reader never waits for the writer, a statement begun after a commit
sees it, and the event loop never waits for a disk. One process owns a file: a second one is refused, unless it only reads, for
which SQLite itself answers. So the writer need not read what it wrote lately: the statement that changes it compares. Expired
items stay readable until the writer sweeps them, as on DynamoDB. Reads of an index are consistent here, more than the port
promises.

Measured on two shared cores: reading itself takes 6 to 9 us; through the thread a read takes 20 us when many wait, and 40 to
70 us alone. That is the price for a loop that is never held up by a read from a cold disk or a page of 1 MB. The two writes of
a slot take 40 us of CPU where many share a commit, and 180 us alone (tests/bench/sqlite_cpu.py).
"""

import asyncio
import contextlib
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from junctor.adapters.tables import sqlite_rows
from junctor.adapters.tables.paging import check_query, cut_page, start_of
from junctor.adapters.tables.rules import read_units
from junctor.adapters.tables.sqlite_codec import encode
from junctor.adapters.tables.sqlite_recent import Recent
from junctor.adapters.tables.sqlite_worker import Worker, WritingWorker
from junctor.adapters.tables.sqlite_writes import Writes
from junctor.adapters.tables.values import (
    check_batch,
    check_conditions,
    check_item,
    check_key,
    check_transaction,
    check_update,
    item_size,
    key_of,
    table_token,
)
from junctor.ports.table import (
    Capacity,
    Change,
    Condition,
    Delete,
    Done,
    Found,
    Item,
    Key,
    Operation,
    Page,
    Query,
    Refused,
    StoreError,
    TableSpec,
    UnavailableError,
    Update,
)

SWEEP_EVERY_S = 60.0
"""How often a write looks for expired items to take away, unless it is known that more are waiting."""

BUSY_TIMEOUT_S = 10.0
"""How long a connection waits for the other one's lock, as at a checkpoint."""


class StoreInUseError(StoreError):
    """Another process has this file open."""


class StoreFormatError(StoreError):
    """The file was written by a release that lays it out otherwise, or is no store at all."""


class SqliteStore:
    """Tables in one file. `path` None is a temporary file, which goes when the store is closed.

    `now_s` is the wall clock in Unix seconds. `read_only`: the file must be there, may be another process's at the same time,
    and every write raises UnavailableError. Raises StoreInUseError, StoreFormatError, UnavailableError.
    """

    def __init__(self, path: Path | None, *, now_s: Callable[[], float] = time.time, read_only: bool = False) -> None:
        self.now_s = now_s
        self._folder: Path | None = None
        self._lock: sqlite3.Connection | None = None
        if path is None:
            self._folder = Path(tempfile.mkdtemp(prefix="junctor-"))
            path = self._folder / "store.sqlite3"
        with contextlib.ExitStack() as undo:
            if not read_only:
                self._lock = undo.enter_context(contextlib.closing(_lock(path)))
            connect = partial(_connect_to_read, path) if read_only else partial(_connect, path, durable=self._folder is None)
            writing = undo.enter_context(contextlib.closing(connect()))
            reading = undo.enter_context(contextlib.closing(connect()))
            undo.pop_all()
        self._recent: dict[str, Recent] = {}
        self._made: dict[str, Writes] = {}
        self._sweep_at = 0.0
        self.writer = WritingWorker("store-writer", writing, self._forget)
        self.reader = Worker("store-reader", reading)

    def table(self, spec: TableSpec) -> "SqliteTable":
        """Return the table made from this spec."""
        return SqliteTable(self, spec)

    def writes(self, spec: TableSpec) -> Writes:
        """Return what writes a table: all that write the same one share what they know of it."""
        return Writes(sqlite_rows.Rows(spec), self._recent.setdefault(spec.name, Recent()))

    async def create(self, specs: Sequence[TableSpec]) -> None:
        """Make the tables that are missing."""
        tables = {spec.name: sqlite_rows.Rows(spec) for spec in specs}

        def work(connection: sqlite3.Connection) -> None:
            sqlite_rows.create_tokens(connection)
            for rows in tables.values():
                rows.create(connection)

        await self.writer.call(work)
        self._made.update({spec.name: self.writes(spec) for spec in specs})

    async def close(self) -> None:
        """Finish what was accepted and let go of the file. Safe to repeat."""
        await self.reader.close()
        await self.writer.close()
        if self._lock is not None:
            self._lock.close()
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def sweep_in_time(self) -> None:
        """Have expired items taken away, now and then. Whether it succeeds is no caller's concern: it is tried again."""
        now_s = self.now_s()
        if now_s >= self._sweep_at:
            self._sweep_at = now_s + SWEEP_EVERY_S
            for writes in tuple(self._made.values()):
                self.writer.call(writes.sweep, now_s).add_done_callback(self._swept)

    def _swept(self, done: "asyncio.Future[bool]") -> None:
        if not done.cancelled() and done.exception() is None and done.result():
            self._sweep_at = 0.0

    def _forget(self) -> None:
        for recent in tuple(self._recent.values()):
            recent.forget()


class SqliteTable:
    """One table of a SQLite file."""

    def __init__(self, store: SqliteStore, spec: TableSpec) -> None:
        self._store = store
        self._spec = spec
        self._rows = sqlite_rows.Rows(spec)
        self._writes = store.writes(spec)

    @property
    def spec(self) -> TableSpec:
        """Return what the table was made from."""
        return self._spec

    async def get(self, key: Key, *, consistent: bool = True) -> Found:
        """Read one item."""
        check_key(key)
        item = await self._store.reader.call(self._rows.read, key)
        size = 0 if item is None else item_size(item)
        return Found(item, Capacity(read_units=read_units(size, consistent=consistent)))

    async def query(self, query: Query) -> Page:
        """Read one page of a partition's items."""
        index = check_query(self._spec, query)
        start = start_of(index, query)

        def work(connection: sqlite3.Connection) -> Page:
            with contextlib.closing(self._rows.query(connection, index, query, start)) as found:
                return cut_page(found, query.limit, consistent=query.consistent)

        return await self._store.reader.call(work)

    async def put_new(self, item: Item) -> Done | Refused:
        """Write an item if its key is free."""
        return await self.begin_put_new(item)

    def begin_put_new(self, item: Item) -> "asyncio.Future[Done | Refused]":
        """Begin to write an item if its key is free: the writer's thread does it, and no task."""
        checked = check_item(self._spec, item)
        key, data = key_of(checked), checked.packed or encode(checked)
        try:
            self._store.sweep_in_time()
            return self._store.writer.write(self._writes.put_alone, self._writes.put_new, key, checked, data)
        except UnavailableError as error:
            refused: asyncio.Future[Done | Refused] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused

    async def update(
        self, key: Key, conditions: Sequence[Condition], changes: Sequence[Change], *, returning: bool = True
    ) -> Done | Refused:
        """Change one item if all conditions hold."""
        answer = await self._apply(check_update(self._spec, Update(key, tuple(conditions), tuple(changes))))
        return answer if returning or isinstance(answer, Refused) else Done(None, answer.capacity)

    async def delete(self, key: Key, conditions: Sequence[Condition] = ()) -> Done | Refused:
        """Take one item away if all conditions hold."""
        return await self._apply(check_conditions(Delete(key, tuple(conditions))))

    async def transact(self, operations: Sequence[Operation], token: str) -> Done | Refused:
        """Apply all operations or none."""
        checked = check_transaction(self._spec, operations, token)
        own_token = table_token(self._spec.name, token)
        return await self._store.writer.call(self._writes.transact, checked, own_token, self._store.now_s())

    async def batch_get(self, keys: Sequence[Key]) -> Page:
        """Read many items, consistently."""
        distinct = dict.fromkeys(check_key(key) for key in keys)
        found = await self._store.reader.call(lambda connection: [self._rows.read(connection, key) for key in distinct])
        units = sum(read_units(0 if item is None else item_size(item), consistent=True) for item in found)
        return Page(tuple(item for item in found if item is not None), None, Capacity(read_units=units))

    async def batch_put(self, items: Sequence[Item]) -> Capacity:
        """Write many items over whatever was there."""
        checked = check_batch(self._spec, items)
        return Capacity(write_units=await self._store.writer.call(self._writes.put, checked))

    def _apply(self, operation: Update | Delete) -> "asyncio.Future[Done | Refused]":
        self._store.sweep_in_time()
        return self._store.writer.write(self._writes.apply_alone, self._writes.apply, operation)


def _connect(file: Path, *, durable: bool) -> sqlite3.Connection:
    """Open the file for one thread. Raises StoreFormatError."""
    with contextlib.ExitStack() as undo:
        connection = sqlite3.connect(file, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        undo.callback(connection.close)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                connection.execute(f"PRAGMA user_version = {sqlite_rows.FORMAT}")
        except sqlite3.DatabaseError:
            raise StoreFormatError(f"{file} is not a store, or cannot be written; use another data folder") from None
        _check_format(file, version or sqlite_rows.FORMAT)
        undo.pop_all()
    return connection


def _connect_to_read(file: Path) -> sqlite3.Connection:
    """Open a file that is there so that nothing can be written. Raises StoreFormatError, UnavailableError."""
    with contextlib.ExitStack() as undo:
        try:
            uri = f"{file.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        except sqlite3.OperationalError:
            raise UnavailableError(f"there is no store at {file}, or it cannot be read") from None
        undo.callback(connection.close)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.DatabaseError:
            raise StoreFormatError(f"{file} is not a store, or cannot be read; use another data folder") from None
        _check_format(file, version)
        undo.pop_all()
    return connection


def _check_format(file: Path, version: int) -> None:
    if version != sqlite_rows.FORMAT:
        raise StoreFormatError(
            f"{file} has format {version}, and this release knows {sqlite_rows.FORMAT}; use another data folder"
        )


def _lock(file: Path) -> sqlite3.Connection:
    """Hold a lock beside the file until closed: SQLite's own, on an empty file, so that it works and dies on every system.

    Raises StoreInUseError, and UnavailableError where no file can be.
    """
    try:
        lock = sqlite3.connect(file.with_name(file.name + ".lock"), timeout=0, isolation_level=None, check_same_thread=False)
    except sqlite3.OperationalError:
        raise UnavailableError(f"{file} cannot be opened") from None
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise StoreInUseError(f"{file} is in use by another process: stop that one, or use another data folder") from None
        raise UnavailableError(f"{file} cannot be locked") from None
    return lock
