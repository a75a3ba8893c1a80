"""Signs of life on a silent stream, so that no balancer cuts a model that thinks.

One task a stream, and none a message: it wakes once an interval and writes only if nothing was written since. A lock keeps it
and the answer from writing at once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from junctor.doors.codec import answers
from junctor.v1 import router_service_pb2 as pb


class Heartbeats:
    """A stream's way out, with a heartbeat after each `interval_s` of silence while it is entered."""

    def __init__(self, send: Callable[[pb.StreamResponse], Awaitable[None]], interval_s: float) -> None:
        self._send = send
        self._interval_s = interval_s
        self._lock = asyncio.Lock()
        self._sent_at = 0.0
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        """Start to watch for silence."""
        self._sent_at = asyncio.get_running_loop().time()
        self._task = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, and wait out a heartbeat that is being written, unless the call is cut: its reader may never take it."""
        try:
            if not isinstance(error, asyncio.CancelledError):
                async with self._lock:
                    pass
        finally:
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def send(self, message: pb.StreamResponse) -> None:
        """Write a message."""
        async with self._lock:
            await self._send(message)
        self._sent_at = asyncio.get_running_loop().time()

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            silent_for_s = loop.time() - self._sent_at
            if silent_for_s < self._interval_s:
                await asyncio.sleep(self._interval_s - silent_for_s)
                continue
            async with self._lock:
                if loop.time() - self._sent_at < self._interval_s:
                    continue  # an answer was being written meanwhile
                await self._send(answers.heartbeat())
            self._sent_at = loop.time()
