"""Rows of the packages `pi-ai` and `pi-catalog`: JSON by host, prices in USD for a million tokens, limits, wire quirks.

pi-ai's lists are complete for its hosts and were generated on the day of its release, so a model that is missing there is
gone; it lists only models that call tools. pi-catalog has the same rows for more hosts, without the step between host and
model, and is older.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from junctor.adapters.catalog.importers.offers import Offer, answers, modalities, named, per_million, positive
from junctor.domain.catalog import PriceParts, PriceTier

SOURCE = "pi-ai"
CATALOG_SOURCE = "pi-catalog"


def read(host: str, data: bytes) -> Iterator[Offer]:
    """Read the offers of one host from the bytes of its file in pi-ai. Raises msgspec.DecodeError."""
    by_wire: Mapping[str, Mapping[str, Mapping[str, Any]]] = msgspec.json.decode(data)
    for rows in by_wire.values():
        for row in rows.values():
            if row.get("type", "chat") == "chat" and answers(row["id"]):
                yield _offer(SOURCE, host, row)


def read_catalog(data: bytes) -> Iterator[Offer]:
    """Read the offers of all hosts from the bytes of pi-catalog's one file. Raises msgspec.DecodeError."""
    hosts: Mapping[str, Mapping[str, Mapping[str, Any]]] = msgspec.json.decode(data)
    for host, rows in hosts.items():
        for row in rows.values():
            if answers(row["id"]):
                yield _offer(CATALOG_SOURCE, host, row)


def _offer(source: str, host: str, row: Mapping[str, Any]) -> Offer:
    cost: Mapping[str, Any] = row.get("cost") or {}
    return Offer(
        source=source,
        host=host,
        upstream_model=row["id"],
        name=row.get("name", ""),
        context_tokens=positive(row.get("contextWindow")),
        output_tokens_max=positive(row.get("maxTokens")),
        input_modalities=modalities(row.get("input") or ()),
        tools=row.get("supportsTools", True),
        reasoning=row.get("reasoning"),
        sampling=(row.get("compat") or {}).get("supportsSamplingParams"),
        parts=_parts(cost) if "input" in cost and "output" in cost else None,
        tiers=tuple(
            PriceTier(parts=_parts(tier), input_tokens_from=tier["inputTokensAbove"] + 1) for tier in cost.get("tiers") or ()
        ),
    )


def _parts(cost: Mapping[str, Any]) -> PriceParts:
    return PriceParts(
        input=per_million(cost["input"]),
        output=per_million(cost["output"]),
        cache_read=named(per_million(cost.get("cacheRead"))),
        cache_write=named(per_million(cost.get("cacheWrite"))),
    )
