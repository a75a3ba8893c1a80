"""Digests folded into verdicts: who may take an endpoint out, who tries it meanwhile, and when it is back."""

import pytest

from junctor.domain.health import FleetView, Percentiles, Tally, Verdict
from junctor.policy.health.fleet import (
    PROBE_PACE_MS,
    PROBER_SILENT_MS,
    PROBER_SLOW_MS,
    PROBERS_MAX,
    SILENT_MS,
    UNASKED_MS,
    Digest,
    Fleet,
    Part,
    is_sick,
)
from junctor.policy.health.published import BUCKET_MS, Sighting, bucket_of
from junctor.policy.health.sketches import Sketch
from junctor.policy.health.telling import ENDPOINTS_MOST, told_now

NOW = 1_790_000_000_000
ROUND_MS = 5_000
ENDPOINT = "p/m"


class Rounds:
    """A fleet and its rounds of five seconds. `tell` is what an instance tells of the one endpoint in the present round."""

    def __init__(self, before: FleetView | None = None, now_ms: int = NOW) -> None:
        self.now_ms = now_ms
        self.fleet = Fleet(before, now_ms)
        self.number = 0

    def tell(self, instance: str, ok: int = 0, failed: int = 0, at_ms: int | None = None, **more: int) -> None:
        """Let an instance tell what it saw."""
        self.number += 1
        sighting = Sighting(endpoint=ENDPOINT, ok=ok, failed=failed, **more)  # type: ignore[arg-type]
        part = Part(self.number, self.now_ms if at_ms is None else at_ms, (sighting,))
        self.fleet.take(Digest(instance, (part,)), self.now_ms)

    def other(self, instance: str) -> None:
        """Let an instance tell of another endpoint: it is there, but has no call for this one."""
        self.number += 1
        part = Part(self.number, self.now_ms, (Sighting(endpoint="q/m", ok=1),))
        self.fleet.take(Digest(instance, (part,)), self.now_ms)

    def sick(self, instance: str) -> None:
        """Let an instance tell that it is sick."""
        self.number += 1
        self.fleet.take(Digest(instance, (Part(self.number, self.now_ms, ()),)), self.now_ms)

    def verdict(self) -> Verdict:
        """End the round."""
        self.now_ms += ROUND_MS
        return {verdict.endpoint: verdict for verdict in self.fleet.verdicts(self.now_ms)}[ENDPOINT]

    def ejected(self) -> Verdict:
        """Let two instances find that it is dead."""
        self.now_ms += 1
        self.tell("a", failed=15)
        self.tell("b", failed=15)
        verdict = self.verdict()
        assert verdict.ejected
        return verdict


def round_of(*told: tuple[str, int, int], now_ms: int = NOW) -> Verdict:
    """Return the verdict on one round of (instance, ok, failed)."""
    rounds = Rounds(now_ms=now_ms)
    rounds.now_ms += 1
    for instance, ok, failed in told:
        rounds.tell(instance, ok, failed)
    return rounds.verdict()


@pytest.mark.parametrize(
    ("told", "ejected"),
    [
        ([("a", 0, 10), ("b", 0, 10)], True),
        ([("a", 5, 5), ("b", 5, 5)], True),
        ([("a", 0, 10), ("b", 0, 9)], False),  # too few calls
        ([("a", 6, 5), ("b", 5, 5)], False),  # fewer than half
        ([("a", 0, 1_000)], False),  # one instance alone
        ([("a", 0, 1_000), ("b", 5, 1)], False),  # which the other does not find
        ([("a", 0, 1_000), ("b", 100, 0)], False),
        ([("a", 0, 1_000), ("b", 0, 1)], True),
        ([("a", 0, 30), ("b", 0, 30), ("c", 90, 0)], False),
        ([("a", 0, 40), ("b", 0, 30), ("c", 20, 0), ("d", 5, 0)], True),
    ],
)
def test_two_must_find_that_most_calls_fail(told: list[tuple[str, int, int]], ejected: bool) -> None:
    """One broken instance, or a handful of failures, would take an endpoint from everybody."""
    assert round_of(*told).ejected is ejected


def test_what_died_just_now_is_out_though_it_was_sound_for_long() -> None:
    """The good calls of the last minutes would hide for another minute that an endpoint is dead."""
    rounds = Rounds()
    rounds.now_ms += 1
    for _ in range(10):
        for instance in "abc":
            rounds.tell(instance, ok=1_000)
        assert not rounds.verdict().ejected
    rounds.tell("a", failed=12)
    rounds.tell("b", failed=12)
    verdict = rounds.verdict()
    assert verdict.ejected
    assert verdict.ok > 1_000


@pytest.mark.parametrize(
    ("begun", "ejected"),
    [
        ((450, 450), False),  # 3 % fail, and most answers are under way
        ((27, 26), False),
        ((26, 26), True),
        ((0, 0), True),  # they fail, and nobody asks any more
        ((900, 0), False),
        ((10, 42), False),  # half of all, but not for the other one
    ],
)
def test_failures_are_few_where_many_more_calls_began(begun: tuple[int, int], ejected: bool) -> None:
    """After a start all would avoid an endpoint with slow answers: of its calls, those that failed are the first to end."""
    rounds = Rounds()
    rounds.now_ms += 1
    for instance, count in zip("ab", begun, strict=True):
        rounds.tell(instance, ok=1, failed=13, begun=count)
    assert rounds.verdict().ejected is ejected


def test_what_began_is_forgotten_as_what_ended() -> None:
    """An endpoint that was asked often five minutes ago could not be ejected for its failures of now."""
    rounds = Rounds()
    rounds.now_ms += 1
    for instance in "ab":
        rounds.tell(instance, ok=10_000, begun=10_000)
    assert not rounds.verdict().ejected
    found = []
    for number in range(62):
        for instance in "ab":
            rounds.tell(instance, **({"failed": 9, "begun": 9} if number >= 60 else {}))
        found.append(rounds.verdict().ejected)
    assert found == [False] * 60 + [True] * 2


def test_thin_traffic_adds_up() -> None:
    """A fleet of a thousand quiet instances would never know that an endpoint is dead."""
    rounds = Rounds()
    rounds.now_ms += 1
    found = []
    for number in range(5):
        for instance in range(6):
            rounds.tell(f"{number}-{instance}", failed=1)
        found.append(rounds.verdict().ejected)
    assert found == [False, False, False, False, True]


def test_counts_fade_with_a_half_life_of_thirty_seconds() -> None:
    """Failures of long ago would keep an endpoint's chances low."""
    rounds = Rounds()
    rounds.now_ms += 1
    rounds.tell("a", ok=64, failed=32)
    assert rounds.verdict().ok == pytest.approx(64 * 0.5 ** (5 / 30))
    for _ in range(4):
        verdict = rounds.verdict()
    assert verdict.ok == pytest.approx(64 * 0.5 ** (25 / 30))
    assert verdict.failed == pytest.approx(32 * 0.5 ** (25 / 30))


def test_what_gone_instances_saw_is_forgotten() -> None:
    """Instances of yesterday's release would speak on, and be named probers."""
    rounds = Rounds()
    rounds.now_ms += 1
    rounds.tell("a", ok=1_000)
    for _ in range(SILENT_MS // ROUND_MS):
        verdict = rounds.verdict()
    assert (verdict.ok, verdict.failed) == (0.0, 0.0)


def test_a_part_is_counted_once_however_often_it_is_read() -> None:
    """A digest that is read three times would count threefold."""
    fleet = Fleet(None, NOW)
    parts = [Part(number, NOW + number, (Sighting(endpoint=ENDPOINT, ok=10),)) for number in range(1, 5)]
    for read in ([1], [1], [2, 1], [2, 3], [3], [1], [3, 4], [2]):
        fleet.take(Digest("a", tuple(parts[number - 1] for number in read)), NOW + 10)
    (verdict,) = fleet.verdicts(NOW + 10)
    assert verdict.ok == 40.0


def test_what_the_last_aggregator_counted_is_not_counted_again() -> None:
    """A change of the aggregator would double what was seen, and take out what is sound."""
    before = FleetView(7, NOW - 3_000, {ENDPOINT: Verdict(endpoint=ENDPOINT, ok=5, failed=5)})
    rounds = Rounds(before)
    rounds.tell("a", failed=50, at_ms=NOW - 4_000)
    rounds.tell("b", failed=50, at_ms=NOW - 3_000)
    rounds.tell("old", failed=50, at_ms=NOW - 40_000)
    verdict = rounds.verdict()
    assert not verdict.ejected
    assert verdict.failed < 5
    rounds.tell("a", failed=50, at_ms=NOW - 100_000)  # new of an instance that is known now, whatever its clock says
    rounds.tell("b", failed=50)
    assert rounds.verdict().failed < 5 + 50
    rounds.tell("a", failed=50)
    rounds.tell("b", failed=50)
    assert rounds.verdict().ejected


def test_what_was_out_stays_out_under_another_aggregator() -> None:
    """Each change of the aggregator would send all traffic to the dead again."""
    first = Rounds().ejected()
    after = Rounds(FleetView(3, NOW, {ENDPOINT: first}), NOW + 1_000)
    verdict = after.verdict()
    assert verdict.ejected
    assert verdict.probers[: len(first.probers)] == first.probers
    assert verdict.failed == pytest.approx(first.failed * 0.5 ** (ROUND_MS / 30_000))


def test_probers_go_on_under_another_aggregator() -> None:
    """Each change of the aggregator would make probes begin anew, and call for one prober more."""
    first = Rounds().ejected()
    (prober,) = first.probers
    after = Rounds(FleetView(3, NOW, {ENDPOINT: first}), NOW + 1_000)
    after.other("c")
    after.now_ms += PROBER_SLOW_MS - 1 - ROUND_MS
    assert after.verdict().probers == (prober,)
    after.tell(prober, ok=3, probed=3)
    assert not after.verdict().ejected


def test_what_was_said_long_ago_says_nothing() -> None:
    """A fleet that was switched off would begin with the outages of its last day."""
    old = FleetView(3, NOW - UNASKED_MS, {ENDPOINT: Verdict(endpoint=ENDPOINT, ejected=True)})
    assert list(Fleet(old, NOW).verdicts(NOW)) == []


def test_published_figures_outlive_their_aggregator() -> None:
    """Percentiles would vanish with each change of the aggregator, and a day's uptime be that of a minute."""
    known = Percentiles(1.0, 2.0, 3.0, 4.0)
    verdict = Verdict(endpoint=ENDPOINT, ok=9, first_token_ms=known, throughput=known, cache_read_share=0.5)
    fleet = Fleet(FleetView(3, NOW, {ENDPOINT: verdict}), NOW)
    fleet.restore(bucket_of(NOW) - 5, {ENDPOINT: (900, 100), "q/m": (1, 0)}, NOW)
    found = {each.endpoint: each for each in fleet.verdicts(NOW)}
    assert found[ENDPOINT].first_token_ms == known
    assert found[ENDPOINT].cache_read_share == 0.5
    uptime = found[ENDPOINT].uptime
    assert uptime is not None
    assert uptime.last_1d == pytest.approx(0.9)
    assert fleet.bucket(bucket_of(NOW) - 5) == {ENDPOINT: (900, 100), "q/m": (1, 0)}
    own = Part(1, NOW + 1, (Sighting(endpoint=ENDPOINT, ok=1, first_token=Sketch.of([500.0])),))
    fleet.take(Digest("a", (own,)), NOW + 1)
    found = {each.endpoint: each for each in fleet.verdicts(NOW + 2)}
    first_token = found[ENDPOINT].first_token_ms
    assert first_token is not None
    assert first_token.p50 == pytest.approx(500, rel=0.03)
    assert found[ENDPOINT].throughput == known
    later = {each.endpoint: each for each in fleet.verdicts(NOW + BUCKET_MS)}
    assert later[ENDPOINT].throughput is None


def test_three_probes_in_a_row_end_it_for_all() -> None:
    """An endpoint that is back would get no traffic, or one lucky answer would send all of it there."""
    rounds = Rounds()
    (prober,) = rounds.ejected().probers
    assert prober in {"a", "b"}
    rounds.tell(prober, ok=2, probed=2)
    assert rounds.verdict().ejected
    rounds.tell(prober, ok=1, probed=3)
    verdict = rounds.verdict()
    assert not verdict.ejected
    assert verdict.back_ms == rounds.now_ms
    assert verdict.probers == ()
    assert (verdict.ok, verdict.failed) == (0.0, 0.0)
    for _ in range(65):
        rounds.tell("a", ok=5)
        assert not (verdict := rounds.verdict()).ejected
    assert verdict.back_ms is None


def test_a_failed_probe_begins_the_row_anew() -> None:
    """An endpoint that answers every other call would be called sound."""
    rounds = Rounds()
    (prober,) = rounds.ejected().probers
    for _ in range(6):
        rounds.tell(prober, ok=1, failed=1, probed=1)
        assert rounds.verdict().ejected
    for probed in (2, 3):
        rounds.tell(prober, ok=1, probed=probed)
        assert rounds.verdict().ejected is (probed < 3)


def test_calls_that_began_before_are_no_probes() -> None:
    """Long answers that were under way when an endpoint died would bring its traffic back as they end."""
    rounds = Rounds()
    (prober,) = rounds.ejected().probers
    for _ in range(5):
        rounds.tell(prober, ok=50)
        assert rounds.verdict().ejected


def test_probes_of_several_probers_add_up() -> None:
    """Where each instance has few calls for a model, no one of them would come to three."""
    rounds = Rounds()
    first = rounds.ejected()
    assert set(rounds.verdict().probers) == {"a", "b"}
    rounds.tell("a", ok=1, probed=1)
    rounds.tell("b", ok=1, probed=1)
    assert rounds.verdict().ejected
    rounds.tell("b", ok=1, probed=2)
    assert not rounds.verdict().ejected
    assert len(first.probers) == 1


def test_one_more_probes_whenever_none_was_heard() -> None:
    """In a fleet whose instances have a call for a model now and then, the end of an outage would wait for one of them."""
    rounds = Rounds()
    rounds.ejected()
    names = "abcdefghijkl"
    named = []
    for _ in range(PROBERS_MAX + 4):
        for name in names:
            rounds.other(name)
        rounds.now_ms += PROBER_SLOW_MS - ROUND_MS
        named.append(rounds.verdict().probers)
    assert [len(probers) for probers in named[:3]] == [2, 3, 4]
    assert max(len(probers) for probers in named) <= PROBERS_MAX


@pytest.mark.parametrize("seen", ["ok", "failed", "throttled"])
def test_no_more_probe_than_it_takes(seen: str) -> None:
    """Calls would be spent on an endpoint that is out although its prober tries it as often as it should."""
    rounds = Rounds()
    (prober,) = rounds.ejected().probers
    for _ in range(20):
        rounds.tell(prober, **{seen: 1})
        rounds.other("b" if prober == "a" else "a")
        rounds.now_ms += PROBE_PACE_MS - ROUND_MS
        assert rounds.verdict().probers == (prober,)


def test_more_probe_where_those_who_do_are_slow() -> None:
    """An instance with a call now and then would be left alone with it, and all others wait for its three calls."""
    rounds = Rounds()
    probers = rounds.ejected().probers
    every_ms = 2 * PROBE_PACE_MS
    assert every_ms < PROBER_SLOW_MS
    counts = []
    for _ in range(8):
        for name in probers:
            rounds.tell(name, failed=1)
        for name in "cde":
            rounds.other(name)
        rounds.now_ms += every_ms - ROUND_MS
        probers = rounds.verdict().probers
        counts.append(len(probers))
    assert counts == [1, 2, 2, 2, 2, 2, 2, 2]


def test_many_probes_at_once_are_not_enough_for_long() -> None:
    """One digest of many calls would keep all others from probing long after that instance has gone."""
    rounds = Rounds()
    (prober,) = rounds.ejected().probers
    rounds.tell(prober, failed=1_000)
    rounds.other("c")
    rounds.now_ms += PROBER_SLOW_MS - 1 - ROUND_MS
    assert rounds.verdict().probers == (prober,)
    rounds.now_ms += 1 - ROUND_MS
    assert len(rounds.verdict().probers) == 2


def test_only_probers_are_believed() -> None:
    """A call that another instance had under way, or what it says of an earlier time, would end an ejection."""
    rounds = Rounds()
    (prober,) = rounds.ejected().probers
    rounds.tell("b" if prober == "a" else "a", ok=50, probed=50)
    assert rounds.verdict().ejected
    rounds.tell(prober, failed=1, probed=3)
    assert rounds.verdict().ejected


def test_others_probe_where_a_prober_is_silent() -> None:
    """With its prober an endpoint would be out for ever."""
    rounds = Rounds()
    (first,) = rounds.ejected().probers
    (other,) = {"a", "b"} - {first}
    probers = []
    for _ in range(12):
        rounds.tell(other, failed=PROBER_SLOW_MS // PROBE_PACE_MS + 1)
        rounds.now_ms += PROBER_SLOW_MS - 1 - ROUND_MS
        probers.append(rounds.verdict().probers)
    heard_of = PROBER_SILENT_MS // (PROBER_SLOW_MS - 1)
    assert probers[:heard_of] == [(first,), *[(first, other)] * (heard_of - 1)]
    assert probers[heard_of:] == [(other,)] * (12 - heard_of)


@pytest.mark.parametrize("is_named_again", [False, True])
def test_probes_count_once_whoever_is_a_prober_by_then(is_named_again: bool) -> None:
    """What an instance with few calls found out would be lost as its word came late, or be taken for more than it is."""
    rounds = Rounds()
    (first,) = rounds.ejected().probers
    (other,) = {"a", "b"} - {first}
    while first in rounds.verdict().probers:
        rounds.tell(other, failed=ROUND_MS // PROBE_PACE_MS + 1)
    rounds.tell(first, ok=1, probed=1)
    rounds.now_ms += 0 if is_named_again else 1 - ROUND_MS
    assert (first in rounds.verdict().probers) is is_named_again
    rounds.tell(first, ok=1, probed=2)
    rounds.tell(other)
    assert rounds.verdict().ejected
    rounds.tell(other, ok=1, probed=1)
    assert not rounds.verdict().ejected


def _with_a_former_prober(told: int) -> tuple[Rounds, str, str]:
    """Return an endpoint that is out, its prober, and one that was: it told of so many answered probes, and fell silent."""
    rounds = Rounds()
    (former,) = rounds.ejected().probers
    (prober,) = {"a", "b"} - {former}
    for probed in range(1, told + 1):
        rounds.tell(former, ok=1, probed=probed)
    while former in rounds.verdict().probers:
        rounds.tell(prober, failed=ROUND_MS // PROBE_PACE_MS + 1)
    return rounds, prober, former


def test_the_other_calls_of_a_former_prober_spoil_nothing() -> None:
    """Where an endpoint is a model's only one, whoever probed it once would keep it out by each call that fails."""
    rounds, prober, former = _with_a_former_prober(told=0)
    rounds.tell(prober, ok=2, probed=2)
    rounds.tell(former, ok=5, failed=1)
    rounds.tell(prober, ok=1, probed=3)
    assert not rounds.verdict().ejected


def test_the_other_calls_of_a_former_prober_prove_nothing() -> None:
    """Where an endpoint is a model's only one, calls that began before would bring it back, as it still fails."""
    rounds, prober, former = _with_a_former_prober(told=2)
    rounds.tell(former, ok=2, failed=1, probed=2)
    rounds.tell(prober, ok=1, probed=1)
    assert rounds.verdict().ejected


def test_the_other_calls_of_a_former_prober_are_no_probes() -> None:
    """Nobody else would be named as long as it has calls, however seldom the endpoint is probed."""
    rounds, prober, former = _with_a_former_prober(told=0)
    rounds.tell(prober, failed=1)
    rounds.tell(former, ok=20)
    rounds.other("c")
    rounds.now_ms += PROBER_SLOW_MS - 1 - ROUND_MS
    assert len(rounds.verdict().probers) == len([prober, "another"])


def test_who_is_sick_counts_among_the_sick_and_probes_nothing() -> None:
    """An instance without a network would be asked whether a provider is back, and nobody know that all are as it is."""
    rounds = Rounds()
    rounds.now_ms += 1
    rounds.tell("a", failed=15)
    rounds.tell("b", failed=15)
    assert not rounds.fleet.mostly_sick(rounds.now_ms)
    rounds.sick("a")
    assert rounds.verdict().probers == ("b",)
    assert not rounds.fleet.mostly_sick(rounds.now_ms)
    rounds.sick("b")
    assert rounds.fleet.mostly_sick(rounds.now_ms)
    rounds.tell("a", ok=1)
    assert not rounds.fleet.mostly_sick(rounds.now_ms)
    assert not rounds.fleet.mostly_sick(rounds.now_ms + SILENT_MS)


def test_probers_spread_over_the_instances() -> None:
    """One instance would have to try all that is down."""
    fleet = Fleet(None, NOW)
    sightings = tuple(Sighting(endpoint=f"p/{number}", failed=20) for number in range(200))
    for instance in range(10):
        fleet.take(Digest(f"instance-{instance}", (Part(1, NOW + 1, sightings),)), NOW + 1)
    probers = [prober for verdict in fleet.verdicts(NOW + 2) for prober in verdict.probers]
    assert len(probers) == 200
    assert all(8 <= probers.count(f"instance-{instance}") <= 35 for instance in range(10))


def test_who_has_calls_for_an_endpoint_probes_it() -> None:
    """Endpoints would wait for probes of instances that never use them."""
    fleet = Fleet(None, NOW)
    fleet.take(Digest("busy", (Part(1, NOW + 1, tuple(Sighting(endpoint=f"p/{each}", failed=50) for each in range(50))),)), NOW)
    fleet.take(Digest("used", (Part(1, NOW + 1, tuple(Sighting(endpoint=f"p/{each}", failed=9) for each in range(50))),)), NOW)
    for instance in range(20):
        fleet.take(Digest(f"idle-{instance}", (Part(1, NOW + 1, (Sighting(endpoint="q/m", ok=1),)),)), NOW)
    probers = [prober for verdict in fleet.verdicts(NOW) for prober in verdict.probers]
    assert len(probers) == 50
    assert 35 <= probers.count("busy") < 50


def test_what_nobody_asks_gets_its_traffic_back() -> None:
    """An endpoint whose model is seldom wanted would never be tried again."""
    rounds = Rounds()
    rounds.ejected()
    for passed in range(1, UNASKED_MS // ROUND_MS + 2):
        verdict = rounds.verdict()
        assert verdict.ejected is (passed * ROUND_MS < UNASKED_MS), passed
    assert verdict.back_ms == rounds.now_ms - ROUND_MS


def test_what_nobody_knows_any_more_is_dropped() -> None:
    """An aggregator would carry every endpoint that ever was."""
    rounds = Rounds()
    rounds.now_ms += 1
    rounds.tell("a", ok=1)
    assert rounds.verdict().endpoint == ENDPOINT
    rounds.now_ms += 25 * 3_600_000
    list(rounds.fleet.verdicts(rounds.now_ms))
    assert list(rounds.fleet.verdicts(rounds.now_ms)) == []


def tally(provider: str, ok: int = 0, failed: int = 0, **more: int) -> Tally:
    """Return a tally of a provider's only endpoint."""
    return Tally(endpoint=f"{provider}/m", provider=provider, ok=ok, failed=failed, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tallies", "sick"),
    [
        ([tally(name, 0, 5) for name in "abc"], True),
        ([tally(name, 5, 5) for name in "abc"], True),
        ([tally(name, 6, 5) for name in "abc"], False),
        ([tally(name, 0, 2) for name in "abcdefgh"], False),  # too few calls of each
        ([tally(name, 0, 50) for name in "ab"], False),  # too few providers
        ([tally(name, 0, 5) for name in "abc"] + [tally(name, 5) for name in "de"], True),
        ([tally(name, 0, 5) for name in "abc"] + [tally(name, 5) for name in "def"], False),  # a whole cloud is out
        ([tally(name, 0, 0, throttled=99) for name in "abcd"], False),
        ([Tally(endpoint=f"a/{number}", provider="a", failed=9) for number in range(5)], False),  # one provider's endpoints
        ([Tally(endpoint=f"{name}/{number}", provider=name, failed=1) for name in "abc" for number in range(5)], True),
        ([], False),
    ],
)
def test_who_fails_everywhere_is_sick_himself(tallies: list[Tally], sick: bool) -> None:
    """An instance without a network would blame the providers; or all would go out of service because a cloud did."""
    assert is_sick(tallies) is sick


def test_the_most_urgent_is_told_first_and_the_rest_later() -> None:
    """A failure would wait behind hundreds of endpoints that are well, or the least used ones for ever."""
    many = [tally(f"sound-{number}", ok=number + 1, input_tokens=7) for number in range(100)]
    told, waiting = told_now([], [*many, tally("bad", failed=1), tally("back", ok=1, probed=1)])
    assert [each.provider for each in told[:3]] == ["back", "bad", "sound-99"]
    assert len(told) == ENDPOINTS_MOST
    assert {each.endpoint for each in (*told, *waiting)} == {each.endpoint for each in many} | {"bad/m", "back/m"}
    again = Tally(endpoint="sound-0/m", provider="sound-0", ok=200, failed=0, throttled=2, input_tokens=1, throughput=(5.0,))
    told, waiting = told_now(waiting, [again])
    assert told[0] == Tally(
        endpoint="sound-0/m", provider="sound-0", ok=201, throttled=2, input_tokens=8, throughput=(5.0,), failed=0
    )
    for _ in range(100 // ENDPOINTS_MOST):
        told, waiting = told_now(waiting, [])
    assert waiting == ()
