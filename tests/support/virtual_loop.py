"""An event loop whose time jumps to the next timer when nothing is ready, so that simulated hours cost milliseconds.

Sockets and pipes still work, but nothing is waited for in real time: when no timer is set and nothing is ready, the loop ends
with StalledError instead of hanging, which in a simulation is a deadlock found. Work in other threads is for real loops.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

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


def run_virtual(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine to its end on a new loop with virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
