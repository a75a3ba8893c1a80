"""Whoever calls: one exchange at a time, timed, and its answer checked, as a fast wrong answer would win every comparison."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Mapping
from contextlib import suppress
from time import perf_counter
from typing import Protocol

import grpc.aio

from tests.bench.exchange import Scenario, pieces, provider_request, request, text_of
from tests.bench.servers import ANSWER_S, SERVICE, Address

_BODY_END = b"\r\n0\r\n\r\n"
_LENGTH = b"content-length:"
_READ_BYTES_MAX = 1 << 16
_IDLE_S = 2.0
"""The longest that a connection is kept unused: shorter than the five seconds after which Node closes one."""


class CallError(Exception):
    """A call failed, or its answer is not the one that the provider gave; the text says how."""


class Caller(Protocol):
    """Can ask for exchanges, many at once."""

    async def call(self, scenario: Scenario) -> float:
        """Return the seconds to the whole answer or, of a stream, to its first content. Raises CallError."""

    async def close(self) -> None:
        """Close the connections."""


class GrpcCaller:
    """Calls a server over one channel. Messages stay bytes until the clock has stopped."""

    def __init__(self, address: Address) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{address.port}")
        self._complete = self._channel.unary_unary(f"/{SERVICE}/Complete", _same, _same)
        self._stream = self._channel.unary_stream(f"/{SERVICE}/Stream", _same, _same)
        self._metadata = (("authorization", f"Bearer {address.api_key}"),)

    async def call(self, scenario: Scenario) -> float:
        """Make a call, as in Caller."""
        ask, metadata = request(scenario), self._metadata
        answer: list[bytes] = []
        begun, taken = perf_counter(), 0.0
        try:
            if scenario.streamed:
                async for message in self._stream(ask, timeout=ANSWER_S, metadata=metadata):
                    taken = taken or perf_counter() - begun
                    answer.append(message)
            else:
                answer.append(await self._complete(ask, timeout=ANSWER_S, metadata=metadata))
                taken = perf_counter() - begun
        except grpc.aio.AioRpcError as error:
            raise CallError(f"{scenario.value}: {error.code().name}, {error.details()}") from None
        if text_of(answer, scenario) != "".join(pieces(scenario)):
            raise CallError(f"{scenario.value}: wrong answer")
        return taken

    async def cancel(self, scenario: Scenario) -> float:
        """Begin a stream, cancel it once it has content, and return when, by the monotonic clock. Raises CallError."""
        call = self._stream(request(scenario), timeout=ANSWER_S, metadata=self._metadata)
        try:
            first = await call.read()
        except grpc.aio.AioRpcError as error:
            raise CallError(f"{scenario.value}: {error.code().name}, {error.details()}") from None
        if not isinstance(first, bytes):
            raise CallError(f"{scenario.value}: no answer")
        cancelled_at = perf_counter()
        call.cancel()
        return cancelled_at

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


class HttpCaller:
    """Speaks OpenAI's chat API over kept connections of plain sockets, which no client does for less.

    So the provider itself is called, to which any server in between adds, and so are other gateways.
    """

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self.port = port
        self._idle: list[tuple[float, StreamReader, StreamWriter]] = []
        own = {"host": f"127.0.0.1:{port}", "content-type": "application/json", **headers}
        lines = ("POST /v1/chat/completions HTTP/1.1", *(f"{name}: {value}" for name, value in own.items()))
        self._head = "\r\n".join((*lines, "content-length: ")).encode()

    async def call(self, scenario: Scenario) -> float:
        """Make a call, as in Caller."""
        texts = [text.encode() for text in pieces(scenario)]
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await self._connection()
                try:
                    taken, answer = await self._exchange(reader, writer, provider_request(scenario), texts[0])
                except BaseException:
                    writer.close()
                    raise
        except (OSError, EOFError, asyncio.LimitOverrunError):
            raise CallError(f"{scenario.value}: no answer") from None
        self._idle.append((perf_counter(), reader, writer))
        if any(answer.count(text) != 1 for text in texts):
            raise CallError(f"{scenario.value}: wrong answer")
        return taken

    async def close(self) -> None:
        """Close all connections."""
        while self._idle:
            *_, writer = self._idle.pop()
            writer.close()
            # A peer may have broken it off, which ends it as well.
            with suppress(OSError):
                await writer.wait_closed()

    async def _exchange(self, reader: StreamReader, writer: StreamWriter, body: bytes, first: bytes) -> tuple[float, bytes]:
        """Return the seconds to the first text, and the answer's body. Raises EOFError if it breaks off."""
        begun, taken, answer = perf_counter(), 0.0, b""
        writer.write(self._head + f"{len(body)}\r\n\r\n".encode() + body)
        length = _length(await reader.readuntil(b"\r\n\r\n"))
        while len(answer) < length if length is not None else not answer.endswith(_BODY_END):
            data = await reader.read(_READ_BYTES_MAX)
            if not data:
                raise EOFError
            answer += data
            if not taken and first in answer:
                taken = perf_counter() - begun
        return taken, answer

    async def _connection(self) -> tuple[StreamReader, StreamWriter]:
        """Return a connection on which nothing is under way."""
        while self._idle:
            since, reader, writer = self._idle.pop()
            if perf_counter() - since < _IDLE_S:
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port)


def _length(head: bytes) -> int | None:
    """Return how many bytes follow a head, None where they come in chunks."""
    _, found, rest = head.lower().partition(_LENGTH)
    return int(rest.partition(b"\r\n")[0]) if found else None


def _same(message: bytes) -> bytes:
    return message
