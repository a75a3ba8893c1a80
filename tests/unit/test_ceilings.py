"""What a call may cost over all that may answer it: whatever answers within its bounds, the hold covers it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.domain.catalog import Endpoint, PriceCard, PriceParts, PriceTier
from junctor.domain.completion import AudioPart, CompletionSpec, ImagePart, Message, Part, Role, TextPart, Usage
from junctor.domain.routing import Candidate
from junctor.policy import bounds, ceilings, pricing
from junctor.policy.bounds import DEFAULT_OUTPUT_HOLD_TOKENS

AT_MS = 1_790_000_000_000
MICRO = 1_000_000  # pico-USD


def candidate(
    given_picousd: int,
    made_picousd: int,
    *,
    context: int = 100_000,
    output_max: int | None = 20_000,
    tiers: tuple[PriceTier, ...] = (),
    audio: int | None = None,
) -> Candidate:
    """Return an endpoint with a price for each input and output token."""
    endpoint = Endpoint(
        id="p/lab/model",
        model="lab/model",
        provider="p",
        upstream_model="m",
        dialect="d",
        base_url="https://a",
        context_tokens=context,
        output_tokens_max=output_max,
        parameters=("service_tier",),
    )
    parts = PriceParts(input=given_picousd, output=made_picousd, audio_input=audio)
    return Candidate(endpoint, None, PriceCard(version="1", parts=parts, source="s", as_of="d", tiers=tiers))


def spec(text: str = "", *, max_tokens: int | None = None, n: int | None = None, images: int = 0) -> CompletionSpec:
    """Return what is asked."""
    parts: tuple[Part, ...] = (TextPart(text), *(ImagePart(f"https://a/{number}") for number in range(images)))
    return CompletionSpec(model="lab/model", messages=(Message(role=Role.USER, parts=parts),), max_tokens=max_tokens, n=n)


def test_without_a_bound_the_hold_is_for_the_usual_output() -> None:
    """Every call without max_tokens would set the longest answer's price aside, or too little for a usual one."""
    ceiling = ceilings.of(spec(), [candidate(0, MICRO)], AT_MS)
    assert ceiling.output_tokens == DEFAULT_OUTPUT_HOLD_TOKENS
    assert ceiling.hold_nanousd == DEFAULT_OUTPUT_HOLD_TOKENS * 1_000
    assert ceiling.open_nanousd == 20_000 * 1_000


def test_with_a_bound_nothing_is_open() -> None:
    """A call would be cut short, or more be held for it than it can cost."""
    ceiling = ceilings.of(spec(max_tokens=500), [candidate(0, MICRO)], AT_MS)
    assert (ceiling.hold_nanousd, ceiling.open_nanousd, ceiling.output_tokens) == (500_000, 500_000, 500)


def test_the_dearest_of_those_that_may_answer_counts() -> None:
    """A call that fails over to a dearer endpoint would cost more than is held."""
    cheap, dear, short = candidate(0, MICRO), candidate(0, 3 * MICRO), candidate(0, 100 * MICRO, output_max=1)
    ceiling = ceilings.of(spec(max_tokens=500), [cheap, dear, short], AT_MS)
    assert (ceiling.hold_nanousd, ceiling.output_tokens) == (1_500_000, 500)


def test_each_answer_counts() -> None:
    """Five answers would be paid for as one."""
    once, five = (ceilings.of(spec("hello", max_tokens=500, n=n), [candidate(MICRO, MICRO)], AT_MS) for n in (None, 5))
    assert five.hold_nanousd == 5 * once.hold_nanousd


def test_sound_is_held_and_charged_for_at_its_own_price() -> None:
    """A recording would be held for as if it were text, and sold at a tenth of its price."""
    served = candidate(MICRO, MICRO, context=1_000, audio=10 * MICRO)
    recording = Message(Role.USER, (TextPart("hear"), AudioPart("AAAA", "wav")))
    asked = CompletionSpec(model="lab/model", messages=(recording,), max_tokens=100)
    usage = Usage(input_tokens=1_000, output_tokens=100, audio_input_tokens=900)
    cost = ceilings.charge(asked, served, usage, AT_MS)
    assert cost == (100 + 900 * 10 + 100) * 1_000
    assert cost <= ceilings.of(asked, [served], AT_MS).hold_nanousd == (1_000 * 10 + 100) * 1_000


def test_speech_is_held_and_charged_for_at_its_own_price() -> None:
    """An answer that is heard would be held for and sold as if it were read."""
    served = candidate(0, MICRO)
    parts = msgspec.structs.replace(served.price.parts, audio_output=20 * MICRO)
    served = msgspec.structs.replace(served, price=msgspec.structs.replace(served.price, parts=parts))
    asked = msgspec.structs.replace(spec(max_tokens=100), modalities=("text", "audio"), n=2)
    usage = Usage(output_tokens=200, audio_output_tokens=150)
    assert ceilings.charge(asked, served, usage, AT_MS) == (50 + 150 * 20) * 1_000
    assert ceilings.of(asked, [served], AT_MS).hold_nanousd == 2 * 100 * 20 * 1_000
    assert ceilings.charge(spec(max_tokens=100), served, usage, AT_MS) == 200 * 1_000


def test_sound_that_nobody_sent_counts_as_text() -> None:
    """A provider's odd count would be charged beyond what is held."""
    served = candidate(MICRO, MICRO, audio=10 * MICRO)
    usage = Usage(input_tokens=1_000, output_tokens=100, audio_input_tokens=900)
    assert ceilings.charge(spec(max_tokens=100), served, usage, AT_MS) == 1_100 * 1_000


def test_what_a_prediction_may_cost_is_held() -> None:
    """Tokens that the model rejects are billed like those that it says."""
    predicting = msgspec.structs.replace(spec(max_tokens=500), prediction="x" * 300)
    held = ceilings.of(predicting, [candidate(0, MICRO)], AT_MS).hold_nanousd
    assert held == 800 * 1_000


def test_nothing_that_may_answer_costs_nothing() -> None:
    """A plan without candidates would be held for, or break."""
    assert ceilings.of(spec(), [], AT_MS) == ceilings.Ceiling()
    assert ceilings.affordable_output_tokens(spec(), [], AT_MS, 100) == 0


@given(
    st.tuples(st.integers(0, 10 * MICRO), st.integers(0, 10 * MICRO)),
    st.tuples(st.integers(0, 10 * MICRO), st.integers(0, 10 * MICRO)),
    st.integers(0, 10**9),
    st.sampled_from([None, 1, 700, 10**6]),
    st.sampled_from([None, 3]),
)
def test_affordable_tokens_are_the_most_that_are_covered(
    one: tuple[int, int], other: tuple[int, int], available: int, max_tokens: int | None, n: int | None
) -> None:
    """A caller who asks for as many tokens as he was told would be refused again, or have asked for fewer than he can pay."""
    candidates = [candidate(*one), candidate(*other, output_max=5_000)]
    asked = spec("hello", max_tokens=max_tokens, n=n)
    tokens = ceilings.affordable_output_tokens(asked, candidates, AT_MS, available)
    assert tokens <= (20_000 if max_tokens is None else max_tokens)

    def cost(bound: int) -> int:
        return ceilings.of(spec("hello", max_tokens=bound, n=n), candidates, AT_MS).hold_nanousd

    # What is asked has another length when the bound is told in it; the bound itself is not read by any model.
    assert tokens == 0 or cost(tokens) <= available
    if tokens < min(20_000, max_tokens or 20_000):
        assert cost(tokens + 1) > available


@given(st.text(max_size=300), st.integers(0, 2), st.integers(1, 9_000), st.data())
def test_a_charge_within_the_bounds_is_covered(text: str, images: int, max_tokens: int, data: st.DataObject) -> None:
    """A settlement would find too little held, and the rest be our loss."""
    tier = PriceTier(parts=PriceParts(input=9 * MICRO, output=7 * MICRO), input_tokens_from=2_000)
    served = candidate(MICRO, 5 * MICRO, tiers=(tier,))
    asked = spec(text, max_tokens=max_tokens, images=images)
    hold = ceilings.of(asked, [candidate(1, 1), served], AT_MS).hold_nanousd
    most = bounds.input_bound(bounds.size(asked), 100_000)
    usage = Usage(data.draw(st.integers(0, most)), data.draw(st.integers(0, max_tokens)), 0, 0, 0)
    assert ceilings.charge(asked, served, usage, AT_MS) <= hold


CANDIDATES = st.builds(
    candidate,
    st.integers(0, 10 * MICRO),
    st.integers(0, 10 * MICRO),
    context=st.integers(1, 9_000),
    output_max=st.sampled_from([None, 0, 5_000, 20_000]),
    tiers=st.sampled_from([(), (PriceTier(parts=PriceParts(input=9 * MICRO, output=7), input_tokens_from=2_000),)]),
)


@given(
    st.lists(CANDIDATES, max_size=4),
    st.integers(0, 3_000),
    st.sampled_from([None, 1, 9_000]),
    st.sampled_from([None, 3]),
    st.integers(0, 2),
)
def test_a_plain_call_is_held_for_as_any_other(
    candidates: list[Candidate], length: int, max_tokens: int | None, n: int | None, images: int
) -> None:
    """The calls that nearly all are would be held for at another price, as their sums are made in a shorter way."""
    asked = spec("x" * length, max_tokens=max_tokens, n=n, images=images)
    size, terms, answers = bounds.size(asked), pricing.Terms(AT_MS, images=images), n or 1

    def most(default: int) -> int:
        costs = [0]
        for found in candidates:
            given_ = bounds.input_bound(size, found.endpoint.context_tokens)
            made = bounds.output_bound(asked, found.endpoint, default)
            costs.append(answers * pricing.ceiling(found.price, given_, made, terms))
        return max(costs)

    tokens = max((bounds.output_bound(asked, found.endpoint, 4_000) for found in candidates), default=0)
    expected = ceilings.Ceiling(most(4_000), most(pricing.COUNT_MAX), tokens)
    assert ceilings.of(asked, candidates, AT_MS, 4_000) == expected
    # A service tier that no endpoint's card names changes no price, and takes the longer way.
    assert ceilings.of(msgspec.structs.replace(asked, service_tier="odd"), candidates, AT_MS, 4_000) == expected


@pytest.mark.parametrize("bad", [-1, True])
def test_a_bound_that_is_no_count_is_refused(bad: int) -> None:
    """A call would be held for at less than nothing."""
    with pytest.raises(pricing.PricingError):
        ceilings.of(spec(max_tokens=bad), [candidate(1, 1)], AT_MS)
