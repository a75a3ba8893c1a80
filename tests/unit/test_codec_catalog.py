"""What the catalogue shows, on the wire: every field of an endpoint, a model and a provider, and filters as they are read."""

from typing import Any

import msgspec
import pytest

from junctor.domain.catalog import DataPolicy, Endpoint, Model, PriceCard, PriceParts, PriceTier, Provider, Quantization
from junctor.domain.errors import InvalidFieldError
from junctor.domain.health import Cause, EndpointHealth, Percentiles, Uptime
from junctor.doors.codec import catalog as codec
from junctor.doors.codec.checks import Checks, Limits
from junctor.usecases.catalog import CatalogVersion, ModelFilter, ModelSort
from junctor.usecases.catalog_sight import SeenEndpoint, SeenModel, SeenProvider, Status
from junctor.v1 import catalog_service_pb2 as pb
from junctor.v1 import routing_pb2

AT_MS = 1_787_270_400_000
PARTS = PriceParts(**{name: 1_000 + place for place, name in enumerate(PriceParts.__struct_fields__)})
CARD = PriceCard(
    version="7",
    parts=PARTS,
    source="here",
    as_of="2026-08-18",
    tiers=(
        PriceTier(parts=PriceParts(input=5), input_tokens_from=200),
        PriceTier(parts=PriceParts(output=6), utc_from_min=0, utc_to_min=60, service_tier="flex"),
    ),
    valid_from=100,
    valid_to=200,
)
ROW = Endpoint(
    id="p/lab/a",
    model="lab/a",
    provider="p",
    upstream_model="a-1",
    dialect="openai_chat",
    base_url="https://secret.example",
    context_tokens=1_000,
    output_tokens_max=100,
    parameters=("tools",),
    input_modalities=("text", "image"),
    output_modalities=("text",),
    quantization=Quantization.FP8,
    region="eu",
    data_policy=DataPolicy(trains=False, retains=True),
)
HOST = Provider(
    slug="p",
    name="P",
    credentials=("P_KEY", "P_SPARE"),
    aggregator=True,
    purchase_fee_ppm=55_000,
    data_policy=DataPolicy(zdr=True),
    headquarters="CH",
    status_page="https://status.example",
)
HEALTH = EndpointHealth(
    success_probability=0.9,
    time_to_first_token_ms=120.0,
    throughput_tokens_per_s=50.0,
    open=True,
    cause=Cause.MODEL_GONE,
    open_until_ms=5,
    time_to_first_token_percentiles_ms=Percentiles(1.0, 2.0, 3.0, 4.0),
    throughput_percentiles=Percentiles(5.0, None, None, 8.0),
    uptime=Uptime(0.5, None, 0.75),
)
SEEN = SeenEndpoint(
    at_ms=AT_MS,
    endpoint=ROW,
    provider=HOST,
    dialect_spoken=True,
    reason="CREDENTIALS_MISSING",
    variables=("P_KEY", "P_SPARE"),
    price=CARD,
    next_price=msgspec.structs.replace(CARD, version="8"),
    health=HEALTH,
    status=Status.OPEN,
)
BARE = SeenEndpoint(
    at_ms=AT_MS,
    endpoint=Endpoint(id="q/lab/a", model="lab/a", provider="q", upstream_model="a", dialect="d", base_url=""),
    provider=Provider(slug="q", name="Q"),
    dialect_spoken=False,
    reason="",
    variables=(),
    price=None,
    next_price=None,
    health=None,
    status=None,
)


def test_an_endpoint_is_written_whole() -> None:
    """A field would be lost, or another one's value shown in its place."""
    found = codec.endpoint(SEEN)
    assert {name: getattr(found.price.parts, name) for name in PriceParts.__struct_fields__} == msgspec.structs.asdict(PARTS)
    price = found.price
    assert (price.version, price.source, price.as_of, price.age_days) == ("7", "here", "2026-08-18", 3)
    assert (price.valid_from_ms, price.valid_to_ms, found.next_price.version) == (100_000, 200_000, "8")
    assert list(price.tiers) == [
        pb.PriceTier(parts=pb.PriceParts(input=5), input_tokens_from=200),
        pb.PriceTier(parts=pb.PriceParts(output=6), utc_from_min=0, utc_to_min=60, service_tier="flex"),
    ]
    assert found.health == pb.EndpointHealth(
        status=pb.ENDPOINT_STATUS_OPEN,
        open_cause=pb.OPEN_CAUSE_MODEL_GONE,
        open_until_ms=5,
        uptime=pb.Uptime(last_5m=0.5, last_1d=0.75),
        time_to_first_token_ms=routing_pb2.Percentiles(p50=1, p75=2, p90=3, p99=4),
        throughput_tokens_per_s=routing_pb2.Percentiles(p50=5, p99=8),
    )
    for field in ("price", "next_price", "health"):
        found.ClearField(field)
    assert found == pb.Endpoint(
        id="p/lab/a",
        model="lab/a",
        provider="p",
        upstream_model="a-1",
        dialect="openai_chat",
        dialect_spoken=True,
        unreachable_reason="CREDENTIALS_MISSING",
        variables=["P_KEY", "P_SPARE"],
        context_tokens=1_000,
        output_tokens_max=100,
        parameters=["tools"],
        input_modalities=["text", "image"],
        output_modalities=["text"],
        quantization=routing_pb2.QUANTIZATION_FP8,
        region="eu",
        data_policy=pb.DataPolicy(trains=False, retains=True),
        aggregator=True,
    )


def test_where_an_endpoint_is_reached_is_told_to_nobody() -> None:
    """Whoever has a key would learn the addresses inside the organisation."""
    for message in (codec.endpoint(SEEN), codec.provider(SeenProvider(provider=HOST, endpoints=(SEEN,), credential_count=1))):
        assert b"secret.example" not in message.SerializeToString()


def test_what_is_not_known_is_absent() -> None:
    """What is not known would be shown as nought, and taken for free or instant."""
    found = codec.endpoint(BARE)
    present = {field.name for field, _ in found.ListFields()}
    assert present == {
        *("id", "model", "provider", "upstream_model", "dialect", "reachable"),
        *("input_modalities", "output_modalities", "quantization", "data_policy"),
    }
    model = codec.model(SeenModel(model=Model(slug="lab/a", name="A"), endpoints=(BARE,)))
    present = {field.name for field, _ in model.ListFields()}
    assert present == {
        *("slug", "name", "input_modalities", "output_modalities"),
        *("endpoint_count", "reachable_endpoint_count", "provider_count"),
    }


def test_a_cause_is_told_of_what_is_open_only() -> None:
    """An endpoint that is back would still be shown with why it was away."""
    back = msgspec.structs.replace(SEEN, health=msgspec.structs.replace(HEALTH, open=False), status=Status.NORMAL)
    found = codec.endpoint(back).health
    assert (found.status, found.open_cause, found.HasField("open_until_ms")) == (pb.ENDPOINT_STATUS_NORMAL, 0, False)


def test_a_model_is_written_with_what_its_endpoints_have() -> None:
    """A list would show another model's figures, or count what cannot be reached as if it could."""
    model = Model(slug="lab/a", name="A", created_on="2026-01-02", aliases=("alpha",))
    found = codec.model(SeenModel(model=model, endpoints=(SEEN, BARE)))
    assert found == pb.Model(
        slug="lab/a",
        name="A",
        aliases=["alpha"],
        context_tokens=1_000,
        created_on="2026-01-02",
        input_modalities=["text", "image"],
        output_modalities=["text"],
        parameters=["tools"],
        endpoint_count=2,
        reachable_endpoint_count=1,
        provider_count=2,
        input_picousd=1_000,
        output_picousd=1_001,
        throughput_tokens_per_s=50.0,
        time_to_first_token_ms=120.0,
        openings=[pb.Opening(provider="p", variables=["P_KEY", "P_SPARE"])],
    )


def test_a_provider_is_written_whole() -> None:
    """A person would not see what a provider does with his data, takes for its credits, or what opens it."""
    found = codec.provider(SeenProvider(provider=HOST, endpoints=(SEEN, BARE, SEEN), credential_count=2))
    assert found == pb.Provider(
        slug="p",
        name="P",
        endpoint_count=3,
        reachable_endpoint_count=1,
        model_count=1,
        dialects=["d", "openai_chat"],
        dialect_spoken=True,
        variables=["P_KEY", "P_SPARE"],
        credential_count=2,
        aggregator=True,
        purchase_fee_ppm=55_000,
        data_policy=pb.DataPolicy(zdr=True),
        headquarters="CH",
        status_page="https://status.example",
    )


def test_the_version_is_written_whole() -> None:
    """A count would be told in another one's place."""
    found = codec.version(CatalogVersion(version="v", built_at="b", models=1, endpoints=2, providers=3, priced_endpoints=4))
    counts = (found.model_count, found.endpoint_count, found.provider_count, found.priced_endpoint_count)
    assert (found.version, found.built_at, counts) == ("v", "b", (1, 2, 3, 4))


@pytest.mark.parametrize(("message", "noun"), [(pb.PriceParts, PriceParts), (pb.DataPolicy, DataPolicy), (pb.Uptime, Uptime)])
def test_each_part_of_a_noun_has_its_field(message: Any, noun: Any) -> None:
    """A new part of a price would break the catalogue, or never be shown."""
    assert {field.name for field in message.DESCRIPTOR.fields} == set(noun.__struct_fields__)


def test_every_word_of_the_domain_has_its_value() -> None:
    """An endpoint in a state that was added would break the whole list."""
    for status in Status:
        assert codec.endpoint(msgspec.structs.replace(SEEN, status=status)).health.status
    for cause in Cause:
        health = msgspec.structs.replace(HEALTH, cause=cause)
        assert codec.endpoint(msgspec.structs.replace(SEEN, health=health)).health.open_cause
    for kind in Quantization:
        row = msgspec.structs.replace(ROW, quantization=kind)
        assert codec.endpoint(msgspec.structs.replace(SEEN, endpoint=row)).quantization


def read(**fields: Any) -> tuple[ModelFilter, Checks]:
    """Read a filter."""
    checks = Checks(Limits())
    return codec.model_filter(pb.ListModelsRequest(**fields), checks), checks


def test_a_filter_is_read_whole() -> None:
    """A wish would be passed over, and a list show what was not wanted."""
    found, checks = read(
        sort=pb.MODEL_SORT_PRICE,
        text=" GPT  Mini ",
        providers=["p"],
        input_modalities=["image"],
        output_modalities=["text"],
        parameters=["tools"],
        context_tokens_min=1,
        input_picousd_max=0,
        output_picousd_max=3,
        reachable_only=True,
    )
    checks.done()
    assert found == ModelFilter(
        words=("gpt", "mini"),
        providers=("p",),
        input_modalities=("image",),
        output_modalities=("text",),
        parameters=("tools",),
        context_tokens_min=1,
        input_picousd_max=0,
        output_picousd_max=3,
        reachable_only=True,
        sort=ModelSort.PRICE,
    )
    assert read()[0] == ModelFilter()
    assert {read(sort=value)[0].sort for value in range(pb.MODEL_SORT_POPULARITY)} == set(ModelSort)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"sort": pb.MODEL_SORT_POPULARITY}, "sort"),
        ({"sort": 99}, "sort"),
        ({"text": "x" * 201}, "text"),
        ({"text": "a\nb"}, "text"),
        ({"providers": ["p"] * 65}, "providers"),
        ({"providers": [""]}, "providers[0]"),
        ({"parameters": ["tools", "x" * 257]}, "parameters[1]"),
        ({"context_tokens_min": -1}, "context_tokens_min"),
        ({"input_picousd_max": -1}, "input_picousd_max"),
        ({"output_picousd_max": 2**63 - 1}, "output_picousd_max"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(fields: dict[str, Any], path: str) -> None:
    """A wish would be ignored, or one request keep the server busy."""
    _, checks = read(**fields)
    with pytest.raises(InvalidFieldError) as refused:
        checks.done()
    assert [field for field, _ in refused.value.violations] == [path]
