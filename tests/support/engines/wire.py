"""A wire between the DynamoDB adapter and an engine, on which requests and answers are lost, late, doubled or refused.

Here the adapter itself is judged: what it makes of a connection that ends without an answer, and what it sends again. Each
connection carries one request. The wire lies on the loop of its caller; it begins calm.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from junctor.adapters.tables.faults import CALM, Fault, FaultDice

_HEAD_END = b"\r\n\r\n"
_REFUSALS = {
    Fault.THROTTLED: (400, "ThrottlingException"),
    Fault.CONFLICT: (400, "TransactionConflictException"),
    Fault.UNAVAILABLE: (500, "InternalServerError"),
}


class Wire:
    """The wire to an engine's port; `opened` makes one."""

    def __init__(self, port: int, seed: int) -> None:
        self.dice = FaultDice(seed, CALM)
        self.faults = 0
        self.url = ""
        self._port = port
        self._flying: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def opened(cls, port: int, seed: int) -> "AsyncIterator[Wire]":
        """Yield a wire that listens on a free port; at the end, let what is on its way arrive."""
        wire = cls(port, seed)
        server = await asyncio.start_server(wire._connected, "127.0.0.1", 0)
        wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield wire
        finally:
            server.close()
            await wire.settled()

    async def settled(self) -> None:
        """Wait until nothing is on its way any more."""
        while self._flying:
            await asyncio.wait(self._flying)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._fly(self._serve(reader, writer))

    def _fly(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._flying.add(task)
        task.add_done_callback(self._flying.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one request and its answer; no answer is a connection that ends."""
        try:
            writer.write(await self._answer(await _request(reader)))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # either side has gone
        finally:
            writer.close()

    async def _answer(self, request: bytes) -> bytes:
        """Return the bytes that come back, if any."""
        fault = self.dice.strike()
        self.faults += fault is not Fault.NONE
        if fault in _REFUSALS:
            return _refusal(*_REFUSALS[fault])
        if fault is Fault.DELAYED:
            self._fly(self._send_late(request))
        if fault in {Fault.DELAYED, Fault.DROPPED}:
            return b""
        answer = await self._send(request)
        if fault is Fault.DUPLICATED:
            answer = await self._send(request)
        return b"" if fault is Fault.REPLY_LOST else answer

    async def _send_late(self, request: bytes) -> None:
        await asyncio.sleep(self.dice.delay_s())
        await self._send(request)

    async def _send(self, request: bytes) -> bytes:
        """Send a request to the engine, and return its answer, empty if the engine is not there."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return b""
        try:
            writer.write(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            return await reader.read()
        except OSError:
            return b""
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> bytes:
    """Read one request, whose length its head says."""
    head = await reader.readuntil(_HEAD_END)
    lines = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    length = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
    return head + await reader.readexactly(length)


def _refusal(status: int, kind: str) -> bytes:
    """Write an error as DynamoDB does (its low-level API: a JSON object with `__type`)."""
    body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{kind}", "message": "the wire says so"}).encode()
    head = f"HTTP/1.1 {status} Refused\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body
