"""How do we POST to other people's servers fast? The face of net/face on aiohttp's parser, with a pool of our own.

Of the library only what reads HTTP is used (see `line`): its client and connector cost two thirds of an exchange, keep cookies,
follow redirects and read the environment, and they cannot say whether a request has left.

Invariant: a connection is taken for each request and given back exactly once, however the exchange ends.
"""

import importlib.metadata
import re
from collections.abc import Mapping
from functools import lru_cache
from types import TracebackType
from typing import Self

import msgspec
from aiohttp.hdrs import CONTENT_ENCODING
from aiohttp.http import RawResponseMessage
from msgspec import Struct
from yarl import URL

from junctor.adapters.net import vetted
from junctor.adapters.net.addresses import Vetting
from junctor.adapters.net.dial import Dialer
from junctor.adapters.net.errors import BadProtocolError, NeverSentError, TimedOutError, TooLargeError, TransportError
from junctor.adapters.net.face import Limits
from junctor.adapters.net.headers import Headers, prepared
from junctor.adapters.net.line import Line, Target
from junctor.adapters.net.pool import Pool

_ADDRESSES_KEPT = 4_096
"""How many parsed addresses are kept: more than there are endpoints."""

_PLAIN = re.compile(r"[!-~]+")
_SWITCHING = 101
_PLAINLY = ["identity"]
"""The encodings of an answer that names none."""


class _Address(Struct, frozen=True):
    """A URL taken apart: where to connect, and how a request for it begins."""

    target: Target
    opening: bytes


class Response:
    """See net/face."""

    def __init__(self, pool: Pool, line: Line, answer: RawResponseMessage, bytes_max: int) -> None:
        self.status = answer.code
        self._fields = answer.raw_headers
        self._pool = pool
        self._line = line
        self._bytes_max = bytes_max
        self._released = False

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers; those that came several times are joined by commas."""
        found: dict[str, str] = {}
        for raw_name, raw_value in self._fields:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            found[name] = f"{found[name]}, {value}" if name in found else value
        return found

    async def __aenter__(self) -> Self:
        """Begin to read."""
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Let go of the connection."""
        if self._line.complete:
            self._pool.keep(self._line)
        elif self._released and self._line.is_connected():
            self._pool.linger(self._line)
        else:
            self._pool.drop(self._line)

    async def whole(self, by: float) -> bytes:
        """Return the whole body. Raises TransportError."""
        parts = []
        while data := await self.read(by):
            parts.append(data)
        return b"".join(parts)

    async def head(self, bytes_max: int, by: float) -> bytes:
        """Return the beginning of the body, as much as comes whole and in time."""
        parts: list[bytes] = []
        size = 0
        try:
            while size < bytes_max and (data := await self.read(by)):
                parts.append(data)
                size += len(data)
        except TransportError:
            pass
        return b"".join(parts)[:bytes_max]

    async def read(self, by: float) -> bytes:
        """Return all that has come since the last call, in whole network reads; empty at the end. Raises TransportError."""
        line = self._line
        while (data := line.take()) is None:
            if not await line.wait(by):
                raise TimedOutError("nothing came in time")
        if line.taken > self._bytes_max:
            raise TooLargeError("the answer is longer than the limit")
        return data

    def release(self) -> None:
        """Say that all that matters was read: what is left of the body is awaited elsewhere, and the connection kept."""
        self._released = True


class Transport:
    """See net/face. Make it where an event loop runs or not: it opens nothing yet."""

    def __init__(self, limits: Limits | None = None, vetting: Vetting | None = None) -> None:
        """Where `vetting` has a say, connections go to the address that it judged, under the host's name."""
        limits = limits or Limits()
        self._vetting = vetting or Vetting()
        self._answer_bytes_max = limits.answer_bytes_max
        own = {"user-agent": f"junctor/{importlib.metadata.version('junctor')}", "accept-encoding": "identity"}
        self._own = prepared(own).lines
        self._dialer = Dialer()
        self._pool = Pool(limits, self._dialer)

    async def post(self, url: str, headers: Headers, body: bytes, *, connect_by: float, answer_by: float) -> Response:
        """Send a request and return when status and headers of its answer have come. Raises TransportError."""
        taken_by = min(connect_by, answer_by)
        address = await self._address(url, taken_by)
        head = b"%b%b%bcontent-length: %d\r\n\r\n" % (address.opening, self._own, headers.lines, len(body))
        try:
            line = await self._pool.take(address.target, taken_by)
        except TimeoutError:
            if answer_by <= connect_by:
                raise TimedOutError("no answer came in time") from None
            raise NeverSentError("no connection was made in time") from None
        try:
            line.ask(head, body)
            answer = await _answer(line, answer_by)
            _check(answer)
        except BaseException:
            self._pool.drop(line)
            raise
        return Response(self._pool, line, answer, self._answer_bytes_max)

    async def close(self) -> None:
        """Close every connection."""
        self._dialer.close()
        await self._pool.close()

    async def _address(self, url: str, by: float) -> _Address:
        """Return where a request goes. Raises NeverSentError."""
        try:
            address = _parsed(url)
        except ValueError:
            raise NeverSentError("the address is not valid") from None
        place = await vetted.place(self._vetting, url, by)
        if place is None:
            return address
        return _Address(msgspec.structs.replace(address.target, host=place.address), address.opening)


@lru_cache(_ADDRESSES_KEPT)
def _parsed(url: str) -> _Address:
    """Take an address apart, once: there are few. Its path leaves as it was written: some are signed. Raises ValueError."""
    if not _PLAIN.fullmatch(url):
        raise ValueError("more than an address")
    parsed = URL(url, encoded=True)
    host, port, authority = parsed.raw_host, parsed.port, parsed.host_port_subcomponent
    if parsed.scheme not in {"http", "https"} or not host or not port or authority is None:
        raise ValueError("not an address of HTTP")
    opening = f"POST {parsed.raw_path_qs} HTTP/1.1\r\nhost: {authority}\r\n".encode("ascii")
    return _Address(Target(host, port, host.rstrip(".") if parsed.scheme == "https" else None), opening)


async def _answer(line: Line, by: float) -> RawResponseMessage:
    """Wait for status and headers. Raises TransportError."""
    while (answer := line.answer()) is None:
        if not await line.wait(by):
            raise TimedOutError("no answer came in time")
    return answer


def _check(answer: RawResponseMessage) -> None:
    """Refuse an answer that was not asked for. Raises BadProtocolError."""
    if answer.code == _SWITCHING:
        raise BadProtocolError("the server goes on in another protocol")
    encodings = answer.headers.getall(CONTENT_ENCODING, _PLAINLY)
    if len(encodings) != 1 or encodings[0].lower() != "identity":
        raise BadProtocolError("the answer is encoded in a way that was not asked for")
