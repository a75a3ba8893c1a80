"""What surrounds every call, whatever it asks: it is counted, bounded in time, and leaves one log line however it ends.

A bug becomes an InternalError with an incident id, and its text stays in the log. The count tells a server that drains when
the last handler has ended, which is after grpc believes it.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from junctor.domain.errors import DeadlineError, InternalError, JunctorError
from junctor.usecases.trail import Trail

RESERVE_S, RESERVE_SHARE = 0.25, 0.2
"""What is kept back of a caller's deadline for settling and answering: seconds, and at most this share of it."""

T = TypeVar("T")


class Guard:
    """The calls of one service that are under way. `trails` begins the trail of a call by the name of its method."""

    def __init__(self, trails: Callable[[str], Trail]) -> None:
        self._trails = trails
        self._idle = asyncio.Event()
        self.under_way = 0

    @asynccontextmanager
    async def call(self, method: str) -> AsyncGenerator[Trail, None]:
        """Surround a call. What leaves is a JunctorError or the caller's own cancel."""
        trail = self._trails(method)
        self.under_way += 1
        try:
            yield trail
        except JunctorError as error:
            trail.close(error.reason)
            raise
        except asyncio.CancelledError:
            trail.close("CANCELLED")
            raise
        except Exception as error:  # noqa: BLE001 - the last net: a bug is told to the log, and to the caller by its incident
            incident = trail.incident(error)
            trail.close(InternalError.reason)
            raise InternalError(incident) from None
        else:
            trail.close("OK")
        finally:
            self.under_way -= 1
            if self.under_way == 0:
                self._idle.set()

    async def idle(self) -> None:
        """Wait until no call is under way."""
        self._idle.clear()
        if self.under_way:
            await self._idle.wait()


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
