"""What a client may ask of the catalogue: models, endpoints, providers, prices and health, as `client.catalog`.

    for model in client.catalog.list_models(text="gpt", reachable_only=True):
        print(model.slug, model.input_picousd)

Lists fetch their pages as the iteration needs them. It is the same for both clients, but that one of them waits with await.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypedDict, TypeVar, Unpack

from google.protobuf.message import Message

from junctor.client.channel import READ_TIMEOUT_S
from junctor.v1.catalog_service_pb2 import (
    Endpoint,
    GetCatalogVersionRequest,
    GetCatalogVersionResponse,
    GetModelRequest,
    ListEndpointsRequest,
    ListModelsRequest,
    ListProvidersRequest,
    Model,
    ModelSort,
    Provider,
)

if TYPE_CHECKING:
    import grpc
    import grpc.aio

    from junctor.v1.catalog_service_pb2_grpc import CatalogServiceAsyncStub, CatalogServiceStub

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class ModelFields(TypedDict, total=False):
    """Which models to list, and in what order: the fields of ListModelsRequest by their names, but for the page."""

    sort: ModelSort.ValueType
    text: str
    providers: Sequence[str]
    input_modalities: Sequence[str]
    output_modalities: Sequence[str]
    parameters: Sequence[str]
    context_tokens_min: int | None
    input_picousd_max: int | None
    output_picousd_max: int | None
    reachable_only: bool


class Ask(Protocol):
    """How a client asks a method of the service, which is picked from its stub; waits so many seconds at most."""

    def __call__(
        self,
        pick: "Callable[[CatalogServiceStub], grpc.UnaryUnaryMultiCallable[Request, Response]]",
        request: Request,
        timeout_s: float,
    ) -> Response:
        """Return the answer. Raises JunctorRpcError."""


class AskLater(Protocol):
    """The same, with await."""

    async def __call__(
        self,
        pick: "Callable[[CatalogServiceAsyncStub], grpc.aio.UnaryUnaryMultiCallable[Request, Response]]",
        request: Request,
        timeout_s: float,
    ) -> Response:
        """Return the answer. Raises JunctorRpcError."""


class Catalog:
    """Reads the catalogue of a router. Every method, and iterating over what it returns, may raise JunctorRpcError.

    `page_size` is the most that one call fetches, 0 leaves it to the server; `timeout_s` is for each call.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def list_models(
        self, *, page_size: int = 0, timeout_s: float = READ_TIMEOUT_S, **fields: Unpack[ModelFields]
    ) -> Iterator[Model]:
        """Return the models that have an endpoint as the fields say."""
        token: str | None = ""
        while token is not None:
            request = ListModelsRequest(page_size=page_size, page_token=token, **fields)
            page = self._ask(lambda stub: stub.ListModels, request, timeout_s)
            yield from page.models
            token = page.next_page_token or None

    def get_model(self, model: str, *, timeout_s: float = READ_TIMEOUT_S) -> Model:
        """Read a model, by its slug or an alias."""
        return self._ask(lambda stub: stub.GetModel, GetModelRequest(model=model), timeout_s).model

    def list_endpoints(self, model: str, *, page_size: int = 0, timeout_s: float = READ_TIMEOUT_S) -> Iterator[Endpoint]:
        """Return the endpoints of a model, which is named by its slug or an alias."""
        token: str | None = ""
        while token is not None:
            request = ListEndpointsRequest(model=model, page_size=page_size, page_token=token)
            page = self._ask(lambda stub: stub.ListEndpoints, request, timeout_s)
            yield from page.endpoints
            token = page.next_page_token or None

    def list_providers(self, *, page_size: int = 0, timeout_s: float = READ_TIMEOUT_S) -> Iterator[Provider]:
        """Return the providers."""
        token: str | None = ""
        while token is not None:
            request = ListProvidersRequest(page_size=page_size, page_token=token)
            page = self._ask(lambda stub: stub.ListProviders, request, timeout_s)
            yield from page.providers
            token = page.next_page_token or None

    def get_version(self, *, timeout_s: float = READ_TIMEOUT_S) -> GetCatalogVersionResponse:
        """Tell which catalogue is in force."""
        return self._ask(lambda stub: stub.GetCatalogVersion, GetCatalogVersionRequest(), timeout_s)


class AsyncCatalog:
    """`Catalog` with await."""

    def __init__(self, ask: AskLater) -> None:
        self._ask = ask

    async def list_models(
        self, *, page_size: int = 0, timeout_s: float = READ_TIMEOUT_S, **fields: Unpack[ModelFields]
    ) -> AsyncIterator[Model]:
        """Return the models that have an endpoint as the fields say."""
        token: str | None = ""
        while token is not None:
            request = ListModelsRequest(page_size=page_size, page_token=token, **fields)
            page = await self._ask(lambda stub: stub.ListModels, request, timeout_s)
            for model in page.models:
                yield model
            token = page.next_page_token or None

    async def get_model(self, model: str, *, timeout_s: float = READ_TIMEOUT_S) -> Model:
        """Read a model, by its slug or an alias."""
        return (await self._ask(lambda stub: stub.GetModel, GetModelRequest(model=model), timeout_s)).model

    async def list_endpoints(
        self, model: str, *, page_size: int = 0, timeout_s: float = READ_TIMEOUT_S
    ) -> AsyncIterator[Endpoint]:
        """Return the endpoints of a model, which is named by its slug or an alias."""
        token: str | None = ""
        while token is not None:
            request = ListEndpointsRequest(model=model, page_size=page_size, page_token=token)
            page = await self._ask(lambda stub: stub.ListEndpoints, request, timeout_s)
            for endpoint in page.endpoints:
                yield endpoint
            token = page.next_page_token or None

    async def list_providers(self, *, page_size: int = 0, timeout_s: float = READ_TIMEOUT_S) -> AsyncIterator[Provider]:
        """Return the providers."""
        token: str | None = ""
        while token is not None:
            request = ListProvidersRequest(page_size=page_size, page_token=token)
            page = await self._ask(lambda stub: stub.ListProviders, request, timeout_s)
            for provider in page.providers:
                yield provider
            token = page.next_page_token or None

    async def get_version(self, *, timeout_s: float = READ_TIMEOUT_S) -> GetCatalogVersionResponse:
        """Tell which catalogue is in force."""
        return await self._ask(lambda stub: stub.GetCatalogVersion, GetCatalogVersionRequest(), timeout_s)
