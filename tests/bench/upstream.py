"""A provider that costs next to nothing: HTTP/1.1 on loopback, answers made ready, no task and no parsing beyond need.

tests/support/scripted_upstream can do much more and keeps every request, which a measurement of many thousands cannot afford.
It notes when connections end in the middle of an answer, which is what a cancelled call is to a provider.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import cast

from tests.bench.exchange import SPACING_S, Scenario, asked_in_json, provider_answer

_LENGTH = b"content-length:"
_NOTHING = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
"""What a gateway gets that asks for more than answers, such as a list of models."""

_closed_at: list[float] = []


def closed_at() -> list[float]:
    """Return when connections were closed in the middle of an answer, by the monotonic clock, and forget it."""
    found = _closed_at.copy()
    _closed_at.clear()
    return found


class _Connection(asyncio.Protocol):
    """One kept connection: a request, its answer, and again."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._endless = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        _, found, rest = self._received[:end].lower().partition(_LENGTH)
        length = int(rest.partition(b"\r\n")[0]) if found else 0
        if len(self._received) < end + 4 + length:
            return
        body, self._received = self._received[end + 4 :], b""
        if not body:
            self._transport.write(_NOTHING)
            return
        scenario = asked_in_json(body)
        self._endless = scenario is Scenario.ENDLESS
        self._write(provider_answer(scenario), 0)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._endless:
            _closed_at.append(perf_counter())
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
