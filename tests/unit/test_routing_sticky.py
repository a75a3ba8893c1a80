"""Conversations that stay where their beginning is cached, spread as the draw would spread them, without shared state."""

from collections import Counter
from typing import Any

import pytest

from junctor.domain.account import Caller
from junctor.domain.call import Snapshots
from junctor.domain.completion import ImagePart, Message, Role, TextPart
from junctor.domain.routing import Sort, SortBy
from tests.support.routes import TURNS, call, card, endpoint, health, plan, reseeded, tried, world

CACHED = card(1_000, cache_read=100)
ANSWER = Message(Role.ASSISTANT, (TextPart("A thing."),))


def later(*texts: str) -> tuple[Message, ...]:
    """Return the same conversation after its first answer, with these further turns."""
    return (*TURNS, ANSWER, *(Message(Role.USER, (TextPart(text),)) for text in texts))


def homes(snapshots: Snapshots, seeds: int = 40, **fields: Any) -> set[str]:
    """Return the providers that are tried first over some seeds."""
    return {tried(plan(reseeded(snapshots, seed), call(**fields)))[0] for seed in range(seeds)}


def cached(**fields: Any) -> Snapshots:
    """Return a model with four endpoints that read their cache for less."""
    return world(*map(endpoint, "abcd"), prices=dict.fromkeys("abcd", CACHED), **fields)


@pytest.mark.parametrize("fields", [{"messages": later()}, {"prompt_cache_key": "k"}, {"session_id": "s"}])
def test_a_conversation_stays_where_it_is_cached(fields: dict[str, Any]) -> None:
    """Each turn of a long conversation would be read, and paid for, from its beginning."""
    assert len(homes(cached(), **fields)) == 1
    assert homes(cached(), **fields) == homes(cached(), **fields)


def test_later_turns_go_where_the_others_went() -> None:
    """A conversation that grows would leave its cache behind."""
    (home,) = homes(cached(), messages=later())
    for count in range(1, 20):
        assert homes(cached(), 3, messages=later(*["more " * 50] * count)) == {home}


def test_the_rest_of_the_plan_is_drawn() -> None:
    """All conversations of a failing endpoint would run to the same next one."""
    found = {tuple(tried(plan(reseeded(cached(), seed), call(messages=later())))) for seed in range(60)}
    assert len({places[0] for places in found}) == 1
    assert len({places[1:] for places in found}) == 6


def test_only_the_first_place_is_kept() -> None:
    """All conversations of a model with one direct endpoint would run to the same aggregator when that fails."""
    snapshots = cached(aggregators=("b", "c", "d"))
    found = {tuple(tried(plan(reseeded(snapshots, seed), call(messages=later())))) for seed in range(60)}
    assert {places[0] for places in found} == {"a"}
    assert {places[1] for places in found} == set("bcd")


def test_another_model_has_another_home() -> None:
    """A provider would get all models' calls of an account with one key."""
    rows = (*map(endpoint, "abcd"), *(endpoint(name, "lab/next") for name in "abcd"))
    snapshots = world(*rows, prices=dict.fromkeys("abcd", CACHED))
    keys = [f"{number}" for number in range(100)]
    pairs = [[homes(snapshots, 1, prompt_cache_key=key, model=model) for key in keys] for model in ("lab/model", "lab/next")]
    assert 10 < sum(map(set.__eq__, *pairs)) < 45


def test_a_first_turn_is_drawn() -> None:
    """Many calls with one and the same prompt would all go to one endpoint, and there is nothing in a cache yet."""
    assert homes(cached()) == set("abcd")


def test_only_endpoints_that_read_their_cache_for_less_are_homes() -> None:
    """A conversation would be bound to an endpoint where that saves nothing."""
    assert homes(world(*map(endpoint, "abcd")), messages=later()) == set("abcd")
    prices = {"a": CACHED, "b": card(1_000, cache_read=1_000)}
    assert homes(world(*map(endpoint, "abcd"), prices=prices), messages=later()) == {"a"}


@pytest.mark.parametrize("state", [{"open": True}, {"degraded": True}, {"ramp": 0.5}])
def test_a_conversation_leaves_an_endpoint_that_fails(state: dict[str, Any]) -> None:
    """A conversation would be sent to a dead endpoint at each turn, or crowd one that is coming back."""
    (home,) = homes(cached(), messages=later())
    (other,) = homes(cached(measured={home: health(**state)}), messages=later())
    assert other != home
    assert homes(cached(measured={home: health(0.9)}), messages=later()) == {home}


def test_the_end_of_an_endpoint_moves_its_own_conversations_only() -> None:
    """One endpoint's failure would empty the caches of all others."""
    gone = cached(measured={"a": health(open=True)})
    for number in range(200):
        key = f"conversation {number}"
        (home,), (after,) = homes(cached(), 1, prompt_cache_key=key), homes(gone, 1, prompt_cache_key=key)
        assert home in {after, "a"}


def test_conversations_spread_by_price() -> None:
    """All long conversations, which cost the most, would go to the dear endpoint as often as to the cheap one."""
    prices = {"a": card(1_000, cache_read=100), "b": card(3_000, cache_read=100)}
    snapshots = world(endpoint("a"), endpoint("b"), prices=prices)
    shares = Counter(next(iter(homes(snapshots, 1, prompt_cache_key=f"{number}"))) for number in range(4_000))
    assert shares["a"] / 4_000 == pytest.approx(0.9, abs=0.02)
    even = Counter(next(iter(homes(cached(), 1, prompt_cache_key=f"{number}"))) for number in range(4_000))
    assert {name: count / 4_000 for name, count in even.items()} == dict.fromkeys("abcd", pytest.approx(0.25, abs=0.03))


def test_conversations_of_others_are_other_conversations() -> None:
    """All accounts that use one framework would have one home for its one instruction."""
    keys = [f"{number}" for number in range(100)]
    mine = [next(iter(homes(cached(), 1, prompt_cache_key=key))) for key in keys]
    theirs = [next(iter(homes(cached(), 1, prompt_cache_key=key, caller=Caller("B", "K")))) for key in keys]
    sessions = [next(iter(homes(cached(), 1, session_id=key))) for key in keys]
    assert mine != theirs
    assert mine != sessions
    assert homes(cached(), 1, session_id="1", prompt_cache_key="2") == homes(cached(), 1, session_id="1")


def test_what_names_a_conversation_is_its_opening() -> None:
    """Conversations with the same instruction would all have one home, or one without an instruction none at all."""
    picture = ImagePart("https://a.example/x.png")
    found = set()
    for number in range(60):
        first = Message(Role.USER, (picture, TextPart(f"question {number}")))
        seeing = world(
            *(endpoint(name, input_modalities=("text", "image")) for name in "abcd"), prices=dict.fromkeys("abcd", CACHED)
        )
        home = homes(seeing, 3, messages=(TURNS[0], first, ANSWER))
        assert len(home) == len(homes(seeing, 3, messages=(first, ANSWER))) == len(homes(seeing, 3, messages=(ANSWER,))) == 1
        found |= home
    assert found == set("abcd")


@pytest.mark.parametrize("wish", [{"order": ("b",)}, {"sort": Sort(SortBy.PRICE)}])
def test_a_callers_order_is_stronger(wish: dict[str, Any]) -> None:
    """A caller who names a provider would be kept at another by what he said before."""
    prices = {"a": CACHED, "b": card(500), "c": CACHED}
    assert homes(world(*map(endpoint, "abc"), prices=prices), messages=later(), prefer=wish) == {"b"}
