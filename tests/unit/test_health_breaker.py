"""The breaker of one endpoint: when it opens, for how long, how it comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.policy.health.breaker import RAMP_LEAST, Breaker, most_failed, ramp
from junctor.policy.health.decay import Counts


class Tried:
    """A breaker, the counts beside it, and the calls of its endpoint, which end one after the other but for `under_way`."""

    def __init__(self) -> None:
        self.breaker = Breaker()
        self.counts = Counts()
        self.under_way = 0
        self._number = 0

    def fail(self, now_s: float, began_s: float | None = None, chance: float = 0.5) -> bool:
        """Have one call fail; return whether that opened it."""
        self._number += 1
        self.counts.add(now_s, ok=False)
        most = most_failed(self.counts, self.under_way)
        return self.breaker.failed(self._number, now_s, now_s if began_s is None else began_s, chance, most_failed=most)

    def serve(self, now_s: float) -> None:
        """Have one call answered, which does not close it."""
        self._number += 1
        self.counts.add(now_s, ok=True)
        self.breaker.streak.serves(self._number)


def opened(chance: float = 0.5) -> Tried:
    """Return one that opened at second 0."""
    tried = Tried()
    for _ in range(5):
        tried.fail(0.0, chance=chance)
    return tried


def test_five_failures_in_a_row_open_it() -> None:
    """A dead endpoint would be asked first for ever, or one bad minute of four calls take it away."""
    tried = Tried()
    assert [tried.fail(0.0) for _ in range(5)] == [False, False, False, False, True]
    assert tried.breaker.open_until_s == 10.0


def test_an_answer_in_between_begins_the_row_anew() -> None:
    """A busy endpoint would be shut for failures that are hours apart."""
    tried = Tried()
    for _ in range(4):
        tried.fail(0.0)
    tried.serve(0.0)
    assert not tried.fail(0.0)


def test_half_of_ten_open_it_and_half_of_nine_do_not() -> None:
    """An endpoint that fails every other call would never be shut, or one be shut by hearsay."""
    tried = Tried()
    for _ in range(4):
        tried.serve(0.0)
        assert not tried.fail(0.0)
    tried.serve(0.0)
    assert tried.fail(0.0)


def test_quick_failures_are_few_where_slow_answers_are_under_way() -> None:
    """A model that thinks for a minute would be shut after each start: its failures end at once, its answers do not."""
    tried = Tried()
    tried.under_way = 100
    tried.serve(0.0)
    for _ in range(3):
        assert not any(tried.fail(0.0) for _ in range(4))
        tried.serve(0.0)
    tried.under_way = 8
    assert tried.fail(0.0)


def test_less_than_half_of_many_do_not_open_it() -> None:
    """A brown-out would be treated as death, and its traffic fall on the others."""
    tried = Tried()
    for _ in range(100):
        for _ in range(2):
            tried.serve(0.0)
        assert not tried.fail(0.0)


@pytest.mark.parametrize(("chance", "wait_s"), [(0.0, 5.0), (0.5, 10.0), (0.999, 14.99)])
def test_how_long_it_is_open_is_spread(chance: float, wait_s: float) -> None:
    """All instances would probe at the same moment."""
    tried = opened(chance)
    assert tried.breaker.open_until_s == pytest.approx(wait_s)


def test_openings_in_a_row_take_longer_up_to_a_bound() -> None:
    """A dead endpoint would cost a call every ten seconds in each instance, or a long outage keep it away for hours."""
    tried = opened()
    for wait_s in (20.0, 20.0, 20.0):
        assert tried.breaker.open_until_s is not None
        now_s = tried.breaker.open_until_s
        assert tried.breaker.wants_probe(now_s)
        assert tried.fail(now_s)
        assert tried.breaker.open_until_s - now_s == wait_s


def test_no_probe_is_wanted_before_the_time_nor_beside_another() -> None:
    """An endpoint that is overloaded would be asked by every call at the moment it may be asked again."""
    tried = opened()
    assert not tried.breaker.wants_probe(9.9)
    assert tried.breaker.wants_probe(10.0)
    tried.breaker.probes = 1
    assert not tried.breaker.wants_probe(10.0)
    assert tried.breaker.half_open(10.0)


def test_a_good_probe_closes_it_with_a_ramp_and_a_clean_sheet() -> None:
    """All the traffic would fall on an endpoint that has just come back, or old failures shut it again at the first new one."""
    tried = opened()
    assert tried.breaker.back(12.0, 11.0, tried.counts)
    assert tried.breaker.open_until_s is None
    assert (tried.counts.ok, tried.counts.failed) == (0.0, 0.0)
    assert [tried.breaker.ramp(12.0 + s) for s in (0, 15, 30, 99)] == [RAMP_LEAST, 0.5, 1.0, 1.0]
    assert not tried.fail(13.0)


def test_calls_that_began_before_it_opened_do_not_close_it() -> None:
    """A long answer from better days would bring a dead endpoint back."""
    tried = opened()
    assert not tried.breaker.back(12.0, -1.0, tried.counts)
    assert tried.breaker.open_until_s == 10.0


def test_calls_that_began_before_its_time_was_up_do_not_open_it_again() -> None:
    """Calls that were under way when it opened would make it stay open for longer and longer."""
    tried = opened()
    assert not tried.fail(5.0, began_s=0.0)
    assert not tried.fail(11.0, began_s=9.0)
    assert tried.breaker.open_until_s == 10.0
    assert tried.fail(11.0, began_s=10.5)


def test_failures_from_before_it_closed_do_not_count() -> None:
    """An endpoint that is back would be shut for calls that it lost while it was gone."""
    tried = opened()
    tried.breaker.back(12.0, 11.0, tried.counts)
    for _ in range(20):
        assert not tried.fail(13.0, began_s=11.5)
    assert tried.breaker.open_until_s is None


@pytest.mark.parametrize(("sound_s", "wait_s"), [(59.0, 20.0), (60.0, 10.0)])
def test_openings_are_forgotten_after_a_sound_time(sound_s: float, wait_s: float) -> None:
    """An endpoint that flaps would always be taken for new, or one bad morning be held against it all day."""
    tried = opened()
    tried.breaker.back(12.0, 11.0, tried.counts)
    now_s = 12.0 + sound_s
    for _ in range(5):
        tried.fail(now_s)
    assert tried.breaker.open_until_s == now_s + wait_s


def test_a_ramp_never_starts_from_nothing() -> None:
    """An endpoint that comes back would never be drawn, so that nobody finds out whether it is."""
    assert [ramp(s) for s in (-5.0, 0.0, 3.0, 6.0)] == [RAMP_LEAST, RAMP_LEAST, RAMP_LEAST, 0.2]


@given(st.lists(st.tuples(st.sampled_from(["fail", "serve", "wait"]), st.floats(0, 1, exclude_max=True)), max_size=60))
def test_it_is_open_for_a_bounded_time_whatever_happens(steps: list[tuple[str, float]]) -> None:
    """An endpoint could be lost until the next restart."""
    tried, now_s = Tried(), 0.0
    for what, chance in steps:
        if what == "wait":
            now_s += 60 * chance
        elif what == "fail":
            was_open = tried.breaker.open_until_s is not None
            if tried.fail(now_s, chance=chance):
                assert tried.breaker.open_until_s is not None
                assert 5.0 <= tried.breaker.open_until_s - now_s <= 30.0
            else:
                assert was_open == (tried.breaker.open_until_s is not None)
        else:
            tried.breaker.back(now_s, now_s, tried.counts)
            tried.serve(now_s)
            assert tried.breaker.open_until_s is None
        assert RAMP_LEAST <= tried.breaker.ramp(now_s) <= 1
        assert tried.breaker.streak.failed.bit_count() < 5
