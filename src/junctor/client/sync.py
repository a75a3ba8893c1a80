"""The client for code with threads. A `Client` is a channel: make one and share it, it is safe to use from all threads.

It refuses to retry: what may be tried again, and when, the error says. Invariant: whatever ends the wait for an answer - a
break, an exception, Ctrl-C - cancels the call at the server.
"""

import os
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeVar, Unpack

from google.protobuf.message import Message

from junctor.client import channel
from junctor.client.catalog import Catalog
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
from junctor.v1.router_service_pb2 import CompleteResponse, ExplainResponse, StreamEvent, StreamResponse
from junctor.v1.usage_service_pb2 import Generation, GetGenerationRequest, ListGenerationsRequest

if TYPE_CHECKING:
    import grpc

    from junctor.v1.catalog_service_pb2_grpc import CatalogServiceStub

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Response_co = TypeVar("Response_co", covariant=True)


class Client:
    """A connection to a router; also a context manager that closes it. `catalog` reads what there is to be asked."""

    def __init__(
        self,
        target: str = channel.DEFAULT_TARGET,
        api_key: str | None = None,
        *,
        key_file: str | os.PathLike[str] | None = None,
        tls: bool | bytes = False,
        certificate: tuple[bytes, bytes] | None = None,
    ) -> None:
        """Prepare to reach `target` (host:port); connecting happens at the first call.

        The key is `api_key`, else the content of `key_file`, else JUNCTOR_API_KEY. `tls` True trusts the system's
        certificates, bytes are the root certificates to trust (PEM). `certificate` is a chain and its private key (PEM),
        for a router that asks for one. Raises ValueError without a sound key.
        """
        from junctor.v1.catalog_service_pb2_grpc import CatalogServiceStub
        from junctor.v1.router_service_pb2_grpc import RouterServiceStub
        from junctor.v1.usage_service_pb2_grpc import UsageServiceStub

        self._metadata = channel.authorization(channel.find_key(api_key, key_file))
        self._channel = open_channel(target, channel.credentials(tls=tls, certificate=certificate))
        self._stub = RouterServiceStub(self._channel)
        self._usage = UsageServiceStub(self._channel)
        self._models = CatalogServiceStub(self._channel)
        self._closed = False
        self.catalog = Catalog(self._ask_catalog)

    def complete(
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
        self._check_open()
        request = complete_request(prompt, model=model, **fields)
        # A future, as it can be cancelled when this thread is interrupted while it waits.
        call = self._stub.Complete.future(request, timeout=channel.check_timeout(timeout_s), metadata=self._metadata)
        return answer(call)

    def stream(
        self,
        prompt: Conversation,
        *,
        model: str,
        timeout_s: float = channel.DEFAULT_TIMEOUT_S,
        **fields: Unpack[RequestFields],
    ) -> "EventStream":
        """Ask a model and return its answer's events as they come; leaving the iteration cancels the call.

        Raises TypeError or ValueError if the request cannot be written down; iterating raises JunctorRpcError.
        """
        self._check_open()
        request = stream_request(prompt, model=model, **fields)
        call = self._stub.Stream(request, timeout=channel.check_timeout(timeout_s), metadata=self._metadata)
        return EventStream(call)

    def explain(
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
        self._check_open()
        request = explain_request(prompt, model=model, **fields)
        return answer(self._stub.Explain.future(request, timeout=channel.check_timeout(timeout_s), metadata=self._metadata))

    def get_generation(self, generation_id: str, *, timeout_s: float = channel.READ_TIMEOUT_S) -> Generation:
        """Read the record of one generation, by the id that its answer had. Raises JunctorRpcError."""
        self._check_open()
        request = GetGenerationRequest(generation_id=generation_id)
        call = self._usage.GetGeneration.future(request, timeout=channel.check_timeout(timeout_s), metadata=self._metadata)
        return answer(call).generation

    def list_generations(
        self, *, api_key: str = "", page_size: int = 0, timeout_s: float = channel.READ_TIMEOUT_S
    ) -> Iterator[Generation]:
        """Return the generations that the key may see, the newest first; pages are fetched as the iteration needs them.

        `api_key`: only those of this key (its id). `page_size`: the most that one call fetches, 0 leaves it to the server.
        `timeout_s` is for each call. Iterating raises JunctorRpcError.
        """
        timeout = channel.check_timeout(timeout_s)
        page_token: str | None = ""
        while page_token is not None:
            self._check_open()
            request = ListGenerationsRequest(api_key=api_key, page_size=page_size, page_token=page_token)
            page = answer(self._usage.ListGenerations.future(request, timeout=timeout, metadata=self._metadata))
            yield from page.generations
            page_token = page.next_page_token or None

    def _ask_catalog(
        self,
        pick: "Callable[[CatalogServiceStub], grpc.UnaryUnaryMultiCallable[Request, Response]]",
        request: Request,
        timeout_s: float,
    ) -> Response:
        self._check_open()
        call = pick(self._models).future(request, timeout=channel.check_timeout(timeout_s), metadata=self._metadata)
        return answer(call)

    def close(self) -> None:
        """Cancel what is running and close the connection."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the connection."""
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed")


class _Call(Protocol[Response_co]):
    """What grpc returns for a call with one response that is not waited for."""

    def result(self) -> Response_co: ...

    def cancel(self) -> bool: ...


class _StreamCall(Protocol):
    """What grpc returns for a call with many responses."""

    def __next__(self) -> StreamResponse: ...

    def __iter__(self) -> Iterator[StreamResponse]: ...

    def cancel(self) -> bool: ...


class EventStream:
    """The events of one answer, as an iterator and a context manager; dropping it cancels the call."""

    def __init__(self, call: "_StreamCall") -> None:
        """Take over a call that was begun."""
        self._call = call
        self._buffer = EventBuffer()
        self._ended = False

    def __iter__(self) -> Self:
        """Return the stream itself: it can be walked once."""
        return self

    def __next__(self) -> StreamEvent:
        """Wait for the next event.

        Raises JunctorRpcError if the call fails or ends before the answer is complete.
        """
        import grpc

        while True:
            event = self._buffer.take()
            if event is not None:
                return event
            if self._ended:
                raise StopIteration
            try:
                response = next(self._call, None)
            except grpc.RpcError as error:
                if self._ended:
                    # Another thread closed the stream while this one waited.
                    raise StopIteration from None
                self._ended = True
                raise _typed(error) from None
            except BaseException:
                self.close()
                raise
            if response is None:
                self._ended = True
                self._buffer.end()
            else:
                self._buffer.feed(response)

    def close(self) -> None:
        """Cancel the call if it is still running; what was not read is lost."""
        self._ended = True
        self._buffer = EventBuffer()
        self._call.cancel()

    def __enter__(self) -> Self:
        """Return the stream itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Cancel the call if it is still running."""
        self.close()


def open_channel(target: str, credentials: "grpc.ChannelCredentials | None") -> "grpc.Channel":
    """Return a channel to a target, in plain text or over TLS; connecting happens at the first call."""
    import grpc

    if credentials is None:
        return grpc.insecure_channel(target, channel.OPTIONS)
    return grpc.secure_channel(target, credentials, channel.OPTIONS)


def answer(call: "_Call[Response_co]") -> Response_co:
    """Wait for the response; whatever ends the wait cancels the call. Raises JunctorRpcError."""
    import grpc

    try:
        return call.result()
    except grpc.RpcError as error:
        raise _typed(error) from None
    except grpc.FutureCancelledError:
        raise JunctorRpcError("CANCELLED", "CANCELLED", "The client was closed during the call.") from None
    finally:
        call.cancel()


def _typed(error: "grpc.RpcError") -> JunctorRpcError:
    return read_status(
        error.code().name, error.details() or "", [(entry.key, entry.value) for entry in error.trailing_metadata() or ()]
    )
