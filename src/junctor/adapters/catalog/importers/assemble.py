"""From all sources to the bytes of a snapshot: the same input gives the same bytes.

What a person has checked (infra/catalog/curated.json, rows of a snapshot) wins over what is put together here, row by row.
Endpoints of a model stand in catalogue order: direct ones before aggregators, the cheapest first, those without a price last.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from junctor.adapters.catalog.importers.genai_prices import GenaiPrice
from junctor.adapters.catalog.importers.hosts import Host, places
from junctor.adapters.catalog.importers.merge import Merged, Terms, merge
from junctor.adapters.catalog.importers.offers import MODALITIES, Offer
from junctor.adapters.catalog.importers.prices import Package, cards, checked_with_services, disagreement, services_of, suspects
from junctor.adapters.catalog.importers.releases import HOSTS_AS_IN, Release, Released
from junctor.adapters.catalog.importers.slugs import SlugBook
from junctor.adapters.catalog.snapshot import Prices, Quarantined, Snapshot
from junctor.adapters.catalog.survey import EMBEDDING_MODALITY
from junctor.domain.catalog import Endpoint, Model, PriceCard, Provider

OPENROUTER: Final = "openrouter"
SERVICE_PARAMETER: Final = "service_tier"
_BLEND: Final = (3, 1)
"""How input and output tokens are weighed where endpoints are ordered by one price."""


class Sources(Struct, frozen=True, kw_only=True):
    """All that a build takes: what the packages say, what people say, and the day (ISO 8601)."""

    version: str
    built_at: str
    packages: Sequence[Package]
    offers: Sequence[Offer]
    genai_prices: Sequence[GenaiPrice]
    releases: Sequence[Release]
    hosts: Mapping[str, Host]
    dialects: Mapping[str, str]
    aliases: Mapping[str, str]
    curated: Snapshot


def assemble(sources: Sources) -> bytes:
    """Return the snapshot, as a file. Raises ValueError where sources and tables do not fit together."""
    book = _book(sources)
    packages = {package.source: package for package in sources.packages}
    terms = Terms(
        hosts=sources.hosts,
        dialects=sources.dialects,
        order=[package.source for package in sources.packages],
        today=sources.built_at[:10],
    )
    merged = merge(sources.offers, book, terms)
    coming = {(row.host, row.upstream_model): row for row in sources.genai_prices if row.later is not None}
    checked = {row.endpoint: row.cards for row in sources.curated.prices}
    built = {row.endpoint.id: cards(row, sources.hosts[row.endpoint.provider], packages, coming) for row in merged}
    prices = built | {id_: checked_with_services(row, built.get(id_, ())) for id_, row in checked.items()}
    by_hand = {endpoint.id: endpoint for endpoint in sources.curated.endpoints}
    endpoints = {row.endpoint.id: row.endpoint for row in merged} | by_hand
    endpoints |= {id_: _serviced(endpoints[id_]) for id_, row in prices.items() if services_of(row)}
    quarantined = _quarantined(merged, endpoints, prices, by_hand, sources.hosts)
    kept = {id_: row for id_, row in prices.items() if row and id_ not in {each.endpoint for each in quarantined}}
    served: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints.values():
        served.setdefault(endpoint.model, []).append(endpoint)
    providers = _providers(sources)
    reselling = {provider.slug: provider.aggregator for provider in providers}
    ordered = [
        endpoint
        for slug in sorted(served)
        for endpoint in sorted(served[slug], key=lambda each: (reselling[each.provider], *_blended(kept.get(each.id)), each.id))
    ]
    used = {endpoint.provider for endpoint in ordered}
    snapshot = Snapshot(
        version=sources.version,
        built_at=sources.built_at,
        providers=tuple(provider for provider in providers if provider.slug in used),
        models=tuple(_models(served, merged, sources, _released(served, merged, book, sources))),
        endpoints=tuple(ordered),
        prices=tuple(Prices(endpoint.id, kept[endpoint.id]) for endpoint in ordered if endpoint.id in kept),
        quarantined=tuple(quarantined),
    )
    return write(snapshot)


def write(snapshot: Snapshot) -> bytes:
    """Return a snapshot as JSON with one row a line, so that a change can be read."""
    lists = []
    for name in ("providers", "models", "endpoints", "prices", "quarantined"):
        rows = ",\n".join(msgspec.json.encode(_lean(row)).decode() for row in getattr(snapshot, name))
        lists.append(f'"{name}":[\n{rows}\n]')
    head = f'"version":{_quoted(snapshot.version)},\n"built_at":{_quoted(snapshot.built_at)}'
    return ("{\n" + ",\n".join((head, *lists)) + "\n}\n").encode()


def _serviced(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that takes the service that a call asks for."""
    known = endpoint.parameters
    return endpoint if SERVICE_PARAMETER in known else replace(endpoint, parameters=(*known, SERVICE_PARAMETER))


def _lean(row: Struct) -> Mapping[str, object]:
    """Return the fields of a row that are not as they are by default; msgspec itself compares tuples by identity only."""
    return {
        field.encode_name: value
        for field in msgspec.structs.fields(row)
        if (value := getattr(row, field.name)) != field.default
    }


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _book(sources: Sources) -> SlugBook:
    """Register slugs: those that people checked, OpenRouter's, the labs' own, and at last what hosts write in full."""
    book = SlugBook()
    where = places(sources.hosts)
    placed = ((where.get((offer.source, offer.host)), offer) for offer in sources.offers)
    ours = [(slug, sources.hosts[slug], offer) for slug, offer in placed if slug is not None]
    ours = [row for row in ours if not row[1].skips(row[2].upstream_model)]
    sold = (offer.upstream_model.lower() for slug, _, offer in ours if slug == OPENROUTER)
    once_sold = (price.upstream_model for price in sources.genai_prices if price.host == OPENROUTER)
    for slug in (*(model.slug for model in sources.curated.models), *sold, *once_sold):
        book.register(slug)
    for written, slug in sources.aliases.items():
        book.equate(written, slug)
    for _, host, offer in ours:
        if host.lab is not None and "/" not in offer.upstream_model:
            book.register_own(host.lab, offer.upstream_model)
    for _, host, offer in ours:
        if not host.aggregator:
            book.register_written(offer.upstream_model)
    return book


def _quarantined(
    merged: Sequence[Merged],
    endpoints: Mapping[str, Endpoint],
    prices: Mapping[str, tuple[PriceCard, ...]],
    by_hand: Mapping[str, Endpoint],
    hosts: Mapping[str, Host],
) -> Sequence[Quarantined]:
    reasons = {row.endpoint.id: why for row in merged if row.endpoint.id not in by_hand and (why := disagreement(row))}
    own = {row.endpoint.id for row in merged if hosts[row.endpoint.provider].lab == row.endpoint.model.partition("/")[0]}
    of_model: dict[str, list[str]] = {}
    for endpoint in endpoints.values():
        if prices.get(endpoint.id) and endpoint.id not in reasons:
            of_model.setdefault(endpoint.model, []).append(endpoint.id)
    for ids in of_model.values():
        embeds = EMBEDDING_MODALITY in endpoints[ids[0]].output_modalities
        reasons |= suspects(((id_, prices[id_][0].parts) for id_ in ids), own=own, embeds=embeds)
    return [Quarantined(endpoint=id_, cards=prices[id_], reason=reasons[id_]) for id_ in sorted(reasons) if prices.get(id_)]


def _blended(cards_of: tuple[PriceCard, ...] | None) -> tuple[bool, int]:
    if not cards_of:
        return (True, 0)
    parts = cards_of[0].parts
    return (False, _BLEND[0] * (parts.input or 0) + _BLEND[1] * (parts.output or 0))


def _providers(sources: Sources) -> Sequence[Provider]:
    by_hand = {provider.slug: provider for provider in sources.curated.providers}
    built = {
        slug: Provider(
            slug=slug,
            name=host.name,
            credentials=host.keys,
            aggregator=host.aggregator,
            purchase_fee_ppm=host.purchase_fee_ppm,
        )
        for slug, host in sources.hosts.items()
    }
    return [row for _, row in sorted((built | by_hand).items())]


def _released(served: Iterable[str], merged: Sequence[Merged], book: SlugBook, sources: Sources) -> Released:
    """Gather the days on which models were released, from those who name them and from days in ids."""
    labs = {
        name: host.lab for host in sources.hosts.values() for name in host.names.get(HOSTS_AS_IN, ()) if host.lab is not None
    }
    released = Released(book, labs, sources.built_at[:10])
    released.tell(sources.releases)
    for slug in served:
        released.tell_id(slug, slug)
    for row in merged:
        for offer in row.offers:
            released.tell_id(row.endpoint.model, offer.upstream_model)
    return released


def _plain(name: str) -> str:
    """Return a model's name without what hosts put before it, and with one space at a time."""
    return " ".join((name.partition(": ")[2] or name).rpartition("/")[2].split())


def _fits(row: Merged) -> bool:
    """Tell whether a name is the slug's in other letters: hosts give some models the name of another."""
    name, slug = (re.sub(r"[^a-z0-9]", "", text.lower()) for text in (_plain(row.name), row.endpoint.model.partition("/")[2]))
    return name == slug


def _models(
    served: Mapping[str, Sequence[Endpoint]], merged: Sequence[Merged], sources: Sources, released: Released
) -> Iterable[Model]:
    by_hand = {model.slug: model for model in sources.curated.models}
    names: dict[str, str] = {}
    aliases = {slug: {slug.partition("/")[2]} for slug in served}
    for row in sorted(merged, key=lambda row: (row.endpoint.provider != OPENROUTER, not _fits(row), row.found.steps)):
        slug = row.endpoint.model
        names[slug] = names.get(slug) or _plain(row.name)
        if sources.hosts[row.endpoint.provider].lab == slug.partition("/")[0]:
            aliases[slug].add(row.endpoint.upstream_model)
    claims = Counter(alias for each in aliases.values() for alias in each)
    reserved = {alias for model in by_hand.values() for alias in model.aliases}.union(served)
    for slug, endpoints in sorted(served.items()):
        inputs = {word for endpoint in endpoints for word in endpoint.input_modalities}
        unique = {alias for alias in aliases[slug] if claims[alias] == 1 and alias not in reserved}
        model = by_hand.get(slug) or Model(
            slug=slug,
            name=names.get(slug) or slug.partition("/")[2],
            context_tokens=max(endpoint.context_tokens or 0 for endpoint in endpoints) or None,
            input_modalities=tuple(word for word in MODALITIES if word in inputs),
            output_modalities=endpoints[0].output_modalities,
        )
        yield replace(
            model,
            created_on=model.created_on or released.day(slug),
            aliases=tuple(sorted(unique.union(model.aliases))),
        )
