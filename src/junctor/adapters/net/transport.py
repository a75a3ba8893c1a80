"""How do we POST to other people's servers where aiohttp has no wheel? The face of net/face on httpx.

The library's pool is used, not its client: a client keeps cookies, follows redirects and reads proxies from the environment,
and none of that may happen with our credentials. Two things it cannot do: it does not see what a server sends on an idle
connection, and it does not hear an answer before the request is through.

Invariant: every wait ends at an instant that the caller gave, and every failure is one of net/errors.
"""

import asyncio
import importlib.metadata
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from types import TracebackType
from typing import Protocol, Self, cast

import httpx

from junctor.adapters.net import face, vetted
from junctor.adapters.net.addresses import Place, Vetting
from junctor.adapters.net.errors import (
    BadProtocolError,
    ConnectionLostError,
    NeverSentError,
    TimedOutError,
    TooLargeError,
    TransportError,
)
from junctor.adapters.net.face import Limits
from junctor.adapters.net.headers import Headers, prepared

_READ_AHEAD_BYTES = 256 * 1024
"""How much of an answer is held for a caller who is slower than the server."""

_ADDRESSES_KEPT = 4096
"""How many parsed addresses are kept: more than there are endpoints."""

_CUT_SHORT = ("Server disconnected", "peer closed connection")
"""How the library begins its text where the server went away, as against spoke nonsense: it has one type for both."""

_LIBRARY_ERRORS = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.UnsupportedProtocol, OSError)
"""What the network can do to us. OSError: TLS errors while reading are passed on as they are."""


class _Stream(Protocol):
    """What the library gives for a connection."""

    read: Callable[[int, float | None], Awaitable[bytes]]

    async def aclose(self) -> None:
        """Close it."""


class _Progress:
    """How far a request has come, as the library's trace events tell."""

    def __init__(self, timer: asyncio.Timeout, answer_by: float) -> None:
        self._timer = timer
        self._answer_by = answer_by
        self._half_open: _Stream | None = None
        self.fresh = False
        self.sent = False
        self.heard = False

    async def trace(self, event: str, info: Mapping[str, object]) -> None:
        """Take one event; from the first byte sent on, the wait is for the answer and no longer for the connection."""
        if event == "connection.connect_tcp.started":
            self.fresh = True
        elif event == "connection.connect_tcp.complete":
            self._half_open = _listened_to(info)
        elif event == "connection.start_tls.complete":
            _listened_to(info)
        elif event == "http11.send_request_headers.started":
            self._half_open = None
            self.sent = True
            self._timer.reschedule(self._answer_by)

    async def close_half_open(self) -> None:
        """Close a connection whose handshake did not end: the library forgets it when it is cancelled there."""
        if self._half_open is not None:
            await self._half_open.aclose()


_ASKING: ContextVar[_Progress | None] = ContextVar("asking", default=None)
"""The request that the running task sent last: the library reads the head of its answer in that task."""


def _listened_to(made: Mapping[str, object]) -> _Stream:
    """Return the connection that was made, whose reads are noted from now on: no event tells that an answer has begun."""
    stream = cast("_Stream", made["return_value"])
    read = stream.read

    async def heard(bytes_max: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - the library's
        data = await read(bytes_max, timeout)
        if data and (asking := _ASKING.get()) is not None:
            asking.heard = True
        return data

    stream.read = heard
    return stream


class Response:
    """An answer whose status and headers have come. Use it as a context manager; header names are lower-case.

    Read its body in one of three ways: `whole`, `head`, or `read` again and again.
    """

    def __init__(self, transport: "Transport", answer: httpx.Response, bytes_max: int) -> None:
        self.status = answer.status_code
        self.headers: Mapping[str, str] = dict(answer.headers.items())
        self._transport = transport
        # The pool's streams are always asynchronous ones; the library's type allows for both.
        self._stream = cast("httpx.AsyncByteStream", answer.stream)
        self._bytes_max = bytes_max
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._released = False

    async def __aenter__(self) -> Self:
        """Begin to read."""
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Let go of the connection: back to the pool if the body was read to its end or released, else closed at once."""
        if self._released and self._pump is not None:
            self._transport.linger(self._pump)
            return
        try:
            if self._pump is not None:
                self._pump.cancel()
                await asyncio.wait((self._pump,))
                _forget(self._pump)
        finally:
            await self._stream.aclose()

    async def whole(self, by: float) -> bytes:
        """Return the whole body. Raises TransportError."""
        try:
            async with asyncio.timeout_at(by):
                return b"".join([data async for data in self._chunks()])
        except TimeoutError:
            raise TimedOutError("the answer did not end in time") from None

    async def head(self, bytes_max: int, by: float) -> bytes:
        """Return the beginning of the body, as much as comes whole and in time."""
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout_at(by):
                async for data in self._chunks():
                    parts.append(data)
                    size += len(data)
                    if size >= bytes_max:
                        break
        except (TimeoutError, TransportError):
            pass
        return b"".join(parts)[:bytes_max]

    async def read(self, by: float) -> bytes:
        """Return all that has come since the last call, in whole network reads; empty at the end. Raises TransportError."""
        if self._pump is None:
            self._pump = asyncio.create_task(self._fill())
            self._pump.add_done_callback(lambda _: self._arrived.set())
        while not self._held:
            if self._pump.done():
                self._pump.result()
                return b""
            self._arrived.clear()
            try:
                async with asyncio.timeout_at(by):
                    await self._arrived.wait()
            except TimeoutError:
                raise TimedOutError("nothing came in time") from None
        data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        self._room.set()
        return data

    def release(self) -> None:
        """Say that all that matters was read: what is left of the body is awaited elsewhere, and the connection kept."""
        self._released = True
        self._held.clear()
        self._room.set()

    async def _fill(self) -> None:
        """Read ahead. Chunks of one network read arrive here without a pause, so the reader gets them together."""
        try:
            async for data in self._chunks():
                if self._released:
                    continue
                self._held.append(data)
                self._held_bytes += len(data)
                self._arrived.set()
                if self._held_bytes >= _READ_AHEAD_BYTES:
                    self._room.clear()
                    await self._room.wait()
        finally:
            # Only now does the library put the connection back, or close it.
            await self._stream.aclose()

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body in the chunks in which the server wrapped it."""
        taken = 0
        try:
            async for data in self._stream:
                taken += len(data)
                if taken > self._bytes_max:
                    raise TooLargeError("the answer is longer than the limit")
                yield data
        except _LIBRARY_ERRORS as error:
            raise _judge(error) from None


class Transport:
    """The connections to all servers."""

    def __init__(self, limits: Limits | None = None, vetting: Vetting | None = None) -> None:
        """Open nothing yet. Where `vetting` has a say, connections go to the address that it judged, under the host's name."""
        limits = limits or Limits()
        self._vetting = vetting or Vetting()
        self._answer_bytes_max = limits.answer_bytes_max
        version = importlib.metadata.version("junctor")
        self._own = prepared({"user-agent": f"junctor/{version}", "accept-encoding": "identity"})
        self._pool = httpx.AsyncHTTPTransport(
            trust_env=False,
            limits=httpx.Limits(
                max_connections=limits.connections_max,
                max_keepalive_connections=limits.idle_connections_max,
                keepalive_expiry=limits.idle_s,
            ),
        )
        self._lingering: set[asyncio.Task[None]] = set()

    async def post(self, url: str, headers: Headers, body: bytes, *, connect_by: float, answer_by: float) -> Response:
        """Send a request and return when status and headers of its answer have come.

        `connect_by`: the instant by which sending must have begun. A kept-alive connection that breaks before any byte of
        an answer came raises NeverSentError, as the server was closing it. Raises TransportError.
        """
        place = await vetted.place(self._vetting, url, min(connect_by, answer_by))
        try:
            request = _request(url, place, [*self._own.fields, *headers.fields], body)
        except httpx.InvalidURL:
            raise NeverSentError("the address is not valid") from None
        timer = asyncio.timeout_at(min(connect_by, answer_by))
        progress = _Progress(timer, answer_by)
        request.extensions["trace"] = progress.trace
        _ASKING.set(progress)
        try:
            async with timer:
                answer = await self._pool.handle_async_request(request)
        except _LIBRARY_ERRORS as error:
            if timer.expired():
                if progress.sent or answer_by <= connect_by:
                    raise TimedOutError("no answer came in time") from None
                raise NeverSentError("no connection was made in time") from None
            if not progress.sent:
                raise NeverSentError("no connection could be made") from None
            judged = _judge(error)
            if isinstance(judged, ConnectionLostError) and not (progress.fresh or progress.heard):
                raise NeverSentError("a kept connection was closed by the server") from None
            raise judged from None
        finally:
            await progress.close_half_open()
        response = Response(self, answer, self._answer_bytes_max)
        if not (progress.fresh or progress.heard):
            # Nothing was read since this was asked: what answers it had come behind the answer before.
            async with response:
                raise BadProtocolError("the server answered before it was asked")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            async with response:
                raise BadProtocolError("the answer is encoded in a way that was not asked for")
        return response

    def linger(self, pump: asyncio.Task[None]) -> None:
        """Let a released answer come to its end by itself, for a while."""
        patience = asyncio.get_running_loop().call_later(face.LINGER_S, pump.cancel)

        def ended(task: asyncio.Task[None]) -> None:
            patience.cancel()
            self._lingering.discard(task)
            _forget(task)

        self._lingering.add(pump)
        pump.add_done_callback(ended)

    async def close(self) -> None:
        """Close every connection."""
        for pump in self._lingering:
            pump.cancel()
        if self._lingering:
            await asyncio.wait(self._lingering)
        await self._pool.aclose()


def _request(url: str, place: Place | None, headers: list[tuple[bytes, bytes]], body: bytes) -> httpx.Request:
    """Write a request. At a prescribed place its host stands in the header and in the TLS handshake. Raises InvalidURL."""
    parsed = _parsed(url)
    if place is None:
        return httpx.Request("POST", parsed, headers=headers, content=body)
    headers = [(b"host", parsed.netloc), *headers]
    at = parsed.copy_with(host=place.address)
    return httpx.Request("POST", at, headers=headers, content=body, extensions={"sni_hostname": place.host})


@lru_cache(_ADDRESSES_KEPT)
def _parsed(url: str) -> httpx.URL:
    """Parse an address once: it takes the library 30 µs, and there are few."""
    return httpx.URL(url)


def _judge(error: Exception) -> TransportError:
    """Say in our words what the library says of an exchange that had begun."""
    if isinstance(error, httpx.RemoteProtocolError) and not str(error).startswith(_CUT_SHORT):
        return BadProtocolError("the server does not speak HTTP/1.1")
    return ConnectionLostError("the connection broke")


def _forget(task: asyncio.Task[None]) -> None:
    """Take note of how a task ended, so that the event loop does not report it."""
    if not task.cancelled():
        task.exception()
