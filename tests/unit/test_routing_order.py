"""The order of what may take a call: what a caller asks for first, then health, directness, and a draw by price."""

from collections import Counter
from typing import Any

import pytest

from junctor.domain.call import Call, Snapshots
from junctor.domain.completion import JsonSchemaFormat, Message, Reasoning, Role, TextPart, Tool
from junctor.domain.health import Percentiles
from junctor.domain.routing import MaxPrice, Sort, SortBy
from tests.support.routes import call, card, endpoint, health, plan, reseeded, tried, world

DRAWS = 4_000
FLOOR = call(prefer={"sort": Sort(SortBy.PRICE)})
DUE = health(0.1, open=True, probe=True)


def first_of(snapshots: Snapshots, asked: Call | None = None, draws: int = DRAWS) -> Counter[str]:
    """Count which provider is tried first, over many seeds."""
    return Counter(tried(plan(reseeded(snapshots, seed), asked))[0] for seed in range(draws))


def orders(snapshots: Snapshots, asked: Call | None = None) -> set[str]:
    """Return the orders that come up over some seeds, each as one word."""
    return {"".join(tried(plan(reseeded(snapshots, seed), asked))) for seed in range(60)}


def test_the_same_seed_gives_the_same_plan() -> None:
    """What Explain tells would not be what is done."""
    snapshots = world(*map(endpoint, "abcdefgh"))
    for seed in range(50):
        again = world(*map(endpoint, "abcdefgh"), seed=seed)
        assert plan(reseeded(snapshots, seed)) == plan(again)
    assert len(orders(snapshots)) > 30


def test_price_counts_by_its_square() -> None:
    """The dear endpoint would get as many calls as the cheap one, or none to learn from."""
    snapshots = world(endpoint("a"), endpoint("b"), prices={"a": card(1_000_000), "b": card(3_000_000)})
    assert first_of(snapshots)["a"] / DRAWS == pytest.approx(0.9, abs=0.02)
    weights = {candidate.endpoint.provider: candidate.weight for candidate in plan(snapshots).candidates}
    assert weights == {"a": pytest.approx(0.9), "b": pytest.approx(0.1)}


def test_the_price_is_that_of_this_request() -> None:
    """A long prompt would go to the endpoint whose output is cheap."""
    prices = {"a": card(input=1_000, output=9_000), "b": card(input=9_000, output=1_000)}
    snapshots = world(endpoint("a"), endpoint("b"), prices=prices)
    long = (Message(Role.USER, (TextPart("x" * 40_000),)),)
    assert first_of(snapshots, call(messages=long, max_tokens=10))["a"] > 0.95 * DRAWS
    assert first_of(snapshots, call(max_tokens=4_000))["b"] > 0.95 * DRAWS


def test_what_a_cache_saves_lowers_the_price() -> None:
    """An endpoint whose cache answers most of a conversation would look as dear as one that reads it all anew."""
    prices = dict.fromkeys("ab", card(input=1_000_000, output=0, cache_read=0))
    snapshots = world(endpoint("a"), endpoint("b"), prices=prices, measured={"a": health(cache_read_share=0.5)})
    assert first_of(snapshots)["a"] / DRAWS == pytest.approx(0.8, abs=0.03)


def test_the_chance_to_answer_and_the_ramp_count() -> None:
    """An endpoint that fails now and then, or has only just come back, would get its whole share of calls."""
    measured = {"a": health(1.0), "b": health(0.5), "c": health(1.0, ramp=0.25)}
    shares = first_of(world(*map(endpoint, "abc"), measured=measured))
    assert [shares[name] / DRAWS for name in "abc"] == [pytest.approx(share, abs=0.03) for share in (2 / 3, 1 / 6, 1 / 6)]


def test_of_two_that_are_drawn_the_one_with_less_to_wait_for_goes_first() -> None:
    """Calls would queue at an endpoint that is full while another idles."""
    measured = {
        "a": health(time_to_first_token_ms=200.0, in_flight=9),
        "b": health(time_to_first_token_ms=400.0, in_flight=1),
    }
    snapshots = world(endpoint("a"), endpoint("b"), measured=measured)
    assert first_of(snapshots)["b"] / DRAWS == pytest.approx(0.75, abs=0.03)
    unmeasured = world(endpoint("a"), endpoint("b"), measured={"a": measured["a"]})
    assert first_of(unmeasured)["b"] / DRAWS == pytest.approx(0.5, abs=0.03)


def test_a_dear_endpoint_is_not_taken_for_being_fast() -> None:
    """Of two endpoints the faster one would be taken always, at three times the price."""
    measured = {"a": health(time_to_first_token_ms=900.0), "b": health(time_to_first_token_ms=100.0)}
    prices = {"a": card(1_000_000), "b": card(3_000_000)}
    shares = first_of(world(endpoint("a"), endpoint("b"), prices=prices, measured=measured))
    assert shares["b"] / DRAWS == pytest.approx(1 - 0.9**2, abs=0.03)


def test_what_costs_nothing_goes_first() -> None:
    """A model on this machine would wait while a provider is paid; or its price of 0 would be a bug."""
    snapshots = world(endpoint("a"), endpoint("b"), prices={"a": card(1), "b": card(0)})
    assert first_of(snapshots, draws=200) == {"b": 200}


def test_an_endpoint_without_any_chance_still_has_a_place() -> None:
    """The last endpoint of a model would be refused on a guess."""
    measured = {"a": health(0.0), "b": health(ramp=0.0), "c": health(0.0)}
    assert set("".join(orders(world(*map(endpoint, "abc"), measured=measured)))) == set("abc")
    assert all(order[0] == "d" for order in orders(world(*map(endpoint, "abcd"), measured=measured)))


@pytest.mark.parametrize("price", [1, 1_000_000])
def test_soundness_comes_before_directness_and_directness_before_price(price: int) -> None:
    """A cheap aggregator would get the calls of a direct endpoint, or a dead endpoint those that an aggregator can answer."""
    measured = {"d": health(degraded=True), "e": health(degraded=True), "f": health(open=True)}
    for left in range(4):
        names = "abdef"[left:]
        snapshots = world(
            *map(endpoint, names),
            prices={"b": card(price), "e": card(price), "f": card(1)},
            measured={name: row for name, row in measured.items() if name in names},
            aggregators=("b", "e"),
        )
        assert orders(snapshots) == {names[:4]}


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({"tools": (Tool("f"),)}, "tools"),
        ({"response_format": JsonSchemaFormat("s")}, "response_format"),
        ({"reasoning": Reasoning(max_tokens=5)}, "reasoning"),
    ],
)
def test_what_can_do_what_is_asked_goes_first(fields: dict[str, Any], known: str) -> None:
    """A call with tools would be answered without them though another endpoint has them."""
    rows = (endpoint("a"), endpoint("b", parameters=(known,)))
    snapshots = world(*rows, prices={"b": card(99_000)}, measured={"b": health(0.6, open=True)})
    assert orders(snapshots, call(**fields)) == {"ba"}
    assert orders(snapshots) == {"ab"}


def test_what_may_not_fit_goes_last() -> None:
    """A request would be refused for its length by an endpoint that happens to be cheap."""
    snapshots = world(endpoint("a", context_tokens=1_000), endpoint("b", context_tokens=4_000), prices={"b": card(90_000)})
    turns = (Message(Role.USER, (TextPart("x" * 4_000),)),)
    assert orders(snapshots, call(messages=turns, max_tokens=1)) == {"ba"}
    assert orders(snapshots, call(max_tokens=1)) == {"ab"}


@pytest.mark.parametrize(
    ("wish", "met", "missed"),
    [
        (
            {"preferred_min_throughput": Percentiles(p50=50)},
            {"throughput_tokens_per_s": 50.0},
            {"throughput_tokens_per_s": 49.9},
        ),
        (
            {"preferred_max_latency_ms": Percentiles(p50=900)},
            {"time_to_first_token_ms": 900.0},
            {"time_to_first_token_ms": 900.1},
        ),
        (
            {"preferred_max_latency_ms": Percentiles(p50=900, p99=2_000)},
            {"time_to_first_token_percentiles_ms": Percentiles(p50=1, p99=2_000)},
            {"time_to_first_token_percentiles_ms": Percentiles(p50=1, p99=2_001)},
        ),
        (
            {"preferred_min_throughput": Percentiles(p90=20)},
            {"throughput_tokens_per_s": 1.0, "throughput_percentiles": Percentiles(p50=1, p90=20)},
            {"throughput_tokens_per_s": 99.0, "throughput_percentiles": Percentiles(p50=99, p90=19)},
        ),
    ],
)
def test_what_misses_a_preference_goes_last(wish: dict[str, Any], met: dict[str, Any], missed: dict[str, Any]) -> None:
    """A caller's wish for speed would be weighed against a cent."""
    prices = {"a": card(1)}
    snapshots = world(endpoint("a"), endpoint("b"), prices=prices, measured={"a": health(**missed), "b": health(**met)})
    assert orders(snapshots, call(prefer=wish)) == {"ba"}
    assert orders(snapshots) == {"ab"}
    unmeasured = world(endpoint("a"), endpoint("b"), prices=prices, measured={"b": health(**met)})
    assert orders(unmeasured, call(prefer=wish)) == {"ab"}


MEASURED = {
    "a": health(time_to_first_token_ms=300.0, throughput_tokens_per_s=10.0),
    "b": health(time_to_first_token_ms=100.0, throughput_tokens_per_s=30.0, degraded=True),
    "c": health(time_to_first_token_ms=200.0, throughput_tokens_per_s=20.0),
}


@pytest.mark.parametrize(
    ("by", "expected"),
    [(SortBy.PRICE, "cab"), (SortBy.LATENCY, "bca"), (SortBy.THROUGHPUT, "bca")],
)
def test_a_sort_switches_the_draw_off(by: SortBy, expected: str) -> None:
    """A caller who asks for the fastest would get it with some probability."""
    prices = {"a": card(200), "b": card(300), "c": card(100)}
    snapshots = world(*map(endpoint, "abc"), prices=prices, measured=MEASURED, aggregators=("b", "c"))
    asked = call(prefer={"sort": Sort(by)})
    assert orders(snapshots, asked) == {expected}
    assert all(candidate.weight is None for candidate in plan(snapshots, asked).candidates)


def test_a_sort_puts_what_is_dead_and_what_is_not_measured_last() -> None:
    """The cheapest endpoint would be asked first though its breaker is open; or a new one taken for the fastest."""
    measured = {
        "a": health(open=True, time_to_first_token_ms=1.0, throughput_tokens_per_s=99.0),
        "b": health(time_to_first_token_ms=900.0, throughput_tokens_per_s=1.0),
    }
    snapshots = world(*map(endpoint, "abc"), prices={"a": card(1)}, measured=measured)
    for by in (SortBy.LATENCY, SortBy.THROUGHPUT):
        assert orders(snapshots, call(prefer={"sort": Sort(by)})) == {"bca"}
    assert orders(snapshots, call(prefer={"sort": Sort(SortBy.PRICE)})) == {"bca"}


def test_a_tie_goes_to_the_direct_endpoint() -> None:
    """An aggregator's fee would be paid for the same price."""
    snapshots = world(endpoint("a"), endpoint("b"), aggregators=("a",))
    assert orders(snapshots, call(prefer={"sort": Sort(SortBy.PRICE)})) == {"ba"}


def test_the_order_that_a_caller_gives_is_kept() -> None:
    """A caller who has a contract with a provider would be sent to another."""
    measured = {"c": health(open=True), "b": health(0.2)}
    prices = {"a": card(5), "d": card(1)}
    snapshots = world(*map(endpoint, "abcd"), prices=prices, measured=measured, aggregators=("c",))
    assert orders(snapshots, call(prefer={"order": ("c", "b", "c")})) == {"cbda"}
    assert orders(snapshots, call(prefer={"order": ("c",), "sort": Sort(SortBy.PRICE)})) == {"cdab"}
    assert orders(snapshots, call(prefer={"order": ("c", "b"), "allow_fallbacks": False})) == {"cb"}


def test_models_are_drawn_apart() -> None:
    """The chance of one model's endpoints would decide that of another's."""
    names = [f"p{place}" for place in range(4)]
    snapshots = world(*map(endpoint, names), *(endpoint(name, "lab/next") for name in names))
    both = {tuple(tried(plan(reseeded(snapshots, seed), call(models=("lab/next",))))) for seed in range(400)}
    assert len({found[:4] for found in both}) == len({found[4:] for found in both}) == 24
    assert len(both) > 150


def test_what_buying_credits_costs_counts_in_the_order_and_in_no_price() -> None:
    """An aggregator would look as cheap as its list; or a caller be refused, or charged, for what his operator pays on top."""
    prices = {"a": card(1_000_000), "b": card(1_020_000)}
    snapshots = world(endpoint("a"), endpoint("b"), prices=prices, aggregators=("a", "b"), fees_ppm={"a": 55_000})
    assert orders(snapshots, FLOOR) == {"ba"}
    weight = (1.02 / 1.055) ** 2
    assert first_of(snapshots)["a"] / DRAWS == pytest.approx(weight / (1 + weight), abs=0.03)
    (dear,) = (row for row in plan(snapshots, call(max_tokens=1)).candidates if row.endpoint.provider == "a")
    assert dear.weight == pytest.approx(weight / (1 + weight))
    assert dear.expected_nanousd == 8_000
    most = {"max_price": MaxPrice(input_picousd=1_000_000)}
    assert orders(snapshots, call(prefer=most)) == {"a"}


def test_what_is_full_goes_after_its_like_and_before_what_fails() -> None:
    """A provider that has just asked to slow down would get the next call, or one that fails would get it instead."""
    measured = {"a": health(full=True), "c": health(full=True), "d": health(degraded=True)}
    snapshots = world(*map(endpoint, "abcd"), prices={"b": card(9_000), "d": card(1)}, measured=measured, aggregators=("c",))
    assert orders(snapshots) == {"bacd"}
    aggregators = world(*map(endpoint, "acd"), measured=measured, aggregators=("c",))
    assert orders(aggregators) == {"acd"}
    assert orders(world(*map(endpoint, "ab"), measured=measured, prices={"a": card(1)}), FLOOR) == {"ab"}


def test_what_is_to_be_probed_goes_first() -> None:
    """An endpoint that is back would never be found out while others answer."""
    snapshots = world(*map(endpoint, "abc"), prices={"c": card(90_000)}, measured={"c": DUE}, aggregators=("c",))
    assert orders(snapshots) == {"cab", "cba"}
    (probe, *others) = plan(snapshots).candidates
    assert (probe.health, probe.weight) == (DUE, None)
    assert sum(row.weight or 0 for row in others) == pytest.approx(1)
    assert orders(world(*map(endpoint, "abc"), measured={"c": health(open=True)})) == {"abc", "bac"}
    assert orders(world(*map(endpoint, "abc"), measured={"c": health(probe=True)})) >= {"abc", "bca", "cab"}


def test_one_is_probed_at_a_time() -> None:
    """A call would wait for two dead endpoints before a live one."""
    found = orders(world(*map(endpoint, "abcd"), measured={"c": DUE, "d": DUE}))
    assert found == {"cabd", "cbad", "dabc", "dbac"}
    assert orders(world(endpoint("c"), endpoint("d"), measured={"c": DUE, "d": DUE})) == {"cd", "dc"}


def test_a_conversation_goes_home_after_a_probe() -> None:
    """A probe would cost a conversation its cache also where another endpoint answers after all."""
    cached = card(1_000, cache_read=100)
    snapshots = world(*map(endpoint, "abcd"), prices=dict.fromkeys("abcd", cached), measured={"d": DUE})
    assert len({order[:2] for order in orders(snapshots, call(session_id="s"))}) == 1
    assert {order[0] for order in orders(snapshots, call(session_id="s"))} == {"d"}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (FLOOR, "bca"),
        (call(prefer={"order": ("b", "c")}), "bca"),
        (call(prefer={"allow_fallbacks": False}), "b"),
        (call(model="lab/model:nitro"), "bca"),
    ],
)
def test_a_probe_is_not_made_of_who_asks_for_an_order_or_for_one_try(asked: Call, expected: str) -> None:
    """A caller who names his provider, or takes no other, would be sent to one that is taken for dead."""
    measured = {"a": DUE, "b": health(throughput_tokens_per_s=9.0), "c": health(throughput_tokens_per_s=5.0, degraded=True)}
    snapshots = world(*map(endpoint, "abc"), prices={"a": card(1), "c": card(2_000)}, measured=measured)
    assert orders(snapshots, asked) == {expected}


def test_a_probe_must_have_what_the_call_needs() -> None:
    """A call with tools would be answered without them, only to see whether an endpoint is back."""
    rows = (endpoint("a"), endpoint("b", parameters=("tools",)))
    snapshots = world(*rows, measured={"a": DUE})
    assert orders(snapshots, call(tools=(Tool("f"),))) == {"ba"}
    assert orders(snapshots) == {"ab"}
    cooling = world(*rows, measured={"a": health(open=True, probe=True, cooling=frozenset({"SPARE"}))})
    assert orders(cooling) == {"ba"}
