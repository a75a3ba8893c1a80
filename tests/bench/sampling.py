"""Where does a server's time go, seen from outside? py-spy's samples of a process, while it works, folded by function.

The process is not slowed down by more than a pause for each look, and all of its threads are seen, which the profiler inside of
tests/bench/child cannot say. What counts is who holds the interpreter: a loop that waits looks busy from outside otherwise. So
what C code does without it is missing, such as a store's sync. py-spy is installed on first use and may not be allowed to look:
either raises MissingError.
"""

import asyncio
import signal
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.bench.child import Function
from tests.bench.outside import places
from tests.bench.outside.places import PY_SPY, MissingError

RATE = 250
"""Looks a second."""

END_S = 30.0


@asynccontextmanager
async def sampled(pid: int) -> AsyncGenerator[list[Function], None]:
    """Sample a process while the block runs, and fill the list that is yielded when it has ended. Raises MissingError."""
    place = await asyncio.to_thread(places.installed, places.py_spy())
    functions: list[Function] = []
    with tempfile.TemporaryDirectory(prefix="junctor-bench-") as folder:
        raw = Path(folder) / "raw"
        options = ("--pid", str(pid), "--rate", str(RATE), "--format", "raw", "--gil", "--function", "--output", str(raw))
        spy = await asyncio.create_subprocess_exec(
            *(str(place.program), "record", *options), stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
        )
        try:
            yield functions
        finally:
            await _end(spy)
        if not raw.exists():
            raise MissingError(f"{PY_SPY} may not look at a process here")
        functions += folded(raw.read_text(encoding="utf-8").splitlines())


async def _end(spy: Process) -> None:
    """Let it write what it has seen, and kill it if it does not."""
    try:
        with suppress(ProcessLookupError):
            spy.send_signal(signal.SIGINT)
        await asyncio.wait_for(spy.wait(), END_S)
    finally:
        if spy.returncode is None:
            spy.kill()
            await spy.wait()


def folded(lines: Iterable[str]) -> list[Function]:
    """Sum stacks up, most own time first: `outer;inner 3` is three looks that found inner at work, called by outer."""
    own, total = Counter[str](), Counter[str]()
    for line in lines:
        stack, _, looks = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(looks)
        for frame in set(frames):
            total[frame] += int(looks)
    ordered = sorted(total.items(), key=lambda entry: (-own[entry[0]], -entry[1]))
    return [Function(place, 0, own[place] / RATE, looks / RATE) for place, looks in ordered]
