"""What does one source say of one model at one host? The form into which every importer brings what it reads.

An offer decides nothing: whose it is, which model it really is and whether its price is believed are for the modules after.
Prices leave the importers as whole pico-USD, as sources write them as floats with noise (0.31999999).
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from msgspec import Struct

from junctor.domain.catalog import PriceParts, PriceTier

TOKENS_A_MILLION: Final = 1_000_000
MODALITIES: Final = ("text", "image", "file", "audio", "video")
"""The words for what a model takes, in their order."""

_EMBEDS: Final = re.compile(r"embed|(?:^|[/-])(?:bge|gte|e5|uae|m2-bert)[-_]|mini_?lm|mpnet")
_ELSE: Final = re.compile(
    r"rerank|whisper|transcri|moderation|realtime|(?:^|[-/.])(?:tts|ocr|live|asr|stt|image|video|speech|voice|prompt-guard)(?:[-/.:]|$)"
    r"|deep-research|computer-use|-search(?:-|$)|imagen|nano-banana|flux|lyria|veo|sora|dall-e|stable-diffusion|native-audio|robotics|translate|container|-ttm-"
)
"""Kinds of models that answer neither with a completion nor with an embedding, told by the id where a source does not say."""


class Offer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model at a host, in one source's words.

    `host` and `upstream_model` are the source's and the host's own names. `dialect` and `base_url` are set where this row
    differs from its host. Of capabilities None means that the source does not say. `retires_on` is a day in ISO 8601.
    """

    source: str
    host: str
    upstream_model: str
    name: str = ""
    embeds: bool = False
    context_tokens: int | None = None
    output_tokens_max: int | None = None
    input_modalities: tuple[str, ...] = ("text",)
    tools: bool | None = None
    structured: bool | None = None
    reasoning: bool | None = None
    sampling: bool | None = None
    parts: PriceParts | None = None
    tiers: tuple[PriceTier, ...] = ()
    dialect: str | None = None
    base_url: str | None = None
    retires_on: str | None = None


def embeds(upstream_model: str) -> bool:
    """Tell whether an id is that of an embedding model."""
    return _EMBEDS.search(upstream_model.lower()) is not None


def answers(upstream_model: str) -> bool:
    """Tell whether an id may be that of a model that completes or embeds, and not of one that draws, hears or ranks."""
    return _ELSE.search(upstream_model.lower()) is None


def per_million(usd: float | None) -> int | None:
    """Turn USD for a million tokens into pico-USD for one, rid of the noise of a float."""
    if usd is None or usd < 0:
        return None
    return int(Decimal(str(round(usd, 6))) * TOKENS_A_MILLION)


def per_token(usd: float | None) -> int | None:
    """Turn USD for one token into pico-USD, rid of the noise of a float."""
    return None if usd is None else per_million(usd * TOKENS_A_MILLION)


def named(price: int | None) -> int | None:
    """Pass over a cache price of 0: sources write it where the host names none, and a part that is missing is not free."""
    return price or None


def positive(count: object) -> int | None:
    """Return a limit, None where a source writes 0, nothing or no number for one that it does not know."""
    return int(count) if isinstance(count, int | float) and count > 0 else None


def modalities(given: Iterable[str]) -> tuple[str, ...]:
    """Return input modalities in our words and order, text first."""
    words = {"file" if word == "pdf" else word for word in given} | {"text"}
    return tuple(word for word in MODALITIES if word in words)
