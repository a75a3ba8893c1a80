"""The operator's records, from proto to domain and back, with every check of their form.

Whether an endpoint or provider exists, and whether an address may be used, is for the use case to judge. A record that is read
here lacks the day and version of its writing, which the use case gives it.
"""

import re
from typing import Final

import msgspec

from junctor.domain.catalog import DataPolicy, PriceParts
from junctor.domain.completion import CompletionSpec
from junctor.domain.overlay import CREDENTIAL_PREFIX, PPM, Discount, PassedOver, PriceOverride, PrivateEndpoint
from junctor.doors.codec import forms
from junctor.doors.codec.checks import Checks
from junctor.v1 import catalog_admin_service_pb2 as pb
from junctor.v1 import catalog_service_pb2

PRICE_MAX: Final = 10**12
"""The most that a unit may cost: a dollar."""
COUNT_MAX: Final = 10**9
VERSION_MAX: Final = 2**53
ADDRESS_CHARS_MAX, UPSTREAM_CHARS_MAX, NOTE_CHARS_MAX, ID_CHARS_MAX = 2_048, 200, 200, 200
PARAMETERS: Final = frozenset(CompletionSpec.__struct_fields__) - {
    "model",
    "models",
    "messages",
    "session_id",
    "preset",
    "extra",
}
DIALECT: Final = "openai_chat"
_MS: Final = 1_000
# No slug begins as API keys do: one that was pasted here would be quoted by errors, kept, and told to the log.
_PROVIDER: Final = re.compile(r"(?!jk-)[a-z0-9]+(?:-[a-z0-9]+){0,15}", re.ASCII)
_MODEL: Final = re.compile(r"[a-z0-9._-]+/[a-z0-9._-]+", re.ASCII)
_ENDPOINT: Final = re.compile(r"[a-z0-9-]+/[a-z0-9._-]+/[a-z0-9._:@/-]+", re.ASCII)
_CREDENTIAL: Final = re.compile(rf"{CREDENTIAL_PREFIX}[A-Z0-9_]{{1,64}}", re.ASCII)
_REGION: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII)


def version(request: "_Versioned", checks: Checks) -> int | None:
    """Read which version of the records the author saw."""
    if not request.HasField("version"):
        return None
    checks.number(request.version, 0, VERSION_MAX, "version")
    return request.version


def override(message: pb.PriceOverride, checks: Checks) -> PriceOverride:
    """Read a price to set."""
    valid_from = valid_to = None
    if message.HasField("valid_from_ms"):
        valid_from = _second(message.valid_from_ms, "price_override.valid_from_ms", checks)
    if message.HasField("valid_to_ms"):
        valid_to = _second(message.valid_to_ms, "price_override.valid_to_ms", checks)
    if valid_from is not None and valid_to is not None and valid_from >= valid_to:
        checks.wrong("price_override.valid_to_ms", "is not after valid_from_ms")
    return PriceOverride(
        endpoint=endpoint_id(message.endpoint, "price_override.endpoint", checks),
        parts=_parts(message.parts, "price_override.parts", checks),
        as_of="",
        version=0,
        valid_from=valid_from,
        valid_to=valid_to,
        note=_note(message.note, "price_override.note", checks),
    )


def override_key(request: pb.DeletePriceOverrideRequest, checks: Checks) -> tuple[str, int | None]:
    """Read which set price is meant: its endpoint, and since when it holds (Unix seconds)."""
    valid_from = _second(request.valid_from_ms, "valid_from_ms", checks) if request.HasField("valid_from_ms") else None
    return endpoint_id(request.endpoint, "endpoint", checks), valid_from


def discount(message: pb.Discount, checks: Checks) -> Discount:
    """Read a discount to set."""
    checks.number(message.off_ppm, 1, PPM, "discount.off_ppm")
    found = subject(message.subject, "discount.subject", checks)
    return Discount(subject=found, off_ppm=message.off_ppm, note=_note(message.note, "discount.note", checks))


def subject(value: str, path: str, checks: Checks) -> str:
    """Read what a discount is for."""
    if len(value) > ID_CHARS_MAX or not (_PROVIDER.fullmatch(value) or _ENDPOINT.fullmatch(value)):
        checks.wrong(path, "is neither a provider's slug nor an endpoint's id")
    return value


def endpoint_id(value: str, path: str, checks: Checks) -> str:
    """Read the id of an endpoint."""
    if len(value) > ID_CHARS_MAX or not _ENDPOINT.fullmatch(value):
        checks.wrong(path, "is not an endpoint's id, provider/author/name")
    return value


def private_endpoint(message: pb.PrivateEndpoint, checks: Checks) -> PrivateEndpoint:
    """Read an endpoint of the operator's own."""
    at = "private_endpoint."
    if len(message.provider) > ID_CHARS_MAX // 2 or not _PROVIDER.fullmatch(message.provider):
        checks.wrong(at + "provider", "is not lower-case words joined by hyphens, such as vllm-eu")
    if len(message.model) > ID_CHARS_MAX // 2 or not _MODEL.fullmatch(message.model):
        checks.wrong(at + "model", "is not author/name in lower case")
    if not 0 < len(message.upstream_model) <= UPSTREAM_CHARS_MAX or not message.upstream_model.isprintable():
        checks.wrong(at + "upstream_model", f"is not 1 to {UPSTREAM_CHARS_MAX} printable characters")
    if not 0 < len(message.base_url) <= ADDRESS_CHARS_MAX:
        checks.wrong(at + "base_url", f"is not 1 to {ADDRESS_CHARS_MAX} characters")
    if message.dialect not in {"", DIALECT}:
        checks.wrong(at + "dialect", f"is not {DIALECT}, the only one at present")
    if message.credential and not _CREDENTIAL.fullmatch(message.credential):
        checks.wrong(at + "credential", f"is not the name of a secret that begins with {CREDENTIAL_PREFIX}")
    if message.region and not _REGION.fullmatch(message.region):
        checks.wrong(at + "region", "is not 1 to 40 of a-z, 0-9 and hyphen")
    for place, name in enumerate(message.parameters[: len(PARAMETERS) + 1]):
        if name not in PARAMETERS:
            checks.wrong(f"{at}parameters[{place}]", "is not a field of CompletionSpec that an endpoint may understand")
    checks.count(len(message.parameters), len(PARAMETERS), at + "parameters")
    policy = message.data_policy if message.HasField("data_policy") else None
    return PrivateEndpoint(
        provider=message.provider,
        model=message.model,
        upstream_model=message.upstream_model,
        base_url=message.base_url,
        parts=_parts(message.parts, at + "parts", checks),
        as_of="",
        version=0,
        credential=message.credential or None,
        context_tokens=_count(message.context_tokens, at + "context_tokens", checks)
        if message.HasField("context_tokens")
        else None,
        output_tokens_max=_count(message.output_tokens_max, at + "output_tokens_max", checks)
        if message.HasField("output_tokens_max")
        else None,
        parameters=tuple(dict.fromkeys(message.parameters)),
        region=message.region or None,
        data_policy=None if policy is None else DataPolicy(**{field.name: value for field, value in policy.ListFields()}),
        note=_note(message.note, at + "note", checks),
    )


def written_override(record: PriceOverride) -> pb.PriceOverride:
    """Write a price that is set."""
    return pb.PriceOverride(
        endpoint=record.endpoint,
        parts=_written_parts(record.parts),
        valid_from_ms=None if record.valid_from is None else record.valid_from * _MS,
        valid_to_ms=None if record.valid_to is None else record.valid_to * _MS,
        note=record.note,
        as_of=record.as_of,
    )


def written_discount(record: Discount) -> pb.Discount:
    """Write a discount."""
    return pb.Discount(subject=record.subject, off_ppm=record.off_ppm, note=record.note)


def written_endpoint(record: PrivateEndpoint) -> pb.PrivateEndpoint:
    """Write an endpoint of the operator's own."""
    policy = record.data_policy
    return pb.PrivateEndpoint(
        id=record.id,
        provider=record.provider,
        model=record.model,
        upstream_model=record.upstream_model,
        base_url=record.base_url,
        dialect=record.dialect,
        credential=record.credential or "",
        context_tokens=record.context_tokens,
        output_tokens_max=record.output_tokens_max,
        parameters=record.parameters,
        parts=_written_parts(record.parts),
        region=record.region or "",
        data_policy=None if policy is None else catalog_service_pb2.DataPolicy(**msgspec.structs.asdict(policy)),
        note=record.note,
        as_of=record.as_of,
    )


def written_passed_over(found: PassedOver) -> pb.PassedOver:
    """Write which record is not in force, and why."""
    return pb.PassedOver(name=found.name, reason=found.reason.name, text=found.reason.value)


_Versioned = (
    pb.SetPriceOverrideRequest
    | pb.DeletePriceOverrideRequest
    | pb.SetDiscountRequest
    | pb.DeleteDiscountRequest
    | pb.SetPrivateEndpointRequest
    | pb.DeletePrivateEndpointRequest
)


def _parts(message: catalog_service_pb2.PriceParts, path: str, checks: Checks) -> PriceParts:
    named = {field.name: value for field, value in message.ListFields()}
    for name in ("input", "output"):
        if name not in named:
            checks.wrong(f"{path}.{name}", "is missing; 0 is a price")
    for name, price in named.items():
        checks.number(price, 0, PRICE_MAX, f"{path}.{name}")
    return PriceParts(**named)


def _written_parts(parts: PriceParts) -> catalog_service_pb2.PriceParts:
    return catalog_service_pb2.PriceParts(**msgspec.structs.asdict(parts))


def _second(instant_ms: int, path: str, checks: Checks) -> int:
    if forms.instant(instant_ms, path, checks) % _MS:
        checks.wrong(path, "is not a whole second")
    return instant_ms // _MS


def _count(value: int, path: str, checks: Checks) -> int:
    checks.number(value, 1, COUNT_MAX, path)
    return value


def _note(value: str, path: str, checks: Checks) -> str:
    if len(value) > NOTE_CHARS_MAX or not value.isprintable():
        checks.wrong(path, f"is not at most {NOTE_CHARS_MAX} printable characters")
    return value
