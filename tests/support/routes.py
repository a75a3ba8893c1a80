"""Small worlds for tests of routing: models with a few endpoints that nothing speaks against, calls for them, and plans."""

from collections.abc import Mapping
from typing import Any

import msgspec

from junctor.domain.account import Caller
from junctor.domain.call import Call, Snapshots
from junctor.domain.catalog import Catalog, Endpoint, Model, PriceCard, PriceParts, Provider
from junctor.domain.completion import CompletionSpec, Message, Role, TextPart
from junctor.domain.health import EndpointHealth, HealthSnapshot
from junctor.domain.routing import Credential, Plan, RoutingPreferences
from junctor.policy import routing

NOW_S = 1_000_000
MODEL = "lab/model"
CARD = PriceCard(version="1", parts=PriceParts(input=1_000, output=1_000), source="s", as_of="d")
TURNS = (Message(Role.SYSTEM, (TextPart("Be brief."),)), Message(Role.USER, (TextPart("What is a router?"),)))
CALLER = Caller("A", "K")


def endpoint(provider: str, model: str = MODEL, **fields: Any) -> Endpoint:
    """Return an endpoint that nothing speaks against."""
    made = Endpoint(
        id=f"{provider}/{model}",
        model=model,
        provider=provider,
        upstream_model="m",
        dialect="d",
        base_url="https://a.example",
    )
    return msgspec.structs.replace(made, **fields)


def card(price: int = 1_000, **parts: int | None) -> PriceCard:
    """Return a card with one price of input and output, unless said otherwise."""
    return msgspec.structs.replace(CARD, parts=PriceParts(**{"input": price, "output": price, **parts}))


def health(chance: float = 1.0, **fields: Any) -> EndpointHealth:
    """Return what was measured of an endpoint."""
    return EndpointHealth(success_probability=chance, **fields)


def world(
    *endpoints: Endpoint,
    prices: Mapping[str, PriceCard | tuple[PriceCard, ...]] | None = None,
    measured: Mapping[str, EndpointHealth] | None = None,
    credentials: Mapping[str, tuple[str | Credential, ...]] | None = None,
    aggregators: tuple[str, ...] = (),
    fees_ppm: Mapping[str, int] | None = None,
    aliases: Mapping[str, tuple[str, ...]] | None = None,
    **fields: Any,
) -> Snapshots:
    """Return the snapshots of these endpoints: prices and health by provider, all else there unless said so."""
    providers = {
        row.provider: Provider(
            slug=row.provider,
            name="P",
            credentials=("KEY", "SPARE"),
            aggregator=row.provider in aggregators,
            purchase_fee_ppm=(fees_ppm or {}).get(row.provider, 0),
        )
        for row in endpoints
    }
    slugs = dict.fromkeys((MODEL, *(row.model for row in endpoints), *(aliases or {})))
    found = {row.id: (prices or {}).get(row.provider, CARD) for row in endpoints}
    catalog = Catalog(
        version="1",
        built_at="",
        models={slug: Model(slug=slug, name="M", aliases=(aliases or {}).get(slug, ())) for slug in slugs},
        providers=providers,
        endpoints={slug: tuple(row for row in endpoints if row.model == slug) for slug in slugs},
        prices={name: cards if isinstance(cards, tuple) else (cards,) for name, cards in found.items()},
    )
    rows = {row.id: (measured or {})[row.provider] for row in endpoints if row.provider in (measured or {})}
    given = {
        slug: tuple(Credential(each) if isinstance(each, str) else each for each in names)
        for slug, names in (dict.fromkeys(providers, ("SPARE",)) if credentials is None else credentials).items()
    }
    return Snapshots(catalog, HealthSnapshot(rows), given, NOW_S * 1000, **fields)


def call(*, caller: Caller = CALLER, prefer: Mapping[str, Any] | None = None, **fields: Any) -> Call:
    """Return a call for MODEL with these fields of its spec and these preferences."""
    spec = CompletionSpec(**{"model": MODEL, "messages": TURNS, **fields})
    return Call(caller=caller, spec=spec, preferences=RoutingPreferences(**(prefer or {})), deadline_at=0.0)


def plan(snapshots: Snapshots, asked: Call | None = None) -> Plan:
    """Plan a call."""
    return routing.plan(asked or call(), snapshots)


def tried(found: Plan) -> list[str]:
    """Name the providers that would be tried, in order."""
    return [candidate.endpoint.provider for candidate in found.candidates]


def left_out(found: Plan) -> dict[str, str]:
    """Name the providers that would not be tried, and why."""
    return {exclusion.endpoint.provider: exclusion.reason for exclusion in found.excluded}


def reseeded(snapshots: Snapshots, seed: int) -> Snapshots:
    """Return the same snapshots with another chance."""
    return msgspec.structs.replace(snapshots, seed=seed)
