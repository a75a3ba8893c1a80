"""Which models, endpoints and providers there are, for whoever has an API key: lists with filters, in pages.

A model is listed if one of its endpoints is all that the filter says, so that no list promises a model that takes images at one
provider and is cheap at another. All comes from the snapshots of one instant. A list is made in steps between which other calls
go on.
"""

import asyncio
import difflib
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import date
from enum import Enum
from typing import NoReturn

from msgspec import Struct

from junctor.domain.account import Actor
from junctor.domain.call import Snapshots
from junctor.domain.catalog import Catalog
from junctor.domain.completion import CompletionSpec
from junctor.domain.errors import InvalidFieldError, ModelNotAllowedError, ModelNotFoundError
from junctor.policy.routing.resolving import NEAR_NAMES_MAX
from junctor.usecases.catalog_sight import Access, SeenEndpoint, SeenModel, SeenProvider, Sight
from junctor.usecases.pages import SortKey, page

MODELS_A_STEP = 50
"""Models that are looked at before other calls get their turn: a millisecond or two."""


class ModelSort(Enum):
    """What models are sorted by."""

    NAME = "name"
    PRICE = "price"
    CONTEXT = "context"
    NEWEST = "newest"
    THROUGHPUT = "throughput"
    LATENCY = "latency"


class ModelFilter(Struct, frozen=True, kw_only=True):
    """Which models are meant, and in what order. What is empty or None asks nothing; `words` are in lower case."""

    words: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    input_modalities: tuple[str, ...] = ()
    output_modalities: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    context_tokens_min: int | None = None
    input_picousd_max: int | None = None
    output_picousd_max: int | None = None
    reachable_only: bool = False
    sort: ModelSort = ModelSort.NAME


class CatalogVersion(Struct, frozen=True, kw_only=True):
    """Which catalogue is in force, and what it has."""

    version: str
    built_at: str
    models: int
    endpoints: int
    providers: int
    priced_endpoints: int


class CatalogReader:
    """Reads the catalogue as a key sees it."""

    def __init__(self, snapshots: Callable[[], Snapshots]) -> None:
        self._snapshots = snapshots

    async def models(
        self, actor: Actor, wanted: ModelFilter, page_size: int, page_token: str
    ) -> tuple[tuple[SeenModel, ...], str]:
        """Read a page of the models that are wanted, with the endpoints that are as wanted, and the token of the next page.

        Raises:
            InvalidFieldError: the page token is none of this list, or the filter names what the catalogue has not.
        """
        sight = self._sight(actor)
        _check(wanted, sight.catalog)
        found: list[tuple[SortKey, SeenModel]] = []
        async for seen in _all(sight):
            endpoints = tuple(endpoint for endpoint in seen.endpoints if _matches(endpoint, wanted))
            if endpoints and _is_named(seen, wanted.words):
                meant = SeenModel(model=seen.model, endpoints=endpoints)
                found.append((_sort_key(meant, wanted.sort), meant))
        return page(found, page_size, page_token, ("models", sight.catalog.version, wanted))

    def model(self, actor: Actor, name: str) -> SeenModel:
        """Read a model by its slug or an alias.

        Raises:
            ModelNotFoundError: there is none of this name.
            ModelNotAllowedError: the key may not ask for it, or may use no provider that has it.
        """
        return _model(self._sight(actor), name)

    def endpoints(self, actor: Actor, name: str, page_size: int, page_token: str) -> tuple[tuple[SeenEndpoint, ...], str]:
        """Read a page of a model's endpoints, and the token of the next page.

        Raises:
            InvalidFieldError: the page token is none of this list.
            ModelNotFoundError, ModelNotAllowedError: as `model` does.
        """
        sight = self._sight(actor)
        seen = _model(sight, name)
        found = ((SortKey.at(place, row.endpoint.id), row) for place, row in enumerate(seen.endpoints))
        return page(found, page_size, page_token, ("endpoints", sight.catalog.version, seen.model.slug))

    async def providers(self, actor: Actor, page_size: int, page_token: str) -> tuple[tuple[SeenProvider, ...], str]:
        """Read a page of the providers, and the token of the next page. Raises InvalidFieldError if the token is none."""
        sight = self._sight(actor)
        seen = sight.providers([model async for model in _all(sight)])
        found = ((SortKey.at(0, row.provider.slug), row) for row in seen)
        return page(found, page_size, page_token, ("providers", sight.catalog.version))

    def version(self) -> CatalogVersion:
        """Tell which catalogue is in force."""
        catalog = self._snapshots().catalog
        return CatalogVersion(
            version=catalog.version,
            built_at=catalog.built_at,
            models=len(catalog.models),
            endpoints=sum(map(len, catalog.endpoints.values())),
            providers=len(catalog.providers),
            priced_endpoints=len(catalog.prices),
        )

    def _sight(self, actor: Actor) -> Sight:
        return Sight(self._snapshots(), Access(_set(actor.allowed_models), _set(actor.allowed_providers)))


def _set(names: Iterable[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


async def _all(sight: Sight) -> AsyncIterator[SeenModel]:
    for place, slug in enumerate(sight.models(), 1):
        seen = sight.model(slug)
        if seen is not None:
            yield seen
        if place % MODELS_A_STEP == 0:
            await asyncio.sleep(0)


def _model(sight: Sight, name: str) -> SeenModel:
    slug = sight.slug(name)
    if slug is None:
        raise ModelNotFoundError(name, tuple(difflib.get_close_matches(name, sight.models(), NEAR_NAMES_MAX)))
    seen = sight.model(slug)
    if seen is None:
        _refuse(slug)
    return seen


def _refuse(slug: str) -> NoReturn:
    raise ModelNotAllowedError("This API key may not ask for this model, or for no provider that has it.", model=slug)


def _check(wanted: ModelFilter, catalog: Catalog) -> None:
    """Refuse a filter that names what the catalogue has not: nothing found would look like an answer."""
    wrong = [
        (f"providers[{place}]", "names no provider of the catalogue")
        for place, slug in enumerate(wanted.providers)
        if slug not in catalog.providers
    ]
    wrong += [
        (f"parameters[{place}]", "is no field of CompletionSpec")
        for place, name in enumerate(wanted.parameters)
        if name not in CompletionSpec.__struct_fields__
    ]
    if wanted.input_modalities or wanted.output_modalities:
        served = [endpoint for endpoints in catalog.endpoints.values() for endpoint in endpoints]
        for path, names, known in (
            ("input_modalities", wanted.input_modalities, {name for row in served for name in row.input_modalities}),
            ("output_modalities", wanted.output_modalities, {name for row in served for name in row.output_modalities}),
        ):
            wrong += [(f"{path}[{place}]", "is what no endpoint has") for place, name in enumerate(names) if name not in known]
    if wrong:
        raise InvalidFieldError(*wrong)


def _is_named(seen: SeenModel, words: tuple[str, ...]) -> bool:
    if not words:
        return True
    names = "\n".join((seen.model.slug, seen.model.name, *seen.model.aliases)).casefold()
    return all(word in names for word in words)


def _matches(seen: SeenEndpoint, wanted: ModelFilter) -> bool:
    endpoint = seen.endpoint
    if (wanted.reachable_only and seen.reason) or (wanted.providers and endpoint.provider not in wanted.providers):
        return False
    lists = (
        (wanted.input_modalities, endpoint.input_modalities),
        (wanted.output_modalities, endpoint.output_modalities),
        (wanted.parameters, endpoint.parameters),
    )
    if any(name not in had for names, had in lists for name in names):
        return False
    if wanted.context_tokens_min is not None and (endpoint.context_tokens or 0) < wanted.context_tokens_min:
        return False
    parts = seen.price.parts if seen.price is not None else None
    most = (
        (wanted.input_picousd_max, parts.input if parts else None),
        (wanted.output_picousd_max, parts.output if parts else None),
    )
    return all(bound is None or (price is not None and price <= bound) for bound, price in most)


def _sort_key(seen: SeenModel, sort: ModelSort) -> SortKey:
    value = _sorted_by(seen, sort)
    return SortKey.at(value, seen.model.slug)


def _sorted_by(seen: SeenModel, sort: ModelSort) -> float | None:
    """Return what is the less, the earlier a model comes; None if it has no such value."""
    match sort:
        case ModelSort.NAME:
            return 0.0
        case ModelSort.PRICE:
            cheapest = seen.cheapest
            return None if cheapest is None else float(sum(cheapest))
        case ModelSort.CONTEXT:
            return _negative(seen.context_tokens)
        case ModelSort.NEWEST:
            return _negative(_day(seen.model.created_on))
        case ModelSort.THROUGHPUT:
            return _negative(seen.throughput_tokens_per_s)
        case ModelSort.LATENCY:
            return seen.time_to_first_token_ms


def _negative(value: float | None) -> float | None:
    return None if value is None else -float(value)


def _day(written: str | None) -> int | None:
    try:
        return date.fromisoformat(written or "").toordinal()
    except ValueError:
        return None
