"""What happens on one connection to DynamoDB? A request goes out in one write, and a future is given its answer.

Nothing waits here and nothing is timed: the pool does both. What comes while nothing is asked (an end, an answer to nothing)
makes a connection useless at once.

Invariant: whatever ends a connection ends the exchange on it, and after anything but a whole answer it is not asked again.
"""

import asyncio
import select
import sys
from collections.abc import Callable
from typing import cast

from junctor.adapters.tables.dynamodb_http import Reading, Reply
from junctor.adapters.tables.dynamodb_sender import UNREACHABLE, NeverSentError, UnansweredError

LARGE_BYTES = 64 * 1024
"""A longer request may be refused by one who has not read it: then he may read no more, neither its rest nor the next one."""

_OK = 200


class Connection(asyncio.Protocol):
    """A connection, for one exchange after the other."""

    _loop: asyncio.AbstractEventLoop
    _transport: asyncio.Transport

    def __init__(self, bytes_max: int, ended: Callable[["Connection"], None]) -> None:
        """Take answers of so many bytes at most, and tell `ended` when the connection is gone."""
        self._bytes_max = bytes_max
        self._ended = ended
        self._reading: Reading | None = None
        self._awaited: asyncio.Future[Reply] | None = None
        self._large = False
        self.fit = False
        """Whether it is open, and what came on it was whole: as far as the event loop knows."""
        self._look: Callable[[int], list[tuple[int, int]]] | None = None

    def quiet(self) -> bool:
        """Tell whether nothing has come on one that was used, not even its end: the loop may not have looked yet."""
        return self.fit and not self._transport.is_closing() and (self._look is None or not self._look(0))

    def ask(self, request: bytes) -> "asyncio.Future[Reply]":
        """Send a request; its answer comes to the future, or an UnansweredError. Raises NeverSentError."""
        if not self.fit:
            raise NeverSentError(UNREACHABLE)
        self._reading = Reading(self._bytes_max)
        self._large = len(request) > LARGE_BYTES
        self._awaited = awaited = self._loop.create_future()
        self._transport.write(request)
        return awaited

    def give_up(self, why: str) -> None:
        """End the exchange, if there is one, and the connection's use."""
        self._end(UnansweredError(why))

    def abort(self) -> None:
        """Close it at once."""
        self.fit = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self.fit = True
        if sys.platform != "win32":
            poll = select.poll()
            poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
            self._look = poll.poll

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        if self._reading is None:
            self.abort()
            return
        try:
            reply = self._reading.feed(data)
        except UnansweredError as error:
            self._end(error)
            return
        if reply is not None:
            self._answered(reply)

    def eof_received(self) -> None:
        """Take an orderly end, which may be that of an answer; the connection is closed after it."""
        if self._reading is not None:
            try:
                reply = self._reading.ended()
            except UnansweredError as error:
                self._end(error)
                return
            if reply is not None:
                self._answered(reply)
        self.fit = False

    def connection_lost(self, _exc: BaseException | None) -> None:
        """End what was going on."""
        self._end(UnansweredError("cut"))
        self._ended(self)

    def _answered(self, reply: Reply) -> None:
        awaited, self._awaited, self._reading = self._awaited, None, None
        self.fit = not reply.last and (reply.status == _OK or not self._large)
        if awaited is not None and not awaited.done():
            awaited.set_result(reply)

    def _end(self, error: UnansweredError) -> None:
        awaited, self._awaited, self._reading = self._awaited, None, None
        self.fit = False
        if awaited is not None and not awaited.done():
            awaited.set_exception(error)
