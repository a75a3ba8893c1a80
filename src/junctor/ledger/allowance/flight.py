"""One piece of work at the store at a time, which callers wait for a while and no longer.

It goes on when a caller leaves, and for those who still come. After a failure it rests, so that a store that is down is not
asked for every call. It never raises: a caller is told whether the store answered, and a bug goes to the telemetry.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from junctor.ports.ambient import Clock
from junctor.ports.table import StoreError
from junctor.ports.telemetry import Counter, Telemetry

WAIT_S = 1.0
"""How long a caller waits for the store, from the beginning of the work on."""
REST_S = 1.0

Work = Callable[[], Coroutine[Any, Any, None]]


class Flight:
    """The work and the task in which it is under way, if it is."""

    def __init__(self, work: Work, clock: Clock, telemetry: Telemetry) -> None:
        self._work = work
        self._clock = clock
        self._telemetry = telemetry
        self._task: asyncio.Task[None] | None = None
        self._began_s = 0.0
        self._rest_until_s: float | None = None

    @property
    def under_way(self) -> bool:
        """Whether the store is being asked."""
        return self._task is not None

    def start(self) -> None:
        """Begin the work, unless it is under way or rests."""
        now_s = self._clock.monotonic_s()
        if self._task is None and (self._rest_until_s is None or now_s >= self._rest_until_s):
            self._began_s = now_s
            self._task = asyncio.create_task(self._work())
            self._task.add_done_callback(self._end)

    async def join(self) -> bool:
        """Wait until the work that is under way, or begins now, has ended; False if it failed, rests or takes too long."""
        self.start()
        task, wait_s = self._task, self._began_s + WAIT_S - self._clock.monotonic_s()
        if task is None:
            return False
        await asyncio.wait({task}, timeout=max(wait_s, 0.0))
        return task.done() and not task.cancelled() and task.exception() is None

    async def stop(self) -> None:
        """Give up what is under way."""
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._task = None
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self._rest_until_s = self._clock.monotonic_s() + REST_S
        if not isinstance(error, StoreError):
            self._telemetry.count(Counter.INCIDENT)
            self._telemetry.incident("allowance", error)
