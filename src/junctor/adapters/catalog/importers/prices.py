"""Which prices can be believed? Cards for endpoints, and a quarantine for those that would mislead who looks for the cheapest.

A price is suspect if input or output is over four times the median of the model's endpoints, or under a quarter of it, or if
the two newest sources differ by more than a factor of two. A suspect is kept, with the reason, beside the prices and not among
them: its endpoint has no price, so nothing is sent there.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from junctor.adapters.catalog.importers.genai_prices import GenaiPrice
from junctor.adapters.catalog.importers.hosts import Host
from junctor.adapters.catalog.importers.merge import Merged, believed
from junctor.domain.catalog import PriceCard, PriceParts, PriceTier

OFF_MEDIAN_MAX: Final = 4
DIFFERENCE_MAX: Final = 2
PLAIN_SERVICE: Final = "default"
"""What OpenAI calls the service of who asks for none."""
_A_PAIR: Final = 2
_CHECKED_BY: Final = ("pi-ai", "litellm")


class Package(Struct, frozen=True, kw_only=True):
    """Where prices were read: a source's package, its version, and its release day (ISO 8601)."""

    source: str
    version: str
    as_of: str


def cards(
    merged: Merged, host: Host, packages: Mapping[str, Package], coming: Mapping[tuple[str, str], GenaiPrice]
) -> tuple[PriceCard, ...]:
    """Return the cards of an endpoint: none if no source has its price, two if the next price is known."""
    offer = believed(merged)
    if offer is None or offer.parts is None:
        return ()
    package = packages[offer.source]
    placed = [
        replace(tier, input_tokens_from=tier.input_tokens_from - 1) if host.tiers_from and tier.input_tokens_from else tier
        for tier in offer.tiers
    ]
    tiers = tuple(tier for tier in placed if tier.service_tier is None)
    asked = tuple(tier for tier in placed if tier.service_tier in host.service_tiers)
    source = f"{package.source} {package.version}"
    card = PriceCard(version=package.as_of, parts=offer.parts, source=source, as_of=package.as_of, tiers=tiers)
    names = host.names.get("genai-prices", ())
    later = next((row for name in names if (row := coming.get((name, offer.upstream_model)))), None)
    if later is None or later.later is None or later.parts is None or tiers or not _same(later.parts, offer.parts):
        return (_with_services(card, asked),)
    teller = packages["genai-prices"]
    return (
        replace(card, valid_to=later.later_from),
        PriceCard(
            version=f"{teller.as_of}+",
            parts=later.later,
            source=f"{teller.source} {teller.version}",
            as_of=teller.as_of,
            valid_from=later.later_from,
        ),
    )


def _with_services(card: PriceCard, asked: tuple[PriceTier, ...]) -> PriceCard:
    """Add the tiers of services that may be asked for, and the plain one under its name, beneath the tiers by size."""
    if not asked:
        return card
    plain = PriceTier(parts=PriceParts(input=card.parts.input), service_tier=PLAIN_SERVICE)
    return replace(card, tiers=(plain, *card.tiers, *asked))


def services_of(cards_of: Iterable[PriceCard]) -> frozenset[str]:
    """Return the services that an endpoint's cards have a price for."""
    return frozenset(tier.service_tier for card in cards_of for tier in card.tiers if tier.service_tier is not None)


def checked_with_services(checked: tuple[PriceCard, ...], built: tuple[PriceCard, ...]) -> tuple[PriceCard, ...]:
    """Return cards that people checked, with the services of the one that was built if it is the same price otherwise."""
    if len(checked) != 1 or len(built) != 1 or services_of(checked):
        return checked
    (card,), (made,) = checked, built
    asked = tuple(tier for tier in made.tiers if tier.service_tier not in {None, PLAIN_SERVICE})
    same = (made.parts, tuple(tier for tier in made.tiers if tier.service_tier is None)) == (card.parts, card.tiers)
    return (_with_services(card, asked),) if same else checked


def _same(one: PriceParts, other: PriceParts) -> bool:
    return (one.input, one.output) == (other.input, other.output)


def disagreement(merged: Merged) -> str | None:
    """Say by how much the two newest sources differ, None if by no more than may be."""
    by_source = {offer.source: offer.parts for offer in merged.offers}
    one, other = (by_source.get(source) for source in _CHECKED_BY)
    if one is None or other is None:
        return None
    for part in ("input", "output"):
        low, high = sorted((getattr(one, part) or 0, getattr(other, part) or 0))
        if low and high > DIFFERENCE_MAX * low:
            return f"{part}: {' and '.join(_CHECKED_BY)} differ, {low} and {high} picodollars"
    return None


def suspects(priced: Iterable[tuple[str, PriceParts]], *, own: Container[str] = (), embeds: bool = False) -> Mapping[str, str]:
    """Return why each suspect of one model's endpoints (id, price) is one.

    Of two that lie too far apart both are, but for `own`, the endpoints of the model's lab. Who embeds has no output to price.
    """
    rows: Sequence[tuple[str, PriceParts]] = tuple(priced)
    found: dict[str, str] = {}
    for part in ("input",) if embeds else ("output", "input"):
        prices = [getattr(parts, part) or 0 for _, parts in rows]
        if len(prices) == _A_PAIR and max(prices) > OFF_MEDIAN_MAX * min(prices):
            apart = f"{part}: the model's only two prices are {min(prices)} and {max(prices)} picodollars"
            found |= {endpoint: apart for endpoint, _ in rows if endpoint not in own}
        doubled = _doubled_median(prices)
        for (endpoint, _), price in zip(rows, prices, strict=True):
            if 2 * price > OFF_MEDIAN_MAX * doubled or 2 * price * OFF_MEDIAN_MAX < doubled:
                found[endpoint] = f"{part}: {price} picodollars, and the median of {len(prices)} endpoints is {doubled // 2}"
    return found


def _doubled_median(prices: Sequence[int]) -> int:
    """Return twice the median, which is whole."""
    ordered = sorted(prices)
    return ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2] if ordered else 0
