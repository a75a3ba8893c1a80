"""What only the embedded store promises: it survives its process, keeps to one process, and sweeps what has expired."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from junctor.adapters.tables import sqlite_rows, sqlite_worker
from junctor.adapters.tables.sqlite import SqliteStore, StoreFormatError, StoreInUseError
from junctor.adapters.tables.sqlite_codec import encode
from junctor.adapters.tables.sqlite_rows import SWEEP_MAX
from junctor.adapters.tables.sqlite_worker import WritingWorker, _Job
from junctor.ports.table import (
    Add,
    Done,
    Equals,
    Exists,
    IndexSpec,
    Key,
    PutNew,
    Query,
    Remove,
    Set,
    TableSpec,
    UnavailableError,
    UnknownOutcomeError,
    Update,
)
from tests.support.pipeline import PATIENCE_S
from tests.support.tables import KEY, SAMPLE, all_items, done, item, refused, stored
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
        with pytest.raises(StoreInUseError, match="in use by another process"):
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


async def test_tokens_are_forgotten_by_their_age() -> None:
    """Each transaction would look at the tokens of all others of ten minutes: 7 ms for each at a hundred in a second."""
    store = SqliteStore(None)
    await store.create([SAMPLE])
    plan = await store.writer.call(
        lambda writing: writing.execute(f"EXPLAIN QUERY PLAN {sqlite_rows._FORGET}", (0,)).fetchall()
    )
    assert [step[-1].split()[0] for step in plan] == ["SEARCH"]
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
    assert refused(await table.update(Key("P", "expires"), [Exists("ttl")], [Add("count", 1)])).old is None
    await store.close()


async def test_sweeps_keep_up_with_what_expires() -> None:
    """A busy server's file would grow for ever: by every request above the few a second that one sweep a minute takes away."""
    now = [1_000_000.0]
    store = SqliteStore(None, now_s=lambda: now[0])
    await store.create([SAMPLE])
    table = store.table(SAMPLE)
    await table.batch_put([item(sort=str(number), ttl=1_000_000) for number in range(3 * SWEEP_MAX + 1)])
    now[0] += 1
    for left in (2 * SWEEP_MAX + 1, SWEEP_MAX + 1, 1, 0, 0):
        done(await table.update(Key("Q", "count"), [], [Add("count", 1)]))
        assert len(await all_items(table, Query(partition="P"))) == left
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
    """Half of a batch would stay behind after an error, take the writes of others with it, or count them twice."""
    store = SqliteStore(tmp_path / "store.sqlite3")
    await store.create([SAMPLE])
    table = store.table(SAMPLE)
    done(await table.put_new(item(sort="before", count=0)))

    def half(connection: sqlite3.Connection) -> None:
        table._rows.insert(connection, KEY, item(), encode(item()))
        raise ValueError

    for count in (1, 2):
        writes = [
            table.update(Key("P", "before"), [], [Add("count", 1)]),
            store.writer.call(half),
            table.put_new(item(sort=f"S{count}")),
            store.writer.call(half),
            table.put_new(item(sort=f"T{count}")),
        ]
        answers = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Done, ValueError, Done, ValueError, Done]
        assert await stored(table, Key("P", "before")) == item(sort="before", count=count)
    assert [found["sk"] for found in await all_items(table, Query(partition="P"))] == ["S1", "S2", "T1", "T2", "before"]
    await store.close()


async def test_a_mistake_takes_nobody_with_it(tmp_path: Path) -> None:
    """One caller's sum that cannot be would fail the writes of all who wrote at the same time."""
    store = SqliteStore(tmp_path / "store.sqlite3")
    await store.create([SAMPLE])
    table = store.table(SAMPLE)
    done(await table.put_new(item(text="x", count=0)))
    writes = [table.update(KEY, [], [Add(name, 1)]) for name in ("count", "text", "count", "text", "count")]
    answers = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Done, ValueError, Done, ValueError, Done]
    assert await stored(table) == item(text="x", count=3)
    await store.close()


async def test_a_commit_that_fails_is_no_success(tmp_path: Path) -> None:
    """A write would be acknowledged that is not on disk, or be built upon by the next one although it never was."""
    store = SqliteStore(tmp_path / "store.sqlite3")
    await store.create([SAMPLE])
    table = store.table(SAMPLE)
    done(await table.put_new(item(count=0)))

    def refuse_to_commit(connection: sqlite3.Connection) -> None:
        def judge(_: int, word: str | None, *__: str | None) -> int:
            return sqlite3.SQLITE_DENY if word == "COMMIT" else sqlite3.SQLITE_OK

        connection.set_authorizer(judge)

    with pytest.raises(UnknownOutcomeError):
        await store.writer.call(refuse_to_commit)
    # Held up, so that what follows shares one commit: a write that is alone commits by itself.
    go = threading.Event()
    held = store.writer.call(lambda _: go.wait(PATIENCE_S))
    writes = [table.update(KEY, [], [Add("count", 1)]), table.put_new(item(sort="new")), table.put_new(item())]
    together = asyncio.gather(*writes, return_exceptions=True)
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(UnknownOutcomeError):
        await held
    answers = await together
    assert [type(answer) for answer in answers] == [UnknownOutcomeError] * 3
    await store.writer.call(lambda connection: connection.set_authorizer(None))
    assert done(await table.update(KEY, [], [Add("count", 1)])).item == item(count=1)
    assert await stored(table, Key("P", "new")) is None
    await store.close()


async def test_what_was_written_lately_is_known_as_it_is(tmp_path: Path) -> None:
    """A write would be judged by an item as it was, and what others wrote since would be lost."""
    store = SqliteStore(tmp_path / "store.sqlite3")
    await store.create([SAMPLE])
    table, same = store.table(SAMPLE), store.table(SAMPLE)
    done(await table.put_new(item(count=0)))
    done(await same.update(KEY, [], [Add("count", 1)]))
    done(await table.update(KEY, [], [Add("count", 1), Set("text", "x" * 5_000)]))
    done(await same.transact([Update(KEY, (), (Add("count", 1),))], "token"))
    assert done(await table.update(KEY, [], [Add("count", 1), Remove("text")])).item == item(count=4)
    await same.batch_put([item(count=10)])
    assert done(await table.update(KEY, [], [Add("count", 1)])).item == item(count=11)
    done(await table.delete(KEY))
    assert refused(await same.update(KEY, [Exists("count")], [Add("count", 1)])).old is None
    done(await same.put_new(item()))
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


async def test_an_index_that_could_not_be_filled_is_not_there(tmp_path: Path) -> None:
    """After the repair of a damaged item the index would stay empty for ever, and the reclaimer would find no lease."""
    path = tmp_path / "store.sqlite3"
    plain = TableSpec(name="sample")
    store = SqliteStore(path)
    await store.create([plain])
    done(await store.table(plain).put_new(item(a="x", b="y")))

    def store_instead(connection: sqlite3.Connection, data: bytes) -> None:
        connection.execute('UPDATE "table:sample" SET item = ?', (data,))

    indexed = TableSpec(name="sample", indexes=(IndexSpec(name="new", partition="a", sort="b"),))
    await store.writer.call(store_instead, b"\xc1")
    with pytest.raises(msgspec.DecodeError):
        await store.create([indexed])
    await store.writer.call(store_instead, encode(item(a="x", b="y")))
    await store.create([indexed])
    assert await all_items(store.table(indexed), Query(partition="x", index="new")) == [item(a="x", b="y")]
    await store.close()


async def test_what_somebody_else_wrote_is_seen(tmp_path: Path) -> None:
    """Where the lock does not hold, as under another name of the file, writes would be judged by what was there once."""
    path = tmp_path / "store.sqlite3"
    store = SqliteStore(path)
    await store.create([SAMPLE])
    table = store.table(SAMPLE)
    for count in (1, 5):
        done(await table.update(KEY, [], [Add("count", 1)]))
        assert await stored(table) == item(count=count)
        done(await table.put_new(item(sort=str(count))))
        assert store._recent[SAMPLE.name].find(KEY) == encode(item(count=count))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("""UPDATE "table:sample" SET item = ? WHERE sk = x'53'""", (encode(item(count=4)),))
    assert done(await table.update(KEY, [], [Add("count", 1)])).item == item(count=5)
    await store.close()


async def test_what_somebody_else_wrote_decides(tmp_path: Path) -> None:
    """A slot that somebody else ended would be refused, or ended again, for what it was once; or a sum be called impossible."""
    path = tmp_path / "store.sqlite3"
    store = SqliteStore(path)
    await store.create([SAMPLE])
    table = store.table(SAMPLE)
    for ours, theirs in (({"state": "OPEN"}, {"state": "ENDED"}), ({"count": "text"}, {"count": 4})):
        done(await table.delete(KEY))
        done(await table.put_new(item(**ours)))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("""UPDATE "table:sample" SET item = ? WHERE sk = x'53'""", (encode(item(**theirs)),))
        if "state" in ours:
            assert refused(await table.update(KEY, [Equals("state", "OPEN")], [Add("count", 1)])).old == item(state="ENDED")
            assert done(await table.update(KEY, [Equals("state", "ENDED")], [Add("count", 1)])).item == item(
                state="ENDED", count=1
            )
        else:
            assert done(await table.update(KEY, [], [Add("count", 1)])).item == item(count=5)
    await store.close()


async def test_a_lone_write_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    """The next write would build upon one that was never written, or the store stay in a transaction for ever."""
    store = SqliteStore(tmp_path / "store.sqlite3")
    await store.create([SAMPLE])
    table = store.table(SAMPLE)
    done(await table.put_new(item(count=0)))

    def bound(connection: sqlite3.Connection, pages: int) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()

    await store.writer.call(bound, 1)  # no less than there are
    with pytest.raises(UnknownOutcomeError):
        await table.update(KEY, [], [Set("text", "x" * 50_000)])
    with pytest.raises(UnknownOutcomeError):
        await table.put_new(item(sort="new", text="x" * 50_000))
    await store.writer.call(bound, 100_000)
    assert done(await table.update(KEY, [], [Add("count", 1)])).item == item(count=1)
    done(await table.put_new(item(sort="new")))
    await store.close()


async def test_an_item_of_an_index_is_found_by_it_though_it_came_alone() -> None:
    """The reclaimer would never find a lease that was taken, or renewed, while nobody else wrote."""
    store = SqliteStore(None)
    await store.create([SAMPLE])
    table = store.table(SAMPLE)
    done(await table.put_new(item(shard="s", due="1")))
    assert await all_items(table, Query(partition="s", index="by-due")) == [item(shard="s", due="1")]
    done(await table.update(KEY, [], [Set("shard", "t")]))
    assert await all_items(table, Query(partition="s", index="by-due")) == []
    assert await all_items(table, Query(partition="t", index="by-due")) == [item(shard="t", due="1")]
    await store.close()


def _coded(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("made up")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (_coded(sqlite3.SQLITE_BUSY), UnavailableError),
        (_coded(sqlite3.SQLITE_ERROR), UnavailableError),
        (_coded(sqlite3.SQLITE_IOERR_FSYNC), UnknownOutcomeError),
        (_coded(sqlite3.SQLITE_FULL), UnknownOutcomeError),
        (sqlite3.ProgrammingError("made up"), UnknownOutcomeError),
        (MemoryError(), UnknownOutcomeError),
        (ValueError(), ValueError),
    ],
)
async def test_a_lone_write_whose_fate_is_unknown_is_told_so(raised: Exception, told: type[Exception]) -> None:
    """A write that is on disk would be called one that never was, as its statement commits too; or the thread would end."""
    forgotten: list[bool] = []
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    worker = WritingWorker("test", connection, lambda: forgotten.append(True))

    def fail(_: sqlite3.Connection) -> str:
        raise raised

    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(told):
            await worker.write(fail, lambda _: "done again")
        assert forgotten
        assert await worker.write(lambda _: None, lambda writing: writing.in_transaction) is True
        await worker.close()


async def test_a_lone_write_after_a_rollback_that_failed_is_no_success(tmp_path: Path) -> None:
    """A slot would be acknowledged, and be gone: it was written in a transaction that nobody commits."""
    failing = _NoMemory("ROLLBACK", tmp_path / "store.sqlite3")
    worker = WritingWorker("test", failing, lambda: None)  # type: ignore[arg-type] # as much of one as is used

    def fail(writing: sqlite3.Connection) -> int:
        writing.execute("DELETE FROM written")
        raise MemoryError

    def add(writing: sqlite3.Connection) -> int:
        return writing.execute("INSERT INTO written VALUES (1)").rowcount

    async with asyncio.timeout(PATIENCE_S):
        await worker.call(lambda writing: writing.execute("CREATE TABLE written (n)").rowcount)
        with pytest.raises(UnavailableError):
            await worker.call(fail)
        with pytest.raises(UnavailableError):
            await worker.write(add, add)
        failing.statement = ""
        with pytest.raises(UnavailableError):
            await worker.write(add, add)
        assert await worker.write(add, add) == 1
        with contextlib.closing(sqlite3.connect(tmp_path / "store.sqlite3")) as other:
            assert other.execute("SELECT n FROM written").fetchall() == [(1,)]
        await worker.close()


async def test_a_batch_waits_for_more_only_where_several_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call under load would pay for a commit of its own; or one that is alone would wait for nobody."""
    batches: list[int] = []
    waits: list[bool] = []

    class Noting(WritingWorker):
        def linger(self) -> None:
            waits.append(self._several)
            super().linger()

        def run(self, connection: sqlite3.Connection, batch: Sequence[_Job]) -> Sequence[object]:
            batches.append(len(batch))
            return super().run(connection, batch)

    monkeypatch.setattr(sqlite_worker, "LINGER_S", PATIENCE_S / 10)
    connection = sqlite3.connect(tmp_path / "store.sqlite3", isolation_level=None, check_same_thread=False)
    worker, begun, held = Noting("test", connection, lambda: None), threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        begun.set()
        held.wait(PATIENCE_S)

    async with asyncio.timeout(PATIENCE_S):
        jobs = [worker.call(hold)]
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        jobs += [worker.call(lambda _: None) for _ in range(2)]
        held.set()
        await asyncio.gather(*jobs)
        jobs = [worker.call(lambda _: None)]
        await asyncio.sleep(0.05)
        await asyncio.gather(*jobs, worker.call(lambda _: None))
        await worker.close()
    assert batches == [1, 2, 2]
    assert waits[:3] == [False, False, True]


class _NoMemory:
    """A connection for which there is no memory at one statement: Python says so by another error than SQLite's."""

    def __init__(self, statement: str, path: Path | str = ":memory:") -> None:
        self.statement = statement
        self.real = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.total_changes = 0

    @property
    def in_transaction(self) -> bool:
        """Tell whether one is open."""
        return self.real.in_transaction

    def execute(self, statement: str) -> sqlite3.Cursor:
        """Run a statement, or have no memory for it."""
        if statement == self.statement:
            raise MemoryError
        return self.real.execute(statement)

    def close(self) -> None:
        """Close the connection."""
        self.real.close()


@pytest.mark.parametrize(
    ("statement", "error"),
    [("BEGIN IMMEDIATE", UnavailableError), ("COMMIT", UnknownOutcomeError), ("SELECT 1", UnavailableError)],
)
async def test_a_moment_without_memory_does_not_end_the_store(statement: str, error: type[Exception]) -> None:
    """The thread would end, and everybody who writes would wait for ever."""
    connection = _NoMemory(statement)
    worker = WritingWorker("test", connection, lambda: None)  # type: ignore[arg-type] # as much of one as is used
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(2):
            with pytest.raises(error):
                await worker.call(lambda writing: writing.execute("SELECT 1"))
        await worker.close()
