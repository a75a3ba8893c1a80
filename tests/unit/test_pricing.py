"""Charges and ceilings by hand: each part, each tier, each rounding, and all that is refused."""

from pathlib import Path

import pytest

import junctor
from junctor.adapters.catalog import snapshot
from junctor.domain.catalog import PriceCard, PriceParts, PriceTier
from junctor.domain.completion import Usage
from junctor.policy import pricing
from junctor.policy.pricing import COUNT_MAX, PRICE_MAX, Audio, PricingError, Terms

MINUTE_MS = 60_000
DAY_MS = 1_440 * MINUTE_MS
SOME_DAY_MS = 20_000 * DAY_MS
TERMS = Terms(SOME_DAY_MS)
INT64_MAX = 2**63 - 1
PACKAGED = Path(junctor.__file__).parent / "adapters" / "catalog" / "snapshot.json"


def card(*tiers: PriceTier, **parts: int | None) -> PriceCard:
    """Return a card with these prices, 2 and 10 USD for a million tokens of input and output where none are given."""
    prices = PriceParts(**{"input": 2_000_000, "output": 10_000_000} | parts)
    return PriceCard(version="1", parts=prices, source="test", as_of="2026-11-21", tiers=tiers)


def charged(prices: PriceCard, usage: Usage, terms: Terms = TERMS) -> int:
    """Return the charge, having seen that its ceiling covers it."""
    cost = pricing.charge(prices, usage, terms)
    assert cost <= pricing.ceiling(prices, usage.input_tokens, usage.output_tokens, terms)
    return cost


def at(minute: int) -> Terms:
    """Return the terms of a request that begins at a minute of the day."""
    return Terms(SOME_DAY_MS + minute * MINUTE_MS)


def test_a_million_tokens_cost_what_the_card_says() -> None:
    """Every bill would be off by powers of ten."""
    assert charged(card(), Usage(1_000_000, 0)) == 2_000_000_000
    assert charged(card(), Usage(0, 1_000_000)) == 10_000_000_000


@pytest.mark.parametrize(
    ("picousd", "tokens", "nanousd"),
    [(1, 0, 0), (1, 1, 1), (1, 999, 1), (1, 1_000, 1), (1, 1_001, 2), (999, 1, 1), (1_001, 1, 2), (0, 5, 0)],
)
def test_a_sum_is_rounded_up_to_a_nanousd(picousd: int, tokens: int, nanousd: int) -> None:
    """Small calls would be free, or whole ones a nano-USD too dear."""
    assert charged(card(input=picousd, output=0), Usage(tokens, 0)) == nanousd


def test_rounding_happens_once() -> None:
    """A call would pay a nano-USD more for each kind of token."""
    prices = card(input=100, output=100, cache_read=100, cache_write=100, reasoning=100, request=100)
    assert charged(prices, Usage(3, 2, 1, 1, 1)) == 1


def test_parts_are_contained_in_the_totals() -> None:
    """Cached and reasoning tokens would be billed twice."""
    prices = card(cache_read=200_000, cache_write=2_500_000, reasoning=20_000_000)
    expected = (10 * 2_000 + 70 * 200 + 20 * 2_500) + (4 * 10_000 + 6 * 20_000)
    assert charged(prices, Usage(100, 10, 70, 20, 6)) == expected


def test_a_part_without_a_price_is_not_free() -> None:
    """A card that names no cache price would give long prompts away."""
    whole = charged(card(), Usage(100, 10))
    assert charged(card(), Usage(100, 10, 70, 20, 6)) == whole
    assert pricing.charge(card(), Usage(100, 10), TERMS, Audio(30, 5)) == whole


def test_a_part_that_is_priced_at_nothing_is_free() -> None:
    """A price of 0 would be taken for none."""
    assert charged(card(cache_read=0, cache_write=0, reasoning=0), Usage(100, 10, 70, 30, 10)) == 0


def test_a_part_larger_than_its_whole_counts_up_to_the_whole() -> None:
    """A provider's slip would make a bill negative, or larger than its ceiling."""
    prices = card(cache_read=1_000_000, cache_write=3_000_000, reasoning=20_000_000)
    assert charged(prices, Usage(10, 10, 11, 99, 99)) == 10 * 1_000 + 10 * 20_000
    assert charged(prices, Usage(10, 0, 4, 99)) == 4 * 1_000 + 6 * 3_000


def test_a_request_has_a_price_of_its_own() -> None:
    """A fee for each request would be lost."""
    assert charged(card(request=5_000_001), Usage(1, 0)) == 7_001
    assert charged(card(request=5_000_001), Usage()) == 5_001


def test_images_are_paid_for_beyond_their_tokens_where_a_card_says_so() -> None:
    """A fee for each image would be lost, or taken where images are paid for by tokens."""
    terms = Terms(SOME_DAY_MS, images=3)
    assert charged(card(image_input=1_000_000), Usage(100, 0), terms) == 200_000 + 3_000
    assert charged(card(), Usage(100, 0), terms) == 200_000


def test_sound_has_its_own_price() -> None:
    """Audio tokens would be sold at the price of text, a tenth of theirs."""
    prices = card(audio_input=40_000_000, audio_output=80_000_000, cache_read=0, reasoning=0)
    usage, audio = Usage(100, 10, cache_read_tokens=20, reasoning_tokens=2), Audio(30, 5)
    cost = pricing.charge(prices, usage, TERMS, audio)
    assert cost == 50 * 2_000 + 30 * 40_000 + 3 * 10_000 + 5 * 80_000
    assert pricing.ceiling(prices, 100, 10, TERMS, audio) == 70 * 2_000 + 30 * 40_000 + 5 * 10_000 + 5 * 80_000
    assert pricing.charge(prices, Usage(10, 10), TERMS, Audio(99, 99)) == 10 * 40_000 + 10 * 80_000


LONG = PriceTier(parts=PriceParts(input=4_000_000, output=15_000_000), input_tokens_from=272_001)


@pytest.mark.parametrize(("tokens", "input_nanousd", "output_nanousd"), [(272_000, 2_000, 10_000), (272_001, 4_000, 15_000)])
def test_the_whole_of_a_long_request_has_the_price_of_its_tier(tokens: int, input_nanousd: int, output_nanousd: int) -> None:
    """Only what lies above the boundary would be billed at the upper price, which is not what providers do."""
    assert charged(card(LONG), Usage(tokens, 7)) == tokens * input_nanousd + 7 * output_nanousd


def test_later_tiers_win_part_by_part() -> None:
    """A tier that names the input price only would make output free, or an upper tier be overruled by a lower one."""
    longer = PriceTier(parts=PriceParts(input=5_000_000), input_tokens_from=500_000)
    prices = card(LONG, longer, cache_read=100_000)
    expected = PriceParts(input=5_000_000, output=15_000_000, cache_read=100_000)
    assert pricing.prices_in_force(prices, 600_000, SOME_DAY_MS) == expected
    assert pricing.prices_in_force(prices, 300_000, SOME_DAY_MS).input == 4_000_000


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ((240, 360), (240, 359), (239, 360, 0, 1_439)),
        ((600, 60), (600, 1_439, 0, 59), (60, 599)),
        ((600, 0), (600, 1_439), (0, 599)),
        ((0, 1_440), (0, 720, 1_439), ()),
        ((0, 1), (0,), (1, 1_439)),
    ],
)
def test_windows_are_half_open_and_wrap_past_midnight(
    window: tuple[int, int], inside: tuple[int, ...], outside: tuple[int, ...]
) -> None:
    """The off-peak price would be charged an hour too long, or never at night."""
    night = PriceTier(parts=PriceParts(input=1_000_000), utc_from_min=window[0], utc_to_min=window[1])
    assert {charged(card(night), Usage(1, 0), at(minute)) for minute in inside} == {1_000}
    assert {charged(card(night), Usage(1, 0), at(minute)) for minute in outside} <= {2_000}


def test_a_window_is_judged_to_the_millisecond() -> None:
    """The last minute of a window would already have the next price."""
    night = PriceTier(parts=PriceParts(input=1_000_000), utc_from_min=240, utc_to_min=360)
    assert charged(card(night), Usage(1, 0), Terms(SOME_DAY_MS + 360 * MINUTE_MS - 1)) == 1_000
    assert charged(card(night), Usage(1, 0), Terms(SOME_DAY_MS + 240 * MINUTE_MS - 1)) == 2_000


def test_all_conditions_of_a_tier_must_hold() -> None:
    """A cheap tier for short requests at night would be given to all requests at night."""
    tier = PriceTier(parts=PriceParts(input=1), input_tokens_from=10, utc_from_min=0, utc_to_min=60, service_tier="flex")
    assert pricing.prices_in_force(card(tier), 10, SOME_DAY_MS, "flex").input == 1
    for tokens, at_ms, service_tier in (
        (9, SOME_DAY_MS, "flex"),
        (10, SOME_DAY_MS + 60 * MINUTE_MS, "flex"),
        (10, SOME_DAY_MS, "priority"),
        (10, SOME_DAY_MS, None),
    ):
        assert pricing.prices_in_force(card(tier), tokens, at_ms, service_tier).input == 2_000_000


FLEX = PriceTier(parts=PriceParts(input=1_000_000, output=5_000_000), service_tier="flex")
PRIORITY = PriceTier(parts=PriceParts(input=4_000_000, output=20_000_000), service_tier="priority")


def test_a_service_tier_is_paid_for_as_named() -> None:
    """Priority would be sold at the standard price, or flex at the price of priority."""
    prices = card(FLEX, PRIORITY)
    costs = {name: charged(prices, Usage(1, 0), Terms(SOME_DAY_MS, name)) for name in (None, "flex", "priority", "odd")}
    assert costs == {None: 2_000, "flex": 1_000, "priority": 4_000, "odd": 2_000}


def test_the_ceiling_covers_a_fall_back_to_the_standard_service() -> None:
    """A flex request that a provider serves as a standard one would cost more than was held."""
    prices = card(FLEX, PRIORITY)
    assert pricing.ceiling(prices, 1, 0, Terms(SOME_DAY_MS, "flex")) == 2_000
    assert pricing.ceiling(prices, 1, 0, Terms(SOME_DAY_MS, "priority")) == 4_000


def test_a_service_tier_that_the_card_does_not_name_has_no_known_price() -> None:
    """A dearer service would be sold at the standard price because nobody wrote its price down."""
    prices = card(FLEX)
    assert [pricing.is_known(prices, name) for name in (None, "flex", "priority")] == [True, True, False]


def test_the_ceiling_is_at_the_dearest_parts() -> None:
    """A request whose whole input is written to the cache would cost more than was held."""
    prices = card(cache_write=2_500_000, cache_read=200_000, reasoning=12_000_000, request=1_000, image_input=2_000)
    assert pricing.ceiling(prices, 100, 10, Terms(SOME_DAY_MS, images=4)) == 100 * 2_500 + 10 * 12_000 + 1 + 8


def test_the_ceiling_covers_cache_writes_for_an_hour() -> None:
    """The dearest way to write the cache would not be held for, once it can be told from the others."""
    assert pricing.ceiling(card(cache_write=2_500_000, cache_write_1h=4_000_000), 100, 0, TERMS) == 100 * 4_000


def test_the_ceiling_looks_below_the_tier_that_its_bound_reaches() -> None:
    """A card whose long requests are cheaper would be held for at the price of those alone."""
    cheaper = PriceTier(parts=PriceParts(input=1, output=1), input_tokens_from=100)
    assert pricing.ceiling(card(cheaper), 100, 10, TERMS) >= charged(card(cheaper), Usage(99, 10))


def test_the_ceiling_does_not_look_above_its_bound() -> None:
    """Every small call would be held for at the price of the longest."""
    assert pricing.ceiling(card(LONG), 1_000, 10, TERMS) == 1_000 * 2_000 + 10 * 10_000


@pytest.mark.parametrize(
    "prices",
    [
        card(input=None),
        card(output=None),
        card(input=-1),
        card(cache_read=-1),
        card(request=PRICE_MAX + 1),
        card(PriceTier(parts=PriceParts(output=-1), service_tier="flex")),
        card(input=1.5),  # type: ignore[arg-type]  # what a constructor lets pass
        card(output=float("nan")),  # type: ignore[arg-type]
        card(reasoning=2.0),  # type: ignore[arg-type]
        card(input=True),
    ],
)
def test_what_is_no_price_is_not_known(prices: PriceCard) -> None:
    """An endpoint without a price, or with nonsense for one, would be used for free."""
    assert not pricing.is_known(prices)


@pytest.mark.parametrize("name", ["input", "output"])
def test_an_unknown_price_makes_no_sum(name: str) -> None:
    """A call would be free because its card was not looked at first."""
    prices = card(**{name: None})
    with pytest.raises(PricingError):
        pricing.charge(prices, Usage(1, 1), TERMS)
    with pytest.raises(PricingError):
        pricing.ceiling(prices, 1, 1, TERMS)


def test_an_input_price_in_a_tier_alone_does_not_make_a_card_known() -> None:
    """A card would be used that has a price in the night only."""
    night = PriceTier(parts=PriceParts(input=1_000_000), utc_from_min=0, utc_to_min=60)
    assert not pricing.is_known(card(night, input=None))


@pytest.mark.parametrize("bad", [-1, 1.0, 0.5, float("nan"), float("inf"), True, COUNT_MAX + 1])
def test_a_count_that_is_none_makes_no_sum(bad: int) -> None:
    """A negative or broken count of a provider would become money."""
    for usage in (Usage(bad, 0), Usage(0, bad), Usage(1, 1, bad), Usage(1, 1, 0, bad), Usage(1, 1, 0, 0, bad)):
        with pytest.raises(PricingError):
            pricing.charge(card(), usage, TERMS)
    for audio in (Audio(bad), Audio(0, bad)):
        with pytest.raises(PricingError):
            pricing.charge(card(), Usage(1, 1), TERMS, audio)
        with pytest.raises(PricingError):
            pricing.ceiling(card(), 1, 1, TERMS, audio)
    for count in ((bad, 1), (1, bad)):
        with pytest.raises(PricingError):
            pricing.ceiling(card(), *count, TERMS)
    with pytest.raises(PricingError):
        pricing.charge(card(), Usage(), Terms(SOME_DAY_MS, images=bad))


@pytest.mark.parametrize("bad", [-1, 1.0, float("nan"), True, PRICE_MAX + 1])
def test_a_price_that_is_none_makes_no_sum(bad: int) -> None:
    """A float or a negative price would become money."""
    for name in PriceParts.__struct_fields__:
        with pytest.raises(PricingError):
            pricing.charge(card(**{name: bad}), Usage(1, 1), TERMS)
        with pytest.raises(PricingError):
            pricing.ceiling(card(**{name: bad}), 1, 1, TERMS)


def test_nothing_overflows() -> None:
    """The dearest request there can be would not fit an int64, and wrap to a negative sum somewhere."""
    dearest = dict.fromkeys(PriceParts.__struct_fields__, PRICE_MAX)
    most = pricing.ceiling(card(**dearest), COUNT_MAX, COUNT_MAX, Terms(0, images=COUNT_MAX), Audio(COUNT_MAX, COUNT_MAX))
    assert most == 3_000_000_001_000_000_000 < INT64_MAX
    assert most * (2**31 - 1) < 10**38


def test_every_packaged_price_is_known() -> None:
    """An endpoint that is sold with the package would be refused for its price."""
    prices = snapshot.parse(PACKAGED.read_bytes()).prices
    assert len(prices) > 40
    assert [endpoint for endpoint, cards in prices.items() if not all(map(pricing.is_known, cards))] == []


def test_more_cards_than_are_remembered_are_priced_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue that is replaced again and again would fill the memory, or one card's price be taken for another's."""
    monkeypatch.setattr(pricing, "SHEETS_MAX", 3)
    monkeypatch.setattr(pricing, "_sheets", {})
    for picousd in (*range(1_000, 20_000, 1_000), 5_000):
        assert charged(card(input=picousd), Usage(1, 0)) == picousd // 1_000
        assert len(pricing._sheets) <= 3
