"""A process that is one server, and tells on request what it has cost.

    python -m tests.bench.child NAME [BASE_URL [TABLES_URL]]

Lines of JSON on standard output, one first with the server's address, then one for each word on standard input:
`cpu` (seconds of CPU since the process began, user and system, all threads), `closed` (when the provider saw connections closed
in the middle of an answer, since it was last asked), `profile` (begin to profile) and `profiled` (functions by own time). The
process ends when its standard input does, so that it cannot outlive whoever started it.
"""

import asyncio
import cProfile
import pstats
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from junctor.bootstrap import native, quick
from tests.bench import upstream
from tests.bench.servers import SERVERS


class Function(Struct, frozen=True):
    """A function in a profile; times in seconds, `own_s` without what it called."""

    place: str
    calls: int
    own_s: float
    total_s: float


class _Control:
    """Answers the words on standard input from a thread, which costs nothing while it waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ended = asyncio.Event()
        self._loop = loop
        self._profile = cProfile.Profile()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            for line in sys.stdin:
                word = line.strip()
                if word == "cpu":
                    _say(time.process_time())
                elif word == "closed":
                    _say(upstream.closed_at())
                elif word == "profile":
                    self._profile = cProfile.Profile()
                    self._on_loop(self._profile.enable)
                    _say(word)
                elif word == "profiled":
                    self._on_loop(self._profile.disable)
                    _say(_functions(self._profile))
        finally:
            self._loop.call_soon_threadsafe(self.ended.set)

    def _on_loop(self, work: Callable[[], object]) -> None:
        """Do something on the loop's thread, which is the one that a profile sees, and wait for it."""
        done = threading.Event()
        self._loop.call_soon_threadsafe(work)
        self._loop.call_soon_threadsafe(done.set)
        done.wait()


async def _serve(name: str, base_url: str = "", tables_url: str = "") -> None:
    # An interrupt reaches every process of a terminal: who started this one ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    async with SERVERS[name](base_url, tables_url) as address:
        quick.started()  # as `junctor serve` does; the others are not to be worse off
        control = _Control(asyncio.get_running_loop())
        _say(address)
        await control.ended.wait()


def _functions(profile: cProfile.Profile) -> list[Function]:
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = vars(pstats.Stats(profile))["stats"]
    read = [Function(_place(*function), calls, own_s, total_s) for function, (_, calls, own_s, total_s, _) in stats.items()]
    return sorted(read, key=lambda function: -function.own_s)


def _place(file: str, line: int, name: str) -> str:
    """Name a function by the end of its path: enough to find it, and nothing of this machine."""
    return name if file == "~" else f"{'/'.join(Path(file).parts[-2:])}:{line} {name}"


def _say(value: object) -> None:
    print(msgspec.json.encode(value).decode(), flush=True)


if __name__ == "__main__":
    native.run(_serve(*sys.argv[1:]))
