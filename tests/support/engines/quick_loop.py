"""An event loop on which time passes faster than outside, so that actors made for virtual time can meet a real engine.

Sockets and threads work as ever; only the loop's clock, and with it every timer, runs ahead. An engine that answers in 3 ms is
thus one of 150 ms to those on the loop, and their minute is over in a second and a bit.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")

SPEED = 50.0
"""How many of the loop's seconds pass in one real second."""


class _Selector(selectors.SelectSelector):
    """Waits a real time for the loop's time."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, after the given time of the loop at most."""
        return super().select(None if timeout is None else timeout / SPEED)


class QuickLoop(asyncio.SelectorEventLoop):
    """The loop. Its time starts at 0."""

    def __init__(self) -> None:
        self._began_s = 0.0
        super().__init__(_Selector())
        self._began_s = super().time()

    def time(self) -> float:
        """Return the loop's time."""
        return (super().time() - self._began_s) * SPEED


def run_quick(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run this to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=QuickLoop) as runner:
        return runner.run(work)
