"""What those who manage a deployment ask: a sound request for every method, about a house that is furnished for them.

Every service but RouterService. What a field may plausibly say is known by the field's name alone, so that a new method that
speaks of the same things is asked about them too; a method without a sound request is an error here, not left out.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from msgspec import Struct

from junctor.domain.account import KeyScope
from junctor.v1 import account_service_pb2 as pb
from junctor.v1 import catalog_admin_service_pb2 as admin_pb
from junctor.v1 import catalog_service_pb2 as catalog_pb
from junctor.v1 import usage_service_pb2 as usage_pb
from tests.support.fuzz_messages import Scalar
from tests.support.scopes import SERVICES

CALLERS: Final[Mapping[str, KeyScope]] = {
    "operator": KeyScope.OPERATOR,
    "manager": KeyScope.MANAGEMENT,
    "member": KeyScope.MANAGEMENT,
    "caller": KeyScope.COMPLETION,
}
"""Who asks: an operator, a key that manages the house, one of a plain member of it, and one that calls models."""

METHODS: Final[Mapping[str, MethodDescriptor]] = {
    method.name: method for name, service in SERVICES.items() if name != "RouterService" for method in service.methods
}
MODEL, ENDPOINT, OWN = "openai/gpt-oss-120b", "groq/openai/gpt-oss-120b", "vllm-eu/lab/own"
FAR_MS = 1_900_000_000_000
SPARE_KEYS = 4
"""API keys that nobody calls with, so that they may be lost."""

Ask: TypeAlias = Callable[[str, Message], Awaitable[Any]]
"""From an API key and a request to the answer."""


class House(Struct, frozen=True):
    """An organisation, another one, and what is in it that requests can be about; `keys` are API keys by who calls."""

    organisation: str
    other: str
    api_keys: tuple[str, ...]
    generation: str
    tokens: tuple[str, ...]
    keys: Mapping[str, str]


async def furnish(ask: Ask, operator: str, generate: Callable[[str, str], Awaitable[str]]) -> House:
    """Make a house through the methods themselves; `generate` makes a generation of an organisation with a completion key."""
    organisation: str = (await ask(operator, pb.CreateOrganisationRequest(name="House"))).organisation.id
    other: str = (await ask(operator, pb.CreateOrganisationRequest(name="Other"))).organisation.id
    about: dict[str, Any] = {"organisation": organisation}
    for member in ("bob", "ada", "own"):
        await ask(operator, pb.CreateMemberRequest(member=member, role=pb.MEMBER_ROLE_MEMBER, **about))
    for workspace in ("team", "lab"):
        await ask(operator, pb.CreateWorkspaceRequest(workspace=workspace, **about))

    async def key(scope: pb.ApiKeyScope.ValueType, member: str = "") -> pb.CreateApiKeyResponse:
        made: pb.CreateApiKeyResponse = await ask(
            operator, pb.CreateApiKeyRequest(name="k", scope=scope, member=member, **about)
        )
        return made

    keys = {
        "operator": operator,
        "manager": (await key(pb.API_KEY_SCOPE_MANAGEMENT)).secret,
        "member": (await key(pb.API_KEY_SCOPE_MANAGEMENT, "own")).secret,
        "caller": (await key(pb.API_KEY_SCOPE_COMPLETION)).secret,
    }
    api_keys = tuple([(await key(pb.API_KEY_SCOPE_COMPLETION, "own")).api_key.id for _ in range(SPARE_KEYS)])
    for payment in ("p1", "p2"):
        await ask(operator, pb.AddCreditsRequest(payment_id=payment, amount_nanousd=10**10, **about))
    for interval in (pb.INTERVAL_DAY, pb.INTERVAL_MONTH):
        limit: dict[str, Any] = {
            "subject": pb.LIMIT_SUBJECT_MEMBER,
            "subject_id": "bob",
            "interval": interval,
            "limit_nanousd": 10**9,
        }
        await ask(operator, pb.SetLimitRequest(**limit, **about))
    generation = await generate(organisation, keys["caller"])
    lists: Sequence[Message] = (
        *(
            kind(page_size=1, **about)
            for kind in (
                pb.ListMembersRequest,
                pb.ListWorkspacesRequest,
                pb.ListApiKeysRequest,
                pb.ListLimitsRequest,
                pb.ListLedgerEntriesRequest,
            )
        ),
        pb.ListOrganisationsRequest(page_size=1),
        catalog_pb.ListEndpointsRequest(model=MODEL, page_size=1),
    )
    tokens = tuple([(await ask(operator, request)).next_page_token for request in lists])
    return House(organisation, other, api_keys, generation, tokens, keys)


def sound(house: House) -> Mapping[str, Message]:
    """Return a request of every method that an operator, or whoever may call it, can have answered."""
    about: dict[str, Any] = {"organisation": house.organisation}
    api_key: dict[str, Any] = {"api_key": house.api_keys[0], **about}
    limit: dict[str, Any] = {"subject": pb.LIMIT_SUBJECT_MEMBER, "subject_id": "bob", "interval": pb.INTERVAL_DAY, **about}
    parts = catalog_pb.PriceParts(input=10**6, output=2 * 10**6)
    requests: Sequence[Message] = (
        pb.CreateOrganisationRequest(name="A name"),
        pb.GetOrganisationRequest(**about),
        pb.ListOrganisationsRequest(),
        pb.UpdateOrganisationRequest(name="A name", **about),
        pb.CreateMemberRequest(member="new-1", role=pb.MEMBER_ROLE_MEMBER, **about),
        pb.ListMembersRequest(**about),
        pb.UpdateMemberRequest(member="bob", name="Bob", **about),
        pb.DeleteMemberRequest(member="ada", **about),
        pb.CreateWorkspaceRequest(workspace="new-1", name="New", **about),
        pb.ListWorkspacesRequest(**about),
        pb.UpdateWorkspaceRequest(workspace="team", name="A team", **about),
        pb.DeleteWorkspaceRequest(workspace="lab", **about),
        pb.CreateApiKeyRequest(name="k", scope=pb.API_KEY_SCOPE_COMPLETION, **about),
        pb.GetApiKeyRequest(**api_key),
        pb.ListApiKeysRequest(**about),
        pb.UpdateApiKeyRequest(name="n", **api_key),
        pb.RotateApiKeyRequest(**api_key),
        pb.DeleteApiKeyRequest(api_key=house.api_keys[-1], **about),
        pb.SetLimitRequest(limit_nanousd=10**9, **limit),
        pb.ListLimitsRequest(**about),
        pb.DeleteLimitRequest(**limit),
        pb.AddCreditsRequest(payment_id="p3", amount_nanousd=10**9, **about),
        pb.RefundCreditsRequest(payment_id="p1", refund_id="r1", amount_nanousd=10**6, **about),
        pb.ChargeBackCreditsRequest(payment_id="p1", chargeback_id="c1", amount_nanousd=10**6, **about),
        pb.GetCreditsRequest(**about),
        pb.ListLedgerEntriesRequest(**about),
        admin_pb.ListCatalogRecordsRequest(),
        admin_pb.SetPriceOverrideRequest(price_override=admin_pb.PriceOverride(endpoint=ENDPOINT, parts=parts)),
        admin_pb.DeletePriceOverrideRequest(endpoint=ENDPOINT),
        admin_pb.SetDiscountRequest(discount=admin_pb.Discount(subject="groq", off_ppm=50_000)),
        admin_pb.DeleteDiscountRequest(subject="groq"),
        admin_pb.SetPrivateEndpointRequest(
            private_endpoint=admin_pb.PrivateEndpoint(
                provider="vllm-eu", model="lab/own", upstream_model="own", base_url="https://gpu.example/v1", parts=parts
            )
        ),
        admin_pb.DeletePrivateEndpointRequest(id=OWN),
        usage_pb.GetGenerationRequest(generation_id=house.generation),
        usage_pb.ListGenerationsRequest(),
        catalog_pb.ListModelsRequest(page_size=5),
        catalog_pb.GetModelRequest(model=MODEL),
        catalog_pb.ListEndpointsRequest(model=MODEL),
        catalog_pb.ListProvidersRequest(page_size=5),
        catalog_pb.GetCatalogVersionRequest(),
    )
    found = {type(request).__name__.removesuffix("Request"): request for request in requests}
    assert found.keys() == METHODS.keys()
    return found


def plausible(house: House) -> Mapping[str, Sequence[Scalar]]:
    """Return what fields of requests may say about a house, by their full names."""
    known: Mapping[str, Sequence[Scalar]] = {
        **_PLAUSIBLE,
        "organisation": (house.organisation,) * 6 + (house.other, ""),
        "api_key": house.api_keys,
        "subject_id": ("bob", "team", house.api_keys[0], ""),
        "generation_id": (house.generation,),
        "page_token": ("", *house.tokens, house.generation, "0.", "15.x"),
    }
    return {full: known[name] for full, name in _fields() if name in known}


@cache
def _fields() -> tuple[tuple[str, str], ...]:
    """Return the full and the own name of every field that holds a text, a number or a truth, in any request."""
    found: dict[str, str] = {}
    waiting: list[Descriptor] = [method.input_type for method in METHODS.values()]
    while waiting:
        for field in waiting.pop().fields:
            if field.full_name in found:
                continue
            if field.message_type is not None:
                waiting.append(field.message_type)
            elif field.enum_type is None:
                found[field.full_name] = field.name
    return tuple(found.items())


@cache
def request_of(method: str) -> type[Message]:
    """Return the class of a method's request."""
    return GetMessageClass(METHODS[method].input_type)


@cache
def response_of(method: str) -> type[Message]:
    """Return the class of a method's response."""
    return GetMessageClass(METHODS[method].output_type)


def path_of(method: str) -> str:
    """Return a method's path on the wire."""
    return f"/{METHODS[method].containing_service.full_name}/{method}"


_NEW = tuple(f"new-{number}" for number in range(9))
_PLAUSIBLE: Final[Mapping[str, Sequence[Scalar]]] = MappingProxyType(
    {
        "member": ("bob", "ada", *_NEW),
        "workspace": ("team", "lab", *_NEW),
        "name": ("A name", "größe", ""),
        "disabled": (False,),
        "page_size": (0, 1, 2, 20),
        "payment_id": ("p1", "p2", *(f"p{number}" for number in range(3, 20))),
        "refund_id": tuple(f"r{number}" for number in range(9)),
        "chargeback_id": tuple(f"c{number}" for number in range(9)),
        "amount_nanousd": (1, 10**6, 10**9),
        "limit_nanousd": (0, 10**9),
        "low_balance_nanousd": (0, 10**9),
        "fee_ppm": (0, 50_000),
        "expires_at_ms": (FAR_MS, FAR_MS + 86_400_000),
        "valid_from_ms": (FAR_MS - 86_400_000, FAR_MS - 1_000),
        "valid_to_ms": (FAR_MS,),
        "old_secret_for_s": (0, 60),
        "requests_per_min": (1, 100),
        "tokens_per_min": (1, 10**6),
        "concurrency": (1, 100),
        "names": (MODEL, "groq"),
        "model": (MODEL, "lab/own", "openai/gpt-oss"),
        "endpoint": (ENDPOINT, OWN),
        "subject": ("groq", ENDPOINT),
        "id": (OWN,),
        "off_ppm": (1, 50_000, 10**6),
        "note": ("", "as agreed"),
        "as_of": ("",),
        "provider": ("vllm-eu", "vllm-us"),
        "upstream_model": ("own", "Own 2"),
        "base_url": ("https://gpu.example/v1", "http://10.200.0.1:8000/v1", "https://10.200.0.2/v1"),
        "dialect": ("", "openai_chat"),
        "credential": ("", "ENDPOINT_KEY_A"),
        "region": ("", "eu-1"),
        "context_tokens": (4096,),
        "output_tokens_max": (1024,),
        "parameters": ("temperature", "max_tokens", "tools"),
        "version": (0, 1, 2, 3),
        "input": (0, 10**6),
        "output": (0, 10**6),
        "cache_read": (0, 10**5),
        "request": (0, 10**9),
        "text": ("gpt", "oss 120"),
        "providers": ("groq", "openai"),
        "input_modalities": ("text", "image"),
        "output_modalities": ("text",),
        "context_tokens_min": (0, 100_000),
        "input_picousd_max": (0, 10**7),
        "output_picousd_max": (0, 10**8),
    }
)
