"""Rows of litellm's price map: JSON, one object for each model at a host, prices in USD for one token.

Newest of the sources, with the most kinds of prices. Its keys are the host's id behind litellm's own prefix. Prices above a
prompt size, by range of prompt size, by hour of the day, and of the services flex and priority become tiers; batch prices are
not read, as no dialect asks for batches. A service of which a price is missing that the plain one has is left out, as it would
be charged at the wrong price in part. Days of the week are dropped: hours that are cheap on some days only are charged at the
higher price.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from junctor.adapters.catalog.importers.offers import Offer, answers, modalities, named, per_token, positive
from junctor.domain.catalog import PriceParts, PriceTier

SOURCE = "litellm"

_MODES: Final = {"chat": None, "responses": "openai_responses", "embedding": None}
_FIELDS: Final = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "reasoning": "output_cost_per_reasoning_token",
    "audio_input": "input_cost_per_audio_token",
    "audio_output": "output_cost_per_audio_token",
}
_SERVICES: Final = ("flex", "priority")
_ABOVE: Final = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")
_MINUTES_A_DAY: Final = 1_440


def read(data: bytes) -> Iterator[Offer]:
    """Read the offers from the bytes of the price map. Raises msgspec.DecodeError."""
    rows: Mapping[str, Mapping[str, Any]] = msgspec.json.decode(data)
    for key, row in rows.items():
        if row.get("mode") in _MODES and answers(key) and not _is_regional(key, row):
            yield _offer(key, row)


def _is_regional(key: str, row: Mapping[str, Any]) -> bool:
    """Tell whether a key repeats a model for one region of a cloud, or for a commitment."""
    host = str(row.get("litellm_provider"))
    if host.startswith("bedrock"):
        return key.count("/") > (host == "bedrock_mantle")
    return key.startswith(("azure/eu/", "azure/us/"))


def _offer(key: str, row: Mapping[str, Any]) -> Offer:
    host = str(row["litellm_provider"])
    inputs = set(row.get("supported_modalities") or ())
    inputs |= {word for word in ("audio", "video") if row.get(f"supports_{word}_input")}
    inputs |= {"image"} if row.get("supports_vision") else set()
    inputs |= {"pdf"} if row.get("supports_pdf_input") else set()
    return Offer(
        source=SOURCE,
        host=host,
        upstream_model=_upstream(key, host),
        embeds=row["mode"] == "embedding",
        context_tokens=positive(row.get("max_input_tokens")),
        output_tokens_max=positive(row.get("max_output_tokens")),
        input_modalities=modalities(inputs),
        tools=row.get("supports_function_calling"),
        structured=row.get("supports_response_schema"),
        reasoning=row.get("supports_reasoning"),
        sampling=row.get("supports_sampling_params"),
        parts=_parts(row),
        tiers=tuple(_tiers(row)),
        dialect=_MODES[row["mode"]],
        retires_on=row.get("deprecation_date"),
    )


def _upstream(key: str, host: str) -> str:
    """Take litellm's prefix from a key; some hosts' own ids have slashes, so only the first step may go."""
    first = key.partition("/")[0].replace("-", "_")
    family = host.replace("-", "_")
    return key.partition("/")[2] if "/" in key and family.startswith(first) else key


def _parts(row: Mapping[str, Any], above: str = "") -> PriceParts | None:
    prices = {part: per_token(row.get(field + above)) for part, field in _FIELDS.items()}
    if not above and (ranges := row.get("tiered_pricing")):
        prices |= {part: per_token(ranges[0].get(field)) for part, field in _FIELDS.items() if field in ranges[0]}
    if row["mode"] == "embedding" and prices["input"] is not None:
        prices["output"] = prices["output"] or 0
    if prices["input"] is None or prices["output"] is None:
        return None
    if above == "" and row.get("input_cost_per_request"):
        prices["request"] = per_token(row["input_cost_per_request"])
    free = prices["input"] == prices["output"] == 0
    kept = {part: price if part in {"input", "output"} or free else named(price) for part, price in prices.items()}
    if kept["reasoning"] == kept["output"]:
        kept["reasoning"] = None
    return PriceParts(**kept)


def _tiers(row: Mapping[str, Any]) -> Iterator[PriceTier]:
    ranges: list[Mapping[str, Any]] = row.get("tiered_pricing") or []
    for step in ranges[1:]:
        if (parts := _parts({"mode": row["mode"], **step})) is not None and "range" in step:
            yield PriceTier(parts=parts, input_tokens_from=int(step["range"][0]) + 1)
    sizes = sorted(int(found[1]) for field in row if (found := _ABOVE.fullmatch(field)))
    for size in sizes:
        if (parts := _parts(row, f"_above_{size}k_tokens")) is not None:
            yield PriceTier(parts=parts, input_tokens_from=size * 1000 + 1)
    off_peak: Mapping[str, Any] = row.get("off_peak_pricing") or {}
    if off_peak and (parts := _parts({"mode": row["mode"], **off_peak})) is not None:
        for window in off_peak["windows"]:
            yield from _windows(window, parts)
    if not ranges and not off_peak:
        for service in _SERVICES:
            yield from _service(row, service, sizes)


def _service(row: Mapping[str, Any], service: str, sizes: Sequence[int]) -> Sequence[PriceTier]:
    """Read the prices of a service, plain and above each prompt size; nothing unless all of them are there."""
    tiers = []
    for above, size in (("", None), *((f"_above_{size}k_tokens", size) for size in sizes)):
        plain, parts = _parts(row, above), _parts(row, f"{above}_{service}")
        if plain is None or parts is None or not _named(plain) <= _named(parts):
            return ()
        from_ = None if size is None else size * 1000 + 1
        tiers.append(PriceTier(parts=parts, input_tokens_from=from_, service_tier=service))
    return tiers


def _named(parts: PriceParts) -> set[str]:
    return {name for name, price in msgspec.structs.asdict(parts).items() if price is not None} - {"request"}


def _windows(window: Mapping[str, Any], parts: PriceParts) -> Iterator[PriceTier]:
    hours = window["hours_utc"]
    spans = [tuple(map(_minute, span.split("-"))) for span in ([hours] if isinstance(hours, str) else hours)]
    first = next((span for span in spans if span[0] == 0), None)
    last = next((span for span in spans if span[1] % _MINUTES_A_DAY == 0), None)
    if first is not None and last is not None and first != last:
        # Two spans that meet at midnight are one.
        spans = [(last[0], first[1])] + [span for span in spans if span not in {first, last}]
    for start, end in spans:
        if start != end:
            yield PriceTier(parts=parts, utc_from_min=start, utc_to_min=end)


def _minute(clock: str) -> int:
    hour, minute = clock.split(":")
    return int(hour) * 60 + int(minute)
