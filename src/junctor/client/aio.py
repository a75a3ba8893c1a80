"""The client for asyncio. An `AsyncClient` belongs to the event loop of its first call: make one for each loop.

It is `Client` with await: the same requests, errors and limits. Invariant: cancelling the task that waits cancels the call
at the server.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

from google.protobuf.message import Message

from junctor.client import channel
from junctor.client.catalog import AsyncCatalog
from junctor.client.errors import JunctorRpcError, read_status
from junctor.client.events import EventBuffer
from junctor.client.requests import (
    Conversation,
    ExplainFields,
    RequestFields,
    complete_request,
    explain_request,
    stream_request,
)
from junctor.v1.router_service_pb2 import CompleteResponse, ExplainResponse, StreamEvent, StreamRequest, StreamResponse
from junctor.v1.usage_service_pb2 import Generation, GetGenerationRequest, ListGenerationsRequest

if TYPE_CHECKING:
    import grpc.aio

    from junctor.v1.catalog_service_pb2_grpc import CatalogServiceAsyncStub
    from junctor.v1.router_service_pb2_grpc import RouterServiceAsyncStub
    from junctor.v1.usage_service_pb2_grpc import UsageServiceAsyncStub

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class AsyncClient:
    """A connection to a router; also an asynchronous context manager that closes it.

    `catalog` reads what there is to be asked.
    """

    def __init__(
        self,
        target: str = channel.DEFAULT_TARGET,
        api_key: str | None = None,
        *,
        key_file: str | os.PathLike[str] | None = None,
        tls: bool | bytes = False,
        certificate: tuple[bytes, bytes] | None = None,
    ) -> None:
        """Prepare to reach `target` (host:port); connecting happens at the first call. No loop need run yet.

        The key is `api_key`, else the content of `key_file`, else JUNCTOR_API_KEY. `tls` True trusts the system's
        certificates, bytes are the root certificates to trust (PEM). `certificate` is a chain and its private key (PEM),
        for a router that asks for one. Raises ValueError without a sound key.
        """
        # Here rather than at the first call, which would hold up the loop.
        import grpc.aio

        self._target = target
        self._credentials = channel.credentials(tls=tls, certificate=certificate)
        self._metadata = channel.authorization(channel.find_key(api_key, key_file))
        self._channel: grpc.aio.Channel | None = None
        self._stubs: tuple[RouterServiceAsyncStub, UsageServiceAsyncStub, CatalogServiceAsyncStub] | None = None
        self._closed = False
        self.catalog = AsyncCatalog(self._ask_catalog)

    async def complete(
        self,
        prompt: Conversation,
        *,
        model: str,
        timeout_s: float = channel.DEFAULT_TIMEOUT_S,
        **fields: Unpack[RequestFields],
    ) -> CompleteResponse:
        """Ask a model and wait for the whole answer.

        Raises JunctorRpcError if the call fails, TypeError or ValueError if the request cannot be written down.
        """
        request = complete_request(prompt, model=model, **fields)
        timeout = channel.check_timeout(timeout_s)
        router, _, _ = self._connected()
        return await _answer(router.Complete(request, timeout=timeout, metadata=self._metadata))

    def stream(
        self,
        prompt: Conversation,
        *,
        model: str,
        timeout_s: float = channel.DEFAULT_TIMEOUT_S,
        **fields: Unpack[RequestFields],
    ) -> "AsyncEventStream":
        """Ask a model and return its answer's events as they come; leaving the iteration cancels the call.

        Raises TypeError or ValueError if the request cannot be written down; iterating raises JunctorRpcError.
        """
        loop = asyncio.get_running_loop()
        request = stream_request(prompt, model=model, **fields)
        timeout = channel.check_timeout(timeout_s)
        router, _, _ = self._connected()
        return AsyncEventStream(router.Stream(request, timeout=timeout, metadata=self._metadata), loop)

    async def explain(
        self,
        prompt: Conversation,
        *,
        model: str,
        timeout_s: float = channel.READ_TIMEOUT_S,
        **fields: Unpack[ExplainFields],
    ) -> ExplainResponse:
        """Return the plan that a request would get: no model is asked, and nothing is charged.

        Raises JunctorRpcError if the call fails, TypeError or ValueError if the request cannot be written down.
        """
        request = explain_request(prompt, model=model, **fields)
        timeout = channel.check_timeout(timeout_s)
        router, _, _ = self._connected()
        return await _answer(router.Explain(request, timeout=timeout, metadata=self._metadata))

    async def get_generation(self, generation_id: str, *, timeout_s: float = channel.READ_TIMEOUT_S) -> Generation:
        """Read the record of one generation, by the id that its answer had. Raises JunctorRpcError."""
        request = GetGenerationRequest(generation_id=generation_id)
        timeout = channel.check_timeout(timeout_s)
        _, usage, _ = self._connected()
        return (await _answer(usage.GetGeneration(request, timeout=timeout, metadata=self._metadata))).generation

    async def list_generations(
        self, *, api_key: str = "", page_size: int = 0, timeout_s: float = channel.READ_TIMEOUT_S
    ) -> AsyncIterator[Generation]:
        """Return the generations that the key may see, the newest first; pages are fetched as the iteration needs them.

        `api_key`: only those of this key (its id). `page_size`: the most that one call fetches, 0 leaves it to the server.
        `timeout_s` is for each call. Iterating raises JunctorRpcError.
        """
        timeout = channel.check_timeout(timeout_s)
        page_token: str | None = ""
        while page_token is not None:
            _, usage, _ = self._connected()
            request = ListGenerationsRequest(api_key=api_key, page_size=page_size, page_token=page_token)
            page = await _answer(usage.ListGenerations(request, timeout=timeout, metadata=self._metadata))
            for generation in page.generations:
                yield generation
            page_token = page.next_page_token or None

    async def close(self) -> None:
        """Cancel what is running and close the connection."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.close()

    async def _ask_catalog(
        self,
        pick: "Callable[[CatalogServiceAsyncStub], grpc.aio.UnaryUnaryMultiCallable[Request, Response]]",
        request: Request,
        timeout_s: float,
    ) -> Response:
        timeout = channel.check_timeout(timeout_s)
        _, _, catalog = self._connected()
        return await _answer(pick(catalog)(request, timeout=timeout, metadata=self._metadata))

    def _connected(self) -> "tuple[RouterServiceAsyncStub, UsageServiceAsyncStub, CatalogServiceAsyncStub]":
        if self._closed:
            raise RuntimeError("the client is closed")
        if self._stubs is None:
            import grpc.aio

            from junctor.v1.catalog_service_pb2_grpc import CatalogServiceStub
            from junctor.v1.router_service_pb2_grpc import RouterServiceStub
            from junctor.v1.usage_service_pb2_grpc import UsageServiceStub

            # Not in __init__: an aio channel binds itself to the loop that runs when it is made.
            if self._credentials is None:
                self._channel = grpc.aio.insecure_channel(self._target, channel.OPTIONS)
            else:
                self._channel = grpc.aio.secure_channel(self._target, self._credentials, channel.OPTIONS)
            stubs = RouterServiceStub(self._channel), UsageServiceStub(self._channel), CatalogServiceStub(self._channel)
            self._stubs = stubs
        return self._stubs


class AsyncEventStream:
    """The events of one answer, as an asynchronous iterator and context manager; dropping it cancels the call."""

    def __init__(
        self,
        call: "grpc.aio.UnaryStreamCall[StreamRequest, StreamResponse]",
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Take over a call that was begun on the loop."""
        self._call = call
        self._loop = loop
        self._buffer = EventBuffer()
        self._ended = False

    def __aiter__(self) -> Self:
        """Return the stream itself: it can be walked once."""
        return self

    async def __anext__(self) -> StreamEvent:
        """Wait for the next event.

        Raises JunctorRpcError if the call fails or ends before the answer is complete.
        """
        import grpc.aio

        while True:
            event = self._buffer.take()
            if event is not None:
                return event
            if self._ended:
                raise StopAsyncIteration
            try:
                response = await self._call.read()
            except grpc.aio.AioRpcError as error:
                self._ended = True
                raise _typed(error) from None
            if isinstance(response, StreamResponse):
                self._buffer.feed(response)
            else:
                self._ended = True
                self._buffer.end()

    async def aclose(self) -> None:
        """Cancel the call if it is still running; what was not read is lost."""
        self._ended = True
        self._buffer = EventBuffer()
        self._call.cancel()

    def __del__(self) -> None:
        """Cancel the call of a stream that was dropped, as a break does; grpc alone would let it run on."""
        if not self._ended and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._call.cancel)

    async def __aenter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel the call if it is still running."""
        await self.aclose()


async def _answer(call: Awaitable[Response]) -> Response:
    """Wait for a call's response. Raises JunctorRpcError."""
    import grpc.aio

    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise _typed(error) from None


def _typed(error: "grpc.aio.AioRpcError") -> JunctorRpcError:
    return read_status(error.code().name, error.details() or "", error.trailing_metadata() or ())
