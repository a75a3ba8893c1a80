"""What the catalogue shows, from domain to proto, and what is asked of it, from proto to plain values.

Refuses unknown orders and lists beyond bounds by the name of the field. Whether what a filter names exists is for the use case
to judge, which has the catalogue.
"""

from collections.abc import Mapping, Sequence

import msgspec

from junctor.domain.catalog import DataPolicy, PriceCard, PriceTier, Quantization
from junctor.domain.health import Cause, EndpointHealth, Percentiles
from junctor.doors.codec.checks import Checks
from junctor.usecases.catalog import CatalogVersion, ModelFilter, ModelSort
from junctor.usecases.catalog_sight import SeenEndpoint, SeenModel, SeenProvider, Status, age_days
from junctor.v1 import catalog_service_pb2 as pb
from junctor.v1 import routing_pb2

TEXT_CHARS_MAX = 200
NAMES_MAX = 64
_COUNT_MAX = 10**9
_PRICE_MAX = 10**15
_MS = 1_000
_SORTS: Mapping[int, ModelSort] = {
    pb.MODEL_SORT_UNSPECIFIED: ModelSort.NAME,
    pb.MODEL_SORT_PRICE: ModelSort.PRICE,
    pb.MODEL_SORT_CONTEXT: ModelSort.CONTEXT,
    pb.MODEL_SORT_NEWEST: ModelSort.NEWEST,
    pb.MODEL_SORT_THROUGHPUT: ModelSort.THROUGHPUT,
    pb.MODEL_SORT_LATENCY: ModelSort.LATENCY,
}
_QUANTIZATIONS = {kind: routing_pb2.Quantization.Value(f"QUANTIZATION_{kind.name}") for kind in Quantization}
_STATUSES = {status: pb.EndpointStatus.Value(f"ENDPOINT_STATUS_{status.name}") for status in Status}
_CAUSES = {cause: pb.OpenCause.Value(f"OPEN_CAUSE_{cause.name}") for cause in Cause}


def model_filter(request: pb.ListModelsRequest, checks: Checks) -> ModelFilter:
    """Read which models are meant, and in what order; it counts only if nothing is wrong."""
    if len(request.text) > TEXT_CHARS_MAX or not request.text.isprintable():
        checks.wrong("text", f"is longer than {TEXT_CHARS_MAX} characters, or not printable")
    return ModelFilter(
        words=tuple(request.text.casefold().split()),
        providers=_names(request.providers, "providers", checks),
        input_modalities=_names(request.input_modalities, "input_modalities", checks),
        output_modalities=_names(request.output_modalities, "output_modalities", checks),
        parameters=_names(request.parameters, "parameters", checks),
        context_tokens_min=_bound(request, "context_tokens_min", _COUNT_MAX, checks),
        input_picousd_max=_bound(request, "input_picousd_max", _PRICE_MAX, checks),
        output_picousd_max=_bound(request, "output_picousd_max", _PRICE_MAX, checks),
        reachable_only=request.reachable_only,
        sort=_sort(request.sort, checks),
    )


def model(seen: SeenModel) -> pb.Model:
    """Write a model with the figures of its endpoints."""
    endpoints = [row.endpoint for row in seen.endpoints]
    cheapest = seen.cheapest
    return pb.Model(
        slug=seen.model.slug,
        name=seen.model.name,
        aliases=seen.model.aliases,
        context_tokens=seen.context_tokens,
        created_on=seen.model.created_on or "",
        input_modalities=_union([row.input_modalities for row in endpoints]),
        output_modalities=_union([row.output_modalities for row in endpoints]),
        parameters=_union([row.parameters for row in endpoints]),
        endpoint_count=len(endpoints),
        reachable_endpoint_count=_reachable(seen.endpoints),
        provider_count=len({row.provider for row in endpoints}),
        input_picousd=cheapest[0] if cheapest else None,
        output_picousd=cheapest[1] if cheapest else None,
        throughput_tokens_per_s=seen.throughput_tokens_per_s,
        time_to_first_token_ms=seen.time_to_first_token_ms,
        openings=[pb.Opening(provider=opening.provider, variables=opening.variables) for opening in seen.openings],
    )


def endpoint(seen: SeenEndpoint) -> pb.Endpoint:
    """Write an endpoint as it is now."""
    row = seen.endpoint
    return pb.Endpoint(
        id=row.id,
        model=row.model,
        provider=row.provider,
        upstream_model=row.upstream_model,
        dialect=row.dialect,
        dialect_spoken=seen.dialect_spoken,
        reachable=not seen.reason,
        unreachable_reason=seen.reason,
        variables=seen.variables,
        context_tokens=row.context_tokens,
        output_tokens_max=row.output_tokens_max,
        parameters=row.parameters,
        input_modalities=row.input_modalities,
        output_modalities=row.output_modalities,
        quantization=_QUANTIZATIONS[row.quantization],
        region=row.region or "",
        data_policy=_data_policy(seen.data_policy),
        aggregator=seen.provider.aggregator,
        price=_card(seen.price, seen.at_ms),
        next_price=_card(seen.next_price, seen.at_ms),
        health=_health(seen.health, seen.status),
    )


def provider(seen: SeenProvider) -> pb.Provider:
    """Write a provider with the counts of its endpoints; of its credentials, the names of variables only."""
    row = seen.provider
    return pb.Provider(
        slug=row.slug,
        name=row.name,
        endpoint_count=len(seen.endpoints),
        reachable_endpoint_count=_reachable(seen.endpoints),
        model_count=len({found.endpoint.model for found in seen.endpoints}),
        dialects=sorted({found.endpoint.dialect for found in seen.endpoints}),
        dialect_spoken=any(found.dialect_spoken for found in seen.endpoints),
        variables=seen.variables,
        credential_count=seen.credential_count,
        aggregator=row.aggregator,
        purchase_fee_ppm=row.purchase_fee_ppm,
        data_policy=_data_policy(row.data_policy),
        headquarters=row.headquarters or "",
        status_page=row.status_page or "",
    )


def version(found: CatalogVersion) -> pb.GetCatalogVersionResponse:
    """Write which catalogue is in force."""
    return pb.GetCatalogVersionResponse(
        version=found.version,
        built_at=found.built_at,
        model_count=found.models,
        endpoint_count=found.endpoints,
        provider_count=found.providers,
        priced_endpoint_count=found.priced_endpoints,
    )


def _sort(value: int, checks: Checks) -> ModelSort:
    if value == pb.MODEL_SORT_POPULARITY:
        checks.wrong("sort", "by popularity cannot be used yet: use is not counted across callers")
        return ModelSort.NAME
    return checks.member(value, _SORTS, "sort") or ModelSort.NAME


def _names(names: Sequence[str], path: str, checks: Checks) -> tuple[str, ...]:
    if not checks.count(len(names), NAMES_MAX, path):
        return ()
    return tuple(checks.name(name, f"{path}[{place}]") for place, name in enumerate(names))


def _bound(request: pb.ListModelsRequest, field: str, most: int, checks: Checks) -> int | None:
    if not request.HasField(field):  # type: ignore[arg-type]  # the names are those of the message's optional fields
        return None
    value: int = getattr(request, field)
    checks.number(value, 0, most, field)
    return value


def _union(lists: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(name for names in lists for name in names))


def _reachable(endpoints: Sequence[SeenEndpoint]) -> int:
    return sum(not seen.reason for seen in endpoints)


def _data_policy(policy: DataPolicy) -> pb.DataPolicy:
    return pb.DataPolicy(trains=policy.trains, retains=policy.retains, zdr=policy.zdr)


def _card(card: PriceCard | None, at_ms: int) -> pb.PriceCard | None:
    if card is None:
        return None
    return pb.PriceCard(
        version=card.version,
        parts=pb.PriceParts(**msgspec.structs.asdict(card.parts)),
        tiers=map(_tier, card.tiers),
        source=card.source,
        as_of=card.as_of,
        age_days=age_days(card, at_ms),
        valid_from_ms=None if card.valid_from is None else card.valid_from * _MS,
        valid_to_ms=None if card.valid_to is None else card.valid_to * _MS,
    )


def _tier(tier: PriceTier) -> pb.PriceTier:
    return pb.PriceTier(
        parts=pb.PriceParts(**msgspec.structs.asdict(tier.parts)),
        input_tokens_from=tier.input_tokens_from,
        utc_from_min=tier.utc_from_min,
        utc_to_min=tier.utc_to_min,
        service_tier=tier.service_tier or "",
    )


def _health(health: EndpointHealth | None, status: Status | None) -> pb.EndpointHealth | None:
    if health is None or status is None:
        return None
    uptime = health.uptime
    return pb.EndpointHealth(
        status=_STATUSES[status],
        open_cause=_CAUSES[health.cause] if status is Status.OPEN and health.cause else pb.OPEN_CAUSE_UNSPECIFIED,
        open_until_ms=health.open_until_ms if status is Status.OPEN else None,
        uptime=None if uptime is None else pb.Uptime(**msgspec.structs.asdict(uptime)),
        time_to_first_token_ms=_percentiles(health.time_to_first_token_percentiles_ms),
        throughput_tokens_per_s=_percentiles(health.throughput_percentiles),
    )


def _percentiles(found: Percentiles | None) -> routing_pb2.Percentiles | None:
    return None if found is None else routing_pb2.Percentiles(**msgspec.structs.asdict(found))
