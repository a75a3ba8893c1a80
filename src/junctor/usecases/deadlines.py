"""When is a call's time up? What asyncio.timeout does, with one timer for all calls under way, as a timer for each is dear.

Calls have deadlines of their own. The timer rings at the soonest of those that were under way when it was set; a call that has
ended by then has left, so it is set for the next one, and hardly ever rings in vain. It goes over all calls under way then, so
it rings a hundred times a second at most, however many of them run out: a call is told that much late at the latest.

Invariant: while calls are under way, the timer is set for the grain after the soonest deadline among them, or an earlier one.
"""

import asyncio
import math
from types import TracebackType
from typing import Any, Final

GRAIN_S: Final = 0.01
"""How far apart the instants are at which the timer may ring."""


class Deadline:
    """The deadline of one call: TimeoutError is raised from what its task awaits, once it has `run_out`.

    That is a cancellation of the task, so that what is awaited hears of it as of any other.
    """

    __slots__ = ("_cancelling", "_ran_out", "_task", "_under_way", "at_s")

    def __init__(self, task: "asyncio.Task[Any]", at_s: float, under_way: "dict[Deadline, None]") -> None:
        self._task = task
        self._cancelling = task.cancelling()
        self._ran_out = False
        self._under_way = under_way
        self.at_s = at_s

    def run_out(self) -> None:
        """End the work, if it is still under way, once."""
        if self in self._under_way:
            del self._under_way[self]
            self._ran_out = True
            self._task.cancel()

    def __enter__(self) -> None:
        """Begin."""
        self._under_way[self] = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Leave, and tell our own cancellation from another one's."""
        self._under_way.pop(self, None)
        if self._ran_out and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error


class Deadlines:
    """The deadlines of all calls under way."""

    def __init__(self) -> None:
        self._under_way: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at_s = 0.0

    def until(self, at_s: float) -> Deadline:
        """Bound the work of the running task by an instant of the loop's clock, for a `with` block."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - something runs
        if self._timer is None or at_s < self._rings_at_s:
            self._ring_at(at_s, loop)
        return Deadline(task, at_s, self._under_way)

    def _ring_at(self, at_s: float, loop: asyncio.AbstractEventLoop) -> None:
        at_s = max(math.ceil(at_s / GRAIN_S) * GRAIN_S, at_s)  # which may come out a little less
        if self._timer is not None:
            if at_s >= self._rings_at_s:
                return
            self._timer.cancel()
        self._rings_at_s = at_s
        self._timer = loop.call_at(at_s, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        due_s = max(loop.time(), self._rings_at_s)  # a timer may ring a little early: set again, it would ring in vain
        for deadline in [found for found in self._under_way if found.at_s <= due_s]:
            deadline.run_out()
        if self._under_way:
            self._ring_at(min(found.at_s for found in self._under_way), loop)
