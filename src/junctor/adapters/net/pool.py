"""Which connection serves a request? One that was kept, else a new one, and never more than there may be.

Whoever takes a connection gives it back in one of three ways: `keep` it for the next one, `drop` it, or let it `linger` until
its answer has come to an end. What stays unused is closed in time; the one that was used last is used next.

Invariant: each `take` is answered by exactly one of the three, and a connection that has ended, or on which something came that
nobody asked for, is not used again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeAlias

from junctor.adapters.net import face
from junctor.adapters.net.face import Limits
from junctor.adapters.net.line import Line, Target

Make: TypeAlias = Callable[[], Line]
Dial: TypeAlias = Callable[[Target, Make], Awaitable[Line]]

_CLOSE_S = 1.0
"""How long the event loop gets to close all connections, in seconds."""


class Pool:
    """The connections to all servers."""

    def __init__(self, limits: Limits, dial: Dial) -> None:
        """Open nothing yet."""
        self._limits = limits
        self._dial = dial
        self._room = asyncio.Semaphore(limits.connections_max)
        self._open: set[Line] = set()
        self._idle: dict[Target, list[Line]] = {}
        self._since: dict[Line, float] = {}
        self._lingering: dict[Line, asyncio.TimerHandle] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False
        self._emptied = asyncio.Event()

    async def take(self, target: Target, by: float) -> Line:
        """Return a connection for one exchange. Raises TimeoutError and NeverSentError."""
        if not self._room.locked() and (line := self._kept(target)) is not None:
            # There is room, so this does not wait.
            await self._room.acquire()
            return line
        async with asyncio.timeout_at(by):
            await self._room.acquire()
            try:
                return self._kept(target) or await self._opened(target)
            except BaseException:
                self._room.release()
                raise

    def keep(self, line: Line) -> None:
        """Take back a connection whose exchange has come to its end; its timer stays, for the next one's waits."""
        self._room.release()
        if self._closed or line.should_close or not line.is_connected():
            line.abort()
            return
        if len(self._since) >= self._limits.idle_connections_max:
            self._close_oldest()
        self._since[line] = _now_s()
        self._idle.setdefault(line.target, []).append(line)
        if self._sweeping is None:
            self._sweep_in(self._limits.idle_s)

    def drop(self, line: Line) -> None:
        """Close a connection at once."""
        self._room.release()
        line.rest()
        line.abort()

    def linger(self, line: Line) -> None:
        """Keep a connection once its answer has ended, close it if that takes long."""
        line.rest()
        self._lingering[line] = asyncio.get_running_loop().call_later(face.LINGER_S, self._give_up, line)
        line.on_complete(partial(self._lingered, line))

    async def close(self) -> None:
        """Close every connection, and wait until they are."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        if not self._open:
            return
        self._emptied.clear()
        for line in self._open:
            line.abort()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._emptied.wait(), _CLOSE_S)

    def _kept(self, target: Target) -> Line | None:
        """Return the connection that was used last, of those that can be used."""
        lines = self._idle.get(target)
        while lines:
            line = lines.pop()
            if not lines:
                del self._idle[target]
            del self._since[line]
            if line.is_connected() and not line.should_close:
                return line
            line.abort()
        return None

    async def _opened(self, target: Target) -> Line:
        """Return a new connection. Raises NeverSentError."""
        if self._since and len(self._open) >= self._limits.connections_max:
            self._close_oldest()
        line = await self._dial(target, partial(Line, target, self._ended))
        if line.is_connected():
            self._open.add(line)
        return line

    def _ended(self, line: Line) -> None:
        """Forget a connection that is gone."""
        self._open.discard(line)
        if not self._open:
            self._emptied.set()
        if line in self._since:
            self._unlist(line)
        timer = self._lingering.pop(line, None)
        if timer is not None:
            timer.cancel()
            self._room.release()

    def _lingered(self, line: Line) -> None:
        timer = self._lingering.pop(line, None)
        if timer is not None:
            timer.cancel()
            self.keep(line)

    def _give_up(self, line: Line) -> None:
        del self._lingering[line]
        self.drop(line)

    def _close_oldest(self) -> None:
        line = next(iter(self._since))
        self._unlist(line)
        line.abort()

    def _unlist(self, line: Line) -> None:
        del self._since[line]
        lines = self._idle[line.target]
        lines.remove(line)
        if not lines:
            del self._idle[line.target]

    def _sweep_in(self, seconds: float) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        """Close what was not used for long, and come again when the next one will be due."""
        self._sweeping = None
        now_s = _now_s()
        while self._since:
            left_s = next(iter(self._since.values())) + self._limits.idle_s - now_s
            if left_s > 0:
                self._sweep_in(left_s)
                return
            self._close_oldest()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
