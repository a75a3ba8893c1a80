"""A provider that costs next to nothing: HTTP/1.1 on loopback, answers made ready, no task and no parsing beyond need.

tests/support/scripted_upstream can do much more and keeps every request, which a measurement of many thousands cannot afford.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

from tests.bench.exchange import SPACING_S, asked_in_json, provider_answer

_LENGTH = b"content-length:"


class _Connection(asyncio.Protocol):
    """One kept connection: a request, its answer, and again."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end].lower()
        length = int(head[head.index(_LENGTH) + len(_LENGTH) :].partition(b"\r\n")[0])
        if len(self._received) < end + 4 + length:
            return
        body, self._received = self._received[end + 4 :], b""
        self._write(provider_answer(asked_in_json(body)), 0)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _write(self, writes: tuple[bytes, ...], number: int) -> None:
        """Write one part of an answer and set the timer for the next."""
        self._transport.write(writes[number])
        if number + 1 < len(writes):
            self._timer = asyncio.get_running_loop().call_later(SPACING_S, self._write, writes, number + 1)


@asynccontextmanager
async def serve_provider() -> AsyncGenerator[int, None]:
    """Listen on a free loopback port and yield it."""
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
