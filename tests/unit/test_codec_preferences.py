"""Every routing preference reaches the domain as it was sent, or is refused by its name: an ignored one costs money."""

import math
from collections.abc import Callable

import pytest
from google.protobuf.descriptor import FieldDescriptor

from junctor.domain.catalog import Quantization
from junctor.domain.completion import CompletionSpec
from junctor.domain.health import Percentiles
from junctor.domain.routing import MaxPrice, Partition, RoutingPreferences, Sort, SortBy
from junctor.doors.codec import preferences
from junctor.doors.codec.checks import Checks, Limits
from junctor.v1 import routing_pb2 as pb
from tests.support.requests import fields_of, give_any_value, minimal, violations

Fill = Callable[[pb.RoutingPreferences], object]
READ: dict[str, tuple[Fill, RoutingPreferences]] = {
    "order": (lambda wish: wish.order.extend(["q", "p"]), RoutingPreferences(order=("q", "p"))),
    "only": (lambda wish: wish.only.providers.extend(["q", "p"]), RoutingPreferences(only=("q", "p"))),
    "ignore": (lambda wish: wish.ignore.append("q"), RoutingPreferences(ignore=("q",))),
    "allow_fallbacks": (lambda wish: setattr(wish, "allow_fallbacks", False), RoutingPreferences(allow_fallbacks=False)),
    "require_parameters": (
        lambda wish: setattr(wish, "require_parameters", True),
        RoutingPreferences(require_parameters=True),
    ),
    "data_collection": (
        lambda wish: setattr(wish, "data_collection", pb.DATA_COLLECTION_DENY),
        RoutingPreferences(data_collection=False),
    ),
    "zdr": (lambda wish: setattr(wish, "zdr", True), RoutingPreferences(zdr=True)),
    "quantizations": (
        lambda wish: wish.quantizations.extend([pb.QUANTIZATION_FP8, pb.QUANTIZATION_UNKNOWN]),
        RoutingPreferences(quantizations=(Quantization.FP8, Quantization.UNKNOWN)),
    ),
    "sort": (
        lambda wish: wish.sort.MergeFrom(pb.Sort(by=pb.Sort.BY_LATENCY, partition=pb.Sort.PARTITION_NONE)),
        RoutingPreferences(sort=Sort(SortBy.LATENCY, Partition.NONE)),
    ),
    "max_price": (
        lambda wish: wish.max_price.MergeFrom(pb.MaxPrice(input_picousd=0, image_picousd=2**63 - 1)),
        RoutingPreferences(max_price=MaxPrice(input_picousd=0, image_picousd=2**63 - 1)),
    ),
    "preferred_min_throughput": (
        lambda wish: wish.preferred_min_throughput.MergeFrom(pb.Percentiles(p50=40.5, p99=0.0)),
        RoutingPreferences(preferred_min_throughput=Percentiles(p50=40.5, p99=0.0)),
    ),
    "preferred_max_latency_ms": (
        lambda wish: wish.preferred_max_latency_ms.MergeFrom(pb.Percentiles(p75=1.0, p90=2.0)),
        RoutingPreferences(preferred_max_latency_ms=Percentiles(p75=1.0, p90=2.0)),
    ),
}


def read(fill: Fill) -> RoutingPreferences:
    """Read preferences as a door does. Raises InvalidFieldError."""
    message = pb.RoutingPreferences()
    fill(message)
    checks = Checks(Limits())
    found = preferences.preferences(message, checks, "preferences")
    checks.done()
    return found


def sorting(asked: pb.Sort) -> Fill:
    """Return what sets a sort."""
    return lambda wish: wish.sort.CopyFrom(asked)


def wrong_with(fill: Fill) -> list[str]:
    """Name the fields of a request with these preferences that are refused."""
    request = minimal()
    fill(request.preferences)
    return list(violations(request))


def test_every_preference_has_its_test() -> None:
    """A preference that the protos gain could be ignored without anybody noticing."""
    assert set(READ) == {field.name for field in fields_of(pb.RoutingPreferences.DESCRIPTOR)}
    assert set(READ) == set(RoutingPreferences.__struct_fields__)


@pytest.mark.parametrize("field", READ)
def test_a_preference_is_carried_over(field: str) -> None:
    """A caller who forbids a provider would be sent there all the same."""
    fill, expected = READ[field]
    assert read(fill) == expected


def test_what_is_absent_is_no_preference() -> None:
    """A default of ours would narrow, or widen, where a call may go."""
    assert read(lambda _: None) == RoutingPreferences()
    assert read(lambda wish: wish.max_price.SetInParent()).max_price == MaxPrice()
    assert read(lambda wish: setattr(wish, "data_collection", pb.DATA_COLLECTION_ALLOW)).data_collection is True


def test_an_empty_list_of_providers_allows_none() -> None:
    """A caller whose list of allowed providers came out empty would be sent anywhere."""
    assert read(lambda wish: wish.only.SetInParent()).only == ()


def test_a_sort_keeps_models_apart_unless_it_says_otherwise() -> None:
    """A fallback model would be asked before the one that the caller wants."""
    for partition in (pb.Sort.PARTITION_UNSPECIFIED, pb.Sort.PARTITION_MODEL):
        asked = pb.Sort(by=pb.Sort.BY_PRICE, partition=partition)
        found = read(sorting(asked))
        assert found.sort == Sort(SortBy.PRICE, Partition.MODEL)


@pytest.mark.parametrize(
    ("fill", "field"),
    [
        (lambda wish: wish.order.extend(["p", ""]), "order[1]"),
        (lambda wish: wish.only.providers.append("a\nb"), "only.providers[0]"),
        (lambda wish: wish.ignore.append("x" * 257), "ignore[0]"),
        (lambda wish: wish.ignore.extend(["p"] * 257), "ignore"),
        (lambda wish: wish.quantizations.extend([pb.QUANTIZATION_FP8] * 257), "quantizations"),
        (lambda wish: wish.quantizations.append(pb.QUANTIZATION_UNSPECIFIED), "quantizations[0]"),
        (lambda wish: wish.sort.SetInParent(), "sort.by"),
        (lambda wish: wish.MergeFromString(b"\x30\x63"), "data_collection"),
        *(
            (lambda wish, part=part: setattr(wish.max_price, part, -1), f"max_price.{part}")
            for part in ("input_picousd", "output_picousd", "request_picousd", "image_picousd")
        ),
        *(
            (lambda wish, name=name, bad=bad: setattr(getattr(wish, name), "p90", bad), f"{name}.p90")
            for name in ("preferred_min_throughput", "preferred_max_latency_ms")
            for bad in (math.nan, math.inf, -0.5)
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(fill: Fill, field: str) -> None:
    """A limit that is not a number would be a limit that nothing exceeds."""
    assert wrong_with(fill) == [f"preferences.{field}"]


@pytest.mark.parametrize("field", fields_of(pb.RoutingPreferences.DESCRIPTOR), ids=lambda field: field.name)
def test_any_value_of_any_preference_is_read_or_refused_by_name(field: FieldDescriptor) -> None:
    """A message that nobody thought of would end in a bug of ours."""
    request = minimal()
    give_any_value(request.preferences, field)
    assert all(place.startswith(f"preferences.{field.name}") for place in violations(request))


def test_preferences_are_no_part_of_what_is_asked_of_the_model() -> None:
    """A provider would be told which of its rivals the caller prefers."""
    assert not set(RoutingPreferences.__struct_fields__).intersection(CompletionSpec.__struct_fields__)
