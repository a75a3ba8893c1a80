"""What is the catalogue once the operator's records are laid over it? Pure: a catalogue and records in, a catalogue out.

His endpoints come first, as they are served before any that is paid for by use; discounts lower what is listed, and overrides
replace it. A record that does not fit the catalogue beneath changes nothing and is named. A provider's name is never shared:
an endpoint of the operator's own under the name of a catalogue's provider would be handed that provider's secret.

Rounding, stated once: a discounted price is rounded up to the next pico-USD, so that what is charged is never below what the
provider charges. Nothing here changes a call under way: it keeps the catalogue that it began with.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from junctor.domain.catalog import Catalog, Endpoint, Model, PriceCard, PriceParts, Provider
from junctor.domain.overlay import CREDENTIAL_PREFIX, PPM, Discount, Misfit, Overlay, PassedOver, PriceOverride, PrivateEndpoint

SOURCE: Final = "operator"
"""Where a price was read that the operator set."""


class Laid(Struct, frozen=True):
    """A catalogue with the records in it, and the records that did not fit."""

    catalog: Catalog
    passed_over: tuple[PassedOver, ...] = ()


class Additions(Struct, frozen=True, kw_only=True):
    """Providers, models, endpoints and prices that a catalogue lacks. A model that it has keeps its own row."""

    providers: tuple[Provider, ...] = ()
    models: tuple[Model, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    prices: Mapping[str, tuple[PriceCard, ...]]


def lay(catalog: Catalog, overlay: Overlay, taken: Collection[str] = ()) -> Laid:
    """Lay the records over a catalogue. `taken` are providers' names that no endpoint of the operator's own may have."""
    if not (overlay.overrides or overlay.discounts or overlay.endpoints):
        return Laid(catalog)
    additions, unfit = _own(catalog, overlay.endpoints, taken)
    prices = dict(catalog.prices)
    unfit += _discounted(catalog, overlay.discounts, prices)
    grown = with_additions(replace(catalog, prices=prices), additions)
    prices = dict(grown.prices)
    unfit += _overridden(grown, overlay.overrides, prices)
    version = f"{catalog.version}+{overlay.version}"
    return Laid(replace(grown, version=version, prices=prices), tuple(unfit))


def with_additions(catalog: Catalog, additions: Additions) -> Catalog:
    """Return the catalogue with more in it: new endpoints stand before those that a model has."""
    models = {model.slug: model for model in additions.models} | dict(catalog.models)
    endpoints = dict(catalog.endpoints)
    for endpoint in reversed(additions.endpoints):
        endpoints[endpoint.model] = (endpoint, *endpoints.get(endpoint.model, ()))
    return replace(
        catalog,
        models=models,
        providers={**catalog.providers, **{provider.slug: provider for provider in additions.providers}},
        endpoints=endpoints,
        prices={**catalog.prices, **additions.prices},
    )


def _own(catalog: Catalog, records: Iterable[PrivateEndpoint], taken: Collection[str]) -> tuple[Additions, list[PassedOver]]:
    aliases = {alias for model in catalog.models.values() for alias in model.aliases}
    providers: dict[str, Provider] = {}
    models: dict[str, Model] = {}
    endpoints: list[Endpoint] = []
    prices: dict[str, tuple[PriceCard, ...]] = {}
    unfit: list[PassedOver] = []
    for record in records:
        credentials = () if record.credential is None else (record.credential,)
        provider = providers.get(record.provider, Provider(slug=record.provider, name=record.provider, credentials=credentials))
        if record.provider in catalog.providers or record.provider in taken:
            unfit.append(PassedOver(record.id, Misfit.PROVIDER_TAKEN))
        elif record.model in aliases:
            unfit.append(PassedOver(record.id, Misfit.MODEL_IS_ALIAS))
        elif record.credential is not None and not record.credential.startswith(CREDENTIAL_PREFIX):
            unfit.append(PassedOver(record.id, Misfit.CREDENTIAL_NAME))
        elif provider.credentials != credentials:
            unfit.append(PassedOver(record.id, Misfit.CREDENTIAL_DIFFERS))
        else:
            providers[record.provider] = provider
            model = Model(slug=record.model, name=record.model, context_tokens=record.context_tokens)
            models.setdefault(record.model, model)
            endpoints.append(_endpoint(record))
            prices[record.id] = (_card(record),)
    found = Additions(
        providers=tuple(providers.values()), models=tuple(models.values()), endpoints=tuple(endpoints), prices=prices
    )
    return found, unfit


def _endpoint(record: PrivateEndpoint) -> Endpoint:
    return Endpoint(
        id=record.id,
        model=record.model,
        provider=record.provider,
        upstream_model=record.upstream_model,
        dialect=record.dialect,
        base_url=record.base_url,
        context_tokens=record.context_tokens,
        output_tokens_max=record.output_tokens_max,
        parameters=record.parameters,
        region=record.region,
        data_policy=record.data_policy,
    )


def _discounted(catalog: Catalog, records: Iterable[Discount], prices: dict[str, tuple[PriceCard, ...]]) -> list[PassedOver]:
    """Lower listed prices; the discount of an endpoint goes before its provider's."""
    off = {record.subject: record.off_ppm for record in records}
    found = set()
    for endpoint in (endpoint for served in catalog.endpoints.values() for endpoint in served):
        named = {endpoint.id, endpoint.provider} & off.keys()
        found |= named
        if named and endpoint.id in prices:
            off_ppm = off[endpoint.id if endpoint.id in named else endpoint.provider]
            prices[endpoint.id] = tuple(discounted(card, off_ppm) for card in prices[endpoint.id])
    return [PassedOver(subject, Misfit.SUBJECT_MISSING) for subject in off if subject not in found]


def discounted(card: PriceCard, off_ppm: int) -> PriceCard:
    """Return a card with so many millionths off each of its prices, rounded up."""
    tiers = tuple(replace(tier, parts=_lower(tier.parts, off_ppm)) for tier in card.tiers)
    version = f"{card.version}-{off_ppm}ppm"
    return replace(card, version=version, parts=_lower(card.parts, off_ppm), tiers=tiers)


def _lower(parts: PriceParts, off_ppm: int) -> PriceParts:
    named = {name: price for name, price in msgspec.structs.asdict(parts).items() if price is not None}
    return PriceParts(**{name: -(-price * (PPM - off_ppm) // PPM) for name, price in named.items()})


def _overridden(
    catalog: Catalog, records: Iterable[PriceOverride], prices: dict[str, tuple[PriceCard, ...]]
) -> list[PassedOver]:
    """Put set prices before listed ones: the first card that is valid at an instant counts, so the one set to begin last."""
    ids = {endpoint.id for served in catalog.endpoints.values() for endpoint in served}
    unfit = []
    for record in sorted(records, key=lambda record: record.valid_from or 0):
        if record.endpoint not in ids:
            unfit.append(PassedOver(record.endpoint, Misfit.ENDPOINT_MISSING))
            continue
        card = replace(_card(record), valid_from=record.valid_from, valid_to=record.valid_to)
        always = record.valid_from is None and record.valid_to is None
        prices[record.endpoint] = (card,) if always else (card, *prices.get(record.endpoint, ()))
    return unfit


def _card(record: PriceOverride | PrivateEndpoint) -> PriceCard:
    return PriceCard(version=f"{SOURCE}-{record.version}", parts=record.parts, source=SOURCE, as_of=record.as_of)
