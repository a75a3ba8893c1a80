"""Every method of every service, and the kinds of API keys that may call it, as the design has it: not read from the server."""

from collections.abc import Mapping

from google.protobuf.descriptor import ServiceDescriptor

from junctor.domain.account import KeyScope
from junctor.v1 import (
    account_service_pb2,
    catalog_admin_service_pb2,
    catalog_service_pb2,
    router_service_pb2,
    usage_service_pb2,
)

COMPLETION, MANAGEMENT, OPERATOR = KeyScope
MANAGERS = frozenset({MANAGEMENT, OPERATOR})
OPERATORS_ONLY = frozenset({"CreateOrganisation", "ListOrganisations", "AddCredits", "RefundCredits", "ChargeBackCredits"})
FILES = (account_service_pb2, catalog_admin_service_pb2, catalog_service_pb2, router_service_pb2, usage_service_pb2)
SERVICES: Mapping[str, ServiceDescriptor] = {
    service.name: service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()
}


def allowed(service: str, method: str) -> frozenset[KeyScope]:
    """Return the scopes of the keys that may call a method. Raises LookupError for a service of which nobody has said it."""
    match service:
        case "RouterService":
            return frozenset({COMPLETION})
        case "UsageService":
            return frozenset({COMPLETION, MANAGEMENT})
        case "CatalogService":
            return frozenset(KeyScope)
        case "CatalogAdminService":
            return frozenset({OPERATOR})
        case "AccountService":
            return frozenset({OPERATOR}) if method in OPERATORS_ONLY else MANAGERS
    raise LookupError(service)
