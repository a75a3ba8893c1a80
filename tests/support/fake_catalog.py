"""A real gRPC server of CatalogService with the models, endpoints and providers that a test gives it, in pages of two."""

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.message import Message

from junctor.v1 import catalog_service_pb2 as pb
from tests.support.fake_router import Failure
from tests.support.fake_server import FakeServer

SERVICE = "junctor.v1.CatalogService"
PAGE = 2


class FakeCatalog(FakeServer):
    """The server, as a context manager; `target` is its address. Each request is kept in `requests`."""

    def __init__(
        self,
        *,
        models: Sequence[pb.Model] = (),
        endpoints: Sequence[pb.Endpoint] = (),
        providers: Sequence[pb.Provider] = (),
        failure: Failure | None = None,
    ) -> None:
        self.requests: list[Any] = []
        self._models, self._endpoints, self._providers, self._failure = models, endpoints, providers, failure
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(answer, request.FromString, lambda message: message.SerializeToString())
            for name, request, answer in (
                ("ListModels", pb.ListModelsRequest, self._list_models),
                ("GetModel", pb.GetModelRequest, self._get_model),
                ("ListEndpoints", pb.ListEndpointsRequest, self._list_endpoints),
                ("ListProviders", pb.ListProvidersRequest, self._list_providers),
                ("GetCatalogVersion", pb.GetCatalogVersionRequest, self._version),
            )
        }
        super().__init__(SERVICE, methods)

    def _list_models(self, request: pb.ListModelsRequest, context: grpc.ServicerContext) -> Message:
        shown, following = self._page(self._models, request, context)
        return pb.ListModelsResponse(models=shown, next_page_token=following)

    def _get_model(self, request: pb.GetModelRequest, context: grpc.ServicerContext) -> Message:
        self._begin(request, context)
        return pb.GetModelResponse(model=next(model for model in self._models if model.slug == request.model))

    def _list_endpoints(self, request: pb.ListEndpointsRequest, context: grpc.ServicerContext) -> Message:
        shown, following = self._page(self._endpoints, request, context)
        return pb.ListEndpointsResponse(endpoints=shown, next_page_token=following)

    def _list_providers(self, request: pb.ListProvidersRequest, context: grpc.ServicerContext) -> Message:
        shown, following = self._page(self._providers, request, context)
        return pb.ListProvidersResponse(providers=shown, next_page_token=following)

    def _version(self, request: pb.GetCatalogVersionRequest, context: grpc.ServicerContext) -> Message:
        self._begin(request, context)
        return pb.GetCatalogVersionResponse(version="7", model_count=len(self._models))

    def _page(self, entries: Sequence[Any], request: Any, context: grpc.ServicerContext) -> tuple[Sequence[Any], str]:
        self._begin(request, context)
        start = int(request.page_token or 0)
        return entries[start : start + PAGE], str(start + PAGE) if len(entries) > start + PAGE else ""

    def _begin(self, request: Message, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        if self._failure is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", self._failure.packed()),))
            context.abort(self._failure.code, self._failure.message)
