"""What does the gateway need of HTTP? This, and no more: a library behind it can be changed without the gateway's knowing.

HTTP/1.1 over pooled connections. Nothing is tried twice, no redirect is followed, no cookie is kept, the environment has no
say, and nothing is decompressed: answers are asked for as they are.

Every wait ends at an instant of the event loop's clock (`..._by`), given by the caller, and every failure is one of net/errors.
Leaving a response before its end closes its connection at once, unless it was released.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from msgspec import Struct

from junctor.adapters.net.headers import Headers

LINGER_S = 1.0
"""How long a released answer may take to end, in seconds, before its connection is closed instead of kept."""


class Limits(Struct, frozen=True, kw_only=True):
    """How much a transport may hold. `idle_s`: seconds for which an unused connection is kept."""

    connections_max: int = 1_000
    idle_connections_max: int = 200
    idle_s: float = 30.0
    answer_bytes_max: int = 64 * 1024 * 1024


class Response(Protocol):
    """An answer whose status and headers have come. Use it as a context manager.

    Read its body in one of three ways: `whole`, `head`, or `read` again and again.
    """

    @property
    def status(self) -> int:
        """Return the status code."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers; names are lower-case."""

    async def __aenter__(self) -> Self:
        """Begin to read."""

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Let go of the connection: back to the pool if the body was read to its end or released, else closed at once."""

    async def whole(self, by: float) -> bytes:
        """Return the whole body. Raises TransportError."""

    async def head(self, bytes_max: int, by: float) -> bytes:
        """Return the beginning of the body, as much as comes whole and in time."""

    async def read(self, by: float) -> bytes:
        """Return all that has come since the last call, in whole network reads; empty at the end. Raises TransportError."""

    def release(self) -> None:
        """Say that all that matters was read: what is left of the body is awaited elsewhere, and the connection kept."""


class Transport(Protocol):
    """The connections to all servers."""

    async def post(self, url: str, headers: Headers, body: bytes, *, connect_by: float, answer_by: float) -> Response:
        """Send a request and return when status and headers of its answer have come.

        `connect_by`: the instant by which sending must have begun. A kept-alive connection that breaks before any byte of
        an answer came raises NeverSentError, as the server was closing it. Raises TransportError.
        """

    async def close(self) -> None:
        """Close every connection."""
