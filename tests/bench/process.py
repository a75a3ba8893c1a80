"""The starter's side of tests/bench/child: start, ask, end. Every wait is bounded, and no child is left behind."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from tests.bench import resident
from tests.bench.child import Function
from tests.bench.resident import Memory
from tests.bench.servers import Address

START_S = 60.0
REPLY_S = 30.0
END_S = 10.0
_MADE_UP = {"AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": "made-up", "AWS_REGION": "us-east-1"}
"""What a client of DynamoDB asks for; the stub looks at none of it."""

_ROOT = Path(__file__).parents[2]
_LINE_BYTES_MAX = 1 << 20

T = TypeVar("T")


class ChildError(Exception):
    """A child did not start or answer; the text says which."""


class Child:
    """A server in a process of its own."""

    def __init__(self, name: str, process: Process) -> None:
        self._name = name
        self._process = process
        self.address = Address(0)

    async def started(self) -> None:
        """Wait until it listens. Raises ChildError."""
        self.address = await self._read(Address, START_S)

    async def cpu_s(self) -> float:
        """Return the seconds of CPU that it has used. Raises ChildError."""
        return await self._ask("cpu", float)

    async def closed_at(self) -> list[float]:
        """Return when it saw connections closed in the middle of an answer, since it was last asked. Raises ChildError."""
        return await self._ask("closed", list[float])

    def memory(self) -> Memory:
        """Return what it holds."""
        return resident.memory(self.pid)

    @property
    def pid(self) -> int:
        """Return the id of its process."""
        return self._process.pid

    async def profile(self) -> None:
        """Begin to profile it. Raises ChildError."""
        await self._ask("profile", str)

    async def profiled(self) -> list[Function]:
        """End the profile and return its functions, by own time. Raises ChildError."""
        return await self._ask("profiled", list[Function])

    async def end(self) -> None:
        """Let it end by itself, and kill it if it does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), END_S)
        finally:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()

    async def _ask(self, word: str, kind: type[T]) -> T:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        return await self._read(kind, REPLY_S)

    async def _read(self, kind: type[T], within_s: float) -> T:
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), within_s)
            return msgspec.json.decode(line, type=kind)
        except (TimeoutError, msgspec.DecodeError):
            raise ChildError(f"the server {self._name!r} does not answer") from None


@asynccontextmanager
async def running(name: str, *addresses: str) -> AsyncGenerator[Child, None]:
    """Run a server of tests/bench/servers, given addresses that it needs, until the block ends, however it ends.

    It starts meanwhile.
    """
    command = (sys.executable, "-m", f"{__package__}.child", name, *addresses)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, cwd=_ROOT, limit=_LINE_BYTES_MAX, env={**os.environ, **_MADE_UP}
    )
    child = Child(name, process)
    try:
        yield child
    finally:
        await child.end()
