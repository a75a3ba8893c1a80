"""Models, providers, endpoints and prices as one immutable view.

An endpoint is a model at a provider with its price, limits and capabilities. Prices stand beside the endpoints, not in them, as
they change more often and from other sources.
"""

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct

from junctor.domain.money import PicoUsd


class Quantization(Enum):
    """The number format of a model's weights; UNKNOWN is a value of its own."""

    UNKNOWN = "unknown"
    INT4 = "int4"
    INT8 = "int8"
    FP4 = "fp4"
    MXFP4 = "mxfp4"
    NVFP4 = "nvfp4"
    FP6 = "fp6"
    FP8 = "fp8"
    MXFP8 = "mxfp8"
    FP16 = "fp16"
    BF16 = "bf16"
    FP32 = "fp32"


class PriceParts(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Prices in 1e-12 USD for each token, request, image or search; None where the provider names no such part.

    A part that is None is not free: cache and reasoning tokens then cost what input and output tokens cost.
    """

    input: PicoUsd | None = None
    output: PicoUsd | None = None
    cache_read: PicoUsd | None = None
    cache_write: PicoUsd | None = None
    cache_write_1h: PicoUsd | None = None
    reasoning: PicoUsd | None = None
    image_input: PicoUsd | None = None
    image_output: PicoUsd | None = None
    audio_input: PicoUsd | None = None
    audio_output: PicoUsd | None = None
    request: PicoUsd | None = None
    web_search: PicoUsd | None = None


class PriceTier(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Prices that replace the card's own parts where all its conditions hold; later tiers win part by part.

    `input_tokens_from`: the whole request has at least so many input tokens (a source's "over 200k" is 200,001 here).
    `utc_from_min` and `utc_to_min`: minutes after 00:00 UTC, half open, wrapping past midnight if from > to.
    `service_tier`: the provider's service tier.
    """

    parts: PriceParts
    input_tokens_from: int | None = None
    utc_from_min: int | None = None
    utc_to_min: int | None = None
    service_tier: str | None = None


class PriceCard(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What an endpoint costs from `valid_from` until before `valid_to` (Unix seconds, None is unbounded).

    `source` names where the price was read and `as_of` the day (ISO 8601) on which it was true there.
    """

    version: str
    parts: PriceParts
    source: str
    as_of: str
    tiers: tuple[PriceTier, ...] = ()
    valid_from: int | None = None
    valid_to: int | None = None


class DataPolicy(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a provider does with what it is sent; None where it is not known."""

    trains: bool | None = None
    retains: bool | None = None
    zdr: bool | None = None


class Provider(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A host of models. `credentials` are the names of the secrets that open it, any one of which suffices.

    `purchase_fee_ppm`: what buying its credits costs on top of its prices, in millionths of them, as aggregators charge it.
    """

    slug: str
    name: str
    credentials: tuple[str, ...] = ()
    aggregator: bool = False
    purchase_fee_ppm: int = 0
    data_policy: DataPolicy = DataPolicy()
    headquarters: str | None = None
    status_page: str | None = None


class Model(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A model, wherever it is served. `slug` is `author/name`."""

    slug: str
    name: str
    context_tokens: int | None = None
    created_on: str | None = None
    input_modalities: tuple[str, ...] = ("text",)
    output_modalities: tuple[str, ...] = ("text",)
    aliases: tuple[str, ...] = ()


class Endpoint(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A model at a provider.

    `id` is `provider/author/name`, with a suffix where a provider serves a model twice. `upstream_model` is the provider's own
    name of the model. `base_url` is empty where the address is known only at run time. `parameters` names the fields of
    CompletionSpec that the endpoint understands beyond the messages. `address_variables`: what the operator has to set, all of
    it, before there is an address; never written in a snapshot.
    """

    id: str
    model: str
    provider: str
    upstream_model: str
    dialect: str
    base_url: str
    context_tokens: int | None = None
    output_tokens_max: int | None = None
    parameters: tuple[str, ...] = ()
    input_modalities: tuple[str, ...] = ("text",)
    output_modalities: tuple[str, ...] = ("text",)
    quantization: Quantization = Quantization.UNKNOWN
    region: str | None = None
    data_policy: DataPolicy | None = None
    address_variables: tuple[str, ...] = ()


class Catalog(Struct, frozen=True):
    """All that is known of models, at one instant.

    `endpoints` is keyed by model, in catalogue order; `prices` by endpoint id.
    """

    version: str
    built_at: str
    models: Mapping[str, Model]
    providers: Mapping[str, Provider]
    endpoints: Mapping[str, tuple[Endpoint, ...]]
    prices: Mapping[str, tuple[PriceCard, ...]]
