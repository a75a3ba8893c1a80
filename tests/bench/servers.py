"""The servers that are compared, each meant for a process of its own.

- provider: the stub that stands for the providers; not measured.
- echo: grpc.aio alone, with answers made ready. No server in Python can cost less.
- proxy: grpc.aio and the same HTTP transport as Junctor's, and the least translation that still hands the answer on.
- junctor: all of it, with the embedded store, its ledger and its log.
- junctor-dynamodb: the same, with its tables at the end of a wire, in a stub of DynamoDB that is a process of its own.
"""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import grpc
import grpc.aio
import msgspec
from msgspec import Struct

from junctor.adapters.net.face import Response, Transport
from junctor.adapters.net.headers import prepared
from junctor.v1.completion_pb2 import Delta
from junctor.v1.router_service_pb2 import (
    CompleteRequest,
    CompleteResponse,
    StreamEvent,
    StreamRequest,
    StreamResponse,
)
from tests.bench import exchange, upstream
from tests.support.harness import running_router
from tests.support.transports import chosen

SERVICE = "junctor.v1.RouterService"

ANSWER_S = 30.0
"""The longest that an answer may take."""


class Address(Struct, frozen=True):
    """Where a server listens, and the key that it asks for."""

    port: int
    api_key: str = ""


CompleteContext: TypeAlias = "grpc.aio.ServicerContext[CompleteRequest, CompleteResponse]"
StreamContext: TypeAlias = "grpc.aio.ServicerContext[StreamRequest, StreamResponse]"
Server: TypeAlias = Callable[[str, str], AbstractAsyncContextManager[Address]]
"""Starts a server, given the provider's base URL and that of the store's stub; empty where it needs none."""


class _Bare(Protocol):
    """A server without a core: two methods of grpc.aio."""

    async def complete(self, request: CompleteRequest, context: CompleteContext) -> CompleteResponse:
        """Answer as a whole."""

    def stream(self, request: StreamRequest, context: StreamContext) -> AsyncGenerator[StreamResponse, None]:
        """Answer piece by piece."""


class _Echo:
    """Answers with what is ready."""

    def __init__(self) -> None:
        self._whole = exchange.complete_response("".join(exchange.pieces(exchange.Scenario.WHOLE)))

    async def complete(self, request: CompleteRequest, context: CompleteContext) -> CompleteResponse:
        return self._whole

    async def stream(self, request: StreamRequest, context: StreamContext) -> AsyncGenerator[StreamResponse, None]:
        responses = exchange.stream_responses(exchange.asked(request))
        yield responses[0]
        for response in responses[1:]:
            await asyncio.sleep(exchange.SPACING_S)
            yield response


class _Text(Struct, frozen=True):
    """A message or delta, of which a bare proxy wants the text."""

    content: str = ""


class _Choice(Struct, frozen=True):
    message: _Text = _Text()
    delta: _Text = _Text()


class _Answer(Struct, frozen=True):
    choices: list[_Choice]


_DECODER = msgspec.json.Decoder(_Answer)


_HEADERS = prepared({"content-type": "application/json", "authorization": "Bearer made-up"})


class _Proxy:
    """Asks the provider and hands its text on."""

    def __init__(self, transport: Transport, url: str) -> None:
        self._transport = transport
        self._url = url

    async def complete(self, request: CompleteRequest, context: CompleteContext) -> CompleteResponse:
        by = asyncio.get_running_loop().time() + ANSWER_S
        async with await self._post(exchange.asked(request), by) as response:
            answer = _DECODER.decode(await response.whole(by))
        return exchange.complete_response(answer.choices[0].message.content)

    async def stream(self, request: StreamRequest, context: StreamContext) -> AsyncGenerator[StreamResponse, None]:
        by = asyncio.get_running_loop().time() + ANSWER_S
        async with await self._post(exchange.asked(request), by) as response:
            rest = b""
            while data := await response.read(by):
                *events, rest = (rest + data).split(b"\n\n")
                text = "".join(_texts(events))
                if text:
                    yield StreamResponse(events=[StreamEvent(delta=Delta(content=text))])

    async def _post(self, scenario: exchange.Scenario, by: float) -> Response:
        body = exchange.provider_request(scenario)
        return await self._transport.post(self._url, _HEADERS, body, connect_by=by, answer_by=by)


def _texts(events: list[bytes]) -> Iterator[str]:
    """Read the text of each server-sent event."""
    for event in events:
        data = event.removeprefix(b"data: ")
        if data.startswith(b"{"):
            for choice in _DECODER.decode(data).choices:
                yield choice.delta.content


@asynccontextmanager
async def _listening(bare: _Bare) -> AsyncGenerator[Address, None]:
    """Serve on a free port, without any option."""
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Complete": grpc.unary_unary_rpc_method_handler(
            bare.complete, CompleteRequest.FromString, CompleteResponse.SerializeToString
        ),
        "Stream": grpc.unary_stream_rpc_method_handler(bare.stream, StreamRequest.FromString, StreamResponse.SerializeToString),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Address(port)
    finally:
        await server.stop(None)


@asynccontextmanager
async def _provider(_base_url: str, _tables_url: str) -> AsyncGenerator[Address, None]:
    async with upstream.serve_provider() as port:
        yield Address(port)


@asynccontextmanager
async def _echo(_base_url: str, _tables_url: str) -> AsyncGenerator[Address, None]:
    async with _listening(_Echo()) as address:
        yield address


@asynccontextmanager
async def _proxy(base_url: str, _tables_url: str) -> AsyncGenerator[Address, None]:
    transport = chosen()
    try:
        async with _listening(_Proxy(transport, f"{base_url}/chat/completions")) as address:
            yield address
    finally:
        await transport.close()


@asynccontextmanager
async def _junctor(base_url: str, tables_url: str) -> AsyncGenerator[Address, None]:
    """Run all of Junctor on the embedded store, or on the one at an address."""
    settings = {"JUNCTOR_DYNAMODB_ENDPOINT": tables_url} if tables_url else {"JUNCTOR_STORE": "sqlite"}
    addresses = dict.fromkeys(exchange.ENDPOINTS, base_url)
    credentials = dict.fromkeys(exchange.ENDPOINTS.values(), "made up")
    with tempfile.TemporaryDirectory(prefix="junctor-bench-") as folder:
        async with running_router(Path(folder), addresses, settings=settings, credentials=credentials) as router:
            yield Address(int(router.target.rpartition(":")[2]), router.api_key)


@asynccontextmanager
async def _on_sqlite(base_url: str, _tables_url: str) -> AsyncGenerator[Address, None]:
    async with _junctor(base_url, "") as address:
        yield address


SERVERS: dict[str, Server] = {
    "provider": _provider,
    "echo": _echo,
    "proxy": _proxy,
    "junctor": _on_sqlite,
    "junctor-dynamodb": _junctor,
}
