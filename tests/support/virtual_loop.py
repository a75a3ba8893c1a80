"""An event loop whose time jumps to the next timer when nothing is ready, so that simulated hours cost milliseconds.

Sockets and pipes still work, but nothing is waited for in real time: when no timer is set and nothing is ready, the loop ends
with StalledError instead of hanging, which in a simulation is a deadlock found. Work in other threads is for real loops.
"""

import asyncio
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeVar, TypeVarTuple

_Args = TypeVarTuple("_Args")
_Result = TypeVar("_Result")


class StalledError(RuntimeError):
    """Nothing is ready and no timer is set: nothing can ever happen again."""


class _Selector(selectors.SelectSelector):
    """Looks at its files without waiting, and lets the waiting time pass on a clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready now; if nothing is, the time given has passed."""
        ready = super().select(0)
        if not ready and timeout is None:
            raise StalledError("no timer is set and nothing is ready")
        if not ready and timeout is not None:
            self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with its own clock, which starts at 0."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual.now_s


class _Handle(asyncio.TimerHandle):
    """A callback with as little around it as a task needs."""

    __slots__ = ()

    _source_traceback = None
    _when: float

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> None:
        self._callback = callback
        self._args = args
        self._context = copy_context() if context is None else context
        self._cancelled = False

    def cancel(self) -> None:
        """Let it not be called."""
        self._cancelled = True


class TimersLoop(VirtualLoop):
    """A virtual loop that looks at no file at all, for simulations that do nothing but wait: one turn costs a third.

    Order is as in any loop: what was ready when a turn began runs in its order, and timers that are due join it, the earliest
    first; of two for the same instant the one that was set first.
    """

    _stopping: bool

    def __init__(self) -> None:
        self._soon: deque[_Handle] = deque()
        self._later: list[tuple[float, int, _Handle]] = []
        self._numbers = count()
        super().__init__()

    def call_soon(self, callback: Callable[[*_Args], object], *args: *_Args, context: Context | None = None) -> asyncio.Handle:
        """Let a callback be called in the next turn."""
        handle = _Handle(callback, args, context)
        self._soon.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*_Args], object], *args: *_Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Let a callback be called after so many seconds."""
        handle = _Handle(callback, args, context)
        handle._when = when = self._virtual.now_s + delay
        heappush(self._later, (when, next(self._numbers), handle))
        return handle

    def call_at(
        self, when: float, callback: Callable[[*_Args], object], *args: *_Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Let a callback be called at this instant."""
        handle = _Handle(callback, args, context)
        handle._when = when
        heappush(self._later, (when, next(self._numbers), handle))
        return handle

    def _run_once(self) -> None:
        """Do turn after turn until the loop is to stop, in the place of asyncio's own, which does one."""
        soon, later, clock = self._soon, self._later, self._virtual
        ready = soon.popleft
        while True:
            if not soon:
                self._wait_for_timer()
            now_s = clock.now_s
            while later and later[0][0] <= now_s:
                soon.append(heappop(later)[2])
            for _ in range(len(soon)):
                handle = ready()
                if handle._cancelled:
                    continue
                try:
                    handle._context.run(handle._callback, *handle._args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 - any loop tells its handler of what ends a callback, and goes on
                    self.call_exception_handler({"message": "a callback failed", "exception": error, "handle": handle})
            if self._stopping:
                return

    def _wait_for_timer(self) -> None:
        """Let time pass until the next timer is due."""
        later, clock = self._later, self._virtual
        while later and later[0][2]._cancelled:
            heappop(later)
        if not later:
            raise StalledError("no timer is set and nothing is ready")
        clock.now_s = max(clock.now_s, later[0][0])


def run_virtual(main: Coroutine[Any, Any, _Result], loop: Callable[[], VirtualLoop] = TimersLoop) -> _Result:
    """Run a coroutine to its end on a new loop with virtual time."""
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)
