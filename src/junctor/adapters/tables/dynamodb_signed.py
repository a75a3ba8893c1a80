"""Requests to DynamoDB signed by ourselves, over our own connections: the usual sender.

A kept connection may be one that DynamoDB is closing: it is used only while nothing has come on it, not even its end, and not
after it was idle for long. What can still go wrong counts as sent. Neither proxies nor authorities of the environment are
heard; certificates are checked as ever. Keys that are refused, and a clock that goes wrong, are mended once.

Invariant: whatever ends an exchange early closes its connection, so that no answer can be another request's.
"""

import asyncio
import email.utils
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from junctor.adapters.net.face import Limits
from junctor.adapters.tables.dynamodb_chain import Chain, Identity, Standing
from junctor.adapters.tables.dynamodb_http import Reply
from junctor.adapters.tables.dynamodb_pool import Pool
from junctor.adapters.tables.dynamodb_sender import CLOSED, Answer, Complaint, ComplaintError, NeverSentError, UnansweredError
from junctor.ports.ambient import Clock

LIMITS = Limits(connections_max=256, idle_connections_max=64, idle_s=20.0)
"""Several times what an instance needs at once; idle connections end before DynamoDB is likely to end them."""

SKEW_MS = 60_000
"""How far the clocks must be apart to be why a signature was refused. AWS allows for several minutes."""

_QUICK = {"GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query"}
"""What is done in one go; transactions, batches and the making of tables take longer."""

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
    """How long one try may take, in seconds: until its keys are known, until it has a connection, and then until its end.

    DynamoDB answers within milliseconds: what takes a second is lost, and is better sent again. A second for either is what AWS
    shows for it (DynamoDB developer guide, programming with Python: a minute is excessive). Keys come from elsewhere. What is
    not done in one go has more time (`dynamodb_pool.SLOWNESS`).
    """

    keys_s: float = 3.0
    connect_s: float = 1.0
    answer_s: float = 1.0


class SignedSender:
    """Sends from the event loop. `endpoint_url` None leaves it to botocore where the region's DynamoDB is."""

    def __init__(
        self, *, endpoint_url: str | None, region: str, clock: Clock, patience: Patience | None = None, limits: Limits = LIMITS
    ) -> None:
        self._identity = Identity(Chain(endpoint_url, region).look)
        self._clock = clock
        self._ahead_ms = 0
        self._patience = patience or Patience()
        self._pool = Pool(limits, connect_s=self._patience.connect_s, answer_s=self._patience.answer_s)
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
            standing = self._identity.present() or await self._identity.found(self._patience.keys_s)
            signed_ms, slow = self._now_ms(), operation not in _QUICK
            head = standing.signer.head(operation, body, signed_ms // 1000)
            reply = await self._pool.ask(standing.target, head + body, slow=slow)
            if _REDIRECTED <= reply.status < _SERVER_ERROR:
                again = await self._mended(standing, signed_ms, reply)
                if again is not None:
                    head = again.signer.head(operation, body, self._now_ms() // 1000)
                    reply = await self._pool.ask(again.target, head + body, slow=slow)
            return _answer(reply)
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
        await self._pool.close()

    async def _mended(self, standing: Standing, signed_ms: int, reply: Reply) -> Standing | None:
        """Return how to send again what was not trusted, None if nothing would be different. Raises NeverSentError."""
        if _complaint(reply.body).code not in _NOT_TRUSTED:
            return None
        server_ms = _server_ms(reply.date)
        # By the time of its signature: meanwhile another call may have mended the clock.
        if server_ms is not None and abs(server_ms - signed_ms) > SKEW_MS:
            self._ahead_ms = server_ms - self._clock.now_ms()
            return standing
        return await self._identity.another(standing, self._patience.keys_s)

    def _now_ms(self) -> int:
        return self._clock.now_ms() + self._ahead_ms


def _server_ms(date: str) -> int | None:
    """Return what time DynamoDB says that it is, None if it says nothing."""
    try:
        return int(email.utils.parsedate_to_datetime(date).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _answer(reply: Reply) -> Answer:
    """Read an answer. Raises ComplaintError if it is none, UnansweredError if it makes no sense."""
    status = reply.status
    if status >= _REDIRECTED:
        raise ComplaintError(status, _complaint(reply.body))
    if status != _OK:
        raise UnansweredError("another status than DynamoDB has")
    try:
        return _decode_answer(reply.body)
    except (ValueError, RecursionError) as error:
        raise UnansweredError("not understood") from error


def _complaint(body: bytes) -> Complaint:
    try:
        return _decode_complaint(body)
    except (ValueError, RecursionError):
        return Complaint()
