"""The packaged catalogue: as large as promised, each row in its place, and no price in force that cannot be believed."""

import json
import re
from collections import defaultdict
from datetime import date, datetime
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import pytest

from junctor.adapters.catalog.packaged import PackagedCatalog, packaged_bytes
from junctor.adapters.catalog.snapshot import Snapshot, check, read
from junctor.adapters.catalog.survey import EMBEDDING_MODALITY, counts
from junctor.adapters.providers import registry
from junctor.domain.catalog import Catalog, Endpoint, PriceParts
from junctor.domain.completion import CompletionSpec
from junctor.policy.pricing import PRICE_MAX

LOCAL = "local/junctor/local"
CURATED = Path(__file__).parents[2] / "infra" / "catalog" / "curated.json"
SLOT_NAME_CHARS_MAX = 80
"""Longer ids would make the record of a call cost a second write unit."""


@cache
def rows() -> Snapshot:
    """Read the packaged rows."""
    return read(packaged_bytes())


@cache
def catalog() -> Catalog:
    """Load the packaged catalogue."""
    return PackagedCatalog().current()


def completing() -> list[Endpoint]:
    """List the endpoints that complete, in catalogue order."""
    return [row for row in rows().endpoints if EMBEDDING_MODALITY not in row.output_modalities]


def test_it_is_as_large_as_promised() -> None:
    """Else a caller finds fewer models, or fewer places to fall back to, than Junctor says it has."""
    found = counts(rows())
    assert found["models"] >= 350
    assert found["endpoints"] >= 2_000
    assert found["priced_endpoints"] >= 2_000
    assert found["providers"] >= 80
    assert found["models_at_two_providers"] >= 240
    assert found["embedding_models"] >= 20
    assert found["dated_models"] >= 450


def test_days_of_release_are_those_of_the_world() -> None:
    """Else the newest models are not the newest, where everybody knows better."""
    days = {model.slug: model.created_on for model in rows().models}
    assert days["openai/gpt-oss-120b"] == "2025-08-05"
    assert days["anthropic/claude-sonnet-4.5"] == "2025-09-29"
    assert days["meta-llama/llama-3.3-70b-instruct"] == "2024-12-06"
    assert days["mistralai/mistral-large-2512"] == "2025-12-02"
    newest = max(day for day in days.values() if day is not None)
    assert "2026-09-01" < newest <= rows().built_at


def test_it_is_right_row_by_row() -> None:
    """Else a start trusts a file that a slip made wrong: the packaged one is checked here, and not there."""
    check(rows())


def test_every_word_of_the_file_is_understood() -> None:
    """Else a misspelt field is passed over, and a tier or a limit is lost without a word."""
    written: Any = json.loads(packaged_bytes())
    assert json.loads(msgspec.json.encode(rows())) == written


def test_every_model_is_served() -> None:
    """Else a model is listed that no one can reach."""
    assert all(catalog().endpoints.values())
    assert set(catalog().endpoints) == set(catalog().models)


def test_slugs_and_aliases_are_whole() -> None:
    """Else the same model goes by two names, or one name means two models."""
    slugs = {model.slug for model in rows().models}
    aliases = [alias for model in rows().models for alias in model.aliases]
    assert len(aliases) == len(set(aliases))
    assert slugs.isdisjoint(aliases)
    squashed = [re.sub(r"[^a-z0-9:/]", "", slug) for slug in slugs]
    assert len(squashed) == len(set(squashed))
    for slug in slugs:
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9._-]*(:free)?", slug)
        assert not slug.endswith("latest")


def test_no_model_has_two_names() -> None:
    """Else a fallback does not find half of the endpoints, or a lab is named as the maker of another's model."""
    slugs = {model.slug for model in rows().models}
    assert slugs.isdisjoint({"qwen/deepseek-v3-1", "deepseek/deepseek-v3-0324", "moonshotai/kimi-k2-instruct-0905"})
    served = {row.provider for row in catalog().endpoints["deepseek/deepseek-chat-v3.1"]}
    assert {"alibaba-cn", "deepinfra", "openrouter", "sambanova"} <= served
    tuned = {slug.replace("-instruct-", "-") for slug in slugs if "-instruct-" in slug}
    assert not tuned & slugs
    for model in rows().models:
        assert model.name == " ".join(model.name.split())
        assert "/" not in model.name


def test_an_alias_leads_to_its_model() -> None:
    """Else callers of a lab's own API must learn new names."""
    named = {alias: model.slug for model in rows().models for alias in model.aliases}
    assert named["gpt-4o-mini"] == "openai/gpt-4o-mini"
    assert named["deepseek-flash"] == "deepseek/deepseek-v4.1-flash"
    assert named["claude-haiku-4-5"] == "anthropic/claude-haiku-4.5"


def test_models_of_before_are_there() -> None:
    """Else an upgrade takes models away from callers who use them."""
    before = read(CURATED.read_bytes())
    assert {model.slug for model in before.models} <= set(catalog().models)
    assert {endpoint.id for endpoint in before.endpoints} <= {endpoint.id for endpoint in rows().endpoints}


def test_every_provider_has_its_row_and_its_key() -> None:
    """Else a provider's endpoints stop the start, or can never be opened."""
    registry.load().check_endpoints(rows().endpoints)
    for provider in rows().providers:
        assert provider.credentials
        for name in provider.credentials:
            assert re.fullmatch(r"[A-Z][A-Z0-9_]+", name)
    assert len({endpoint.provider for endpoint in rows().endpoints}) == len(rows().providers)


def test_endpoints_have_what_routing_needs() -> None:
    """Else an endpoint is called with what it does not understand, or its record does not fit into one write."""
    for endpoint in rows().endpoints:
        assert (endpoint.base_url == "") == (endpoint.id == LOCAL)
        assert not set("${}") & set(re.sub(r"\$\{[A-Z][A-Z0-9_]*\}", "", endpoint.base_url))
        assert len(endpoint.id) <= SLOT_NAME_CHARS_MAX
        assert set(endpoint.parameters) <= set(CompletionSpec.__struct_fields__)
        assert endpoint.input_modalities[0] == "text"
    for endpoint in completing():
        assert "max_tokens" in endpoint.parameters
        assert "text" in endpoint.output_modalities


def test_embedding_models_do_not_complete() -> None:
    """Else a completion is sent to a model that can only embed."""
    embedding = [row for row in rows().endpoints if EMBEDDING_MODALITY in row.output_modalities]
    for endpoint in embedding:
        assert endpoint.output_modalities == (EMBEDDING_MODALITY,)
        assert endpoint.dialect.endswith(("_embed", "_embeddings"))
        assert endpoint.parameters == ()
        assert catalog().models[endpoint.model].output_modalities == (EMBEDDING_MODALITY,)


def test_prices_are_in_range() -> None:
    """Else a slip of a decimal point bills a thousandfold, or makes every call of a model fail."""
    for row in rows().prices:
        for card in row.cards:
            for parts in (card.parts, *(tier.parts for tier in card.tiers)):
                named = [price for price in msgspec.structs.astuple(parts) if price is not None]
                assert all(0 <= price <= PRICE_MAX // 500 for price in named), row.endpoint


def test_prices_have_a_source_and_a_day() -> None:
    """Else nobody can tell where a price on a bill came from, or how old it is."""
    built_on = datetime.fromisoformat(rows().built_at).date()
    for row in rows().prices:
        for card in row.cards:
            assert date.fromisoformat(card.as_of) <= built_on
            assert card.source == "local" or re.match(r"[a-z-]+ \d+\.\d+\.\d+(;|$)", card.source)
            free = not any(msgspec.structs.astuple(card.parts))
            assert free == (card.source == "local" or row.endpoint.endswith(":free"))


def test_no_suspect_price_is_in_force() -> None:
    """Else the cheapest endpoint of a model is the one whose price somebody mistyped, and every call goes there."""
    prices: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    suspects = {row.endpoint: row.cards for row in rows().quarantined}
    for endpoint in completing():
        cards = suspects.get(endpoint.id) or catalog().prices.get(endpoint.id, ())
        if cards and "differ" not in reason(endpoint.id):
            for part in ("input", "output"):
                prices[endpoint.model, part].append((endpoint.id, getattr(cards[0].parts, part)))
    judged = 0
    for among in prices.values():
        middle = median(price for _, price in among)
        for endpoint_id, price in among:
            if price > 4 * middle or 4 * price < middle:
                assert endpoint_id in suspects
                judged += 1
    assert judged


def reason(endpoint_id: str) -> str:
    """Return why a price is in quarantine, or nothing."""
    return next((row.reason for row in rows().quarantined if row.endpoint == endpoint_id), "")


def test_quarantine_is_visible_and_small() -> None:
    """Else prices vanish without a word, or so many that models cannot be used."""
    quarantined = rows().quarantined
    assert 0 < len(quarantined) < len(rows().prices) // 10
    for row in quarantined:
        assert row.reason
        assert row.endpoint not in catalog().prices


def test_direct_endpoints_come_first() -> None:
    """Else calls go through a reseller, and its fee, while the lab itself is there."""
    for served in catalog().endpoints.values():
        reselling = [catalog().providers[endpoint.provider].aggregator for endpoint in served]
        assert reselling == sorted(reselling)


def test_one_aggregator_reaches_much() -> None:
    """Else one key of an aggregator does not open what he lists."""
    served = {endpoint.model for endpoint in completing() if endpoint.provider == "openrouter"}
    assert len(served) >= 200


def test_known_prices() -> None:
    """Else a slip by a power of ten, which no other check can see, bills a thousandfold."""
    prices = catalog().prices
    mini = prices["openai/openai/gpt-4o-mini"][0].parts
    assert (mini.input, mini.output, mini.cache_read) == (150_000, 600_000, 75_000)
    flash = prices["deepseek/deepseek/deepseek-v4.1-flash"][0]
    assert flash.parts.output == 1_200_000
    assert [(tier.utc_from_min, tier.utc_to_min, tier.parts.output) for tier in flash.tiers] == [
        (600, 60, 600_000),
        (240, 360, 600_000),
    ]
    luna = prices["openai/openai/gpt-6-luna"][0]
    assert [(tier.service_tier, tier.input_tokens_from, tier.parts.input) for tier in luna.tiers] == [
        ("default", None, 100_000),
        (None, 272_001, 200_000),
        ("flex", None, 50_000),
        ("flex", 272_001, 100_000),
        ("priority", None, 200_000),
        ("priority", 272_001, 400_000),
    ]
    haiku = prices["amazon-bedrock/anthropic/claude-haiku-4.5"][0].parts
    assert haiku == PriceParts(
        input=1_000_000, output=5_000_000, cache_read=100_000, cache_write=1_250_000, cache_write_1h=2_000_000
    )
    assert prices["xai/x-ai/grok-4.3"][0].tiers[0].input_tokens_from == 200_000


def test_a_price_to_come_is_known() -> None:
    """Else the first of January doubles what is owed to a provider, and callers go on paying the old price."""
    now, later = catalog().prices["google-ai-studio/google/gemini-3.7-flash"]
    assert now.valid_to == later.valid_from == int(datetime.fromisoformat("2027-01-01T00:00:00Z").timestamp())
    assert (now.parts.output, later.parts.output) == (3_750_000, 7_500_000)


def test_an_address_that_comes_later() -> None:
    """Else the local model, whose port is known only once it listens, cannot be reached, or not after a new catalogue came."""
    source = PackagedCatalog()
    before = source.current()
    source.locate(LOCAL, "http://127.0.0.1:40123/v1")
    assert source.current().endpoints["junctor/local"][0].base_url == "http://127.0.0.1:40123/v1"
    assert before.endpoints["junctor/local"][0].base_url == ""
    assert source.current().endpoints["openai/gpt-4o-mini"] == before.endpoints["openai/gpt-4o-mini"]
    assert list(source.current().endpoints) == list(before.endpoints)
    source.replace(before)
    assert source.current().endpoints["junctor/local"][0].base_url == "http://127.0.0.1:40123/v1"


def test_an_operators_own_address_is_filled_in() -> None:
    """Else a cloud whose address holds the operator's account can never be called."""
    bedrock = "amazon-bedrock/anthropic/claude-haiku-4.5"

    def address(source: PackagedCatalog) -> str:
        served = source.current().endpoints["anthropic/claude-haiku-4.5"]
        return next(endpoint.base_url for endpoint in served if endpoint.id == bedrock)

    assert address(PackagedCatalog()) == ""
    assert address(PackagedCatalog({"AWS_REGION": "eu-west-1"})) == "https://bedrock-runtime.eu-west-1.amazonaws.com"


def test_an_address_for_nobody() -> None:
    """Else a misspelt endpoint stays without its address, in silence."""
    with pytest.raises(KeyError, match="local/gone"):
        PackagedCatalog().locate("local/gone", "http://127.0.0.1:1/v1")
