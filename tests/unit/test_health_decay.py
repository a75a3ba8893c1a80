"""Measurements that fade."""

from math import e

import pytest

from junctor.policy.health.cooling import Cooling, Limit
from junctor.policy.health.decay import Counts, Faded, success_probability
from junctor.policy.health.retries import MOST, OPEN_MOST, Retries
from junctor.policy.health.seen import SAMPLES_MAX, Samples


def test_half_of_all_counts_is_forgotten_after_thirty_seconds() -> None:
    """An outage would be held against an endpoint for ever, or be forgotten while it lasts."""
    counts = Counts()
    for _ in range(8):
        counts.add(100.0, ok=False)
    counts.add(130.0, ok=True)
    assert counts.ok == 1.0
    assert counts.failed == pytest.approx(4.0)
    counts.fade(120.0)
    assert counts.failed == pytest.approx(4.0)


@pytest.mark.parametrize(("ok", "failed", "chance"), [(0, 0, 0.9), (90, 0, 0.99), (0, 10, 0.45), (1, 0, 10 / 11)])
def test_the_chance_of_an_answer(ok: float, failed: float, chance: float) -> None:
    """One failure of an endpoint that was hardly ever tried would weigh as much as a hundred of a busy one."""
    assert success_probability(ok, failed) == pytest.approx(chance)


def test_a_mean_moves_with_time_and_a_peak_at_once() -> None:
    """An endpoint that became slow would go on being taken for quick, or one slow answer be forgotten by the next."""
    mean, peak = Faded(10.0), Faded(10.0)
    mean.add(0.0, 100.0)
    peak.peak(0.0, 100.0)
    mean.add(10.0, 200.0)
    peak.peak(10.0, 200.0)
    assert mean.value == pytest.approx(200 - 100 / e)
    assert peak.value == 200.0
    peak.peak(20.0, 100.0)
    assert peak.value == pytest.approx(100 + 100 / e)


def test_what_was_measured_long_ago_is_not_known() -> None:
    """An endpoint would be left alone for the rest of the day because it was slow once."""
    peak = Faded(10.0)
    assert peak.known(0.0, 60.0) is None
    peak.peak(0.0, 5.0)
    assert (peak.known(60.0, 60.0), peak.known(61.0, 60.0)) == (5.0, None)


@pytest.mark.parametrize(("hint_s", "until_s"), [(7.0, 107.0), (0.5, 100.5), (3_600.0, 160.0)])
def test_a_hint_is_believed_up_to_a_minute(hint_s: float, until_s: float) -> None:
    """A provider would be asked again before it wants to be, or a mistaken hint shut it for hours."""
    cooling = Cooling()
    cooling.throttle(100.0, 100.0, hint_s)
    assert cooling.until_s == until_s


def test_without_a_hint_a_credential_cools_for_twice_as_long_each_time() -> None:
    """A provider that says nothing would be asked once a second for as long as it throttles."""
    cooling, now_s, waits = Cooling(), 100.0, []
    for _ in range(8):
        cooling.throttle(now_s, now_s, None)
        waits.append(cooling.until_s - now_s)
        now_s = cooling.until_s
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    cooling.answered()
    cooling.throttle(now_s, now_s, None)
    assert cooling.until_s - now_s == 1


def test_calls_that_were_under_way_together_cool_a_credential_once() -> None:
    """One burst of 429 would shut a provider for half a minute."""
    cooling = Cooling()
    for _ in range(20):
        cooling.throttle(100.0, 99.0, None)
    assert cooling.until_s == 101.0


def test_a_limit_is_cut_once_a_burst_and_grows_back() -> None:
    """A burst of 429 would leave one call at a time, or an endpoint get all calls back at once."""
    limit = Limit()
    assert not limit.full(0.0, 10**6)
    for under_way in range(20, 0, -1):
        limit.throttle(100.0, 99.0, under_way)
    assert limit.most == 14.0
    assert limit.full(100.0, 14)
    assert not limit.full(100.0, 13)
    for _ in range(15):
        limit.answered(101.0)
    assert limit.most == pytest.approx(15.0, abs=0.1)
    limit.throttle(102.0, 101.5, 100)
    assert limit.most == pytest.approx(15.0, abs=0.1)
    limit.throttle(103.0, 102.5, 1)
    assert limit.most == 1.0


def test_a_limit_is_forgotten_after_five_minutes() -> None:
    """What an endpoint bore on a bad morning would bound it all day."""
    limit = Limit()
    limit.throttle(100.0, 99.0, 2)
    assert limit.full(400.0, 2)
    assert not limit.full(401.0, 2)
    limit.answered(401.0)
    assert limit.most is None


def taken(budget: Retries, now_s: float, *, is_open: bool = False) -> int:
    """Return how many attempts a budget gives at an instant."""
    return sum(budget.take(now_s, is_open=is_open) for _ in range(1_000))


def test_a_budget_gives_a_third_attempt_in_ten_calls_and_ten_a_second() -> None:
    """An outage would double what providers are asked, or a quiet model never fall over."""
    budget = Retries(at_s=0.0)
    assert taken(budget, 0.0) == MOST
    for _ in range(100):
        budget.asked(0.0)
    assert taken(budget, 0.0) in (29, 30)
    assert taken(budget, 1.0) in (10, 11)
    assert taken(budget, 3_600.0) == MOST


def test_a_budget_gives_one_attempt_in_five_calls_to_endpoints_that_are_open() -> None:
    """Where all endpoints are dead every quiet second would be spent on asking them."""
    budget = Retries(at_s=0.0)
    assert taken(budget, 0.0, is_open=True) == OPEN_MOST
    assert taken(budget, 3_600.0, is_open=True) == 0
    for _ in range(15):
        budget.asked(3_600.0)
    assert taken(budget, 3_600.0, is_open=True) in (2, 3)
    for _ in range(1_000):
        budget.asked(3_600.0)
    assert taken(budget, 3_600.0, is_open=True) == OPEN_MOST
    assert taken(budget, 3_600.0) == MOST - OPEN_MOST
    assert taken(budget, 3_600.0, is_open=True) == 0


def test_an_attempt_that_is_refused_costs_nothing() -> None:
    """One model's endpoints that are open would use up what the sound ones are to be asked with, or the other way round."""
    budget = Retries(at_s=0.0)
    assert taken(budget, 0.0, is_open=True) == OPEN_MOST
    assert taken(budget, 0.0) == MOST - OPEN_MOST
    for _ in range(3):
        budget.asked(0.0)
    assert (budget.take(0.0, is_open=True), budget.take(0.0, is_open=False)) == (False, False)
    budget.asked(0.0)
    assert not budget.take(0.0, is_open=True)
    assert budget.take(0.0, is_open=False)


def test_samples_are_bounded_and_picked_without_favour() -> None:
    """A busy endpoint would fill the memory, or only its first calls be told of."""
    samples, numbers = Samples(), iter([0.5, 0.999, 0.0])
    for value in range(SAMPLES_MAX):
        samples.add(value, lambda: 1 / 0)
    for value in (1_000, 2_000, 3_000):
        samples.add(value, numbers.__next__)
    assert len(samples.values) == SAMPLES_MAX
    assert samples.values[128] == 1_000
    assert samples.values[0] == 3_000
    assert 2_000 not in samples.values
    assert samples.count == SAMPLES_MAX + 3
