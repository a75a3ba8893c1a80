"""Reads an answer of HTTP/1.1, as far as DynamoDB and what stands before it may write one.

Usually it comes whole in one read, with its length: that is taken apart by hand, at a fifth of what a parser of all HTTP takes
with its objects. It may also come in pieces, in chunks, until the connection's end, and after informational answers. Whatever
else comes is refused, as are two lengths, or a length beside chunks: nothing is guessed.

Pure: nothing is read from a network here. Invariant: what is held is bounded by the head's limit and the body's, and in
proportion to the bytes that came, however they are cut.
"""

import re
import zlib
from functools import lru_cache

from msgspec import Struct

from junctor.adapters.tables.dynamodb_sender import UnansweredError

HEAD_BYTES_MAX = 32 * 1024
"""How long status line and headers may be together, and so what follows the last chunk: DynamoDB's have 300 bytes."""

CHUNK_LINE_BYTES_MAX = 1024

_LENGTH_DIGITS_MAX = 15
_STATUS_LINES_KEPT = 64
_END = b"\r\n\r\n"
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: .*)?", re.DOTALL)
_CHUNK_LINE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?", re.DOTALL)
_FOLDED = {b" ", b"\t"}
"""How a line begins that goes on with the header before it, which is forbidden by now."""

_INFORMATIONAL_BELOW = 200
_SWITCHING = 101
_BODILESS = {204, 304}


class Reply(Struct, frozen=True):
    """An answer that came whole. `lines`: its headers; `last`: nothing may be asked on this connection any more."""

    status: int
    lines: bytes
    body: bytes
    last: bool

    @property
    def date(self) -> str:
        """Return the header of this name, empty if there is none."""
        return (_value(self.lines, b"\r\ndate:") or b"").decode("latin-1")


class _Head(Struct, frozen=True):
    """Status and headers, in small letters. Without `length` the body comes in chunks, or until the connection's end."""

    status: int
    length: int | None
    chunked: bool
    last: bool
    lines: bytes


class Reading:
    """The answer to one request, as it comes."""

    __slots__ = ("_body", "_bytes_max", "_chunks", "_head", "_rest")

    def __init__(self, bytes_max: int) -> None:
        """Read a body of so many bytes at most."""
        self._bytes_max = bytes_max
        self._rest = b""
        self._head: _Head | None = None

    def feed(self, data: bytes) -> Reply | None:
        """Take what came, and return the answer if it is whole. Raises UnansweredError."""
        if self._head is not None:
            return self._more(self._head, data)
        start = 0
        if self._rest:
            # What was looked through is not looked through again: it may come byte by byte.
            start = max(0, len(self._rest) - len(_END) + 1)
            data = self._rest + data
        while True:
            end = data.find(_END, start)
            if (len(data) if end < 0 else end) > HEAD_BYTES_MAX:
                raise UnansweredError("a head without end")
            if end < 0:
                self._rest = data
                return None
            head, data = _read_head(data[: end + 2]), data[end + 4 :]
            if head.status >= _INFORMATIONAL_BELOW:
                break
            start = 0
        length = head.length
        if length is not None:
            if length > self._bytes_max:
                raise UnansweredError("too long")
            if len(data) >= length:
                return _reply(head, data[:length], more=len(data) > length)
        self._head = head
        self._body = bytearray()
        self._chunks = _Chunks(self._body, self._bytes_max) if head.chunked else None
        return self._more(head, data)

    def ended(self) -> Reply | None:
        """Return the answer if the connection's orderly end makes it whole. Raises UnansweredError."""
        head = self._head
        if head is None or head.length is not None or head.chunked:
            return None
        return _reply(head, bytes(self._body), more=True)

    def _more(self, head: _Head, data: bytes) -> Reply | None:
        """Take what came of a body that did not come with its head. Raises UnansweredError."""
        body, length = self._body, head.length
        if self._chunks is not None:
            return _reply(head, bytes(body), more=self._chunks.more) if self._chunks.feed(data) else None
        body += data
        if len(body) > self._bytes_max:
            raise UnansweredError("too long")
        if length is None or len(body) < length:
            return None
        return _reply(head, bytes(body[:length]), more=len(body) > length)


class _Chunks:
    """A body in chunks (RFC 9112, section 7.1)."""

    def __init__(self, body: bytearray, bytes_max: int) -> None:
        self._body = body
        self._bytes_max = bytes_max
        self._rest = b""
        self._left = 0
        self._behind = False
        self._trailers: int | None = None
        self._over = False

    @property
    def more(self) -> bool:
        """Tell whether anything came behind the end."""
        return bool(self._rest)

    def feed(self, data: bytes) -> bool:
        """Take what came, and tell whether it was the end. Raises UnansweredError."""
        data = self._rest + data
        at = 0
        while not self._over:
            if self._left:
                part = data[at : at + self._left]
                if not part:
                    break
                self._body += part
                self._left -= len(part)
                at += len(part)
                continue
            end = data.find(b"\r\n", at)
            if (len(data) if end < 0 else end) - at > CHUNK_LINE_BYTES_MAX:
                raise UnansweredError("a line without end")
            if end < 0:
                break
            self._line(data[at:end])
            at = end + 2
        self._rest = data[at:]
        return self._over

    def _line(self, line: bytes) -> None:
        if self._behind:
            if line:
                raise UnansweredError("a chunk that is longer than it said")
            self._behind = False
        elif self._trailers is not None:
            self._trailers += len(line)
            if self._trailers > HEAD_BYTES_MAX:
                raise UnansweredError("trailers without end")
            self._over = not line
        else:
            self._begin(line)

    def _begin(self, line: bytes) -> None:
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise UnansweredError("no chunk")
        self._left = int(found[1], 16)
        if len(self._body) + self._left > self._bytes_max:
            raise UnansweredError("too long")
        self._behind = self._left > 0
        if not self._left:
            self._trailers = 0


def _read_head(head: bytes) -> _Head:
    """Read status line and headers, each with its line's end. Raises UnansweredError."""
    start = head.find(b"\r\n")
    status, last = _status(head[:start])
    lines = head[start:].lower()
    coding, length = _value(lines, b"\r\ntransfer-encoding:"), _length(lines)
    if coding is not None and (length is not None or coding != b"chunked"):
        raise UnansweredError("a body of another kind")
    connection = _value(lines, b"\r\nconnection:")
    if connection is not None and connection != b"keep-alive":
        last = True
    if status in _BODILESS:
        length, coding = 0, None
    return _Head(status, length, coding is not None, last, lines)


@lru_cache(_STATUS_LINES_KEPT)
def _status(line: bytes) -> tuple[int, bool]:
    """Read a status line: the status, and whether connections end with each answer. Raises UnansweredError."""
    found = _STATUS_LINE.fullmatch(line)
    if found is None or int(found[2]) == _SWITCHING:
        raise UnansweredError("another protocol")
    return int(found[2]), found[1] == b"0"


def _value(lines: bytes, name: bytes) -> bytes | None:
    """Return what a header says, None if there is none. Raises UnansweredError if it is there twice or goes on."""
    at = lines.find(name)
    if at < 0:
        return None
    start = at + len(name)
    end = lines.find(b"\r\n", start)
    if lines.find(name, end) >= 0 or lines[end + 2 : end + 3] in _FOLDED:
        raise UnansweredError("a header that says two things")
    return lines[start:end].strip()


def _length(lines: bytes) -> int | None:
    """Return how long the body is said to be. Raises UnansweredError."""
    text = _value(lines, b"\r\ncontent-length:")
    if text is None:
        return None
    if not text.isdigit() or len(text) > _LENGTH_DIGITS_MAX:
        raise UnansweredError("no length")
    return int(text)


def _reply(head: _Head, body: bytes, *, more: bool) -> Reply:
    """Make an answer of its parts; `more`: something came behind it. Raises UnansweredError if the body is a damaged one."""
    checksum = _value(head.lines, b"\r\nx-amz-crc32:")
    if checksum is not None and checksum != b"%d" % zlib.crc32(body):
        raise UnansweredError("damaged")
    # Whoever answers with nothing is not DynamoDB, and not asked again on this connection.
    return Reply(head.status, head.lines, body, head.last or more or not body)
