"""From the bytes of a snapshot to a Catalog that routing may trust: one file, flat rows, checked once.

Rows decode straight into the nouns; the file's only shape of its own is that models, providers, endpoints and prices are lists.
Refuses a file of which any row is wrong: half a catalogue would route to the wrong place, or at the wrong price, in silence.
Invariant of what comes out: every name that a row mentions is there, and catalogue order is the file's. An endpoint without a
price row is legal and means that its price is unknown.
"""

import re
from collections.abc import Container, Iterable, Iterator

import msgspec
from msgspec import Struct

from junctor.domain.catalog import Catalog, Endpoint, Model, PriceCard, PriceParts, PriceTier, Provider
from junctor.domain.completion import CompletionSpec

MINUTES_OF_DAY = 24 * 60

_SLUG = re.compile(r"[a-z0-9._-]+/[a-z0-9._:-]+")
_ADDRESS = re.compile(r"https://[^\s?#]*[^\s?#/]|")
_PARAMETERS = frozenset(CompletionSpec.__struct_fields__)


class CatalogFormatError(Exception):
    """The snapshot is not fit for use. The message names the row."""


class _Prices(Struct, frozen=True):
    endpoint: str
    cards: tuple[PriceCard, ...]


class _Snapshot(Struct, frozen=True, forbid_unknown_fields=True):
    version: str
    built_at: str
    providers: tuple[Provider, ...]
    models: tuple[Model, ...]
    endpoints: tuple[Endpoint, ...]
    prices: tuple[_Prices, ...]


_DECODER = msgspec.json.Decoder(_Snapshot)


def parse(data: bytes) -> Catalog:
    """Read a snapshot in JSON. Raises CatalogFormatError."""
    try:
        rows = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CatalogFormatError(f"not a snapshot: {error}") from None
    providers = {row.slug: row for row in rows.providers}
    models = {row.slug: row for row in rows.models}
    prices = {row.endpoint: row.cards for row in rows.prices}
    _refuse_twins("provider", (row.slug for row in rows.providers))
    _refuse_twins("model or alias", (name for row in rows.models for name in (row.slug, *row.aliases)))
    _refuse_twins("endpoint", (row.id for row in rows.endpoints))
    _refuse_twins("price of", (row.endpoint for row in rows.prices))
    for model in rows.models:
        _refuse(f"model {model.slug}", _wrong_with_model(model))
    endpoints: dict[str, list[Endpoint]] = {slug: [] for slug in models}
    for endpoint in rows.endpoints:
        _refuse(f"endpoint {endpoint.id}", _wrong_with_endpoint(endpoint, models, providers))
        endpoints[endpoint.model].append(endpoint)
    ids = {row.id for row in rows.endpoints}
    for price in rows.prices:
        _refuse(f"price of {price.endpoint}", _wrong_with_price(price, ids))
    served = {slug: tuple(row) for slug, row in endpoints.items()}
    return Catalog(rows.version, rows.built_at, models, providers, served, prices)


def _refuse(row: str, problems: Iterator[str]) -> None:
    for problem in problems:
        raise CatalogFormatError(f"{row}: {problem}")


def _refuse_twins(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise CatalogFormatError(f"{kind} {name}: given twice")
        seen.add(name)


def _wrong_with_model(model: Model) -> Iterator[str]:
    if not _SLUG.fullmatch(model.slug):
        yield "slug is not author/name in lower case"
    if not _is_positive(model.context_tokens):
        yield "context_tokens is not positive"


def _wrong_with_endpoint(endpoint: Endpoint, models: Container[str], providers: Container[str]) -> Iterator[str]:
    if endpoint.model not in models:
        yield f"model {endpoint.model} is not in the catalogue"
    if endpoint.provider not in providers:
        yield f"provider {endpoint.provider} is not in the catalogue"
    if not endpoint.id.startswith(f"{endpoint.provider}/{endpoint.model}"):
        yield "id does not begin with provider/author/name"
    if not (endpoint.upstream_model and endpoint.dialect):
        yield "upstream_model or dialect is empty"
    if not _ADDRESS.fullmatch(endpoint.base_url):
        yield "base_url is neither empty nor an https address without a slash at its end"
    if not (_is_positive(endpoint.context_tokens) and _is_positive(endpoint.output_tokens_max)):
        yield "context_tokens or output_tokens_max is not positive"
    if not _PARAMETERS.issuperset(endpoint.parameters):
        yield f"unknown parameters {sorted(set(endpoint.parameters) - _PARAMETERS)}"


def _wrong_with_price(price: _Prices, ids: Container[str]) -> Iterator[str]:
    if price.endpoint not in ids:
        yield "no such endpoint"
    if not price.cards:
        yield "no card: an unknown price is a row left out"
    for card in price.cards:
        yield from _wrong_with_card(card)
    if len(price.cards) > 1 and _overlap(price.cards):
        yield "two cards hold at the same time"


def _wrong_with_card(card: PriceCard) -> Iterator[str]:
    if card.parts.input is None or card.parts.output is None:
        yield "input or output has no price"
    if not (card.version and card.source and card.as_of):
        yield "version, source or as_of is empty"
    if card.valid_from is not None and card.valid_to is not None and card.valid_from >= card.valid_to:
        yield "valid_from is not before valid_to"
    if _is_negative(card.parts):
        yield "a price is below zero"
    for tier in card.tiers:
        yield from _wrong_with_tier(tier)


def _wrong_with_tier(tier: PriceTier) -> Iterator[str]:
    window = (tier.utc_from_min, tier.utc_to_min)
    if tier.input_tokens_from is None and tier.service_tier is None and window == (None, None):
        yield "a tier has no condition"
    if tier.input_tokens_from is not None and tier.input_tokens_from < 1:
        yield "a tier's input_tokens_from is not positive"
    if tier.service_tier == "":
        yield "a tier's service_tier is empty"
    if window != (None, None):
        start, end = window
        if start is None or end is None or start == end or not (0 <= start < MINUTES_OF_DAY and 0 <= end <= MINUTES_OF_DAY):
            yield "a tier's hours are not two different minutes of the day"
    if tier.parts == PriceParts() or _is_negative(tier.parts):
        yield "a tier names no price, or one below zero"


def _is_positive(limit: int | None) -> bool:
    return limit is None or limit > 0


def _is_negative(parts: PriceParts) -> bool:
    return min(filter(None, msgspec.structs.astuple(parts)), default=0) < 0


def _overlap(cards: tuple[PriceCard, ...]) -> bool:
    spans = sorted((card.valid_from or 0, card.valid_to) for card in cards)
    return any(end is None or end > spans[place + 1][0] for place, (_, end) in enumerate(spans[:-1]))
