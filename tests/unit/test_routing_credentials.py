"""With which credential an endpoint is asked: drawn by weight among those that may be used, kept for a conversation."""

from collections import Counter
from itertools import permutations
from typing import Any

import msgspec
import pytest

from junctor.domain.call import Snapshots
from junctor.domain.catalog import Provider
from junctor.domain.completion import Message, Role, TextPart
from junctor.domain.routing import Candidate, Credential
from tests.support.routes import TURNS, call, card, endpoint, health, plan, reseeded, tried, world

DRAWS = 4_000
THREE = (Credential("KEY", 3.0), Credential("KEY_2", 1.0), Credential("KEY_3", 2.0))
LATER = (*TURNS, Message(Role.ASSISTANT, (TextPart("A thing."),)))
CACHED = card(1_000, cache_read=100)


def acme(*credentials: Credential, **fields: Any) -> Snapshots:
    """Return a model at one provider with these credentials."""
    return world(endpoint("acme"), credentials={"acme": credentials}, **fields)


def asked(snapshots: Snapshots, seed: int = 0, **fields: Any) -> Candidate:
    """Return the first candidate of a plan."""
    return plan(reseeded(snapshots, seed), call(**fields)).candidates[0]


def shares(snapshots: Snapshots, **fields: Any) -> dict[tuple[str | None, ...], float]:
    """Return how often each order of credentials is drawn."""
    found = (asked(snapshots, seed, **fields) for seed in range(DRAWS))
    return {order: count / DRAWS for order, count in Counter((each.credential, *each.spare) for each in found).items()}


def test_credentials_are_drawn_by_weight_and_the_others_are_spare() -> None:
    """An account with thrice the limits would get as many calls as the others, and run into none of its own."""
    found = shares(acme(*THREE))
    first = {name: sum(share for order, share in found.items() if order[0] == name) for name in ("KEY", "KEY_2", "KEY_3")}
    assert first == {
        "KEY": pytest.approx(3 / 6, abs=0.03),
        "KEY_2": pytest.approx(1 / 6, abs=0.03),
        "KEY_3": pytest.approx(2 / 6, abs=0.03),
    }
    assert found["KEY", "KEY_3", "KEY_2"] == pytest.approx(3 / 6 * 2 / 3, abs=0.03)
    assert found["KEY_2", "KEY", "KEY_3"] == pytest.approx(1 / 6 * 3 / 5, abs=0.03)
    assert {len(order) for order in found} == {3}


@pytest.mark.parametrize("count", [2, 3, 4])
def test_credentials_of_one_weight_are_drawn_alike(count: int) -> None:
    """One of an organisation's accounts would run into its limits while another idles."""
    names = [f"KEY_{number}" for number in range(count)]
    found = shares(acme(*map(Credential, names)))
    assert found.keys() == set(permutations(names))
    for place in range(count):
        for name in names:
            share = sum(share for order, share in found.items() if order[place] == name)
            assert share == pytest.approx(1 / count, abs=0.03)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_credential_that_comes_leaves_the_order_of_the_others(count: int) -> None:
    """Each new account would send all conversations elsewhere, away from what is cached of them."""
    names = [f"KEY_{number}" for number in range(count)]
    before, after = (acme(*map(Credential, those)) for those in (names, [*names, "KEY_NEW"]))
    for seed in range(200):
        first, then = asked(before, seed), asked(after, seed)
        assert [name for name in (then.credential, *then.spare) if name != "KEY_NEW"] == [first.credential, *first.spare]


@pytest.mark.parametrize(
    ("cooling", "orders"),
    [
        ({"KEY"}, {("KEY_2", "KEY_3"), ("KEY_3", "KEY_2")}),
        ({"KEY", "KEY_3"}, {("KEY_2",)}),
        ({"KEY_9"}, 6),
        ({"KEY", "KEY_2", "KEY_3"}, 6),
    ],
)
def test_what_cools_is_left_out_unless_all_do(cooling: set[str], orders: set[tuple[str, ...]] | int) -> None:
    """A throttled key would be asked again at once; or the last endpoint of a model be refused on a guess."""
    found = shares(acme(*THREE, measured={"acme": health(cooling=frozenset(cooling))}))
    assert (len(found) if isinstance(orders, int) else found.keys()) == orders


def test_an_endpoint_whose_credentials_all_cool_goes_last() -> None:
    """A call would wait for a provider that has just asked to be left alone."""
    snapshots = world(
        *map(endpoint, "abc"),
        prices={"a": card(1), "b": card(900)},
        measured={"a": health(cooling=frozenset({"KEY", "KEY_2"})), "b": health(cooling=frozenset({"KEY"}), degraded=True)},
        credentials={"a": ("KEY", "KEY_2"), "b": ("KEY", "KEY_2"), "c": ("KEY",)},
    )
    for seed in range(20):
        found = plan(reseeded(snapshots, seed))
        assert tried(found) == ["c", "b", "a"]
        assert (found.candidates[1].credential, found.candidates[1].spare) == ("KEY_2", ())
    assert tried(plan(snapshots, call(model="lab/model:floor"))) == ["b", "c", "a"]


def test_an_endpoint_without_credentials_does_not_cool() -> None:
    """A model on this machine, which asks for no key, would be sent one, or go last."""
    snapshots = world(endpoint("a"), measured={"a": health(cooling=frozenset({"KEY"}))}, credentials={})
    open_to_all = {"a": Provider(slug="a", name="A")}
    bare = msgspec.structs.replace(snapshots, catalog=msgspec.structs.replace(snapshots.catalog, providers=open_to_all))
    (candidate,) = plan(bare).candidates
    assert (candidate.credential, candidate.spare) == (None, ())


@pytest.mark.parametrize("fields", [{"messages": LATER}, {"session_id": "s"}, {"prompt_cache_key": "k"}])
def test_a_conversation_keeps_its_credential(fields: dict[str, Any]) -> None:
    """Each turn would go to another account of the provider, where nothing of it is cached."""
    assert len(shares(acme(*THREE, prices={"acme": CACHED}), **fields)) == 1
    assert len(shares(acme(*THREE), **fields)) == 6


def test_conversations_spread_over_credentials_by_weight() -> None:
    """All conversations would be sent to one account while the others idle."""
    snapshots = acme(*THREE, prices={"acme": CACHED})
    found = Counter(asked(snapshots, session_id=f"{number}").credential for number in range(DRAWS))
    assert [found[name] / DRAWS for name in ("KEY", "KEY_2", "KEY_3")] == [
        pytest.approx(share, abs=0.03) for share in (3 / 6, 1 / 6, 2 / 6)
    ]


def test_a_credential_that_cools_moves_its_own_conversations_only() -> None:
    """One throttled account would empty the caches of all others."""
    whole = acme(*THREE, prices={"acme": CACHED})
    less = acme(*THREE, prices={"acme": CACHED}, measured={"acme": health(cooling=frozenset({"KEY"}))})
    for number in range(200):
        before, after = asked(whole, session_id=f"{number}"), asked(less, session_id=f"{number}")
        assert after.credential == (before.spare[0] if before.credential == "KEY" else before.credential)


def test_credentials_and_endpoints_are_drawn_apart() -> None:
    """A provider's first account would get its calls of one model only."""
    snapshots = world(endpoint("a"), endpoint("b"), credentials={"a": ("KEY", "KEY_2"), "b": ("KEY", "KEY_2")})
    found = Counter(
        tuple((c.endpoint.provider, c.credential) for c in plan(reseeded(snapshots, seed)).candidates) for seed in range(DRAWS)
    )
    assert len(found) == 8
    assert all(count / DRAWS == pytest.approx(1 / 8, abs=0.03) for count in found.values())
