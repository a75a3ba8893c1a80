"""What happens on one connection? A request goes out, its answer is parsed by aiohttp's parser, and whoever waits is woken.

aiohttp's protocol is used without its client, which costs more than all of the exchange, and with three of its ways mended. A
body that stops making sense would leave its reader waiting: here it ends. What had come before a break would be lost to a slow
reader: here it is read first. A body without a length that is reset would count as whole: here it is cut.

Invariant: whatever ends the connection wakes whoever waits, and every wait ends by its instant.
"""

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from aiohttp import StreamReader
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage
from msgspec import Struct

from junctor.adapters.net.errors import BadProtocolError, ConnectionLostError, NeverSentError, TransportError

Answer: TypeAlias = tuple[RawResponseMessage, StreamReader]

_READ_AHEAD_BYTES = 64 * 1024
"""How much of an answer is held for a slow caller: twice this, and one network read."""

_LINE_BYTES = 8 * 1024
_FIELD_BYTES = 16 * 1024
_FIELDS = 128
"""How long a status line and a header may be, and how many headers there may be: several times what providers send."""

_JOINED_BYTES = 64 * 1024
"""Up to this size a body leaves in one write with its head: longer ones are not copied for it."""

_TICK_S = 0.001
"""How finely event loops tell time."""

_INFORMATIONAL = range(100, 200)
_SWITCHING = 101


class Target(Struct, frozen=True):
    """The other end of a connection: an address or name to connect to, and the name for which its certificate must be."""

    host: str
    port: int
    tls_name: str | None


class Line(ResponseHandler):
    """A connection, for one exchange after the other."""

    def __init__(self, target: Target, ended: Callable[["Line"], None]) -> None:
        """Tell `ended` when the connection is gone."""
        super().__init__(asyncio.get_running_loop())
        self.target = target
        self._ended = ended
        self._asked = 0
        self._heard = False
        self._by = 0.0
        self._rings_at = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._awake: asyncio.Future[bool] | None = None
        self._failure: BaseException | None = None
        self._answer: Answer | None = None
        self._saved: list[bytes] = []
        self._cut = False
        self.taken = 0

    def ask(self, head: bytes, body: bytes) -> None:
        """Send a request. Raises NeverSentError if the connection is gone."""
        transport = self.transport
        if transport is None:
            raise NeverSentError("the connection was closed before it was used")
        self._asked += 1
        self._heard = False
        self._answer = None
        self.taken = 0
        self.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=_READ_AHEAD_BYTES,
            max_line_size=_LINE_BYTES,
            max_field_size=_FIELD_BYTES,
            max_headers=_FIELDS,
        )
        if len(body) <= _JOINED_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)

    def answer(self) -> RawResponseMessage | None:
        """Return status and headers, None if they have not come. Raises TransportError."""
        if self._answer is not None:
            return self._answer[0]
        if self._failure is None:
            return None
        judged = self._judge()
        if isinstance(judged, ConnectionLostError) and self._asked > 1 and not self._heard:
            raise NeverSentError("a kept connection was closed by the server")
        raise judged

    def take(self) -> bytes | None:
        """Return what has come of the body, empty at its end, None if there is nothing yet. Raises TransportError."""
        payload = self._body()
        if self._saved:
            data = b"".join(self._saved)
            self._saved.clear()
            return data
        if payload.total_bytes > self.taken:
            data = payload.read_nowait()
            self.taken += len(data)
            return data
        if payload.is_eof() and not self._cut:
            return b""
        if self._failure is not None:
            raise self._judge()
        return None

    @property
    def complete(self) -> bool:
        """Whether the answer has come to its end."""
        return self._answer is not None and self._body().is_eof() and not self._cut

    def on_complete(self, callback: Callable[[], None]) -> None:
        """Have the end of an answer told that is not read any further."""
        self._body().on_eof(callback)

    async def wait(self, by: float) -> bool:
        """Wait until anything happens; false if nothing did by the instant."""
        self._by = by
        # One timer serves all waits on a connection: it is set again when it rings early, not at each read or exchange.
        if self._alarm is None or by < self._rings_at:
            self._ring_at(by)
        self._awake = self._loop.create_future()
        try:
            return await self._awake
        finally:
            self._awake = None

    def rest(self) -> None:
        """End the timer: there will be no wait soon, or none at all."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._heard = True
        super().data_received(data)
        self._wake()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - the library's
        """Go on if it was paused: the library asks for it with each read, and would parse nothing at some cost."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def feed_data(self, data: Answer, size: int = 0) -> None:
        """Take status and headers from the parser; a second answer makes the connection unfit for further use."""
        code = data[0].code
        if code in _INFORMATIONAL and code != _SWITCHING:
            return
        if self._answer is None:
            self._answer = data
        else:
            super().feed_data(data, size)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:  # noqa: ARG002 - the library's
        """Note why nothing more can come."""
        super().set_exception(exc)
        self._failure = exc
        self._wake()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Save what was not read, before the library makes it unreadable."""
        if self._answer is not None:
            payload = self._body()
            while payload.total_bytes > self.taken:
                data = payload.read_nowait()
                self.taken += len(data)
                self._saved.append(data)
            self._cut = exc is not None and not payload.is_eof()
        super().connection_lost(exc)
        self.rest()
        self._ended(self)

    def _body(self) -> StreamReader:
        if self._answer is None:
            raise RuntimeError("there is no answer yet")
        return self._answer[1]

    def _judge(self) -> TransportError:
        """Say in our words why an exchange that had begun has ended."""
        if isinstance(self._failure, HttpProcessingError):
            return BadProtocolError("the server does not speak HTTP/1.1")
        return ConnectionLostError("the connection broke")

    def _wake(self, *, happened: bool = True) -> None:
        if self._awake is not None and not self._awake.done():
            self._awake.set_result(happened)

    def _ring_at(self, at: float) -> None:
        self.rest()
        self._rings_at = at
        self._alarm = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        """End the wait, if its instant has come."""
        self._alarm = None
        if self._awake is None:
            return
        if self._loop.time() >= self._by - _TICK_S:
            self._wake(happened=False)
        else:
            self._ring_at(self._by)
