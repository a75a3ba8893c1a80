"""Who is let in, and how long is he waited for? One gate stands before all methods of a listener, whatever protocol it speaks.

It counts the calls under way and the memory that their requests take, and whole answers until they are taken, and turns away
what would be too much, before anything is parsed or held: a refusal costs microseconds and promises that nothing was done. A
request is asked for once its caller is known (`Visit.expect`), and nobody says how long it is before it is whole: one that is
late is taken to be as long as any may be. An answer that is not taken stays with the core, whatever is done here. The gate
ends calls that could go on, too: those whose caller neither sends his request nor takes his answer, and those that outlast a
drain. What such a call is told depends on how far it came, which its guard knows. Invariant: whoever was let in gives back his
room, however he ends.

A gate that is closed turns everybody away. While it is hushed, too, those who come get no answer yet (`released`): who waits
for one sends no other call, so that the server can stop while nothing is on its way to it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from enum import Enum
from functools import partial
from itertools import takewhile
from operator import attrgetter
from types import TracebackType
from typing import Self, TypeAlias

from msgspec import Struct

from junctor.domain.errors import DeadlineError, DrainingError, JunctorError, OverloadedError

MEMORY_FACTOR = 8
"""Bytes of memory for each byte of a request while it is under way, at its peak (decision 016 has the measurement)."""

ANSWER_FACTOR, ANSWER_BYTES = 3, 32 << 10
"""Bytes of memory for each byte of a whole answer until its caller has taken it, and for his call: measured 2.7, and 30 KiB."""

RETRY_LEAST_S, RETRY_MOST_S = 0.5, 2.5
"""When those who are turned away are asked to come again: each at another time, so that a crowd does not return as one."""

ARRIVING_S = 1.0
"""How long a request may be on its way before it is late: it is counted in memory, and makes room for others who come."""

WEIGH_EVERY_S = 0.1
"""How often it is looked whose requests are late."""

TELL_EVERY_S = 1.0
"""How often the log says that calls are turned away, however many they are."""

LOOKS = 4
"""How often a wait is looked at before it has lasted too long."""

Tell = Callable[[str, Mapping[str, str | int]], None]
Read: TypeAlias = "Callable[[str], Awaitable[bytes]]"
"""Waits for a request, told of which account it is, and returns its bytes. To be asked once. Raises JunctorError."""


class Bounds(Struct, frozen=True, kw_only=True):
    """What a listener takes: calls under way, memory of their requests in bytes, seconds that a caller is waited for.

    `request_max` is how many bytes a request may have.
    """

    calls_max: int = 1000
    memory_max: int = 512 << 20
    patience_s: float = 60.0
    request_max: int = 20 << 20


class Cut(Enum):
    """Why a call is ended from this side, in words for its caller."""

    DRAINING = "This instance ends and cannot wait any longer"
    SENDING = "The request did not arrive in time"
    READING = "The answer was not read in time"
    CROWDED = "Others came while the request did not"
    WEIGHTY = "Requests on their way took all the memory there is for them"


class Gate:
    """The gate of one listener. `uniform` draws from [0, 1); `tell` writes an event to the log."""

    def __init__(self, bounds: Bounds, uniform: Callable[[], float], tell: Tell) -> None:
        self._bounds = bounds
        self._uniform = uniform
        self._tell = tell
        self._visits: set[Visit] = set()
        self._arriving: dict[Visit, str] = {}
        self._to_go: list[Visit] | None = None
        self._memory = 0
        self._closed = False
        self._came_at = float("-inf")
        self._turned_away = 0
        self._looking = False
        self._weighing = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._answering = asyncio.Event()
        self._answering.set()

    @property
    def under_way(self) -> int:
        """How many calls are under way."""
        return len(self._visits)

    def visit(self) -> "Visit":
        """Let a call in, to be entered at once.

        Raises:
            DrainingError: the gate is closed.
            OverloadedError: as many calls are under way as may be.
        """
        loop = asyncio.get_running_loop()
        self._came_at = loop.time()
        if self._closed:
            raise self._draining()
        if len(self._visits) >= self._bounds.calls_max:
            late = self._next_to_go()
            if late is None:
                raise self._overloaded("calls")
            self._give_up(late, Cut.CROWDED)
        if not self._looking:
            self._looking = True
            loop.call_later(self._bounds.patience_s / LOOKS, self._look)
        return Visit(self)

    def enter(self, visit: "Visit") -> None:
        """Count a visit."""
        self._visits.add(visit)
        self._empty.clear()

    def leave(self, visit: "Visit") -> None:
        """Count it no longer."""
        self._visits.discard(visit)
        self._arriving.pop(visit, None)
        self._memory -= visit.memory
        if not self._visits:
            self._empty.set()

    def expect(self, visit: "Visit", account: str) -> None:
        """Count a visit among those whose requests are on their way."""
        self._arriving[visit] = account
        if not self._weighing:
            self._weighing = True
            asyncio.get_running_loop().call_later(WEIGH_EVERY_S, self._weigh)

    def delivers(self, size: int) -> Callable[[], None]:
        """Count the memory of a whole answer of so many bytes, until what is returned is called."""
        memory = size * ANSWER_FACTOR + ANSWER_BYTES
        self._memory += memory
        return partial(self._forget, memory)

    def awaits(self, visit: "Visit") -> bool:
        """Tell whether a visit's request is on its way."""
        return visit in self._arriving

    def arrived(self, visit: "Visit", memory: int) -> None:
        """Take in a visit's request, of such a size in memory. One that is alone is taken, or it would never be.

        Raises:
            OverloadedError: the requests under way take as much as they may, without those that are late.
        """
        self._arriving.pop(visit, None)
        if visit.memory:
            self._memory -= visit.memory
            visit.memory = 0
        if self._memory and self._memory + memory > self._bounds.memory_max:
            others = self._memory - sum(each.memory for each in self._late())
            if others and others + memory > self._bounds.memory_max:
                raise self._overloaded("memory")
            self._make_room(memory)
        self._memory += memory
        visit.memory = memory

    def gone(self, visit: "Visit") -> JunctorError:
        """Return what a visit is told that is ended, and for which nothing was done yet."""
        match visit.cut:
            case Cut.SENDING:
                return DeadlineError("receipt")
            case Cut.READING:
                return DeadlineError("delivery")
            case Cut.CROWDED:
                return self._overloaded("calls")
            case Cut.WEIGHTY:
                return self._overloaded("memory")
            case _:
                return self._draining()

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True

    async def empty(self, within_s: float) -> bool:
        """Wait until no call is under way, so long at most; tell whether that came."""
        try:
            async with asyncio.timeout(within_s):
                await self._empty.wait()
        except TimeoutError:
            return not self._visits
        return True

    async def hush(self, quiet_s: float, within_s: float) -> None:
        """Stop answering those who are turned away, and wait until nobody has come for so long; `within_s` at most."""
        self._answering.clear()
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        left_s = within_s
        while left_s > 0:
            left_s = min(self._came_at + quiet_s, until) - loop.time()
            await asyncio.sleep(max(left_s, 0))

    def release(self) -> None:
        """Answer those who wait."""
        self._answering.set()

    async def released(self) -> None:
        """Wait while the gate is hushed."""
        await self._answering.wait()

    def end(self) -> None:
        """End every call under way."""
        for visit in tuple(self._visits):
            visit.end(Cut.DRAINING)

    def _look(self) -> None:
        """End the calls whose callers have been waited for too long; look again later if there are any calls."""
        loop = asyncio.get_running_loop()
        since = loop.time() - self._bounds.patience_s
        for visit in tuple(self._visits):
            if visit.waits_since is not None and visit.waits_since <= since:
                visit.end(Cut.SENDING if self.awaits(visit) else Cut.READING)
        self._looking = bool(self._visits)
        if self._looking:
            loop.call_later(self._bounds.patience_s / LOOKS, self._look)

    def _weigh(self) -> None:
        """Count what is late, as long as it may be; end what is too much; look again if anything is on its way.

        A request that is there at once is never looked at, and costs no look at a clock.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        for visit in self._arriving:
            if visit.waits_since is None:
                visit.waits_since = now
            elif visit.late(now) and not visit.memory:
                visit.memory = self._bounds.request_max
                self._memory += visit.memory
        self._to_go = None
        self._make_room(0)
        self._weighing = bool(self._arriving)
        if self._weighing:
            loop.call_later(WEIGH_EVERY_S, self._weigh)

    def _late(self) -> "list[Visit]":
        """Return the late requests that are counted, in the order in which they were asked for."""
        return list(takewhile(attrgetter("memory"), self._arriving))

    def _make_room(self, memory: int) -> None:
        """End late requests until so much memory is free.

        Where nothing else takes memory and no more is wanted, one stays, or a request that is alone would never be taken.
        """
        most = self._bounds.memory_max if memory else max(self._bounds.memory_max, self._bounds.request_max)
        while self._memory + memory > most and (late := self._next_to_go()) is not None:
            self._give_up(late, Cut.WEIGHTY)

    def _next_to_go(self) -> "Visit | None":
        """Return the late request that makes room first, None if none is: of the account with most, the one that came last.

        Whoever came first is the nearest to his end: were he the one to go, none would be whole where more come than there is
        room for. The order is found once for each look at what is late, as a crowd asks for it at each call.
        """
        if self._to_go is None:
            places: Counter[str] = Counter()
            ranked: list[tuple[int, int, Visit]] = []
            for number, visit in enumerate(self._late()):
                account = self._arriving[visit]
                places[account] += 1
                ranked.append((places[account], number, visit))
            self._to_go = [visit for _, _, visit in sorted(ranked)]
        while self._to_go:
            visit = self._to_go.pop()
            if visit in self._arriving:
                return visit
        return None

    def _forget(self, memory: int) -> None:
        self._memory -= memory

    def _give_up(self, visit: "Visit", cut: Cut) -> None:
        """End a call whose request is on its way; its room in memory is free at once."""
        del self._arriving[visit]
        self._memory -= visit.memory
        visit.memory = 0
        visit.end(cut)

    def _draining(self) -> DrainingError:
        return DrainingError("This instance ends; another one answers.", self._retry_s())

    def _overloaded(self, of: str) -> OverloadedError:
        if not self._turned_away:
            asyncio.get_running_loop().call_later(TELL_EVERY_S, self._tell_turned_away)
        self._turned_away += 1
        return OverloadedError("Too much is under way here; nothing was done.", self._retry_s(), limit=of)

    def _tell_turned_away(self) -> None:
        fields = {"turned_away": self._turned_away, "under_way": len(self._visits), "request_memory_bytes": self._memory}
        self._turned_away = 0
        self._tell("too much is under way: calls are turned away", fields)

    def _retry_s(self) -> float:
        return RETRY_LEAST_S + (RETRY_MOST_S - RETRY_LEAST_S) * self._uniform()


class Visit:
    """One call that was let in, from before its request is read; entered by the task that answers it.

    `waits_since` is the instant since which its caller is known to be waited for, None if he is not; `memory` is what its
    request counts for; `cut` is why it is ended from this side.
    """

    __slots__ = ("_gate", "_task", "_token", "cut", "memory", "waits_since")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.waits_since: float | None = None
        self.memory = 0
        self.cut: Cut | None = None

    def __enter__(self) -> Self:
        """Begin."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - calls are answered by tasks
        self._task = task
        self._token = _VISIT.set(self)
        self._gate.enter(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Give back the room. A call that was cut is told so, unless its guard knew better."""
        self._gate.leave(self)
        _VISIT.reset(self._token)
        if isinstance(error, asyncio.CancelledError) and self.cut is not None:
            raise self.refusal() from None

    def expect(self, account: str) -> None:
        """Note that the request is asked for from now on, of a caller of such an account."""
        self._gate.expect(self, account)

    def late(self, now: float) -> bool:
        """Tell whether its request has been on its way for too long."""
        return self.waits_since is not None and self.waits_since <= now - ARRIVING_S

    def received(self, size: int) -> None:
        """Note that the request is there, of so many bytes. Raises OverloadedError."""
        self._gate.arrived(self, (size + 1) * MEMORY_FACTOR)
        self.waits_since = None

    @property
    def begun(self) -> bool:
        """Whether the request was there, so that something may have been done."""
        return self.memory > 0 and not self._gate.awaits(self)

    def end(self, cut: Cut) -> None:
        """End it from this side, once."""
        if self.cut is None:
            self.cut = cut
            self._task.cancel()

    def refusal(self) -> JunctorError:
        """Return what the caller of a call is told that is ended, and for which nothing was done yet."""
        return self._gate.gone(self)


_VISIT: ContextVar[Visit] = ContextVar("visit")


def current() -> Visit | None:
    """Return the visit that this task answers, None outside of any."""
    return _VISIT.get(None)
