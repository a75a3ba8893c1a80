"""What of endpoints and prices is the same for every call: worked out once for a catalogue, as a plan has microseconds only.

It is found again by the identity of the snapshots' catalogue and credentials, which are replaced and never changed. Nothing of
a call is kept. The reasons that hold for every call are found here: NOT_RUNNING, DIALECT_UNSUPPORTED, CREDENTIALS_MISSING,
PRICE_UNKNOWN where there is no price at any time, and PAID where the model is a `:free` one and the endpoint is not.
"""

from bisect import bisect_right
from collections.abc import Mapping
from math import inf
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from junctor.domain.call import Snapshots
from junctor.domain.catalog import Catalog, DataPolicy, Endpoint, PriceCard, PriceParts
from junctor.domain.completion import CompletionSpec
from junctor.domain.routing import Credential, Exclusion
from junctor.policy import pricing
from junctor.policy.routing import credentials, ranks, rendezvous
from junctor.policy.routing.credentials import Held

FREE_VARIANT: Final = ":free"
_KEPT: Final = 4
"""Catalogues that are remembered: the one in force, the one before it, and a test's."""
_UNBOUNDED: Final = 1 << 62
"""What stands for a limit that is not known: more than any request may ask."""
_PPM: Final = 1_000_000


class Units(NamedTuple):
    """What each unit of one request costs, in pico-USD: whole numbers, as floats since they only go into estimates.

    `saved` is what a token of input costs less that is read from the cache: nothing where the card does not name that.
    `turn` is what the draw of a conversation's endpoint asks of one: its number, and one over the weight that these prices give
    it; None where the cache is read for no less, so that no conversation has to stay.
    """

    input: float
    output: float
    saved: float
    request: float
    image: float
    turn: tuple[int, float] | None


class Card:
    """A price card whose price is known, judged once.

    `usual`: what units cost in a request of fewer than `usual_below` input tokens that asks for no service tier, at any time.
    `hears` and `speaks`: whether it says what sound costs that is sent, or made: many sources leave it out, though it may be
    thirteen times the price of text. `hashed` and `fee` are those of its endpoint (Row).
    """

    __slots__ = ("_fee", "_found", "_hashed", "_sizes", "_timed", "card", "hears", "speaks", "tiers", "usual", "usual_below")

    def __init__(self, card: PriceCard, hashed: int, fee: float) -> None:
        self.card = card
        self._hashed = hashed
        self._fee = fee
        self.tiers = frozenset(tier.service_tier for tier in card.tiers)
        self._sizes = sorted({tier.input_tokens_from for tier in card.tiers if tier.input_tokens_from is not None})
        self._timed = any(tier.utc_from_min is not None or tier.utc_to_min is not None for tier in card.tiers)
        self.usual = self._units(pricing.prices_in_force(card, 0, 0))
        self.usual_below = 0.0 if self._timed else float(min(self._sizes, default=inf))
        self.hears = card.parts.audio_input is not None or self.is_free
        self.speaks = card.parts.audio_output is not None or self.is_free
        self._found: dict[tuple[int, int, str | None], Units] = {}

    def units(self, input_tokens: int, at_ms: int, tier: str | None) -> Units:
        """Return what a request of so many input tokens costs, at an instant (Unix milliseconds), in a tier of the card."""
        place = (bisect_right(self._sizes, input_tokens), at_ms // 60_000 % 1_440 if self._timed else 0, tier)
        found = self._found.get(place)
        if found is None:
            found = self._units(pricing.prices_in_force(self.card, input_tokens, at_ms, tier))
            self._found[place] = found
        return found

    def dearest(self, input_tokens_max: int, at_ms: int, tier: str | None) -> tuple[float, ...]:
        """Return the most that input, output, request and image may cost each, in a request of at most so many input tokens.

        That is in the standard service, too.
        """
        sizes = (0, *(size for size in self._sizes if size <= input_tokens_max))
        reached = [self.units(size, at_ms, asked) for size in sizes for asked in {tier, None}]
        prices = [(units.input, units.output, units.request, units.image) for units in reached]
        return tuple(map(max, zip(*prices, strict=True)))

    def _units(self, parts: PriceParts) -> Units:
        given, made = float(parts.input or 0), float(parts.output or 0)
        saved = 0.0 if parts.cache_read is None else given - parts.cache_read
        turn = (self._hashed, ((given + made) * self._fee) ** 2) if saved > 0 else None
        return Units(given, made, saved, float(parts.request or 0), float(parts.image_input or 0), turn)

    @property
    def is_free(self) -> bool:
        """Whether no unit costs anything, in any tier."""
        return not any(any(msgspec.structs.astuple(parts)) for parts in (self.card.parts, *(t.parts for t in self.card.tiers)))


class Row(Struct, frozen=True, kw_only=True, gc=False):
    """An endpoint that nothing speaks against before a call is known.

    `card` is its first price card, and `usual` what units cost by that in a request of fewer than `usual_below` input tokens
    (Card), which is 0 where another card or the time may set other prices. `held` are the credentials that open it. `fee` is
    what its prices are multiplied by for what buying its provider's credits costs. `rank` is what its provider gives it.
    `draws` stands for its model in draws. `beyond` is its exclusion where others go before it.
    """

    endpoint: Endpoint
    id: str
    provider: str
    held: Held
    fee: float
    cards: tuple[Card, ...]
    card: Card
    usual: Units
    usual_below: float
    parameters: frozenset[str]
    inputs: frozenset[str]
    outputs: frozenset[str]
    context_tokens: int
    output_tokens_max: int
    policy: DataPolicy
    rank: int
    draws: bytes
    beyond: Exclusion

    def card_at(self, now_ms: int) -> Card | None:
        """Return the card in force at an instant (Unix milliseconds), None if there is none."""
        for card in self.cards:
            if price_in_force((card.card,), now_ms) is not None:
                return card
        return None


class Served(Struct, frozen=True):
    """The endpoints of one model. What follows is what each of them can do: modalities, and tokens at least."""

    rows: tuple[Row, ...]
    excluded: tuple[Exclusion, ...]
    inputs: frozenset[str]
    outputs: frozenset[str]
    context_least: int
    output_least: int


class Prepared:
    """What is worked out of one catalogue, with the credentials and dialects at hand."""

    __slots__ = ("_served", "aliases", "catalog", "credentials", "dialects")

    def __init__(self, snapshots: Snapshots) -> None:
        self.catalog: Catalog = snapshots.catalog
        self.credentials: Mapping[str, tuple[Credential, ...]] = snapshots.credentials
        self.dialects = snapshots.dialects
        self.aliases = {alias: model.slug for model in self.catalog.models.values() for alias in model.aliases}
        self._served: dict[str, Served] = {}

    def served(self, model: str) -> Served:
        """Return the endpoints of a model of the catalogue."""
        found = self._served.get(model)
        if found is None:
            found = self._served[model] = self._prepare(model)
        return found

    def _prepare(self, model: str) -> Served:
        rows: list[Row] = []
        excluded: list[Exclusion] = []
        for endpoint in self.catalog.endpoints.get(model, ()):
            judged = self._judge(endpoint)
            if isinstance(judged, Row):
                rows.append(judged)
            else:
                excluded.append(Exclusion(endpoint, judged))
        context = min((row.context_tokens for row in rows), default=0)
        output = min((row.output_tokens_max for row in rows), default=0)
        inputs, outputs = _common([row.inputs for row in rows]), _common([row.outputs for row in rows])
        return Served(tuple(rows), tuple(excluded), inputs, outputs, context, output)

    def _judge(self, endpoint: Endpoint) -> Row | str:
        provider = self.catalog.providers[endpoint.provider]
        present = self.credentials.get(endpoint.provider, ())
        if not endpoint.base_url:
            return "NOT_RUNNING"
        if self.dialects is not None and endpoint.dialect not in self.dialects:
            return "DIALECT_UNSUPPORTED"
        if provider.credentials and not present:
            return "CREDENTIALS_MISSING"
        hashed, fee = rendezvous.number(endpoint.id), 1 + provider.purchase_fee_ppm / _PPM
        cards = tuple(Card(card, hashed, fee) for card in self.catalog.prices.get(endpoint.id, ()) if pricing.is_known(card))
        if not cards:
            return "PRICE_UNKNOWN"
        if endpoint.model.endswith(FREE_VARIANT):
            cards = tuple(card for card in cards if card.is_free)
            if not cards:
                return "PAID"
        unbounded = len(cards) == 1 and cards[0].card.valid_from is None and cards[0].card.valid_to is None
        return Row(
            endpoint=endpoint,
            id=endpoint.id,
            provider=endpoint.provider,
            held=credentials.held(endpoint.provider, present),
            fee=fee,
            cards=cards,
            card=cards[0],
            usual=cards[0].usual,
            usual_below=cards[0].usual_below if unbounded else 0.0,
            parameters=frozenset(endpoint.parameters),
            inputs=frozenset(endpoint.input_modalities),
            outputs=frozenset(endpoint.output_modalities),
            context_tokens=endpoint.context_tokens or _UNBOUNDED,
            output_tokens_max=endpoint.output_tokens_max or _UNBOUNDED,
            policy=endpoint.data_policy or provider.data_policy,
            rank=ranks.AGGREGATOR if provider.aggregator else 0,
            draws=f"/{endpoint.model}".encode(),
            beyond=Exclusion(endpoint, "BEYOND_FALLBACK_LIMIT"),
        )


_remembered: list[Prepared] = []


def prepared(snapshots: Snapshots) -> Prepared:
    """Return what is worked out of these snapshots, from memory if they were seen before."""
    catalog, present, dialects = snapshots.catalog, snapshots.credentials, snapshots.dialects
    for found in _remembered:
        if (
            found.catalog is catalog
            and found.credentials is present
            and (found.dialects is dialects or found.dialects == dialects)
        ):
            return found
    made = Prepared(snapshots)
    _remembered.insert(0, made)
    del _remembered[_KEPT:]
    return made


def service_tier(endpoint: Endpoint, spec: CompletionSpec) -> str | None:
    """Return the service tier that is asked of an endpoint: none where it knows no tiers, as none is sent there."""
    return spec.service_tier if "service_tier" in endpoint.parameters else None


def price_in_force(cards: tuple[PriceCard, ...], now_ms: int) -> PriceCard | None:
    """Return the first card that is valid at an instant (Unix milliseconds), None if there is none."""
    now = now_ms // 1000
    for card in cards:
        if (card.valid_from is None or card.valid_from <= now) and (card.valid_to is None or now < card.valid_to):
            return card
    return None


def _common(sets: list[frozenset[str]]) -> frozenset[str]:
    return sets[0].intersection(*sets[1:]) if sets else frozenset()
