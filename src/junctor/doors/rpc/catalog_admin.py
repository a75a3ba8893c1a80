"""The methods of CatalogAdminService: what an operator changes in the catalogue. No other keys may call any of them."""

from junctor.domain.account import Actor, KeyScope
from junctor.doors.codec import catalog_admin as codec
from junctor.doors.codec.checks import Checks, Limits
from junctor.doors.rpc.methods import Method, Methods
from junctor.usecases.catalog_changes import CatalogChanges
from junctor.v1 import catalog_admin_service_pb2 as pb

OPERATORS = frozenset({KeyScope.OPERATOR})


def methods(changes: CatalogChanges) -> Methods:
    """Return the methods."""
    return {**_prices(changes), **_discounts(changes), **_endpoints(changes)}


def _prices(changes: CatalogChanges) -> Methods:
    async def put(_: Actor, request: pb.SetPriceOverrideRequest) -> pb.SetPriceOverrideResponse:
        checks = Checks(Limits())
        wanted, version = codec.override(request.price_override, checks), codec.version(request, checks)
        checks.done()
        return pb.SetPriceOverrideResponse(version=await changes.set_price(wanted, version))

    async def delete(_: Actor, request: pb.DeletePriceOverrideRequest) -> pb.DeletePriceOverrideResponse:
        checks = Checks(Limits())
        (endpoint, valid_from), version = codec.override_key(request, checks), codec.version(request, checks)
        checks.done()
        return pb.DeletePriceOverrideResponse(version=await changes.remove_price(endpoint, valid_from, version))

    return {
        "SetPriceOverride": Method(pb.SetPriceOverrideRequest, OPERATORS, put),
        "DeletePriceOverride": Method(pb.DeletePriceOverrideRequest, OPERATORS, delete),
    }


def _discounts(changes: CatalogChanges) -> Methods:
    async def put(_: Actor, request: pb.SetDiscountRequest) -> pb.SetDiscountResponse:
        checks = Checks(Limits())
        wanted, version = codec.discount(request.discount, checks), codec.version(request, checks)
        checks.done()
        return pb.SetDiscountResponse(version=await changes.set_discount(wanted, version))

    async def delete(_: Actor, request: pb.DeleteDiscountRequest) -> pb.DeleteDiscountResponse:
        checks = Checks(Limits())
        subject, version = codec.subject(request.subject, "subject", checks), codec.version(request, checks)
        checks.done()
        return pb.DeleteDiscountResponse(version=await changes.remove_discount(subject, version))

    return {
        "SetDiscount": Method(pb.SetDiscountRequest, OPERATORS, put),
        "DeleteDiscount": Method(pb.DeleteDiscountRequest, OPERATORS, delete),
    }


def _endpoints(changes: CatalogChanges) -> Methods:
    async def list_(_: Actor, _request: pb.ListCatalogRecordsRequest) -> pb.ListCatalogRecordsResponse:
        found = await changes.list()
        return pb.ListCatalogRecordsResponse(
            version=found.overlay.version,
            price_overrides=map(codec.written_override, found.overlay.overrides),
            discounts=map(codec.written_discount, found.overlay.discounts),
            private_endpoints=map(codec.written_endpoint, found.overlay.endpoints),
            passed_over=map(codec.written_passed_over, found.passed_over),
        )

    async def put(_: Actor, request: pb.SetPrivateEndpointRequest) -> pb.SetPrivateEndpointResponse:
        checks = Checks(Limits())
        wanted, version = codec.private_endpoint(request.private_endpoint, checks), codec.version(request, checks)
        checks.done()
        return pb.SetPrivateEndpointResponse(version=await changes.set_endpoint(wanted, version))

    async def delete(_: Actor, request: pb.DeletePrivateEndpointRequest) -> pb.DeletePrivateEndpointResponse:
        checks = Checks(Limits())
        endpoint, version = codec.endpoint_id(request.id, "id", checks), codec.version(request, checks)
        checks.done()
        return pb.DeletePrivateEndpointResponse(version=await changes.remove_endpoint(endpoint, version))

    return {
        "ListCatalogRecords": Method(pb.ListCatalogRecordsRequest, OPERATORS, list_),
        "SetPrivateEndpoint": Method(pb.SetPrivateEndpointRequest, OPERATORS, put),
        "DeletePrivateEndpoint": Method(pb.DeletePrivateEndpointRequest, OPERATORS, delete),
    }
