"""Which connection carries a request to DynamoDB, and for how long? The one that was used last, else a new one, never too many.

All connections lead to one place: whoever asks names it only for those that are made. Who finds all of them busy waits in line
for one of them. One timer serves all quick exchanges, one all slow ones, and one all idle connections: each has as long as any
other, so that the first to be due is the first that began. A connection has a greatest age, however busy it is: who makes
another one hears where the table's name leads by then.

Invariant: an exchange ends with its connection kept (its answer was whole, nothing came behind it, and it is not too old) or
closed, and with the place of it given on: also if it failed, was late or was cancelled.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from junctor.adapters.net.dial import Dialer
from junctor.adapters.net.errors import NeverSentError as NoLineError
from junctor.adapters.net.face import Limits
from junctor.adapters.net.line import Target
from junctor.adapters.tables.dynamodb_connection import Connection
from junctor.adapters.tables.dynamodb_http import Reply
from junctor.adapters.tables.dynamodb_sender import UNREACHABLE, NeverSentError

AGE_MIN_S, AGE_MAX_S = 240.0, 300.0
"""After how long a connection is not kept any more, in seconds: drawn for each, lest all that began together end together."""

SLOWNESS = 2.0
"""How many times as long a slow exchange may take: DynamoDB reads or writes each item of a transaction twice, once to prepare
and once to commit it (developer guide: DynamoDB transactions, how it works)."""

_CLOSE_S = 1.0
"""How long the event loop gets to close all connections, in seconds."""

_TICK_S = 0.001
"""How finely event loops tell time."""


class Pool:
    """The connections to one place."""

    def __init__(self, limits: Limits, *, connect_s: float, answer_s: float) -> None:
        """Open nothing yet. An exchange may take `connect_s` until it has a connection, and then `answer_s` until its end.

        A slow one may take SLOWNESS times the latter.
        """
        self._limits = limits
        self._connect_s = connect_s
        self._dialer = Dialer()
        self._places = limits.connections_max
        self._waiting: dict[asyncio.Future[Connection | None], None] = {}
        self._open: dict[Connection, float] = {}
        self._dice = random.SystemRandom()
        self._quick = _Due(answer_s, lambda connection: connection.give_up("late"))
        self._slow = _Due(answer_s * SLOWNESS, lambda connection: connection.give_up("late"))
        self._idle = _Due(limits.idle_s, self._drop)
        self._closed = False
        self._emptied = asyncio.Event()

    async def ask(self, target: Target, request: bytes, *, slow: bool = False) -> Reply:
        """Send a request on one connection and return its answer. Raises NeverSentError, UnansweredError."""
        connection = self._kept() or await self._other(target)
        busy = self._slow if slow else self._quick
        try:
            awaited = connection.ask(request)
            busy.add(connection)
            try:
                reply = await awaited
            finally:
                busy.remove(connection)
        except BaseException:
            self._drop(connection)
            raise
        if connection.fit and not self._closed and asyncio.get_running_loop().time() < self._open[connection]:
            self._keep(connection)
        else:
            self._drop(connection)
        return reply

    async def close(self) -> None:
        """Close every connection, and wait until they are."""
        self._closed = True
        self._dialer.close()
        self._quick.close()
        self._slow.close()
        self._idle.close()
        if not self._open:
            return
        self._emptied.clear()
        for connection in self._open:
            connection.abort()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._emptied.wait(), _CLOSE_S)

    def _kept(self) -> Connection | None:
        """Return the connection that was used last, of those that can be used."""
        while (connection := self._idle.newest()) is not None:
            if connection.quiet():
                return connection
            self._drop(connection)
        return None

    async def _other(self, target: Target) -> Connection:
        """Return a new connection, or one that others have done with. Raises NeverSentError."""
        try:
            async with asyncio.timeout(self._connect_s):
                connection = await self._place()
                if connection is not None:
                    if connection.quiet():
                        return connection
                    # It ended on the way: its place is as good.
                    connection.abort()
                return await self._opened(target)
        except (NoLineError, TimeoutError):
            raise NeverSentError(UNREACHABLE) from None

    async def _place(self) -> Connection | None:
        """Return a connection that others have done with, None if there is room for a new one."""
        if self._places:
            self._places -= 1
            return None
        waiting: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting[waiting] = None
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.cancelled():
                self._waiting.pop(waiting, None)
            else:
                # It was served while its task was being ended.
                self._pass(waiting.result())
            raise

    async def _opened(self, target: Target) -> Connection:
        """Return a new connection in the place that was had for it. Raises NoLineError."""
        try:
            connection = await self._dialer(target, partial(Connection, self._limits.answer_bytes_max, self._ended))
        except BaseException:
            self._pass(None)
            raise
        if connection.fit:
            self._open[connection] = asyncio.get_running_loop().time() + self._dice.uniform(AGE_MIN_S, AGE_MAX_S)
        return connection

    def _keep(self, connection: Connection) -> None:
        """Take back a connection that can be used again."""
        if len(self._idle) >= self._limits.idle_connections_max:
            self._drop(self._idle.oldest())
        self._pass(connection)

    def _drop(self, connection: Connection) -> None:
        """Close a connection at once."""
        connection.abort()
        self._pass(None)

    def _pass(self, connection: Connection | None) -> None:
        """Give a connection, or the place of one, to who waits longest; keep it if nobody does."""
        while self._waiting:
            waiting = next(iter(self._waiting))
            del self._waiting[waiting]
            # One who has just given up has not come to leave the line.
            if not waiting.done():
                waiting.set_result(connection)
                return
        if connection is None:
            self._places += 1
        else:
            self._idle.add(connection)

    def _ended(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self._open.pop(connection, None)
        if self._idle.remove(connection):
            self._pass(None)
        if not self._open:
            self._emptied.set()


class _Due:
    """Connections that have the same time each, in the order in which it ends. One timer serves all, and outlives most."""

    def __init__(self, seconds: float, late: Callable[[Connection], None]) -> None:
        """Take connections out that are late, and call `late` for each."""
        self._seconds = seconds
        self._late = late
        self._ends: dict[Connection, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._ends)

    def add(self, connection: Connection) -> None:
        """Begin the time of one."""
        loop = asyncio.get_running_loop()
        self._ends[connection] = ends = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(ends, self._ring)

    def remove(self, connection: Connection) -> bool:
        """Take one out, and tell whether it was there."""
        return self._ends.pop(connection, None) is not None

    def newest(self) -> Connection | None:
        """Take out the one that was added last."""
        return self._ends.popitem()[0] if self._ends else None

    def oldest(self) -> Connection:
        """Take out the one that was added first. There must be one."""
        connection = next(iter(self._ends))
        del self._ends[connection]
        return connection

    def close(self) -> None:
        """End the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._ends:
            ends = next(iter(self._ends.values()))
            if ends > loop.time() + _TICK_S:
                self._timer = loop.call_at(ends, self._ring)
                return
            self._late(self.oldest())
