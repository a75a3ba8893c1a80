"""A peer of HTTP/2 that writes the frames that it likes: for what no honest client does. RFC 9113, and HPACK of RFC 7541.

It compresses nothing and keeps no table, understands of what it reads only the frames' heads, and answers no ping by itself.
"""

import asyncio
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_STREAM, END_HEADERS = 1, 1, 4
NO_ERROR, CANCEL, ENHANCE_YOUR_CALM = 0, 8, 11


class Frame(NamedTuple):
    """A frame as it was read."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def error(self) -> int:
        """Return the error code of a GOAWAY."""
        return int.from_bytes(self.payload[4:8], "big")


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Write a frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def opening(stream: int, path: str, *more: tuple[str, str]) -> bytes:
    """Write the head of a gRPC call."""
    fields = ((":authority", "localhost"), ("content-type", "application/grpc"), ("te", "trailers"), *more)
    block = b"\x83\x86" + _literal(":path", path) + b"".join(_literal(name, value) for name, value in fields)
    return frame(HEADERS, END_HEADERS, stream, block)


def request(stream: int, message: bytes = b"") -> bytes:
    """Write the only message of a gRPC call, and that there is no more."""
    return frame(DATA, END_STREAM, stream, b"\x00" + struct.pack(">I", len(message)) + message)


def reset(stream: int) -> bytes:
    """Write that a stream is given up."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))


def ping() -> bytes:
    """Write a ping."""
    return frame(PING, 0, 0, bytes(8))


def _literal(name: str, value: str) -> bytes:
    """Write a field that is to be put into no table; both parts shorter than 127 bytes."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


class Peer:
    """A connection, opened as HTTP/2 wants it. Use it as an asynchronous context manager."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._read = bytearray()
        self._streams = iter(range(1, 1 << 31, 2))

    async def __aenter__(self) -> Self:
        """Connect."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.writer.write(PREFACE + frame(SETTINGS) + frame(SETTINGS, ACK))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        self.writer.close()

    def next_stream(self) -> int:
        """Return a stream that was not used."""
        return next(self._streams)

    async def send(self, data: bytes) -> None:
        """Write bytes. Raises ConnectionError."""
        self.writer.write(data)
        await self.writer.drain()

    async def frames(self) -> "list[Frame]":
        """Wait for bytes and return the frames that are whole, none if the connection was closed. Raises ConnectionError."""
        while True:
            received = await self.reader.read(1 << 16)
            if not received:
                return []
            self._read += received
            if found := list(self._whole()):
                return found

    async def until(self, kind: int) -> Frame:
        """Wait for a frame of a kind. Raises ConnectionError if the connection is closed before."""
        while found := await self.frames():
            for each in found:
                if each.kind == kind:
                    return each
        raise ConnectionResetError("closed")

    def _whole(self) -> Iterator[Frame]:
        while len(self._read) >= 9 and len(self._read) >= 9 + (length := int.from_bytes(self._read[:3], "big")):
            kind, flags, stream = struct.unpack(">BBI", self._read[3:9])
            yield Frame(kind, flags, stream, bytes(self._read[9 : 9 + length]))
            del self._read[: 9 + length]
