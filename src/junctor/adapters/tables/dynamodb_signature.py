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
        names = ["content-type", "host", "x-amz-date", *(["x-amz-security-token"] if key.token else []), "x-amz-target"]
        self._names = ";".join(names)
        self._canonical = f"POST\n/\n\ncontent-type:{_CONTENT}\nhost:{host}\nx-amz-date:"
        token = f"x-amz-security-token: {key.token}\r\n" if key.token else ""
        self._opening = (
            f"POST / HTTP/1.1\r\nhost: {host}\r\nuser-agent: {_AGENT}\r\naccept-encoding: identity\r\n"
            f"content-type: {_CONTENT}\r\n{token}x-amz-target: {_TARGET}"
        )
        self._second = -1
        self._instant = ""
        self._day = ""
        self._scope = ""
        self._day_key = b""

    def head(self, operation: str, body: bytes, now_s: int) -> bytes:
        """Return a request's line and headers, with its signature at this Unix second."""
        if now_s != self._second:
            self._turn(now_s)
        token = f"\nx-amz-security-token:{self._key.token}" if self._key.token else ""
        canonical = (
            f"{self._canonical}{self._instant}{token}\nx-amz-target:{_TARGET}{operation}\n\n"
            f"{self._names}\n{hashlib.sha256(body).hexdigest()}"
        )
        signed = f"AWS4-HMAC-SHA256\n{self._instant}\n{self._scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._day_key, signed.encode(), "sha256").hex()
        return (
            f"{self._opening}{operation}\r\nx-amz-date: {self._instant}\r\n"
            f"authorization: AWS4-HMAC-SHA256 Credential={self._key.id}/{self._scope}, "
            f"SignedHeaders={self._names}, Signature={signature}\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode()

    def _turn(self, now_s: int) -> None:
        """Begin a second, and the day with it if it is a new one."""
        self._second = now_s
        self._instant = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
        day = self._instant[:_DAY]
        if day == self._day:
            return
        self._day = day
        self._scope = f"{day}/{self._region}/dynamodb/aws4_request"
        key = f"AWS4{self._key.secret}".encode()
        for part in self._scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._day_key = key
