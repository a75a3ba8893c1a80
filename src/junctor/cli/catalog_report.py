"""What is told of models, endpoints and providers? Each as cells of a table, and what it takes to reach more as lines.

It prints nothing and asks nothing. Prices are shown in USD for a million units, exactly. Invariant: what is not known is shown
as such, never as nought.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from junctor.cli.admin import at
from junctor.cli.chat_report import word
from junctor.client import Endpoint, Model, PriceParts, Provider

PICO_IN_MICRO = 1_000_000
"""Pico-USD for one unit in one dollar for a million of them."""
MODEL_HEADINGS = ("model", "in", "out", "context", "endpoints", "first token", "speed", "")
ENDPOINT_HEADINGS = ("endpoint", "in", "out", "cached", "price of", "context", "output", "weights", "health", "")
PROVIDER_HEADINGS = ("provider", "models", "endpoints", "data", "fee", "")
OPENINGS_SHOWN = 8
_UNKNOWN = "?"
_PPM_IN_PERCENT = 10_000


def per_million(picousd: int) -> str:
    """Write a price for one unit in USD for a million, exactly, with two decimals or as many as it takes."""
    whole, part = divmod(picousd, PICO_IN_MICRO)
    decimals = f"{part:06d}".rstrip("0")
    return f"${whole:,}.{decimals:0<2}"


def model_cells(model: Model) -> tuple[str, ...]:
    """Return a model's row under MODEL_HEADINGS."""
    first = f"{model.time_to_first_token_ms:.0f} ms" if model.HasField("time_to_first_token_ms") else ""
    speed = f"{model.throughput_tokens_per_s:.0f}/s" if model.HasField("throughput_tokens_per_s") else ""
    return (
        model.slug,
        per_million(model.input_picousd) if model.HasField("input_picousd") else _UNKNOWN,
        per_million(model.output_picousd) if model.HasField("output_picousd") else _UNKNOWN,
        f"{model.context_tokens:,}" if model.HasField("context_tokens") else _UNKNOWN,
        f"{model.reachable_endpoint_count} of {model.endpoint_count}",
        first,
        speed,
        "" if model.reachable_endpoint_count else to_set([row.variables for row in model.openings]),
    )


def to_set(choices: Sequence[Sequence[str]]) -> str:
    """Say which variables would open something, of which any one suffices."""
    names = list(dict.fromkeys(name for variables in choices for name in variables))
    shown = names[:OPENINGS_SHOWN]
    more = f" or one of {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"set {' or '.join(shown)}{more}" if names else "no variable opens it"


def openings(models: Sequence[Model]) -> Sequence[tuple[tuple[str, ...], int]]:
    """Return the variables any one of which opens a provider, and how many unreachable models it has; the most first."""
    counts = Counter(
        tuple(opening.variables) for model in models if not model.reachable_endpoint_count for opening in model.openings
    )
    return sorted(counts.items(), key=lambda found: (-found[1], found[0]))


def reach(models: Sequence[Model]) -> list[str]:
    """Return lines that say how many of the models can be reached, and what would open the others."""
    reached = sum(bool(model.reachable_endpoint_count) for model in models)
    lines = [f"{_count(reached, 'model')} of {len(models):,} can be reached."]
    found = openings(models)
    lines += [f"  {to_set([variables])} to reach {opened:,} more" for variables, opened in found[:OPENINGS_SHOWN]]
    if len(found) > OPENINGS_SHOWN:
        lines.append(f"  {len(found) - OPENINGS_SHOWN} other providers would open some too: junctor providers")
    closed = sum(not model.reachable_endpoint_count and not model.openings for model in models)
    if closed:
        lines.append(f"  {_count(closed, 'model')} no variable alone opens: junctor endpoints MODEL says why")
    return lines


def endpoint_cells(endpoint: Endpoint) -> tuple[str, ...]:
    """Return an endpoint's row under ENDPOINT_HEADINGS."""
    parts = endpoint.price.parts
    return (
        endpoint.id,
        per_million(parts.input) if parts.HasField("input") else _UNKNOWN,
        per_million(parts.output) if parts.HasField("output") else _UNKNOWN,
        per_million(parts.cache_read) if parts.HasField("cache_read") else "",
        _price_of(endpoint),
        f"{endpoint.context_tokens:,}" if endpoint.HasField("context_tokens") else _UNKNOWN,
        f"{endpoint.output_tokens_max:,}" if endpoint.HasField("output_tokens_max") else _UNKNOWN,
        word(endpoint, "quantization"),
        health(endpoint),
        "reachable" if endpoint.reachable else unreachable(endpoint),
    )


def health(endpoint: Endpoint) -> str:
    """Say how an endpoint does: its status, uptime of the last day, median time to the first token and speed."""
    if not endpoint.HasField("health"):
        return "not measured"
    found = endpoint.health
    said = [word(found, "status").replace("_", " ")]
    if found.open_cause:
        said[0] += f" ({word(found, 'open_cause').replace('_', ' ')})"
    if found.HasField("open_until_ms"):
        said[0] += f" until {datetime.fromtimestamp(found.open_until_ms / 1000, UTC):%H:%M:%S} UTC"
    if found.uptime.HasField("last_1d"):
        said.append(f"{found.uptime.last_1d:.2%} up")
    if found.time_to_first_token_ms.HasField("p50"):
        said.append(f"{found.time_to_first_token_ms.p50:.0f} ms")
    if found.throughput_tokens_per_s.HasField("p50"):
        said.append(f"{found.throughput_tokens_per_s.p50:.0f}/s")
    return ", ".join(said)


def unreachable(endpoint: Endpoint) -> str:
    """Say why an endpoint cannot be reached, and what would open it; or what else is in the way, where no variable would."""
    if endpoint.variables:
        return to_set([endpoint.variables])
    if not endpoint.dialect_spoken:
        return f"its wire API is not spoken yet ({endpoint.dialect})"
    reason = endpoint.unreachable_reason.replace("_", " ").lower()
    return (
        reason if endpoint.HasField("price") or endpoint.unreachable_reason == "PRICE_UNKNOWN" else f"{reason}, price unknown"
    )


def price_notes(endpoint: Endpoint) -> list[tuple[str, str]]:
    """Return what else there is to its price: tiers, and what it will be next; with the endpoint's id first."""
    notes = []
    for tier in endpoint.price.tiers:
        when = [f"from {tier.input_tokens_from:,} input tokens"] if tier.HasField("input_tokens_from") else []
        if tier.HasField("utc_from_min") or tier.HasField("utc_to_min"):
            when.append(f"from {_time(tier.utc_from_min)} to {_time(tier.utc_to_min)} UTC")
        if tier.service_tier:
            when.append(f"service tier {tier.service_tier}")
        notes.append((endpoint.id, f"{', '.join(when)}: {_in_and_out(tier.parts, endpoint.price.parts)}"))
    if endpoint.HasField("next_price"):
        starts = at(endpoint.next_price.valid_from_ms)
        notes.append((endpoint.id, f"from {starts}: {_in_and_out(endpoint.next_price.parts)}"))
    return notes


def provider_cells(provider: Provider) -> tuple[str, ...]:
    """Return a provider's row under PROVIDER_HEADINGS."""
    policy = provider.data_policy
    said = ["trains" if policy.trains else "does not train"] if policy.HasField("trains") else []
    said += ["retains" if policy.retains else "does not retain"] if policy.HasField("retains") else []
    fee = f"{provider.purchase_fee_ppm / _PPM_IN_PERCENT:g} %" if provider.purchase_fee_ppm else ""
    return (
        provider.slug,
        f"{provider.model_count:,}",
        f"{provider.reachable_endpoint_count:,} of {provider.endpoint_count:,}",
        ", ".join(said) or _UNKNOWN,
        fee,
        _opened(provider),
    )


def _opened(provider: Provider) -> str:
    if not provider.dialect_spoken:
        return f"its wire API is not spoken yet ({', '.join(provider.dialects)})"
    if not provider.reachable_endpoint_count and provider.variables:
        return to_set([provider.variables])
    credentials = f"{_count(provider.credential_count, 'credential')} set"
    return credentials if provider.reachable_endpoint_count else f"{credentials}, but nothing can be reached"


def _price_of(endpoint: Endpoint) -> str:
    if not endpoint.HasField("price"):
        return _UNKNOWN
    return f"{endpoint.price.as_of}{', tiered' if endpoint.price.tiers else ''}"


def _in_and_out(parts: PriceParts, plain: PriceParts | None = None) -> str:
    """Say what input and output cost, each by the plain price where only the other is named."""
    if not (parts.HasField("input") or parts.HasField("output")):
        return "other parts only"
    given = parts if parts.HasField("input") or plain is None else plain
    made = parts if parts.HasField("output") or plain is None else plain
    named = [f"{per_million(given.input)} in"] if given.HasField("input") else []
    named += [f"{per_million(made.output)} out"] if made.HasField("output") else []
    return ", ".join(named)


def _time(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
