"""The embedded store opened for reading only: beside its owner, after one that was killed, and unable to change anything."""

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from junctor.adapters.tables.sqlite import SqliteStore, StoreFormatError
from junctor.ports.table import Add, Key, PutNew, Query, UnavailableError, Update
from tests.support.tables import KEY, SAMPLE, all_items, done, item, stored

ROOT = Path(__file__).parents[2]
KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from junctor.adapters.tables.sqlite import SqliteStore
from tests.support.tables import SAMPLE, item

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.create([SAMPLE])
    await store.table(SAMPLE).put_new(item(a="x"))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_reader_beside_the_owner_sees_each_write_and_disturbs_none(tmp_path: Path) -> None:
    """An audit would need the server stopped, or see the books of yesterday."""
    path = tmp_path / "store.sqlite3"
    owner = SqliteStore(path)
    await owner.create([SAMPLE])
    table = owner.table(SAMPLE)
    reader = SqliteStore(path, read_only=True)
    looked = reader.table(SAMPLE)
    for number in range(3):
        done(await table.put_new(item(sort=f"S{number}", shard="s", due=str(number))))
        assert len(await all_items(looked, Query(partition="P"))) == number + 1
        assert len(await all_items(looked, Query(partition="s", index="by-due"))) == number + 1
    await owner.close()
    assert await stored(looked, Key("P", "S2")) is not None
    await reader.close()
    assert not (tmp_path / "store.sqlite3-journal").exists()
    owner = SqliteStore(path)
    await owner.create([SAMPLE])
    done(await owner.table(SAMPLE).put_new(item()))
    await owner.close()


async def test_a_reader_cannot_write(tmp_path: Path) -> None:
    """What is meant to look would repair or sweep."""
    path = tmp_path / "store.sqlite3"
    owner = SqliteStore(path)
    await owner.create([SAMPLE])
    done(await owner.table(SAMPLE).put_new(item(count=1, ttl=1)))
    await owner.close()
    before = path.read_bytes()
    reader = SqliteStore(path, read_only=True)
    table = reader.table(SAMPLE)
    for write in (
        table.put_new(item(sort="other")),
        table.update(KEY, [], [Add("count", 1)]),
        table.delete(KEY),
        table.transact([PutNew(item(sort="other")), Update(KEY, (), (Add("count", 1),))], "token"),
        table.batch_put([item(sort="other")]),
    ):
        with pytest.raises(UnavailableError):
            await write
    assert await all_items(table, Query(partition="P")) == [item(count=1, ttl=1)]
    await reader.close()
    assert path.read_bytes() == before


async def test_what_a_killed_owner_acknowledged_is_read(tmp_path: Path) -> None:
    """After a crash nobody could look at the books before a server changes them."""
    path = tmp_path / "store.sqlite3"
    command = [sys.executable, "-c", KILLED, str(path)]
    await asyncio.to_thread(subprocess.run, command, cwd=ROOT, timeout=60, check=False)
    for _ in range(2):
        reader = SqliteStore(path, read_only=True)
        assert await stored(reader.table(SAMPLE)) == item(a="x")
        await reader.close()


async def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A mistyped folder would look like an installation without any money."""
    with pytest.raises(UnavailableError, match="there is no store"):
        SqliteStore(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "none.lock").exists()
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"not a database " * 100)
    with pytest.raises(StoreFormatError):
        SqliteStore(rubbish, read_only=True)
    with sqlite3.connect(tmp_path / "empty") as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    with pytest.raises(StoreFormatError, match="format 0"):
        SqliteStore(tmp_path / "empty", read_only=True)
