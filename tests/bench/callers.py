"""Whoever calls: one exchange at a time, timed, and its answer checked, as a fast wrong answer would win every comparison."""

import asyncio
from time import perf_counter
from typing import Protocol

import grpc.aio

from tests.bench.exchange import Scenario, pieces, provider_request, request, text_of
from tests.bench.servers import ANSWER_S, SERVICE, Address

_BODY_END = b"\r\n0\r\n\r\n"
_READ_BYTES_MAX = 1 << 16


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

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


class DirectCaller:
    """Calls the provider itself over kept connections: what any server in between adds to."""

    def __init__(self, address: Address) -> None:
        self._port = address.port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(self, scenario: Scenario) -> float:
        """Make a call, as in Caller."""
        body = provider_request(scenario)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: provider\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
                begun = perf_counter()
                writer.write(head + body)
                await reader.readuntil(b"\r\n\r\n")
                answer = await reader.read(_READ_BYTES_MAX)
                taken = perf_counter() - begun
                while scenario.streamed and not answer.endswith(_BODY_END):
                    answer += await reader.readuntil(b"\r\n")
        except (OSError, EOFError):
            raise CallError(f"{scenario.value}: the provider does not answer") from None
        if any(answer.count(text.encode()) != 1 for text in pieces(scenario)):
            raise CallError(f"{scenario.value}: wrong answer")
        self._idle.append((reader, writer))
        return taken

    async def close(self) -> None:
        """Close all connections."""
        for _, writer in self._idle:
            writer.close()
            await writer.wait_closed()


def _same(message: bytes) -> bytes:
    return message
