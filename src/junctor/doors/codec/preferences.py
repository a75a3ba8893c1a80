"""RoutingPreferences from proto to domain, with every check of their form.

Refuses unknown values, empty names, and numbers that are negative or not finite, by the name of the field: a preference that is
ignored costs money. Whether a provider exists is for routing to judge, which has the catalogue. Bounds that are there but empty
bind nothing; an empty `only` allows no provider at all.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Final

from junctor.domain.catalog import Quantization
from junctor.domain.health import Percentiles
from junctor.domain.routing import MaxPrice, Partition, RoutingPreferences, Sort, SortBy
from junctor.doors.codec.checks import Checks
from junctor.v1 import routing_pb2 as pb

PROVIDERS_MAX: Final = 256
_INT64_MAX: Final = 2**63 - 1
_DATA_COLLECTION: Final[Mapping[int, bool]] = {pb.DATA_COLLECTION_ALLOW: True, pb.DATA_COLLECTION_DENY: False}
_QUANTIZATIONS: Final[Mapping[int, Quantization]] = {
    pb.Quantization.Value(f"QUANTIZATION_{kind.name}"): kind for kind in Quantization
}
_SORTS: Final[Mapping[int, SortBy]] = {pb.Sort.By.Value(f"BY_{by.name}"): by for by in SortBy}
_PARTITIONS: Final[Mapping[int, Partition]] = {
    pb.Sort.PARTITION_UNSPECIFIED: Partition.MODEL,
    pb.Sort.PARTITION_MODEL: Partition.MODEL,
    pb.Sort.PARTITION_NONE: Partition.NONE,
}


def preferences(message: pb.RoutingPreferences, checks: Checks, path: str) -> RoutingPreferences:
    """Read how a call may be routed; `checks` gathers what is wrong, and the result counts only if nothing is."""
    if not message.ListFields():
        return RoutingPreferences()
    only = message.only.providers if message.HasField("only") else None
    collection = message.data_collection
    throughput = message.preferred_min_throughput if message.HasField("preferred_min_throughput") else None
    latency = message.preferred_max_latency_ms if message.HasField("preferred_max_latency_ms") else None
    return RoutingPreferences(
        order=_providers(message.order, checks, f"{path}.order"),
        only=None if only is None else _providers(only, checks, f"{path}.only.providers"),
        ignore=_providers(message.ignore, checks, f"{path}.ignore"),
        allow_fallbacks=message.allow_fallbacks if message.HasField("allow_fallbacks") else True,
        require_parameters=message.require_parameters,
        data_collection=checks.member(collection, _DATA_COLLECTION, f"{path}.data_collection") if collection else None,
        zdr=message.zdr,
        quantizations=_quantizations(message.quantizations, checks, f"{path}.quantizations"),
        sort=_sort(message.sort, checks, f"{path}.sort") if message.HasField("sort") else None,
        max_price=_max_price(message.max_price, checks, f"{path}.max_price") if message.HasField("max_price") else None,
        preferred_min_throughput=_percentiles(throughput, checks, f"{path}.preferred_min_throughput"),
        preferred_max_latency_ms=_percentiles(latency, checks, f"{path}.preferred_max_latency_ms"),
    )


def _providers(slugs: Sequence[str], checks: Checks, path: str) -> tuple[str, ...]:
    if not checks.count(len(slugs), PROVIDERS_MAX, path):
        return ()
    return tuple(checks.name(slug, f"{path}[{place}]") for place, slug in enumerate(slugs))


def _quantizations(values: Sequence[int], checks: Checks, path: str) -> tuple[Quantization, ...]:
    if not checks.count(len(values), PROVIDERS_MAX, path):
        return ()
    found = (checks.member(value, _QUANTIZATIONS, f"{path}[{place}]") for place, value in enumerate(values))
    return tuple(kind for kind in found if kind is not None)


def _sort(message: pb.Sort, checks: Checks, path: str) -> Sort | None:
    by = checks.member(message.by, _SORTS, f"{path}.by")
    partition = checks.member(message.partition, _PARTITIONS, f"{path}.partition")
    return None if by is None or partition is None else Sort(by, partition)


def _max_price(message: pb.MaxPrice, checks: Checks, path: str) -> MaxPrice:
    set_fields = {field.name: value for field, value in message.ListFields()}
    for name, value in set_fields.items():
        checks.number(value, 0, _INT64_MAX, f"{path}.{name}")
    return MaxPrice(**set_fields)


def _percentiles(message: pb.Percentiles | None, checks: Checks, path: str) -> Percentiles | None:
    if message is None:
        return None
    set_fields = {field.name: value for field, value in message.ListFields()}
    for name, value in set_fields.items():
        checks.number(value, 0, sys.float_info.max, f"{path}.{name}")
    return Percentiles(**set_fields)
