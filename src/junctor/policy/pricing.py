"""What a request costs, and the most that it could cost: integers from a price card, rounded up once.

Prices are pico-USD for each unit, sums are nano-USD. The tier that the size of its input reaches prices a whole request, not
just what lies above the boundary. A part without a price is never free: cached, reasoning and audio tokens then cost what input
and output tokens cost, and a card without an input or an output price is refused. An image is paid for by its tokens, which are
in the usage, and by `image_input` where a card has that. `image_output` and `web_search` are in no sum: nobody counts them, and
no request can ask for them yet. Whether a card is valid at an instant is for routing to judge.

Invariant: a sum is an int, never negative, and the charge of any usage within the bounds of a ceiling is at most that ceiling.
Nothing overflows: at most 1e9 each of input tokens, output tokens and images, at 1e12 pico-USD each, and one request come to
3,000,000,001,000,000,000 nano-USD: an int64 holds that, and DynamoDB's 38 digits hold it times any number of answers.
"""

from bisect import bisect_right
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from junctor.domain.catalog import PriceCard, PriceParts, PriceTier
from junctor.domain.completion import Usage
from junctor.domain.money import PICO_IN_NANO, NanoUsd, PicoUsd

COUNT_MAX: Final = 1_000_000_000
"""The most tokens, or images, of one request; dialects believe no larger count of a provider's."""
PRICE_MAX: Final = 1_000_000_000_000
"""The most that one unit may cost: a dollar. A larger price is a slip of a source's decimal point."""

SHEETS_MAX: Final = 10_000
"""Cards that are remembered with what was worked out of them; more than a catalogue's."""

_INTS: Final = {int}
_NO_COUNT: Final = "a count is no whole number in its range"
_MINUTES_A_DAY: Final = 1_440
_MS_A_MINUTE: Final = 60_000


Line: TypeAlias = tuple[PicoUsd, PicoUsd, PicoUsd]
"""The most that a request may cost under some prices: without output, for each token of it, and more for each of sound."""


class PricingError(ValueError):
    """No sum can be made: a price is unknown, or a price or a count is no whole number in its range."""


class Terms(Struct, frozen=True):
    """What decides the price of a request besides its tokens; the same for its ceiling and its charge.

    `at_ms` is the instant at which it began (Unix milliseconds). `service_tier` is the one that is sent to the provider, None
    where none is. `images` counts the pictures sent.
    """

    at_ms: int
    service_tier: str | None = None
    images: int = 0


class Audio(Struct, frozen=True):
    """How many of the input and output tokens of a request are sound."""

    input_tokens: int = 0
    output_tokens: int = 0


SILENT: Final = Audio()


def is_known(card: PriceCard, service_tier: str | None = None) -> bool:
    """Tell whether a card prices every request that is sent with a service tier; 0 is a price, None is none.

    A service tier that no tier of the card names has no known price. Of a card that is known, charge and ceiling never raise
    for a price.
    """
    if service_tier is not None and all(tier.service_tier != service_tier for tier in card.tiers):
        return False
    if card.parts.input is None or card.parts.output is None:
        return False
    return all(map(_are_prices, (card.parts, *(tier.parts for tier in card.tiers))))


def charge(card: PriceCard, usage: Usage, terms: Terms, audio: Audio = SILENT) -> NanoUsd:
    """Return what a request cost: the exact sum, rounded up to a nano-USD.

    A part larger than its whole counts up to the whole; cached tokens go before written and written before heard ones.

    Raises:
        PricingError: the price is not known, or a count is no whole number from 0 to COUNT_MAX.
    """
    tokens_in, tokens_out = usage.input_tokens, usage.output_tokens
    parts_of = (usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens)
    _check_counts((tokens_in, tokens_out, *parts_of, terms.images, audio.input_tokens, audio.output_tokens))
    rates = _sheet(card).rates(tokens_in, terms)
    cached = min(usage.cache_read_tokens, tokens_in)
    written = min(usage.cache_write_tokens, tokens_in - cached)
    heard = min(audio.input_tokens, tokens_in - cached - written)
    reasoned = min(usage.reasoning_tokens, tokens_out)
    spoken = min(audio.output_tokens, tokens_out - reasoned)
    return rounded_up(
        (tokens_in - cached - written - heard) * rates.input
        + cached * rates.cache_read
        + written * rates.cache_write
        + heard * rates.audio_input
        + (tokens_out - reasoned - spoken) * rates.output
        + reasoned * rates.reasoning
        + spoken * rates.audio_output
        + rates.request
        + terms.images * rates.image
    )


def ceiling(card: PriceCard, input_tokens_max: int, output_tokens_max: int, terms: Terms, audio_max: Audio = SILENT) -> NanoUsd:
    """Return the most that a request of at most so many tokens could cost, however its tokens are cached or reasoned.

    It covers every tier that so many input tokens can reach, the standard service where a provider falls back to it, and cache
    writes for an hour, which a usage does not tell from others. It never falls as a bound grows.

    Raises:
        PricingError: the price is not known, or a bound is no whole number from 0 to COUNT_MAX.
    """
    heard = spoken = 0
    if audio_max is not SILENT:
        _check_counts((audio_max.input_tokens, audio_max.output_tokens))
        heard, spoken = min(audio_max.input_tokens, input_tokens_max), min(audio_max.output_tokens, output_tokens_max)
    found = lines(card, input_tokens_max, output_tokens_max, terms, heard)
    return rounded_up(max(fixed + output_tokens_max * each + spoken * spoken_more for fixed, each, spoken_more in found))


def lines(card: PriceCard, input_tokens_max: int, output_tokens_max: int, terms: Terms, heard_max: int = 0) -> list[Line]:
    """Return what a ceiling is the most of: a line for each of the prices that a request of at most so many tokens can reach.

    The bound of the output is only looked at: the same lines hold for any. Raises PricingError as `ceiling`.
    """
    images, most = terms.images, COUNT_MAX
    if not (
        type(input_tokens_max) is type(output_tokens_max) is type(images) is int
        and 0 <= input_tokens_max <= most
        and 0 <= output_tokens_max <= most
        and 0 <= images <= most
    ):
        raise PricingError(_NO_COUNT)
    found: list[Line] = []
    sheet = _sheets.get(id(card)) or _sheet(card)
    for rates in sheet.flat or sheet.reachable(input_tokens_max, terms):
        fixed = input_tokens_max * rates.read_most + rates.request
        if images:
            fixed += images * rates.image
        if heard_max:
            fixed += heard_max * rates.heard_more
        found.append((fixed, rates.told_most, rates.spoken_more))
    return found


def prices_in_force(card: PriceCard, input_tokens: int, at_ms: int, service_tier: str | None = None) -> PriceParts:
    """Return the prices of a request of so many input tokens, at an instant (Unix milliseconds) and in a service tier.

    A service tier that the card does not name has the card's own prices.

    Raises:
        PricingError: one of them is no whole number from 0 to PRICE_MAX.
    """
    prices = card.parts
    minute = at_ms // _MS_A_MINUTE % _MINUTES_A_DAY
    for tier in card.tiers:
        if _reached(tier, input_tokens, minute, service_tier):
            prices = _over(prices, tier.parts)
    if not _are_prices(prices):
        raise PricingError("a price is no whole number in its range")
    return prices


def _reached(tier: PriceTier, input_tokens: int, minute: int, service_tier: str | None) -> bool:
    if tier.input_tokens_from is not None and input_tokens < tier.input_tokens_from:
        return False
    if tier.service_tier is not None and tier.service_tier != service_tier:
        return False
    first = 0 if tier.utc_from_min is None else tier.utc_from_min
    until = _MINUTES_A_DAY if tier.utc_to_min is None else tier.utc_to_min
    return first <= minute < until if first <= until else minute >= first or minute < until


def _over(prices: PriceParts, upper: PriceParts) -> PriceParts:
    named = {name: price for name, price in msgspec.structs.asdict(upper).items() if price is not None}
    return msgspec.structs.replace(prices, **named)


class _Rates(Struct, frozen=True, kw_only=True, gc=False):
    """What each unit costs under some prices, with nothing left open.

    `read_most` and `told_most` are the most that a token may cost, `heard_more` and `spoken_more` what sound may cost on top.
    """

    input: PicoUsd
    output: PicoUsd
    cache_read: PicoUsd
    cache_write: PicoUsd
    reasoning: PicoUsd
    audio_input: PicoUsd
    audio_output: PicoUsd
    request: PicoUsd
    image: PicoUsd
    read_most: PicoUsd
    told_most: PicoUsd
    heard_more: PicoUsd
    spoken_more: PicoUsd


class _Sheet:
    """What is worked out of one card, once for each size, time and service tier between which it tells.

    `flat` is all there is of a card without tiers, as most are; else None.
    """

    __slots__ = ("_minutes", "_rates", "_reachable", "_sizes", "_tiers", "card", "flat")

    def __init__(self, card: PriceCard) -> None:
        self.card = card
        self._sizes = sorted({0, *(tier.input_tokens_from or 0 for tier in card.tiers)})
        self._minutes = sorted({m for tier in card.tiers for m in (tier.utc_from_min, tier.utc_to_min) if m is not None})
        self._tiers = {tier.service_tier for tier in card.tiers}
        self.flat = None if card.tiers else (_rates(prices_in_force(card, 0, 0)),)
        self._rates: dict[_Place, _Rates] = {}
        self._reachable: dict[_Place, tuple[_Rates, ...]] = {}

    def rates(self, input_tokens: int, terms: Terms) -> _Rates:
        """Return what is in force for so many input tokens. Raises PricingError."""
        if self.flat is not None:
            return self.flat[0]
        place = self._place(input_tokens, terms)
        found = self._rates.get(place)
        if found is None:
            found = self._rates[place] = _rates(prices_in_force(self.card, input_tokens, terms.at_ms, terms.service_tier))
        return found

    def reachable(self, input_tokens_max: int, terms: Terms) -> tuple[_Rates, ...]:
        """Return all that may be in force for at most so many input tokens, of a card with tiers. Raises PricingError."""
        place = self._place(input_tokens_max, terms)
        found = self._reachable.get(place)
        if found is None:
            sizes = [size for size in self._sizes if size <= input_tokens_max]
            prices = [
                prices_in_force(self.card, size, terms.at_ms, tier) for tier in {terms.service_tier, None} for size in sizes
            ]
            found = self._reachable[place] = tuple(map(_rates, prices))
        return found

    def _place(self, input_tokens: int, terms: Terms) -> "_Place":
        minute = terms.at_ms // _MS_A_MINUTE % _MINUTES_A_DAY
        tier = terms.service_tier if terms.service_tier in self._tiers else None
        return bisect_right(self._sizes, input_tokens), bisect_right(self._minutes, minute), tier


_Place = tuple[int, int, str | None]
_sheets: dict[int, _Sheet] = {}
"""By identity, as a card is never changed: each sheet keeps its card, so that no other card is found under its id."""


def _sheet(card: PriceCard) -> _Sheet:
    found = _sheets.get(id(card))
    if found is None:
        if len(_sheets) >= SHEETS_MAX:
            _sheets.clear()
        found = _sheets[id(card)] = _Sheet(card)
    return found


def _rates(prices: PriceParts) -> _Rates:
    if prices.input is None or prices.output is None:
        raise PricingError("the price of input or output is not known")
    given, made = prices.input, prices.output
    read_most = max(given, prices.cache_read or 0, prices.cache_write or 0, prices.cache_write_1h or 0)
    told_most = max(made, prices.reasoning or 0)
    heard, spoken = _or(prices.audio_input, given), _or(prices.audio_output, made)
    return _Rates(
        input=given,
        output=made,
        cache_read=_or(prices.cache_read, given),
        cache_write=_or(prices.cache_write, given),
        reasoning=_or(prices.reasoning, made),
        audio_input=heard,
        audio_output=spoken,
        request=prices.request or 0,
        image=prices.image_input or 0,
        read_most=read_most,
        told_most=told_most,
        heard_more=max(0, heard - read_most),
        spoken_more=max(0, spoken - told_most),
    )


def _or(price: PicoUsd | None, other: PicoUsd) -> PicoUsd:
    return other if price is None else price


def _are_prices(prices: PriceParts) -> bool:
    """Tell whether all that is named is a whole number in its range: constructors check no types, and True passes for 1."""
    named = [price for price in msgspec.structs.astuple(prices) if price is not None]
    return not named or (set(map(type, named)) == _INTS and min(named) >= 0 and max(named) <= PRICE_MAX)


def _check_counts(counts: tuple[int, ...]) -> None:
    for count in counts:
        if type(count) is not int or not 0 <= count <= COUNT_MAX:
            raise PricingError(_NO_COUNT)


def rounded_up(sum_picousd: PicoUsd) -> NanoUsd:
    """Round a sum up to a nano-USD, as is done once for each."""
    return -(-sum_picousd // PICO_IN_NANO)
