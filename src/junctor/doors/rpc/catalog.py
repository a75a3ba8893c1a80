"""CatalogService as a table of methods: what there is and what reaches it, for every kind of API key."""

from junctor.domain.account import Actor, KeyScope
from junctor.doors.codec import catalog as codec
from junctor.doors.codec import forms
from junctor.doors.codec.checks import Checks, Limits
from junctor.doors.rpc.methods import Method, Methods
from junctor.usecases.catalog import CatalogReader
from junctor.v1 import catalog_service_pb2 as pb

SCOPES = frozenset(KeyScope)


def methods(catalog: CatalogReader) -> Methods:
    """Return the methods of CatalogService."""

    async def list_models(actor: Actor, request: pb.ListModelsRequest) -> pb.ListModelsResponse:
        checks = Checks(Limits())
        size, token = forms.page_size(request.page_size, checks), forms.page_token(request.page_token, checks)
        wanted = codec.model_filter(request, checks)
        checks.done()
        found, following = await catalog.models(actor, wanted, size, token)
        return pb.ListModelsResponse(models=map(codec.model, found), next_page_token=following)

    async def get_model(actor: Actor, request: pb.GetModelRequest) -> pb.GetModelResponse:
        checks = Checks(Limits())
        name = checks.model(request.model, "model")
        checks.done()
        return pb.GetModelResponse(model=codec.model(catalog.model(actor, name)))

    async def list_endpoints(actor: Actor, request: pb.ListEndpointsRequest) -> pb.ListEndpointsResponse:
        checks = Checks(Limits())
        name = checks.model(request.model, "model")
        size, token = forms.page_size(request.page_size, checks), forms.page_token(request.page_token, checks)
        checks.done()
        found, following = catalog.endpoints(actor, name, size, token)
        return pb.ListEndpointsResponse(endpoints=map(codec.endpoint, found), next_page_token=following)

    async def list_providers(actor: Actor, request: pb.ListProvidersRequest) -> pb.ListProvidersResponse:
        checks = Checks(Limits())
        size, token = forms.page_size(request.page_size, checks), forms.page_token(request.page_token, checks)
        checks.done()
        found, following = await catalog.providers(actor, size, token)
        return pb.ListProvidersResponse(providers=map(codec.provider, found), next_page_token=following)

    async def get_catalog_version(_: Actor, __: pb.GetCatalogVersionRequest) -> pb.GetCatalogVersionResponse:
        return codec.version(catalog.version())

    return {
        "ListModels": Method(pb.ListModelsRequest, SCOPES, list_models),
        "GetModel": Method(pb.GetModelRequest, SCOPES, get_model),
        "ListEndpoints": Method(pb.ListEndpointsRequest, SCOPES, list_endpoints),
        "ListProviders": Method(pb.ListProvidersRequest, SCOPES, list_providers),
        "GetCatalogVersion": Method(pb.GetCatalogVersionRequest, SCOPES, get_catalog_version),
    }
