"""What surrounds every call, whatever it asks: it is bounded in time, and leaves one log line however it ends.

A bug becomes an InternalError with an incident id, and its text stays in the log. A call that is cut from this side (see gate)
is told how far it came: what was charged, or may be, is never told as if nothing had been done.
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TypeVar

from junctor.domain.errors import DeadlineError, InternalError, JunctorError, StreamInterruptedError
from junctor.doors.rpc import gate
from junctor.doors.rpc.gate import Visit
from junctor.usecases.trail import Trail

RESERVE_S, RESERVE_SHARE = 0.25, 0.2
"""What is kept back of a caller's deadline for settling and answering: seconds, and at most this share of it."""

T = TypeVar("T")

Ending = Callable[[Visit, Trail], JunctorError]
"""From a call that was cut, and what is known of it, to what its caller is told."""


def interrupted(visit: Visit, trail: Trail) -> JunctorError:
    """Tell of a generation that was cut: what was delivered is charged as for a caller who left; before that, nothing is."""
    if visit.cut is None or not trail.generation_id:
        return visit.refusal()
    return StreamInterruptedError(
        f"{visit.cut.value}; the answer broke off after it had begun.",
        generation_id=trail.generation_id,
        delivered_tokens=str(trail.usage.output_tokens),
        cost_nanousd="",
    )


class Guard:
    """What surrounds the calls of one service. `trails` begins the trail of a call by the name of its method."""

    def __init__(self, trails: Callable[[str], Trail], ending: Ending = interrupted) -> None:
        self._trails = trails
        self._ending = ending

    def call(self, method: str) -> "_Call":
        """Surround a call with an asynchronous context. What leaves it is a JunctorError or the caller's own cancel."""
        return _Call(self._trails(method), self._ending)


class _Call:
    """One call. A class and no generator: it surrounds every call there is, and costs a third of one."""

    __slots__ = ("_ending", "_trail")

    def __init__(self, trail: Trail, ending: Ending) -> None:
        self._trail = trail
        self._ending = ending

    async def __aenter__(self) -> Trail:
        return self._trail

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write the line, and turn what is no JunctorError into one."""
        trail = self._trail
        if error is None:
            trail.close("OK")
        elif isinstance(error, JunctorError):
            trail.close(error.reason)
        elif isinstance(error, asyncio.CancelledError):
            visit = gate.current()
            told = self._ending(visit, trail) if visit is not None and visit.cut is not None else None
            trail.close("CANCELLED" if told is None else told.reason)
            if told is not None:
                raise told from None
        elif isinstance(error, Exception):  # the last net: a bug is told to the log, and to the caller by its incident
            incident = trail.incident(error)
            trail.close(InternalError.reason)
            raise InternalError(incident) from None


def deadline(timeout_s: float | None, default_s: float, most_s: float) -> float:
    """Return until when to work, on the loop's clock: what the caller grants, less what answering takes.

    Raises:
        DeadlineError: it has passed already.
    """
    granted_s = min(default_s if timeout_s is None else timeout_s, most_s)
    if granted_s <= 0:
        raise DeadlineError("receipt")
    return asyncio.get_running_loop().time() + granted_s - min(RESERVE_S, RESERVE_SHARE * granted_s)


async def within(until: float, stage: str, work: Awaitable[T]) -> T:
    """Wait for work until an instant of the loop's clock. Raises DeadlineError with the stage, and what the work raises."""
    bound = asyncio.timeout_at(until)
    try:
        async with bound:
            return await work
    except TimeoutError:
        if not bound.expired():
            raise
        raise DeadlineError(stage) from None
