"""How is a request to DynamoDB signed? As AWS's Signature Version 4 asks for, in the one shape that all our requests have.

Always POST, the path `/`, no query and the same headers: with the key of a day kept, what is left is two digests and one HMAC.
botocore's signer, which can sign anything, takes fifteen times as long; a test holds this one to it, bit by bit.
(Amazon's "Create a signed AWS API request".)
"""

import hashlib
import hmac
import importlib.metadata
import time

from msgspec import Struct

_TARGET = "DynamoDB_20120810."
_CONTENT = "application/x-amz-json-1.0"
_AGENT = f"junctor/{importlib.metadata.version('junctor')}"
_DAY = 8
"""How many characters of an instant are its day."""

_BLOCK_BYTES = 64
_INNER, _OUTER = (bytes([byte ^ pad for byte in range(256)]) for pad in (0x36, 0x5C))
"""What HMAC makes of a key, byte for byte (RFC 2104)."""


class AccessKey(Struct, frozen=True):
    """Who signs. `token` is that of a session, None for a lasting key."""

    id: str
    secret: str
    token: str | None

    def __repr__(self) -> str:
        """Name the key and keep its secret."""
        return f"AccessKey({self.id!r})"


class Signer:
    """Signs requests to one host with one key."""

    def __init__(self, key: AccessKey, region: str, host: str) -> None:
        """`host` is what the header of this name says, with the port if it is an unusual one."""
        self._key = key
        self._region = region
        self._host = host
        self._names = ";".join(
            ["content-type", "host", "x-amz-date", *(["x-amz-security-token"] if key.token else []), "x-amz-target"]
        )
        self._second = -1
        self._day = ""
        self._scope = ""
        self._inner = self._outer = hashlib.sha256()
        self._canonical = self._to_sign = self._opening = self._closing = ""

    def head(self, operation: str, body: bytes, now_s: int) -> bytes:
        """Return a request's line and headers, with its signature at this Unix second."""
        if now_s != self._second:
            self._turn(now_s)
        canonical = f"{self._canonical}{operation}\n\n{self._names}\n{hashlib.sha256(body).hexdigest()}"
        # HMAC as RFC 2104 has it, begun once a day: by the library's own function it takes twice as long.
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(f"{self._to_sign}{hashlib.sha256(canonical.encode()).hexdigest()}".encode())
        outer.update(inner.digest())
        return f"{self._opening}{operation}{self._closing}{outer.hexdigest()}\r\ncontent-length: {len(body)}\r\n\r\n".encode()

    def _turn(self, now_s: int) -> None:
        """Begin a second, and the day with it if it is a new one."""
        self._second = now_s
        instant = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
        if instant[:_DAY] != self._day:
            self._begin_day(instant[:_DAY])
        key, names = self._key, self._names
        token, token_line = (
            (f"\nx-amz-security-token:{key.token}", f"x-amz-security-token: {key.token}\r\n") if key.token else ("", "")
        )
        self._canonical = (
            f"POST\n/\n\ncontent-type:{_CONTENT}\nhost:{self._host}\nx-amz-date:{instant}{token}\nx-amz-target:{_TARGET}"
        )
        self._to_sign = f"AWS4-HMAC-SHA256\n{instant}\n{self._scope}\n"
        self._opening = (
            f"POST / HTTP/1.1\r\nhost: {self._host}\r\nuser-agent: {_AGENT}\r\naccept-encoding: identity\r\n"
            f"content-type: {_CONTENT}\r\n{token_line}x-amz-date: {instant}\r\nx-amz-target: {_TARGET}"
        )
        self._closing = (
            f"\r\nauthorization: AWS4-HMAC-SHA256 Credential={key.id}/{self._scope}, SignedHeaders={names}, Signature="
        )

    def _begin_day(self, day: str) -> None:
        """Derive the key of a day, and begin the two digests that it takes part in."""
        self._day = day
        self._scope = f"{day}/{self._region}/dynamodb/aws4_request"
        key = f"AWS4{self._key.secret}".encode()
        for part in self._scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        padded = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(padded.translate(_INNER))
        self._outer = hashlib.sha256(padded.translate(_OUTER))
