"""Signs of life on a silent stream, so that no balancer cuts a model that thinks.

One timer a stream, and none a message: it looks once an interval whether anything was written since, and only where nothing was
there is a task, which writes a heartbeat. Nothing is written while that is, and no heartbeat while an answer is. A heartbeat
that cannot be written is the last: who writes next is told.
"""

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from types import TracebackType
from typing import Self

from junctor.doors.codec import answers
from junctor.v1 import router_service_pb2 as pb


class Heartbeats:
    """A stream's way out, with a heartbeat after each `interval_s` of silence while it is entered."""

    def __init__(self, send: Callable[[pb.StreamResponse], Awaitable[None]], interval_s: float) -> None:
        self._send = send
        self._interval_s = interval_s
        self._loop = asyncio.get_running_loop()
        self._silent_since = inf  # while something is written
        self._timer: asyncio.TimerHandle
        self._beat: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start to watch for silence."""
        self._silent_since = self._loop.time()
        self._timer = self._loop.call_at(self._silent_since + self._interval_s, self._look)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, and wait out a heartbeat that is being written, unless the call is cut: its reader may never take it."""
        try:
            if not isinstance(error, asyncio.CancelledError):
                await self._beaten()
        finally:
            self._timer.cancel()
            if self._beat is not None:
                self._beat.cancel()
        if self._beat is not None:
            await asyncio.gather(self._beat, return_exceptions=True)

    async def send(self, message: pb.StreamResponse) -> None:
        """Write a message."""
        if self._beat is not None:
            await self._beaten()
        await self._write(message)

    async def _write(self, message: pb.StreamResponse) -> None:
        self._silent_since = inf
        await self._send(message)
        self._silent_since = self._loop.time()

    async def _beaten(self) -> None:
        """Wait until no heartbeat is being written, and none is about to be."""
        while self._beat is not None and not self._beat.done():
            await asyncio.wait((self._beat,))

    def _look(self) -> None:
        """Write a heartbeat if it is due, or look again when it may be."""
        now = self._loop.time()
        due_at = min(self._silent_since, now) + self._interval_s
        if due_at <= now:
            self._beat = asyncio.create_task(self._write_beat())
        else:
            self._timer = self._loop.call_at(due_at, self._look)

    async def _write_beat(self) -> None:
        await self._write(answers.heartbeat())
        self._timer = self._loop.call_at(self._silent_since + self._interval_s, self._look)
