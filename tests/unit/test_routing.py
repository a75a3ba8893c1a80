"""From the names in a call to the endpoints of models: every endpoint once, with a reason for each that is left out."""

import msgspec
import pytest

from junctor.domain.account import Caller
from junctor.domain.call import Snapshots
from junctor.domain.catalog import PriceCard, PriceParts, PriceTier
from junctor.domain.completion import ImagePart, Message, Role, TextPart
from junctor.domain.errors import InvalidFieldError, ModelNotAllowedError, ModelNotFoundError
from junctor.domain.routing import Partition, Plan, Sort, SortBy
from junctor.policy import routing
from tests.support.routes import CARD, NOW_S, TURNS, call, card, endpoint, health, left_out, plan, tried, world

FREE = "lab/model:free"


def test_at_most_four_are_tried_and_the_rest_is_named() -> None:
    """A call could walk through sixty providers, or an endpoint vanish from its own report."""
    found = plan(world(*map(endpoint, "abcdef")))
    assert len(found.candidates) == routing.CANDIDATES_MAX == 4
    assert {*tried(found), *left_out(found)} == set("abcdef")
    assert set(left_out(found).values()) == {"BEYOND_FALLBACK_LIMIT"}


def test_an_endpoint_that_is_left_out_takes_no_place() -> None:
    """Three dead entries at the head of the list would make a model unreachable."""
    found = plan(world(*(endpoint(name, base_url="") for name in "abc"), endpoint("d")))
    assert tried(found) == ["d"]
    assert left_out(found) == dict.fromkeys("abc", "NOT_RUNNING")


def test_a_candidate_carries_its_credential_and_price() -> None:
    """A call would be sent with another provider's key, or be billed at another card."""
    (candidate,) = plan(world(endpoint("a"), credentials={"a": ("SPARE",), "b": ("KEY",)})).candidates
    assert (candidate.credential, candidate.price) == ("SPARE", CARD)


def test_a_candidate_says_what_it_is_expected_to_cost() -> None:
    """Nobody could see before a call why the endpoint with the lower price per token is not the cheaper one."""
    prices = {"a": card(1_000, output=2_000, request=5_000_001), "b": card(0), "c": card(0, image_input=900_000)}
    rows = [endpoint(name, input_modalities=("text", "image")) for name in "abc"]
    picture = Message(Role.USER, (TextPart("a"), ImagePart("https://a.example/x.png")))
    found = plan(world(*rows, prices=prices), call(max_tokens=10, messages=(*TURNS, picture)))
    costs = {candidate.endpoint.provider: candidate.expected_nanousd for candidate in found.candidates}
    # 27 bytes are 7 tokens: 7 x 1,000 + 10 x 2,000 + 5,000,001 pico-USD, rounded up.
    assert costs == {"a": 5_028, "b": 0, "c": 900}
    (twice,) = plan(world(endpoint("a"), prices={"a": card(0, output=1_000)}), call(max_tokens=10, n=2)).candidates
    (unbound,) = plan(world(endpoint("a"), prices={"a": card(0, output=1_000)}), call(max_tokens=5_000)).candidates
    assert (twice.expected_nanousd, unbound.expected_nanousd) == (20, 1_024)


@pytest.mark.parametrize("name", ["lab/model", "model", "lab/old", "~lab/model-latest"])
def test_a_model_is_found_by_its_aliases(name: str) -> None:
    """Callers who use another name of the same model would be refused."""
    snapshots = world(endpoint("a"), aliases={"lab/model": ("model", "lab/old", "~lab/model-latest")})
    assert tried(plan(snapshots, call(model=name))) == ["a"]


def test_a_model_without_endpoints_has_an_empty_plan() -> None:
    """A model that is only listed would end calls in a bug."""
    assert plan(world()) == Plan(())


@pytest.mark.parametrize("name", ["lab/modle", "lab/modle:nitro", "lab/model:fast", "lab/model:free", "~lab/model-latest"])
def test_an_unknown_model_is_refused_with_near_names(name: str) -> None:
    """A caller would not see that he only mistyped, or would pay for a model whose free variant he asks for."""
    with pytest.raises(ModelNotFoundError) as caught:
        plan(world(endpoint("a")), call(model=name))
    assert (caught.value.model, caught.value.metadata["near"]) == (name, "lab/model")
    with pytest.raises(ModelNotFoundError) as caught:
        plan(world(endpoint("a")), call(model="zzz" * 40))
    assert caught.value.metadata["near"] == ""


def test_fallback_models_come_after_all_endpoints_of_the_first() -> None:
    """A caller would get another model while the one that he wants is there."""
    snapshots = world(endpoint("a"), endpoint("b", "lab/next"), endpoint("c", "lab/last"), aliases={"lab/next": ("next",)})
    found = plan(snapshots, call(models=("lab/last", "next", "lab/model", "lab/last")))
    assert tried(found) == ["a", "c", "b"]
    assert found.excluded == ()
    with pytest.raises(ModelNotFoundError):
        plan(snapshots, call(models=("lab/nobody",)))


def test_each_model_has_four_places() -> None:
    """A fallback model would never be reached where the first has many dying endpoints."""
    found = plan(world(*map(endpoint, "abcde"), *(endpoint(name, "lab/next") for name in "vwxyz")), call(models=("lab/next",)))
    assert [candidate.endpoint.model for candidate in found.candidates] == ["lab/model"] * 4 + ["lab/next"] * 4


def test_a_model_that_the_key_may_not_use_is_left_out() -> None:
    """A key that is bound to one model would reach others by naming them second."""
    snapshots = world(endpoint("a"), endpoint("b", "lab/next"))
    bound = Caller("A", "K", allowed_models=("lab/next",))
    found = plan(snapshots, call(caller=bound, models=("lab/next",)))
    assert (tried(found), left_out(found)) == (["b"], {"a": "MODEL_NOT_ALLOWED"})
    for caller in (bound, Caller("A", "K", allowed_models=())):
        with pytest.raises(ModelNotAllowedError) as caught:
            plan(snapshots, call(caller=caller))
        assert caught.value.metadata == {"model": "lab/model"}


def two_prices() -> Snapshots:
    """Return a model with a cheap endpoint and a dear and fast one, and its free variant."""
    rows = (endpoint("dear"), endpoint("cheap"), endpoint("gift", FREE))
    fast = {"dear": health(throughput_tokens_per_s=99.0), "cheap": health(throughput_tokens_per_s=9.0)}
    return world(*rows, prices={"dear": card(900), "cheap": card(800), "gift": card(0)}, measured=fast)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["lab/model:floor", "lab/model:nitro:floor"])
def test_floor_asks_the_cheapest_first(name: str, seed: int) -> None:
    """A caller who asks for the lowest price would get it most of the time."""
    assert tried(plan(msgspec.structs.replace(two_prices(), seed=seed), call(model=name))) == ["cheap", "dear"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["lab/model:nitro", "lab/model:floor:nitro"])
def test_nitro_asks_the_fastest_first(name: str, seed: int) -> None:
    """A caller who pays for speed would get it now and then."""
    assert tried(plan(msgspec.structs.replace(two_prices(), seed=seed), call(model=name))) == ["dear", "cheap"]


def test_a_catalogue_variant_is_a_model_of_its_own() -> None:
    """A caller of the free variant would be charged for the one that is not."""
    assert tried(plan(two_prices(), call(model=FREE))) == ["gift"]
    for name in ("lab/model:free:floor", "lab/model:floor:free"):
        assert tried(plan(two_prices(), call(model=name))) == ["gift"]


def test_a_free_model_is_never_paid_for() -> None:
    """A free model would be charged for once a provider takes money for it."""
    rows = (endpoint("gift", FREE), endpoint("paid", FREE), endpoint("tiered", FREE))
    dear = msgspec.structs.replace(card(0), parts=PriceParts(input=0, output=0, request=1))
    found = plan(world(*rows, prices={"gift": card(0), "paid": card(1), "tiered": dear}), call(model=FREE))
    assert (tried(found), left_out(found)) == (["gift"], {"paid": "PAID", "tiered": "PAID"})


def test_a_variant_that_has_no_measurements_is_refused() -> None:
    """A caller who asks for endpoints that call tools well would get any."""
    for fields, path in (({"model": "lab/model:exacto"}, "spec.model"), ({"models": ("lab/model:exacto",)}, "spec.models[0]")):
        with pytest.raises(InvalidFieldError) as caught:
            plan(two_prices(), call(**fields))
        assert [field for field, _ in caught.value.violations] == [path]


def test_a_variant_may_not_contradict_the_preferences() -> None:
    """One of two wishes that exclude each other would be ignored in silence."""
    wish = {"sort": Sort(SortBy.LATENCY)}
    with pytest.raises(InvalidFieldError) as caught:
        plan(two_prices(), call(model="lab/model:floor", prefer=wish))
    assert caught.value.violations[0][0] == "spec.model"
    alike = {"sort": Sort(SortBy.PRICE)}
    assert tried(plan(two_prices(), call(model="lab/model:floor", prefer=alike))) == ["cheap", "dear"]


def test_models_may_be_sorted_together() -> None:
    """A caller who takes any of several models at the best price would pay for the first."""
    snapshots = world(
        *(endpoint(name) for name in "abcde"),
        *(endpoint(name, "lab/next") for name in "wx"),
        prices={name: card(100 * place) for place, name in enumerate("awbxcde", 1)},
    )
    wish = {"sort": Sort(SortBy.PRICE, Partition.NONE)}
    found = plan(snapshots, call(models=("lab/next",), prefer=wish))
    assert (tried(found), left_out(found)) == (["a", "w", "b", "x", "c", "d"], {"e": "BEYOND_FALLBACK_LIMIT"})
    apart = plan(snapshots, call(models=("lab/next",), prefer={"sort": Sort(SortBy.PRICE)}))
    assert tried(apart) == ["a", "b", "c", "d", "w", "x"]


@pytest.mark.parametrize(
    ("wish", "paths"),
    [
        ({"order": ("a", "nobody")}, ["preferences.order[1]"]),
        ({"only": ("nobody",)}, ["preferences.only.providers[0]"]),
        ({"ignore": ("A", "a", "")}, ["preferences.ignore[0]", "preferences.ignore[2]"]),
    ],
)
def test_an_unknown_provider_is_refused(wish: dict[str, tuple[str, ...]], paths: list[str]) -> None:
    """A provider that is misspelt in `ignore` would get the prompt."""
    with pytest.raises(InvalidFieldError) as caught:
        plan(world(endpoint("a")), call(prefer=wish))
    assert [path for path, _ in caught.value.violations] == paths


def test_prices_follow_the_hour_and_the_size() -> None:
    """A call at night, or one with a long prompt, would be planned at the price of another that came before it."""
    minute = NOW_S // 60 % 1440
    tiers = (
        PriceTier(parts=PriceParts(output=5_000), utc_from_min=minute, utc_to_min=minute + 1),
        PriceTier(parts=PriceParts(output=9_000), input_tokens_from=200),
    )
    snapshots = world(endpoint("a"), prices={"a": msgspec.structs.replace(card(0, output=1_000), tiers=tiers)})
    long = (Message(Role.USER, (TextPart("x" * 800),)),)
    costs = []
    for now_s in (NOW_S, NOW_S + 60, NOW_S):
        view = msgspec.structs.replace(snapshots, now_ms=now_s * 1000)
        for turns in (TURNS, long):
            costs += [row.expected_nanousd for row in plan(view, call(max_tokens=1, messages=turns)).candidates]
    assert costs == [5, 9, 1, 9, 5, 9]


def valid(version: str, valid_from: int | None, valid_to: int | None) -> PriceCard:
    """Return a price card of this validity."""
    return msgspec.structs.replace(CARD, version=version, valid_from=valid_from, valid_to=valid_to)


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ((), None),
        ((valid("1", None, None),), "1"),
        ((valid("1", NOW_S + 1, None),), None),
        ((valid("1", NOW_S, None),), "1"),
        ((valid("1", None, NOW_S),), None),
        ((valid("1", None, NOW_S + 1),), "1"),
        ((valid("1", None, NOW_S), valid("2", NOW_S, None)), "2"),
        ((valid("1", NOW_S - 5, NOW_S + 5), valid("2", None, None)), "1"),
    ],
)
@pytest.mark.parametrize("millisecond", [0, 999])
def test_the_price_in_force_is_taken(cards: tuple[PriceCard, ...], expected: str | None, millisecond: int) -> None:
    """A call would be billed at a price of yesterday, or of tomorrow."""
    found = routing.price_in_force(cards, NOW_S * 1000 + millisecond)
    assert (found.version if found else None) == expected
    snapshots = msgspec.structs.replace(world(endpoint("a"), prices={"a": cards}), now_ms=NOW_S * 1000 + millisecond)
    planned = plan(snapshots)
    assert [candidate.price.version for candidate in planned.candidates] == ([expected] if expected else [])
    assert left_out(planned) == ({} if expected else {"a": "PRICE_UNKNOWN"})


def test_what_is_remembered_of_a_catalogue_is_not_taken_for_another() -> None:
    """A new price, or a key that was set, would not count until a restart."""
    for _ in range(2):
        for count in range(7):
            names = [f"p{place}" for place in range(count)]
            snapshots = world(*map(endpoint, names))
            assert {*tried(plan(snapshots)), *left_out(plan(snapshots))} == set(names)
            keyless = msgspec.structs.replace(snapshots, credentials={})
            assert left_out(plan(keyless)) == dict.fromkeys(names, "CREDENTIALS_MISSING")
            mute = msgspec.structs.replace(snapshots, dialects=frozenset({"other"}))
            assert left_out(plan(mute)) == dict.fromkeys(names, "DIALECT_UNSUPPORTED")
