"""`junctor up` and `junctor serve` as real processes that see nothing of this machine, with a bound on every wait."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

START_S = 30.0
"""How long a process may take to say something: generous, as the machine may be busy."""

_KEPT = ("PATH", "HOME", "LANG", "SYSTEMROOT", "XDG_CACHE_HOME")


def environment(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Return a process's whole environment: its data folder, a free port, no local model, and these settings."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    own = {"JUNCTOR_DATA_DIR": str(folder), "JUNCTOR_LISTEN": "127.0.0.1:0", "JUNCTOR_LOCAL_MODEL": "off"}
    return {**kept, **own, **settings}


class Child:
    """A process whose standard output and error are read together, line by line; `lines` is what came."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []

    async def line_with(self, word: str) -> str:
        """Wait for a line that has this word."""
        async with asyncio.timeout(START_S):
            while True:
                line = await self._read()
                assert line is not None, self.lines
                if word in line:
                    return line

    async def ended(self) -> int:
        """Read to the end and return the exit status."""
        async with asyncio.timeout(START_S):
            while await self._read() is not None:
                pass
            return await self._process.wait()

    async def terminate(self) -> int:
        """Ask the process to end, as a supervisor does, and return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def _read(self) -> str | None:
        assert self._process.stdout is not None
        data = await self._process.stdout.readline()
        if not data:
            return None
        self.lines.append(data.decode().rstrip())
        return self.lines[-1]


@asynccontextmanager
async def child(command: str, folder: Path, settings: Mapping[str, str] | None = None) -> AsyncGenerator[Child, None]:
    """Start `junctor up` or `junctor serve`; what still runs at the end is killed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "junctor", command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(folder, settings or {}),
    )
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
