"""How long answers wait for the store: what asyncio.timeout does, with one timer for all, as a timer for each is dear.

All waits are of one length, so they run out in the order in which they began, and only the oldest is looked at. A wait that is
over leaves the queue when it comes to its head.
"""

import asyncio
from collections import deque
from types import TracebackType


class Wait:
    """One wait of the running task: TimeoutError is raised from what it awaits, once it has run out at `at_s`.

    It ends by a cancellation of that task, so that what is awaited hears of it as of any other.
    """

    __slots__ = ("_cancelling", "_ran_out", "_task", "at_s", "over")

    def __init__(self, loop: asyncio.AbstractEventLoop, at_s: float) -> None:
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - something runs
        self._task = task
        self._cancelling = task.cancelling()
        self._ran_out = False
        self.at_s = at_s
        self.over = False

    def run_out(self) -> None:
        """End it."""
        self._ran_out = True
        self._task.cancel()

    def __enter__(self) -> None:
        """Nothing is to be done."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Tell a cancellation of ours from another one's."""
        self.over = True
        if self._ran_out and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error


class Patience:
    """Waits of one length."""

    def __init__(self) -> None:
        self._waits: deque[Wait] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, seconds: float) -> Wait:
        """Begin a wait of so many seconds, for a `with` block."""
        waits, loop = self._waits, asyncio.get_running_loop()
        while waits and waits[0].over:
            waits.popleft()
        wait = Wait(loop, loop.time() + seconds)
        waits.append(wait)
        if self._timer is None:
            self._timer = loop.call_at(wait.at_s, self._ring, loop)
        return wait

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        waits, now_s = self._waits, loop.time()
        while waits and (waits[0].over or waits[0].at_s <= now_s):
            wait = waits.popleft()
            if not wait.over:
                wait.run_out()
        self._timer = loop.call_at(waits[0].at_s, self._ring, loop) if waits else None
