"""From the bytes of a snapshot to a Catalog that routing may trust: one file, flat rows, checked once.

Rows decode straight into the nouns; the file's only shape of its own is that models, providers, endpoints and prices are lists.
Refuses a file of which any row is wrong: half a catalogue would route to the wrong place, or at the wrong price, in silence.
Invariant of what comes out: every name that a row mentions is there, and catalogue order is the file's. An endpoint without a
price row is legal and means that its price is unknown.
"""

import re
from collections.abc import Container, Sequence
from datetime import date

import msgspec
from msgspec import Struct

from junctor.domain.catalog import Catalog, Endpoint, Model, PriceCard, PriceParts, PriceTier, Provider
from junctor.domain.completion import CompletionSpec

MINUTES_OF_DAY = 24 * 60
FEE_MAX_PPM = 1_000_000

_SLUG = re.compile(r"[a-z0-9._-]+/[a-z0-9._:-]+")
_ADDRESS = re.compile(r"https://[^\s?#]*[^\s?#/]|")
_PARAMETERS = frozenset(CompletionSpec.__struct_fields__)


class CatalogFormatError(Exception):
    """The snapshot is not fit for use. The message names the row."""


class Prices(Struct, frozen=True, gc=False):
    """What an endpoint costs, now and later."""

    endpoint: str
    cards: tuple[PriceCard, ...]


class Quarantined(Struct, frozen=True, gc=False):
    """The price of an endpoint that is not believed, and why: nobody is charged by it."""

    endpoint: str
    cards: tuple[PriceCard, ...]
    reason: str


class Snapshot(Struct, frozen=True, forbid_unknown_fields=True):
    """The rows of a file."""

    version: str
    built_at: str
    providers: tuple[Provider, ...]
    models: tuple[Model, ...]
    endpoints: tuple[Endpoint, ...]
    prices: tuple[Prices, ...]
    quarantined: tuple[Quarantined, ...] = ()


_DECODER = msgspec.json.Decoder(Snapshot)


def parse(data: bytes) -> Catalog:
    """Read a snapshot in JSON. Raises CatalogFormatError."""
    return catalog_of(read(data))


def read(data: bytes) -> Snapshot:
    """Read the rows of a snapshot in JSON, not yet checked against each other. Raises CatalogFormatError."""
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CatalogFormatError(f"not a snapshot: {error}") from None


def catalog_of(rows: Snapshot) -> Catalog:
    """Check all rows and put them in their places. Raises CatalogFormatError."""
    check(rows)
    return placed(rows)


def placed(rows: Snapshot) -> Catalog:
    """Put rows that were checked before in their places."""
    endpoints: dict[str, list[Endpoint]] = {row.slug: [] for row in rows.models}
    for endpoint in rows.endpoints:
        endpoints[endpoint.model].append(endpoint)
    return Catalog(
        rows.version,
        rows.built_at,
        {row.slug: row for row in rows.models},
        {row.slug: row for row in rows.providers},
        {slug: tuple(row) for slug, row in endpoints.items()},
        {row.endpoint: row.cards for row in rows.prices},
    )


def check(rows: Snapshot) -> None:
    """Make sure that each row is right and has all that it names. Raises CatalogFormatError."""
    _refuse_twins("provider", [row.slug for row in rows.providers])
    _refuse_twins("model or alias", [name for row in rows.models for name in (row.slug, *row.aliases)])
    _refuse_twins("endpoint", [row.id for row in rows.endpoints])
    priced: tuple[Prices | Quarantined, ...] = (*rows.prices, *rows.quarantined)
    _refuse_twins("price of", [row.endpoint for row in priced])
    providers = {row.slug for row in rows.providers}
    models = {row.slug for row in rows.models}
    ids = {row.id for row in rows.endpoints}
    for provider in rows.providers:
        if not 0 <= provider.purchase_fee_ppm <= FEE_MAX_PPM:
            raise CatalogFormatError(f"provider {provider.slug}: purchase_fee_ppm is not between 0 and {FEE_MAX_PPM}")
    for model in rows.models:
        if (problem := _wrong_with_model(model, rows.built_at)) is not None:
            raise CatalogFormatError(f"model {model.slug}: {problem}")
    seen = _Seen(set(), set())
    for endpoint in rows.endpoints:
        if (problem := _wrong_with_names(endpoint, models, providers) or _wrong_with_endpoint(endpoint, seen)) is not None:
            raise CatalogFormatError(f"endpoint {endpoint.id}: {problem}")
    for row in priced:
        if (problem := _wrong_with_price(row, ids)) is not None:
            raise CatalogFormatError(f"price of {row.endpoint}: {problem}")


class _Seen(Struct):
    """What was found right before: thousands of endpoints share a hundred addresses and lists of parameters."""

    addresses: set[str]
    parameters: set[tuple[str, ...]]


def _refuse_twins(kind: str, names: Sequence[str]) -> None:
    if len(set(names)) == len(names):
        return
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise CatalogFormatError(f"{kind} {name}: given twice")
        seen.add(name)


def _wrong_with_model(model: Model, built_at: str) -> str | None:
    if not _SLUG.fullmatch(model.slug):
        return "slug is not author/name in lower case"
    if model.context_tokens is not None and model.context_tokens <= 0:
        return "context_tokens is not positive"
    if model.created_on is not None and not (_is_day(model.created_on) and model.created_on <= built_at):
        return "created_on is no day in ISO 8601, or one after built_at"
    return None


def _wrong_with_names(endpoint: Endpoint, models: Container[str], providers: Container[str]) -> str | None:
    if endpoint.model not in models:
        return f"model {endpoint.model} is not in the catalogue"
    if endpoint.provider not in providers:
        return f"provider {endpoint.provider} is not in the catalogue"
    if not endpoint.id.startswith(f"{endpoint.provider}/{endpoint.model}"):
        return "id does not begin with provider/author/name"
    if not (endpoint.upstream_model and endpoint.dialect):
        return "upstream_model or dialect is empty"
    if endpoint.address_variables:
        return "address_variables is not for a snapshot to say: its base_url names them"
    return None


def _wrong_with_endpoint(endpoint: Endpoint, seen: _Seen) -> str | None:
    context, output = endpoint.context_tokens, endpoint.output_tokens_max
    if (context is not None and context <= 0) or (output is not None and output <= 0):
        return "context_tokens or output_tokens_max is not positive"
    if endpoint.base_url not in seen.addresses:
        if not _ADDRESS.fullmatch(endpoint.base_url):
            return "base_url is neither empty nor an https address without a slash at its end"
        seen.addresses.add(endpoint.base_url)
    if endpoint.parameters not in seen.parameters:
        if not _PARAMETERS.issuperset(endpoint.parameters):
            return f"unknown parameters {sorted(set(endpoint.parameters) - _PARAMETERS)}"
        seen.parameters.add(endpoint.parameters)
    return None


def _wrong_with_price(price: Prices | Quarantined, ids: Container[str]) -> str | None:
    if price.endpoint not in ids:
        return "no such endpoint"
    if not price.cards:
        return "no card: an unknown price is a row left out"
    for card in price.cards:
        if (problem := _wrong_with_card(card)) is not None:
            return problem
    if len(price.cards) > 1 and _overlap(price.cards):
        return "two cards hold at the same time"
    return None


def _wrong_with_card(card: PriceCard) -> str | None:
    if card.parts.input is None or card.parts.output is None:
        return "input or output has no price"
    if not (card.version and card.source and card.as_of):
        return "version, source or as_of is empty"
    if card.valid_from is not None and card.valid_to is not None and card.valid_from >= card.valid_to:
        return "valid_from is not before valid_to"
    if _is_negative(card.parts):
        return "a price is below zero"
    for tier in card.tiers:
        if (problem := _wrong_with_tier(tier)) is not None:
            return problem
    return None


def _wrong_with_tier(tier: PriceTier) -> str | None:
    window = (tier.utc_from_min, tier.utc_to_min)
    if tier.input_tokens_from is None and tier.service_tier is None and window == (None, None):
        return "a tier has no condition"
    if tier.input_tokens_from is not None and tier.input_tokens_from < 1:
        return "a tier's input_tokens_from is not positive"
    if tier.service_tier == "":
        return "a tier's service_tier is empty"
    if window != (None, None):
        start, end = window
        if start is None or end is None or start == end or not (0 <= start < MINUTES_OF_DAY and 0 <= end <= MINUTES_OF_DAY):
            return "a tier's hours are not two different minutes of the day"
    if tier.parts == PriceParts() or _is_negative(tier.parts):
        return "a tier names no price, or one below zero"
    return None


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _is_negative(parts: PriceParts) -> bool:
    return min(filter(None, msgspec.structs.astuple(parts)), default=0) < 0


def _overlap(cards: tuple[PriceCard, ...]) -> bool:
    spans = sorted((card.valid_from or 0, card.valid_to) for card in cards)
    return any(end is None or end > spans[place + 1][0] for place, (_, end) in enumerate(spans[:-1]))
