"""Requests to DynamoDB signed by ourselves, over our own connections: the usual sender.

An exchange is one request on one connection of adapters/net. A kept connection may be one that DynamoDB is closing: it is used
only while nothing has come on it, not even its end, and not after it was idle for long. What can still go wrong counts as sent.
Neither proxies nor authorities of the environment are heard; certificates are checked as ever. Keys that are refused, and a
clock that goes wrong, are mended once.

Invariant: whatever ends an exchange early closes its connection, so that no answer can be another request's.
"""

import asyncio
import email.utils
import select
import sys
import zlib
from collections.abc import Mapping

import msgspec
from aiohttp.http import RawResponseMessage
from msgspec import Struct

from junctor.adapters.net.dial import Dialer
from junctor.adapters.net.errors import NeverSentError as NoLineError
from junctor.adapters.net.errors import TransportError
from junctor.adapters.net.face import Limits
from junctor.adapters.net.line import Line, Target
from junctor.adapters.net.pool import Pool
from junctor.adapters.tables.dynamodb_chain import Chain, Identity, Standing
from junctor.adapters.tables.dynamodb_sender import (
    CLOSED,
    UNREACHABLE,
    Answer,
    Complaint,
    ComplaintError,
    NeverSentError,
    UnansweredError,
)
from junctor.ports.ambient import Clock

LIMITS = Limits(connections_max=256, idle_connections_max=64, idle_s=20.0)
"""Several times what an instance needs at once; idle connections end before DynamoDB is likely to end them."""

SKEW_MS = 60_000
"""How far the clocks must be apart to be why a signature was refused. AWS allows for several minutes."""

_OK = 200
_REDIRECTED = 300
_SERVER_ERROR = 500
_NOT_TRUSTED = {
    "InvalidSignatureException",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "ExpiredTokenException",
    "ExpiredToken",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
}

_encode = msgspec.json.Encoder().encode
_decode_answer = msgspec.json.Decoder(Answer).decode
_decode_complaint = msgspec.json.Decoder(Complaint).decode


class Patience(Struct, frozen=True, kw_only=True):
    """How long one try may take, in seconds: until it has a connection and knows its keys each, and then until its end."""

    connect_s: float = 3.0
    answer_s: float = 3.0


class _Got(Struct, frozen=True):
    """An answer as it came whole."""

    message: RawResponseMessage
    body: bytes


class SignedSender:
    """Sends from the event loop. `endpoint_url` None leaves it to botocore where the region's DynamoDB is."""

    def __init__(
        self, *, endpoint_url: str | None, region: str, clock: Clock, patience: Patience | None = None, limits: Limits = LIMITS
    ) -> None:
        self._identity = Identity(Chain(endpoint_url, region).look)
        self._clock = clock
        self._ahead_ms = 0
        self._patience = patience or Patience()
        self._bytes_max = limits.answer_bytes_max
        self._dialer = Dialer()
        self._pool = Pool(limits, self._dialer)
        self._under_way = 0
        self._closed = False
        self._idle = asyncio.Event()

    async def send(self, operation: str, request: Mapping[str, object]) -> Answer:
        """Send a request once, or twice if it was refused for its signature. Raises SendError."""
        if self._closed:
            raise NeverSentError(CLOSED, lasting=True)
        body = _encode(request)
        self._under_way += 1
        try:
            standing = await self._identity.standing(self._patience.connect_s)
            signed_ms = self._now_ms()
            got = await self._exchange(standing, operation, body)
            if _REDIRECTED <= got.message.code < _SERVER_ERROR:
                again = await self._mended(standing, signed_ms, got)
                if again is not None:
                    got = await self._exchange(again, operation, body)
            return _answer(got)
        finally:
            self._under_way -= 1
            if self._closed and not self._under_way:
                self._idle.set()

    async def close(self) -> None:
        """Wait for what was sent, and close every connection."""
        self._closed = True
        if self._under_way:
            await self._idle.wait()
        self._identity.close()
        self._dialer.close()
        await self._pool.close()

    async def _exchange(self, standing: Standing, operation: str, body: bytes) -> _Got:
        """Send a request on one connection, and return its answer whole. Raises NeverSentError, UnansweredError."""
        line = await self._line(standing.target)
        try:
            try:
                line.ask(standing.signer.head(operation, body, self._now_ms() // 1000), body)
            except NoLineError:
                raise NeverSentError(UNREACHABLE) from None
            got = await self._whole(line)
        except BaseException:
            self._pool.drop(line)
            raise
        if got.body:
            self._pool.keep(line)
        else:
            # Whoever answers with nothing is not DynamoDB, and the line would not be known for a used one.
            self._pool.drop(line)
        return got

    async def _line(self, target: Target) -> Line:
        """Return a connection that nobody has ended. Raises NeverSentError."""
        by = _now_s() + self._patience.connect_s
        while True:
            try:
                line = await self._pool.take(target, by)
            except (NoLineError, TimeoutError):
                raise NeverSentError(UNREACHABLE) from None
            # One that has brought an answer is a kept one.
            if not line.taken or _quiet(line):
                return line
            self._pool.drop(line)

    async def _whole(self, line: Line) -> _Got:
        """Return the answer on a connection. Raises UnansweredError."""
        by = _now_s() + self._patience.answer_s
        try:
            while (message := line.answer()) is None:
                await _something(line, by)
            parts: list[bytes] = []
            while (data := line.take()) != b"":
                if data is None:
                    await _something(line, by)
                    continue
                if line.taken > self._bytes_max:
                    raise UnansweredError("too long")
                parts.append(data)
        except TransportError as error:
            raise UnansweredError("cut") from error
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        checksum = message.headers.get("x-amz-crc32")
        if checksum is not None and checksum != str(zlib.crc32(body)):
            raise UnansweredError("damaged")
        return _Got(message, body)

    async def _mended(self, standing: Standing, signed_ms: int, got: _Got) -> Standing | None:
        """Return how to send again what was not trusted, None if nothing would be different. Raises NeverSentError."""
        if _complaint(got.body).code not in _NOT_TRUSTED:
            return None
        server_ms = _server_ms(got.message)
        # By the time of its signature: meanwhile another call may have mended the clock.
        if server_ms is not None and abs(server_ms - signed_ms) > SKEW_MS:
            self._ahead_ms = server_ms - self._clock.now_ms()
            return standing
        return await self._identity.another(standing, self._patience.connect_s)

    def _now_ms(self) -> int:
        return self._clock.now_ms() + self._ahead_ms


async def _something(line: Line, by: float) -> None:
    """Wait until something comes. Raises UnansweredError."""
    if not await line.wait(by):
        raise UnansweredError("late")


def _server_ms(message: RawResponseMessage) -> int | None:
    """Return what time DynamoDB says that it is, None if it says nothing."""
    try:
        return int(email.utils.parsedate_to_datetime(message.headers.get("date", "")).timestamp() * 1000)
    except ValueError:
        return None


def _answer(got: _Got) -> Answer:
    """Read an answer. Raises ComplaintError if it is none, UnansweredError if it makes no sense."""
    status = got.message.code
    if status >= _REDIRECTED:
        raise ComplaintError(status, _complaint(got.body))
    if status != _OK:
        raise UnansweredError("another status than DynamoDB has")
    try:
        return _decode_answer(got.body)
    except (ValueError, RecursionError) as error:
        raise UnansweredError("not understood") from error


def _complaint(body: bytes) -> Complaint:
    try:
        return _decode_complaint(body)
    except (ValueError, RecursionError):
        return Complaint()


def _quiet(line: Line) -> bool:
    """Tell whether nothing has come on a kept connection: what comes unasked is its end, or an answer to nothing."""
    if sys.platform == "win32" or line.transport is None:
        return True
    look = select.poll()
    look.register(line.transport.get_extra_info("socket").fileno(), select.POLLIN)
    return not look.poll(0)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
