"""What a store that is killed under writes is held to; and, as a program, the child process of the SQLite tests that writes.

It writes for ever, and prints the name of each write once it was acknowledged. With `hold` as its second argument it opens the
store, says so, and waits for the end of its input.
"""

import asyncio
import sys
from collections.abc import Callable, Collection
from itertools import count
from pathlib import Path

from junctor.adapters.tables.sqlite import SqliteStore
from junctor.ports.table import Done, PutNew, Query, Table
from tests.support.tables import SAMPLE, all_items, item

WRITERS = 8
"""So many writes are in flight at once, so that the kill meets a group commit."""


async def write_for_ever(table: Table, round_number: int, acknowledge: Callable[[str], object]) -> None:
    """Write from many tasks at once, single items and pairs in turn, and tell the name of each write once it was acknowledged.

    The odd ones are single. Raises an ExceptionGroup of what writes met, once one of them has failed and all have ended.
    """
    numbers = count()

    async def writer() -> None:
        for number in numbers:
            name = f"{round_number}-{number}"
            if number % 2:
                answer = await table.put_new(item(sort=name, value="x" * 200))
            else:
                answer = await table.transact([PutNew(item(sort=name)), PutNew(item(partition="Q", sort=name))], name)
            assert isinstance(answer, Done)
            acknowledge(name)

    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(writer())


async def check_written(table: Table, acknowledged: Collection[str]) -> None:
    """Look for every acknowledged write, and for half of a pair. Raises AssertionError."""
    found = {str(one["sk"]) for one in await all_items(table, Query(partition="P", consistent=True))}
    pairs = {str(one["sk"]) for one in await all_items(table, Query(partition="Q", consistent=True))}
    assert acknowledged
    assert not set(acknowledged) - found
    assert pairs == {name for name in found if int(name.partition("-")[2]) % 2 == 0}


async def write(path: Path, round_number: int) -> None:
    """Write until killed."""
    store = SqliteStore(path)
    await store.create([SAMPLE])

    def acknowledge(name: str) -> None:
        sys.stdout.write(f"{name}\n")
        sys.stdout.flush()

    await write_for_ever(store.table(SAMPLE), round_number, acknowledge)


async def hold(path: Path) -> None:
    """Keep the store open until stdin ends."""
    store = SqliteStore(path)
    sys.stdout.write("open\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await store.close()


if __name__ == "__main__":
    file = Path(sys.argv[1])
    asyncio.run(hold(file) if sys.argv[2] == "hold" else write(file, int(sys.argv[2])))
