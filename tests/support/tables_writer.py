"""A child process of the SQLite tests: it writes for ever, and prints the name of each write once it was acknowledged.

With `hold` as its second argument it opens the store, says so, and waits for the end of its input.
"""

import asyncio
import sys
from itertools import count
from pathlib import Path

from junctor.adapters.tables.sqlite import SqliteStore
from junctor.ports.table import Done, PutNew
from tests.support.tables import SAMPLE, item

WRITERS = 8
"""So many writes are in flight at once, so that the kill meets a group commit."""


async def write(path: Path, round_number: int) -> None:
    """Write until killed."""
    store = SqliteStore(path)
    await store.create([SAMPLE])
    table = store.table(SAMPLE)
    numbers = count()

    async def writer() -> None:
        for number in numbers:
            name = f"{round_number}-{number}"
            if number % 2:
                answer = await table.put_new(item(sort=name, value="x" * 200))
            else:
                answer = await table.transact([PutNew(item(sort=name)), PutNew(item(partition="Q", sort=name))], name)
            assert isinstance(answer, Done)
            sys.stdout.write(f"{name}\n")
            sys.stdout.flush()

    await asyncio.gather(*(writer() for _ in range(WRITERS)))


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
