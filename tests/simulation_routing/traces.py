"""What the simulation plays: prices and faults as data, from the two files in traces/, where their sources are told."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from junctor.domain.catalog import Catalog, Endpoint, Model, PriceCard, PriceParts, Provider
from junctor.domain.routing import Credential
from tests.support.world import EPOCH_MS

FOLDER: Final = Path(__file__).with_name("traces")
VICTIM: Final = "victim"
VICTIM_WEIGHT: Final = 0.3
TOKENS_IN: Final = 1_000
"""What a request has, as its price is worked out for the victim's share; the plan's own count is near it."""
TOKENS_OUT: Final = 500


class Fault(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is wrong with some endpoints from one second until before another.

    `success` (0 to 1) replaces the scenario's own. `how` tells how those fail that do: `any` is one of refused, reset and 503,
    the same for the whole fault. `slow` multiplies all times. Of more than `answers_per_s` requests the rest gets 429, with
    `retry_after_s` where there is a hint.
    """

    on: tuple[str, ...]
    from_s: float
    until_s: float
    success: float | None = None
    how: str = "503"
    slow: float = 1.0
    answers_per_s: float | None = None
    retry_after_s: float | None = None


class Fleet(Struct, frozen=True, forbid_unknown_fields=True):
    """How many instances there are, and how many requests a second each gets, from which second on.

    The victim has VICTIM_WEIGHT of the draw by its price, and about as much of all first tries if its first token comes after
    `victim_first_s` as a rule: the best of two takes some away, the more the more calls are under way. `busy` and `thin` mark
    those for which the issue names a time to eject.
    """

    instances: int
    rates: tuple[tuple[float, float], ...]
    victim_first_s: float = 0.55
    busy: bool = False
    thin: bool = False


class Scenario(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One kind of trouble. `success` is the chance of an answer at an endpoint that has none.

    `back_watched`: a victim's return is measured. `repriced`: the price trace's changes happen.
    """

    name: str
    seconds: float
    success: float
    fleets: tuple[Fleet, ...]
    faults: tuple[Fault, ...] = ()
    back_watched: bool = False
    repriced: bool = False


class _Faults(Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    scenarios: tuple[Scenario, ...]


class _Price(Struct, frozen=True, forbid_unknown_fields=True):
    provider: str
    input: int
    output: int


class _Change(_Price, frozen=True, forbid_unknown_fields=True, kw_only=True):
    at_s: int


class _Prices(Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    model: str
    endpoints: tuple[_Price, ...]
    changes: tuple[_Change, ...]


@cache
def scenarios() -> Mapping[str, Scenario]:
    """Read the fault trace: all scenarios by name, in its order."""
    read = msgspec.json.decode((FOLDER / "faults.json").read_bytes(), type=_Faults)
    return {scenario.name: scenario for scenario in read.scenarios}


@cache
def prices() -> _Prices:
    """Read the price trace."""
    return msgspec.json.decode((FOLDER / "prices.json").read_bytes(), type=_Prices)


def providers() -> tuple[str, ...]:
    """Return the providers of the price trace, in its order."""
    return tuple(price.provider for price in prices().endpoints)


def credentials() -> Mapping[str, tuple[Credential, ...]]:
    """Return the one credential of each provider."""
    return {slug: (Credential(f"{slug}-key"),) for slug in providers()}


def catalog(victim: str | None, *, repriced: bool) -> Catalog:
    """Return a catalogue of one model, with the victim, if there is one, priced for its weight in the draw."""
    trace = prices()
    endpoints = tuple([_endpoint(trace.model, price.provider) for price in trace.endpoints])
    return Catalog(
        version="trace",
        built_at="2026-11-22T00:00:00Z",
        models={trace.model: Model(slug=trace.model, name=trace.model)},
        providers={
            slug: Provider(slug=slug, name=slug, credentials=tuple(held.name for held in names))
            for slug, names in credentials().items()
        },
        endpoints={trace.model: endpoints},
        prices={
            endpoint.id: _cards(price, _scale(price, victim), trace.changes if repriced else ())
            for endpoint, price in zip(endpoints, trace.endpoints, strict=True)
        },
    )


def _endpoint(model: str, provider: str) -> Endpoint:
    return Endpoint(
        id=f"{provider}/{model}",
        model=model,
        provider=provider,
        upstream_model=model,
        dialect="openai_chat",
        base_url="https://simulated.invalid",
    )


def _scale(price: _Price, victim: str | None) -> float:
    """Return by what a price is multiplied: the draw is by the inverse square of the cost."""
    if price.provider != victim:
        return 1.0
    others = sum(_cost(other) ** -2 for other in prices().endpoints if other is not price)
    wanted = others * VICTIM_WEIGHT / (1 - VICTIM_WEIGHT)
    return float(wanted**-0.5 / _cost(price))


def _cost(price: _Price) -> int:
    return TOKENS_IN * price.input + TOKENS_OUT * price.output


def _cards(price: _Price, scale: float, changes: tuple[_Change, ...]) -> tuple[PriceCard, ...]:
    mine = [change for change in changes if change.provider == price.provider]
    instants = [EPOCH_MS // 1000 + change.at_s for change in mine]
    parts: list[_Price] = [price, *mine]
    return tuple(
        PriceCard(
            version=str(place),
            parts=PriceParts(input=round(scale * part.input), output=round(scale * part.output)),
            source="traces/prices.json",
            as_of="2026-11-22",
            valid_from=since,
            valid_to=until,
        )
        for place, (part, since, until) in enumerate(zip(parts, (None, *instants), (*instants, None), strict=True))
    )
