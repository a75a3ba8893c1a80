"""The operator's records over a catalogue: what is charged, what is served, and which records do not fit."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.domain.catalog import Catalog, Model, PriceCard, PriceParts, PriceTier, Provider
from junctor.domain.completion import Usage
from junctor.domain.overlay import Discount, Misfit, Overlay, PassedOver, PriceOverride, PrivateEndpoint
from junctor.policy.overlay import discounted, lay
from junctor.policy.pricing import Terms, charge
from junctor.policy.routing.prepared import price_in_force
from tests.support.routes import endpoint

LISTED = PriceCard(version="7", parts=PriceParts(input=150_001, output=600_000), source="litellm", as_of="2026-11-01")
TIERED = msgspec.structs.replace(LISTED, tiers=(PriceTier(parts=PriceParts(input=300_001), input_tokens_from=9),))
CATALOG = Catalog(
    version="v",
    built_at="",
    models={"lab/model": Model(slug="lab/model", name="M", aliases=("model", "lab/old"))},
    providers={slug: Provider(slug=slug, name=slug, credentials=("K",)) for slug in ("groq", "nvidia")},
    endpoints={"lab/model": (endpoint("groq", "lab/model"), endpoint("nvidia", "lab/model"))},
    prices={"groq/lab/model": (LISTED,), "nvidia/lab/model": (TIERED,)},
)
GROQ, NVIDIA = "groq/lab/model", "nvidia/lab/model"
FREE = PriceParts(input=0, output=0)


def override(endpoint_id: str = GROQ, price: int = 5, **fields: Any) -> PriceOverride:
    """Return an override with one price of input and output."""
    return PriceOverride(endpoint=endpoint_id, parts=PriceParts(input=price, output=price), as_of="d", version=3, **fields)


def own(provider: str = "vllm-eu", model: str = "lab/model", **fields: Any) -> PrivateEndpoint:
    """Return an endpoint of the operator's own."""
    given = {"upstream_model": "m", "base_url": "https://a.example/v1", "parts": FREE, "as_of": "d", "version": 4, **fields}
    return PrivateEndpoint(provider=provider, model=model, **given)


def laid(**records: Any) -> Catalog:
    """Lay records that fit."""
    found = lay(CATALOG, Overlay(version=9, **records), {"ollama"})
    assert found.passed_over == ()
    return found.catalog


def misfits(**records: Any) -> list[PassedOver]:
    """Lay records and return those that do not fit; nothing else may have changed."""
    found = lay(CATALOG, Overlay(version=9, **records), {"ollama"})
    assert msgspec.structs.replace(found.catalog, version="v") == CATALOG
    return list(found.passed_over)


def test_nothing_laid_changes_nothing() -> None:
    """Every instance without records would work out all that it knows of its catalogue again, for nothing."""
    assert lay(CATALOG, Overlay(version=5)).catalog is CATALOG


def test_an_override_replaces_the_whole_card() -> None:
    """A price that was agreed with a provider would be mixed with listed ones."""
    catalog = laid(overrides=(override(NVIDIA),))
    (card,) = catalog.prices[NVIDIA]
    assert (card.parts, card.tiers, card.source, card.version) == (PriceParts(input=5, output=5), (), "operator", "operator-3")
    assert catalog.prices[GROQ] == (LISTED,)
    assert catalog.version == "v+9"
    assert CATALOG.prices[NVIDIA] == (TIERED,)


def test_an_override_holds_in_its_time_only() -> None:
    """A price that was agreed for December would be charged in November, or for ever."""
    records = (override(price=5, valid_from=100, valid_to=200), override(price=7, valid_from=150), override(price=9))
    cards = laid(overrides=records).prices[GROQ]

    def at(now: int) -> int | None:
        card = price_in_force(cards, now * 1000)
        return None if card is None else card.parts.input

    assert [at(now) for now in (50, 100, 149, 150, 199, 200, 10**9)] == [9, 5, 5, 7, 7, 7, 7]
    bounded = laid(overrides=(override(price=5, valid_from=100, valid_to=200),)).prices[GROQ]
    assert [card.parts.input for card in bounded] == [5, 150_001]
    found = price_in_force(bounded, 250_000)
    assert found == LISTED


def test_an_endpoint_without_a_believed_price_can_be_given_one() -> None:
    """An endpoint whose listed price is in quarantine could never be used."""
    unpriced = msgspec.structs.replace(CATALOG, prices={})
    assert lay(unpriced, Overlay(version=1, overrides=(override(),))).catalog.prices[GROQ][0].parts.input == 5


def test_a_discount_is_rounded_up_and_an_endpoints_own_goes_first() -> None:
    """The organisation would be charged less than the provider charges, or two discounts would add up."""
    catalog = laid(discounts=(Discount(subject="nvidia", off_ppm=333_333), Discount(subject=GROQ, off_ppm=500_000)))
    (card,) = catalog.prices[GROQ]
    assert (card.parts, card.version, card.source) == (PriceParts(input=75_001, output=300_000), "7-500000ppm", "litellm")
    (tiered,) = catalog.prices[NVIDIA]
    assert (tiered.parts.input, tiered.tiers[0].parts.input) == (100_001, 200_001)
    both = laid(discounts=(Discount(subject="groq", off_ppm=100_000), Discount(subject=GROQ, off_ppm=500_000)))
    assert both.prices[GROQ] == (card,)


@given(st.integers(0, 10**12), st.integers(1, 10**6))
def test_a_discount_never_undercharges_and_never_charges_more(price: int, off_ppm: int) -> None:
    """Books would be short by what was rounded, or a discount would make a thing dearer."""
    card = msgspec.structs.replace(LISTED, parts=PriceParts(input=price, output=price))
    lowered = discounted(card, off_ppm)
    found = lowered.parts.input
    assert found is not None
    assert price * (10**6 - off_ppm) <= found * 10**6 < price * (10**6 - off_ppm) + 10**6
    usage = Usage(input_tokens=1_000, output_tokens=1_000)
    assert charge(lowered, usage, Terms(0)) <= charge(card, usage, Terms(0))


def test_discounts_leave_set_prices_alone() -> None:
    """A price that was agreed as it stands would be lowered again."""
    records = {"discounts": (Discount(subject="groq", off_ppm=1), Discount(subject="nvidia", off_ppm=1))}
    catalog = laid(**records, overrides=(override(),), endpoints=(own(parts=PriceParts(input=10, output=10)),))
    assert catalog.prices[GROQ][0].parts.input == 5
    assert catalog.prices["vllm-eu/lab/model"][0].parts.input == 10


def test_an_own_endpoint_is_served_first_under_its_own_provider() -> None:
    """A server that stands paid for would be asked after those that are paid by use, or with another provider's key."""
    catalog = laid(endpoints=(own(credential="ENDPOINT_KEY_A", region="eu"), own("vllm-us", "lab/new", context_tokens=4096)))
    assert [row.provider for row in catalog.endpoints["lab/model"]] == ["vllm-eu", "groq", "nvidia"]
    assert catalog.providers["vllm-eu"].credentials == ("ENDPOINT_KEY_A",)
    assert catalog.providers["vllm-us"].credentials == ()
    assert catalog.models["lab/model"] == CATALOG.models["lab/model"]
    assert catalog.models["lab/new"].context_tokens == 4096
    (row,) = catalog.endpoints["lab/new"]
    assert (row.id, row.base_url, row.dialect) == ("vllm-us/lab/new", "https://a.example/v1", "openai_chat")
    (card,) = catalog.prices[row.id]
    assert (card.parts, card.source, card.version) == (FREE, "operator", "operator-4")


def test_an_own_endpoint_can_be_overridden() -> None:
    """Its price could be changed only by taking the endpoint away."""
    catalog = laid(endpoints=(own(),), overrides=(override("vllm-eu/lab/model"),))
    assert catalog.prices["vllm-eu/lab/model"][0].parts.input == 5


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ({"overrides": (override("groq/lab/gone"),)}, PassedOver("groq/lab/gone", Misfit.ENDPOINT_MISSING)),
        ({"discounts": (Discount(subject="gone", off_ppm=1),)}, PassedOver("gone", Misfit.SUBJECT_MISSING)),
        ({"endpoints": (own("groq"),)}, PassedOver("groq/lab/model", Misfit.PROVIDER_TAKEN)),
        ({"endpoints": (own("ollama"),)}, PassedOver("ollama/lab/model", Misfit.PROVIDER_TAKEN)),
        ({"endpoints": (own(model="lab/old"),)}, PassedOver("vllm-eu/lab/old", Misfit.MODEL_IS_ALIAS)),
        ({"endpoints": (own(credential="OPENAI_API_KEY"),)}, PassedOver("vllm-eu/lab/model", Misfit.CREDENTIAL_NAME)),
    ],
)
def test_a_record_that_does_not_fit_changes_nothing(records: dict[str, Any], expected: PassedOver) -> None:
    """A catalogue that was replaced would take all records down, or an own endpoint would be sent a provider's key."""
    assert misfits(**records) == [expected]


def test_endpoints_of_one_provider_have_one_credential() -> None:
    """Any key of a provider opens any of its endpoints, so one server would be sent the key of another."""
    records = (own(credential="ENDPOINT_KEY_A"), own(model="lab/new", credential="ENDPOINT_KEY_B"))
    found = lay(CATALOG, Overlay(version=1, endpoints=records))
    assert found.passed_over == (PassedOver("vllm-eu/lab/new", Misfit.CREDENTIAL_DIFFERS),)
    assert found.catalog.providers["vllm-eu"].credentials == ("ENDPOINT_KEY_A",)
