"""What only the embedded store promises: it survives its process, keeps to one process, and sweeps what has expired."""

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from junctor.adapters.tables.sqlite import SqliteStore, StoreFormatError, StoreInUseError
from junctor.ports.table import Add, Done, IndexSpec, Key, PutNew, Query, TableSpec, UnavailableError, Update
from tests.support.tables import KEY, SAMPLE, all_items, done, item, stored
from tests.support.tables_writer import check_written

ROOT = Path(__file__).parents[2]


def child(path: Path, argument: str) -> subprocess.Popen[str]:
    """Start a process that works on the store."""
    command = [sys.executable, "-m", "tests.support.tables_writer", str(path), argument]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def killed_after(path: Path, round_number: int, lines: int) -> list[str]:
    """Let a child write, kill it after so many acknowledged writes, and return all that it acknowledged."""
    with child(path, str(round_number)) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().strip() for _ in range(lines)]
        process.kill()
        acknowledged += [line.strip() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    return acknowledged


async def test_an_acknowledged_write_survives_kill_9(tmp_path: Path) -> None:
    """A generation that was answered would have no record, and money would be lost, after a crash."""
    path = tmp_path / "store.sqlite3"
    acknowledged: list[str] = []
    for round_number, lines in enumerate((1, 60, 400)):
        acknowledged += await asyncio.to_thread(killed_after, path, round_number, lines)
        store = SqliteStore(path)
        await store.create([SAMPLE])
        await check_written(store.table(SAMPLE), acknowledged)
        await store.close()


async def test_a_second_process_is_refused(tmp_path: Path) -> None:
    """Two processes would each believe that the leases in the file are theirs to reclaim."""
    path = tmp_path / "store.sqlite3"
    with child(path, "hold") as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "open\n"
        with pytest.raises(StoreInUseError):
            SqliteStore(path)
        process.communicate("")
    await SqliteStore(path).close()


async def test_the_same_process_is_refused_too_until_it_closes(tmp_path: Path) -> None:
    """Two stores on one file would each judge conditions without the other's writes."""
    store = SqliteStore(tmp_path / "store.sqlite3")
    with pytest.raises(StoreInUseError):
        SqliteStore(tmp_path / "store.sqlite3")
    await store.close()
    await SqliteStore(tmp_path / "store.sqlite3").close()


async def test_what_is_stored_outlives_the_store(tmp_path: Path) -> None:
    """A restart would lose balances, indexes, or the tokens of transactions that a client sends again."""
    debit = Update(KEY, (), (Add("avail", -1),))
    for _ in range(2):
        store = SqliteStore(tmp_path / "store.sqlite3")
        await store.create([SAMPLE])
        table = store.table(SAMPLE)
        await table.put_new(item(avail=10, shard="s", due="1"))
        done(await table.transact([debit], "token"))
        assert await all_items(table, Query(partition="s", index="by-due")) == [item(avail=9, shard="s", due="1")]
        await store.close()


async def test_a_token_is_forgotten_after_ten_minutes() -> None:
    """The file would grow by every transaction that ever was."""
    now = [1_000_000.0]
    store = SqliteStore(None, now_s=lambda: now[0])
    await store.create([SAMPLE])
    table = store.table(SAMPLE)
    for seconds, count in ((0, 1), (599, 1), (2, 2)):
        now[0] += seconds
        done(await table.transact([Update(KEY, (), (Add("count", 1),))], "token"))
        assert await stored(table) == item(count=count)
    await store.close()


async def test_expired_items_are_swept_in_time() -> None:
    """The file would grow for ever; or an item would go before its time, or leave its shadow in an index."""
    now = [1_000_000.0]
    store = SqliteStore(None, now_s=lambda: now[0])
    await store.create([SAMPLE])
    table = store.table(SAMPLE)
    done(await table.put_new(item(sort="expires", ttl=1_000_100, shard="s", due="1")))
    done(await table.put_new(item(sort="text", ttl="1000")))
    done(await table.put_new(item(sort="huge", ttl=2**70)))
    done(await table.put_new(item(sort="later", ttl=2_000_000)))
    now[0] += 99
    done(await table.update(KEY, [], [Add("count", 1)]))
    assert await stored(table, Key("P", "expires")) is not None
    now[0] += 100
    done(await table.update(KEY, [], [Add("count", 1)]))
    assert [found["sk"] for found in await all_items(table, Query(partition="P"))] == ["S", "huge", "later", "text"]
    assert await all_items(table, Query(partition="s", index="by-due")) == []
    await store.close()


async def test_a_new_index_finds_old_items(tmp_path: Path) -> None:
    """After an upgrade the reclaimer would never find the leases of before."""
    path = tmp_path / "store.sqlite3"
    plain = TableSpec(name="sample")
    store = SqliteStore(path)
    await store.create([plain])
    done(await store.table(plain).put_new(item(a="x", b="y")))
    await store.close()
    indexed = TableSpec(name="sample", indexes=(IndexSpec(name="new", partition="a", sort="b"),))
    store = SqliteStore(path)
    await store.create([indexed])
    assert await all_items(store.table(indexed), Query(partition="x", index="new")) == [item(a="x", b="y")]
    await store.close()


async def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    """A file of another program, or of a later release, would be damaged."""
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"not a database " * 100)
    with pytest.raises(StoreFormatError):
        SqliteStore(rubbish)
    later = tmp_path / "later"
    with sqlite3.connect(later) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreFormatError, match="99"):
        SqliteStore(later)
    with pytest.raises(UnavailableError):
        SqliteStore(tmp_path / "no such folder" / "file")


async def test_what_fails_midway_is_undone_alone(tmp_path: Path) -> None:
    """Half of a batch would stay behind after an error, or take the writes of others with it."""
    store = SqliteStore(tmp_path / "store.sqlite3")
    await store.create([SAMPLE])
    table = store.table(SAMPLE)

    def half(connection: sqlite3.Connection) -> None:
        table._rows.write(connection, KEY, None, item())
        raise ZeroDivisionError

    writes = [
        store.writer.call(half),
        table.put_new(item(sort="before")),
        store.writer.call(half),
        table.put_new(item(sort="last")),
    ]
    answers = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ZeroDivisionError, Done, ZeroDivisionError, Done]
    assert [found["sk"] for found in await all_items(table, Query(partition="P"))] == ["before", "last"]
    await store.close()


async def test_a_full_disk_is_an_error_and_no_lie() -> None:
    """A write that did not fit would be acknowledged, or take the store down with it."""
    store = SqliteStore(None)
    await store.create([SAMPLE])
    table = store.table(SAMPLE)
    done(await table.put_new(item()))
    await store.writer.call(lambda connection: connection.execute("PRAGMA max_page_count = 40").fetchone())
    puts = [table.put_new(item(sort=str(number), value="x" * 50_000)) for number in range(8)]
    answers = await asyncio.gather(*puts, return_exceptions=True)
    refusals = [answer for answer in answers if isinstance(answer, UnavailableError)]
    assert refusals
    for number, answer in enumerate(answers):
        assert (await stored(table, Key("P", str(number))) is None) == isinstance(answer, Exception)
    done(await table.transact([PutNew(item(sort="small"))], "token"))
    await store.close()
