"""Charges and ceilings against a reference that counts in fractions of a dollar, written apart from the code.

Cases come from a seeded generator, as thousands of cards are slow to draw one field at a time; small numbers are likely, so
that boundaries meet.
"""

import math
from fractions import Fraction
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from junctor.domain.catalog import PriceCard, PriceParts, PriceTier
from junctor.domain.completion import Usage
from junctor.policy import pricing
from junctor.policy.pricing import COUNT_MAX, PRICE_MAX, Audio, Terms

NAMES = PriceParts.__struct_fields__
SERVICES = (None, "flex", "priority")
SIZE_MAX = 40
DAY_S = 86_400
EXAMPLES = 2_500
SEEDS = st.randoms(use_true_random=True)


def any_price(dice: Random) -> int:
    """Draw a price: often next to nothing."""
    return dice.choice((dice.randint(0, 3), dice.randint(0, 4_000), dice.randint(0, PRICE_MAX)))


def any_count(dice: Random) -> int:
    """Draw a count: often about where tiers begin."""
    return dice.choice((0, dice.randint(0, SIZE_MAX), dice.randint(0, SIZE_MAX), dice.randint(0, COUNT_MAX)))


def any_parts(dice: Random, *always: str) -> PriceParts:
    """Draw prices of some parts, and of those that are always named."""
    named = {*always, *dice.sample(NAMES, dice.randint(1, 5))}
    return PriceParts(**{name: any_price(dice) for name in sorted(named)})


def any_tier(dice: Random) -> PriceTier:
    """Draw a tier with any conditions."""
    window = (dice.randrange(1_440), dice.randint(0, 1_440)) if dice.random() < 0.4 else (None, None)
    return PriceTier(
        parts=any_parts(dice),
        input_tokens_from=dice.choice((None, dice.randint(1, SIZE_MAX))),
        utc_from_min=window[0],
        utc_to_min=window[1],
        service_tier=dice.choice(SERVICES),
    )


def any_card(dice: Random) -> PriceCard:
    """Draw a card that is known."""
    tiers = tuple(any_tier(dice) for _ in range(dice.randint(0, 3)))
    return PriceCard(version="1", parts=any_parts(dice, "input", "output"), source="test", as_of="2026-11-21", tiers=tiers)


def any_usage(dice: Random) -> Usage:
    """Draw a usage; its parts may be larger than their totals, as providers have reported."""
    return Usage(any_count(dice), any_count(dice), any_count(dice), any_count(dice), any_count(dice))


def any_terms(dice: Random) -> Terms:
    """Draw an instant, a service tier and some images."""
    return Terms(dice.randrange(4_000_000_000_000), dice.choice(SERVICES), dice.randint(0, 5))


def any_audio(dice: Random) -> Audio:
    """Draw how much is sound."""
    return Audio(any_count(dice), any_count(dice))


def at_least(dice: Random, least: int) -> int:
    """Draw a bound that a count does not exceed, often the count itself."""
    return min(least + dice.choice((0, 1, any_count(dice))), COUNT_MAX)


def in_force(card: PriceCard, tokens: int, terms: Terms) -> dict[str, int]:
    """Return the prices in force, by name: all that is named, the last to name a part wins."""
    seconds = terms.at_ms // 1_000 % DAY_S
    prices: dict[str, int] = {}
    for parts, holds in ((card.parts, True), *((tier.parts, applies(tier, tokens, seconds, terms)) for tier in card.tiers)):
        if holds:
            prices.update({name: price for name in NAMES if (price := getattr(parts, name)) is not None})
    return prices


def applies(tier: PriceTier, tokens: int, second: int, terms: Terms) -> bool:
    """Judge a tier; its window lasts so long from its start, around midnight if need be."""
    if tier.utc_from_min is not None and tier.utc_to_min is not None:
        length = (tier.utc_to_min - tier.utc_from_min) * 60
        if length < 0:
            length += DAY_S
        if (second - tier.utc_from_min * 60) % DAY_S >= length:
            return False
    return tokens >= (tier.input_tokens_from or 0) and tier.service_tier in {None, terms.service_tier}


def reference(card: PriceCard, usage: Usage, terms: Terms, audio: Audio) -> int:
    """Return the charge in nano-USD: pour the tokens of each total into their parts, price each part in dollars, add, round."""
    prices = in_force(card, usage.input_tokens, terms)
    due = Fraction(prices.get("request", 0), 10**12) + terms.images * Fraction(prices.get("image_input", 0), 10**12)
    totals = (
        ("input", usage.input_tokens, ("cache_read", "cache_write", "audio_input")),
        ("output", usage.output_tokens, ("reasoning", "audio_output")),
    )
    counts = {
        "cache_read": usage.cache_read_tokens,
        "cache_write": usage.cache_write_tokens,
        "audio_input": audio.input_tokens,
        "reasoning": usage.reasoning_tokens,
        "audio_output": audio.output_tokens,
    }
    for whole, total, kinds in totals:
        left = total
        for kind in kinds:
            poured = min(left, counts[kind])
            left -= poured
            due += poured * Fraction(prices.get(kind, prices[whole]), 10**12)
        due += left * Fraction(prices[whole], 10**12)
    return math.ceil(due * 10**9)


@settings(max_examples=EXAMPLES, deadline=None)
@given(SEEDS)
def test_a_charge_is_the_exact_sum_rounded_up_once(dice: Random) -> None:
    """Somebody's bill would be wrong."""
    prices, used, under, heard = any_card(dice), any_usage(dice), any_terms(dice), any_audio(dice)
    cost = pricing.charge(prices, used, under, heard)
    assert type(cost) is int
    assert cost == reference(prices, used, under, heard)
    assert cost >= 0


@settings(max_examples=EXAMPLES, deadline=None)
@given(SEEDS)
def test_no_usage_within_the_bounds_costs_more_than_the_ceiling(dice: Random) -> None:
    """A call would be served that its account cannot pay, in whatever tier it lands and whatever of it is cached."""
    prices, used, under, heard = any_card(dice), any_usage(dice), any_terms(dice), any_audio(dice)
    tokens_in, tokens_out = at_least(dice, used.input_tokens), at_least(dice, used.output_tokens)
    heard_max = Audio(at_least(dice, heard.input_tokens), at_least(dice, heard.output_tokens))
    most = pricing.ceiling(prices, tokens_in, tokens_out, under, heard_max)
    assert type(most) is int
    assert pricing.charge(prices, used, under, heard) <= most
    assert reference(prices, used, under, heard) <= most
    standard = msgspec.structs.replace(under, service_tier=None)
    assert reference(prices, used, standard, heard) <= most


@settings(max_examples=EXAMPLES, deadline=None)
@given(SEEDS)
def test_a_ceiling_never_falls_as_a_bound_grows(dice: Random) -> None:
    """A longer request would need less money than a shorter one."""
    prices, under, heard = any_card(dice), any_terms(dice), any_audio(dice)
    tokens_in, tokens_out = any_count(dice), any_count(dice)
    more_in, more_out = at_least(dice, tokens_in), at_least(dice, tokens_out)
    least = pricing.ceiling(prices, tokens_in, tokens_out, under, heard)
    most = pricing.ceiling(prices, more_in, more_out, under, heard)
    assert least <= pricing.ceiling(prices, more_in, tokens_out, under, heard) <= most
    assert least <= pricing.ceiling(prices, tokens_in, more_out, under, heard) <= most


@settings(max_examples=500, deadline=None)
@given(SEEDS)
def test_a_ceiling_without_tiers_is_reached_by_some_usage(dice: Random) -> None:
    """A ceiling of a thousand times the cost would pass the other tests, and let nobody in."""
    plain = msgspec.structs.replace(any_parts(dice, "input", "output"), cache_write_1h=None)
    prices = PriceCard(version="1", parts=plain, source="test", as_of="2026-11-21")
    under, given_, made = any_terms(dice), any_count(dice), any_count(dice)
    inputs = ((0, 0), (given_, 0), (0, given_))
    uses = [Usage(given_, made, read, written, thought) for read, written in inputs for thought in (0, made)]
    assert pricing.ceiling(prices, given_, made, under) == max(pricing.charge(prices, used, under) for used in uses)


@settings(max_examples=500, deadline=None)
@given(SEEDS)
def test_so_many_ceilings_cover_so_many_answers(dice: Random) -> None:
    """A call for several answers, whose input is billed once, would cost more than its hold."""
    prices, under, answers = any_card(dice), any_terms(dice), dice.randint(1, 20)
    tokens_in, tokens_out = any_count(dice), any_count(dice) // answers
    most = pricing.ceiling(prices, tokens_in, tokens_out, under) * answers
    together = Usage(tokens_in, tokens_out * answers, any_count(dice), any_count(dice), any_count(dice))
    assert pricing.charge(prices, together, under) <= most


@settings(max_examples=500, deadline=None)
@given(SEEDS)
def test_what_was_worked_out_of_a_card_holds_for_the_next_request(dice: Random) -> None:
    """A request would be charged at the hour, the size or the service tier of the one before it."""
    card = any_card(dice)
    for _ in range(6):
        usage, terms, audio = any_usage(dice), any_terms(dice), any_audio(dice)
        anew = msgspec.structs.replace(card)
        assert pricing.charge(card, usage, terms, audio) == pricing.charge(anew, usage, terms, audio)
        bounds = usage.input_tokens, usage.output_tokens
        assert pricing.ceiling(card, *bounds, terms, audio) == pricing.ceiling(anew, *bounds, terms, audio)


@settings(max_examples=500, deadline=None)
@given(SEEDS)
def test_a_card_that_is_known_makes_a_sum(dice: Random) -> None:
    """A call would end in an internal error after its endpoint was found fit."""
    prices, under = any_card(dice), any_terms(dice)
    assert pricing.is_known(prices)
    assert pricing.ceiling(prices, 0, 0, under) <= pricing.ceiling(prices, COUNT_MAX, COUNT_MAX, under) < 2**63
