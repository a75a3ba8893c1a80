"""What one instance makes of the tries that it sees, for its own plans and for the fleet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from junctor.domain.completion import Usage
from junctor.domain.health import Cause, Percentiles, Tally, Uptime
from junctor.domain.routing import FailureKind
from junctor.usecases.measurements import BYOK_MOST
from junctor.usecases.watch import ENDPOINTS_OWN, Watch
from tests.support.health import MODEL, Bench, candidate, failure

ID = candidate().endpoint.id
CALLERS = {FailureKind.REQUEST, FailureKind.CONTEXT_LENGTH, FailureKind.CONTENT_POLICY}
CREDENTIALS = {FailureKind.THROTTLED, FailureKind.CREDENTIAL, FailureKind.MODEL_GONE}


def test_the_kinds_of_failure_are_told_apart() -> None:
    """A kind that adapters gain would say something of an endpoint, or nothing, by accident."""
    assert set(FailureKind) == ENDPOINTS_OWN | CALLERS | CREDENTIALS
    assert len(FailureKind) == len(ENDPOINTS_OWN) + len(CALLERS) + len(CREDENTIALS)


@pytest.mark.parametrize("kind", sorted(ENDPOINTS_OWN, key=str))
def test_an_endpoint_s_own_failures_open_it(kind: FailureKind) -> None:
    """A dead endpoint would cost every call its first attempt."""
    bench = Bench()
    bench.fails(kind, times=4)
    assert not bench.seen().open
    bench.fails(kind)
    row = bench.seen()
    assert (row.open, row.cause, row.probe) == (True, Cause.FAILURES, False)
    assert row.success_probability == pytest.approx(9 / 15)
    assert row.open_until_ms is not None
    assert bench.telemetry.events == [("endpoint_opened", ID)]


@pytest.mark.parametrize("kind", sorted(CALLERS, key=str))
def test_callers_own_errors_say_nothing(kind: FailureKind) -> None:
    """One caller with bad requests would take a sound endpoint away from all."""
    bench = Bench()
    bench.fails(kind, times=50)
    bench.begun().left()
    assert bench.seen() == Bench().seen()
    assert bench.health.tallies() == ()


def test_a_deadline_that_was_the_caller_s_says_nothing() -> None:
    """Impatient callers would take a sound endpoint away from all."""
    bench = Bench()
    for _ in range(20):
        bench.begun().failed(failure(FailureKind.DEADLINE), excused=True)
    assert bench.seen().success_probability == 0.9
    assert bench.health.tallies() == ()


@pytest.mark.parametrize(("streamed", "worst_s", "age_s", "waited_s", "excused"), [
    (True, None, 0.0, 0.9, True),
    (True, None, 0.0, 1.0, False),
    (True, 4.0, 0.0, 3.9, True),
    (True, 4.0, 0.0, 4.0, False),
    (True, 0.1, 0.0, 0.9, True),
    (True, 0.1, 0.0, 1.0, False),
    (False, 8.0, 0.0, 7.9, True),
    (False, 8.0, 0.0, 8.0, False),
    (False, 8.0, 60.0, 1.9, True),
    (False, 8.0, 60.0, 2.1, False),
    (False, 8.0, 3_600.0, 1.0, False),
])  # fmt: skip
def test_a_wait_cut_short_for_the_caller_is_measured_by_what_the_endpoint_needs(
    streamed: bool, worst_s: float | None, age_s: float, waited_s: float, excused: bool
) -> None:
    """Callers with short deadlines would shut slow models for all, or an endpoint that never answers never be shut."""
    bench = Bench()
    if worst_s is not None:
        watch = bench.begun()
        bench.passes(worst_s)
        if streamed:
            watch.first(worst_s * 1000)
        watch.served(Usage())
        bench.passes(age_s - waited_s)
    watch = bench.begun()
    bench.passes(waited_s)
    assert watch.excuses(streamed=streamed) is excused


def test_reasoning_models_are_given_longer_before_anything_is_known() -> None:
    """The first impatient caller after a start would shut every model that thinks before it speaks."""
    bench = Bench()
    tried = replace(candidate(), endpoint=replace(candidate().endpoint, parameters=("reasoning",)))
    watch = bench.begun(tried)
    bench.passes(9.9)
    assert watch.excuses(streamed=True)
    bench.passes(0.2)
    assert not watch.excuses(streamed=True)


def test_one_probe_at_a_time_and_its_content_brings_the_endpoint_back() -> None:
    """An endpoint that comes back would be met by all calls at once, or never be asked again."""
    bench = Bench()
    bench.passes(bench.opens())
    row = bench.seen()
    assert (row.open, row.probe, row.open_until_ms) == (True, True, None)
    second = bench.planned()
    probe = bench.begun()
    assert (bench.seen().open, bench.seen().probe) == (True, False)
    assert bench.health.puts_off(second, "B")
    bench.health.begun(second, "B").left()
    assert not bench.seen().probe
    probe.first(30)
    row = bench.seen()
    assert (row.open, row.cause, row.probe, row.ramp, row.in_flight) == (False, None, False, 0.1, 1)
    assert not bench.health.puts_off(second, "B")
    probe.served(Usage())
    bench.passes(15)
    assert bench.seen().ramp == 0.5
    bench.passes(15)
    assert bench.seen().ramp == 1.0
    assert bench.telemetry.events == [("endpoint_opened", ID), ("endpoint_back", ID)]


def test_a_failed_probe_opens_it_again_and_for_longer() -> None:
    """A dead endpoint would be probed by call after call."""
    bench = Bench()
    bench.passes(bench.opens())
    waiting = bench.planned()
    bench.fails()
    row = bench.seen()
    assert (row.open, row.probe) == (True, False)
    assert bench.health.puts_off(waiting, "B")
    assert row.open_until_ms is not None
    assert 10_000 <= row.open_until_ms - bench.clock.now_ms() <= 30_000


@pytest.mark.parametrize("kind", [*sorted(CALLERS | CREDENTIALS, key=str), None])
def test_a_probe_that_tells_nothing_makes_room_for_the_next(kind: FailureKind | None) -> None:
    """A caller who leaves at the wrong moment would shut an endpoint for good."""
    bench = Bench()
    bench.passes(bench.opens())
    probe = bench.begun()
    if kind is None:
        probe.left()
    else:
        probe.failed(failure(kind, http_status=403))
    bench.passes(301)
    assert bench.seen().probe


def test_a_model_that_is_gone_is_tried_last_for_five_minutes() -> None:
    """Every call would ask for a model that its provider has taken away."""
    bench = Bench()
    bench.fails(FailureKind.MODEL_GONE)
    row = bench.seen()
    assert (row.open, row.cause, row.probe) == (True, Cause.MODEL_GONE, False)
    assert row.open_until_ms == bench.clock.now_ms() + 300_000
    assert row.success_probability == 0.9
    bench.passes(299.9)
    assert bench.seen().open
    bench.passes(0.4)
    assert not bench.seen().open
    assert bench.telemetry.events == [("endpoint_gone", ID)]


@pytest.mark.parametrize(("status", "elsewhere"), [(401, True), (402, True), (403, False)])
def test_a_refused_credential_is_off_for_a_minute(status: int, elsewhere: bool) -> None:
    """A wrong key would be sent with every call; or one model that it may not use make all others unreachable."""
    bench = Bench()
    bench.serves(tried=candidate(model="lab/known"))
    bench.seen(model="lab/known")
    bench.fails(FailureKind.CREDENTIAL, http_status=status)
    bench.fails(FailureKind.CREDENTIAL, http_status=status)
    row = bench.seen()
    assert row.cooling == {"KEY"}
    assert (row.open, row.success_probability) == (False, 0.9)
    for model in ("lab/known", "lab/never-seen"):
        assert bench.seen(model=model).cooling == ({"KEY"} if elsewhere else frozenset())
        assert bench.health.cools(candidate(model=model), "KEY") is elsewhere
    assert bench.health.cools(candidate(), "KEY")
    assert not bench.health.cools(candidate(), "OTHER")
    assert not bench.seen("q").cooling
    bench.passes(60)
    assert not bench.seen().cooling
    assert not bench.seen(model="lab/never-seen").cooling
    assert bench.telemetry.events == [("credential_refused", f"{ID} KEY")]


def test_a_throttled_credential_cools_at_its_endpoint_only() -> None:
    """One model's rate limit would take all of a provider's models away."""
    bench = Bench()
    bench.fails(FailureKind.THROTTLED, times=30, retry_after_s=20.0)
    row = bench.seen()
    assert row.cooling == {"KEY"}
    assert (row.open, row.success_probability) == (False, 0.9)
    assert not bench.seen(model="lab/other").cooling
    bench.passes(20.3)
    assert not bench.seen().cooling
    (tally,) = bench.health.tallies()
    assert (tally.throttled, tally.failed) == (30, 0)


@pytest.mark.parametrize("status", [401, 402, 403])
def test_an_endpoint_that_asks_for_no_credential_and_refuses_is_at_fault(status: int) -> None:
    """A model server that was locked by mistake would cost every call its first attempt, for ever."""
    bench = Bench()
    bench.fails(FailureKind.CREDENTIAL, times=5, tried=candidate(credential=None), http_status=status)
    assert (bench.seen().open, bench.seen().cooling) == (True, frozenset())


def test_an_endpoint_without_credential_that_throttles_is_only_full() -> None:
    """A model server that is busy would be taken for dead."""
    bench, tried = Bench(), candidate(credential=None)
    others = [bench.begun(tried) for _ in range(4)]
    bench.fails(FailureKind.THROTTLED, times=9, tried=tried)
    row = bench.seen()
    assert (row.open, row.cooling, row.full, len(others)) == (False, frozenset(), True, row.in_flight)


def test_an_answer_makes_the_next_429_a_first_one() -> None:
    """A credential that is throttled now and then would cool for longer and longer all day."""
    bench = Bench()
    for _ in range(3):
        bench.fails(FailureKind.THROTTLED)
        bench.passes(40)
    bench.serves()
    bench.fails(FailureKind.THROTTLED)
    bench.passes(1.1)
    assert not bench.seen().cooling


def test_an_endpoint_that_throttles_is_full_at_seven_tenths() -> None:
    """Calls would go on crowding into an endpoint that just said it has too many."""
    bench = Bench()
    watches = [bench.begun() for _ in range(10)]
    watches.pop().failed(failure(FailureKind.THROTTLED))
    assert (bench.seen().full, bench.seen().in_flight) == (True, 9)
    for _ in range(3):
        watches.pop().served(Usage())
    assert not bench.seen().full


@given(st.lists(st.tuples(st.sampled_from([429, 401, 402, 403]), st.integers(0, 40)), max_size=80))
def test_one_credential_s_trouble_never_opens_an_endpoint(steps: list[tuple[int, int]]) -> None:
    """A key that ran out of money would take the endpoint away from the keys that have some."""
    bench = Bench()
    for status, wait_s in steps:
        kind = FailureKind.THROTTLED if status == 429 else FailureKind.CREDENTIAL
        bench.fails(kind, http_status=status)
        bench.serves(tried=candidate(credential="OTHER"))
        row = bench.seen()
        assert not row.open
        assert row.success_probability >= 0.9
        assert row.cooling == {"KEY"}
        bench.passes(wait_s)


@pytest.mark.parametrize("status", [401, 402, 403, 404, 429])
def test_trouble_with_an_account_s_own_credential_is_that_account_s(status: int) -> None:
    """One organisation's bad key would eject an endpoint for all others."""
    bench, kinds = Bench(), {404: FailureKind.MODEL_GONE, 429: FailureKind.THROTTLED}
    own = candidate(is_byok=True)
    assert not bench.health.puts_off(own, "A")
    for _ in range(50):
        bench.health.begun(own, "A").failed(failure(kinds.get(status, FailureKind.CREDENTIAL), http_status=status))
    assert bench.seen() == Bench().seen()
    assert bench.health.tallies() == ()
    assert bench.telemetry.events == []
    assert bench.health.puts_off(own, "A")
    assert not bench.health.puts_off(own, "B")
    assert not bench.health.puts_off(candidate(), "A")
    assert not bench.health.puts_off(candidate("q", is_byok=True), "A")
    bench.passes({404: 299, 429: 0.9}.get(status, 59))
    assert bench.health.puts_off(own, "A")
    bench.passes(1.2)
    assert not bench.health.puts_off(own, "A")


def test_an_own_credential_that_works_again_is_no_longer_put_off() -> None:
    """An account that paid its provider's bill would wait for its own credential."""
    bench, own = Bench(), candidate(is_byok=True)
    bench.health.begun(own, "A").failed(failure(FailureKind.CREDENTIAL, http_status=402))
    bench.health.begun(own, "A").served(Usage())
    assert not bench.health.puts_off(own, "A")


def test_an_endpoint_that_is_down_is_down_for_own_credentials_too() -> None:
    """Nobody would learn of an outage from calls on an account's own credential."""
    bench = Bench()
    bench.fails(times=5, tried=candidate(is_byok=True))
    assert bench.seen().open


def test_how_fast_an_endpoint_is() -> None:
    """Plans would wait for the slow, and nobody could ask for the quick."""
    bench = Bench()
    for first_ms, tokens, seconds in [(200.0, 100, 2.0), (400.0, 15, 2.0), (300.0, 100, 0.01)]:
        watch = bench.begun()
        watch.first(first_ms)
        watch.first(9_999.0)
        bench.passes(seconds)
        watch.served(Usage(input_tokens=10, cache_read_tokens=4), tokens)
    row = bench.seen()
    assert row.time_to_first_token_ms is not None
    assert 300 < row.time_to_first_token_ms < 400
    assert row.throughput_tokens_per_s == 50.0
    assert bench.health.tallies() == (
        Tally(
            endpoint=ID,
            provider="p",
            ok=3,
            begun=3,
            first_token_ms=(200.0, 400.0, 300.0),
            throughput=(50.0,),
            input_tokens=30,
            cache_read_tokens=12,
        ),
    )
    bench.passes(301)
    assert (bench.seen().time_to_first_token_ms, bench.seen().throughput_tokens_per_s) == (None, None)


def test_whole_answers_say_nothing_of_the_first_token() -> None:
    """How long answers are would be taken for how long one waits for them to begin."""
    bench = Bench()
    watch = bench.begun()
    bench.passes(30)
    watch.served(Usage(output_tokens=500))
    assert (bench.seen().time_to_first_token_ms, bench.seen().throughput_tokens_per_s) == (None, None)


def test_a_caller_who_leaves_in_the_middle_had_an_answer() -> None:
    """An endpoint whose callers often leave would be known by its failures only."""
    bench = Bench()
    bench.fails(times=4)
    watch = bench.begun()
    watch.first(10)
    watch.left()
    bench.fails(times=4)
    assert not bench.seen().open
    (tally,) = bench.health.tallies()
    assert (tally.ok, tally.failed) == (1, 8)


def test_an_answer_that_breaks_off_is_a_failure() -> None:
    """An endpoint that never comes to an end would be taken for a sound one."""
    bench = Bench()
    for _ in range(5):
        watch = bench.begun()
        watch.first(10)
        watch.failed(failure(FailureKind.RESET, committed=True))
    assert bench.seen().open


def test_tallies_are_told_once() -> None:
    """The fleet would count each failure at every interval."""
    bench = Bench()
    bench.fails(times=2)
    bench.serves(tried=candidate("q"))
    first, second = sorted(bench.health.tallies(), key=lambda tally: tally.provider)
    assert (first.endpoint, first.failed, second.endpoint, second.ok) == (ID, 2, "q/lab/model", 1)
    assert bench.health.tallies() == ()


def test_what_began_is_told_but_for_what_says_nothing() -> None:
    """The fleet would take a few quick failures for most calls, or never eject an endpoint whose callers often leave."""
    bench = Bench()
    bench.begun()
    assert bench.health.tallies() == ()
    gone = bench.begun()
    bench.fails()
    (tally,) = bench.health.tallies()
    assert (tally.begun, tally.failed) == (3, 1)
    gone.left()
    bench.fails(FailureKind.REQUEST)
    bench.fails(times=3)
    (tally,) = bench.health.tallies()
    assert (tally.begun, tally.failed) == (2, 3)


def test_calls_under_way_stand_against_quick_failures_until_they_are_overdue() -> None:
    """A model that thinks for a minute would be shut after each start, or a silent endpoint hide behind all who wait for it."""
    bench = Bench()
    answered = bench.begun()
    bench.passes(60.0)
    answered.served(Usage())
    waiting = []
    for _ in range(3):
        waiting += [bench.begun() for _ in range(10)]
        bench.fails(times=4)
        bench.begun().served(Usage())
    assert not bench.seen().open
    (tally,) = bench.health.tallies()
    assert (tally.begun, tally.ok, tally.failed) == (46, 4, 12)
    bench.passes(60.1)
    assert bench.health.tallies() == ()
    bench.fails(times=4)
    (tally,) = bench.health.tallies()
    assert (tally.begun, tally.failed) == (4 - 30, 4)
    waiting[-1].first(60_100.0)
    waiting.pop().left()
    for watch in waiting:
        watch.left()
    assert bench.seen().in_flight == 0
    (tally,) = bench.health.tallies()
    assert (tally.begun, tally.ok) == (0, 1)


def test_calls_that_are_overdue_do_not_part_a_row() -> None:
    """Short calls that fail at a silent endpoint would never be five in a row, as long ones wait between them."""
    bench = Bench()
    watch = bench.begun()
    bench.passes(2.0)
    watch.served(Usage())
    for _ in range(4):
        bench.begun()
        bench.fails()
    assert not bench.seen().open
    bench.passes(2.1)
    bench.fails()
    assert bench.seen().open


def test_a_row_is_made_anew_only_when_something_happened_or_time_passed() -> None:
    """Each plan would pay for looking at every endpoint again."""
    bench = Bench()
    bench.serves()
    row = bench.seen()
    bench.passes(0.2)
    assert bench.seen() is row
    bench.serves(tried=candidate("q"))
    assert bench.seen() is row
    bench.begun()
    assert bench.seen().in_flight == 1
    row = bench.seen()
    bench.passes(0.3)
    assert bench.seen() is not row


def test_failures_are_forgotten_although_nothing_happens() -> None:
    """An endpoint that failed at night would be avoided in the morning."""
    bench = Bench()
    bench.fails(times=4)
    assert bench.seen().success_probability == pytest.approx(9 / 14)
    bench.passes(30)
    assert bench.seen().success_probability == pytest.approx(9 / 12)


def test_the_rows_are_a_mapping() -> None:
    """Whoever lists endpoints would miss some, or find some that there are not."""
    bench = Bench()
    rows = bench.health.snapshot().endpoints
    assert (bool(rows), len(rows), list(rows), rows.get(ID)) == (False, 0, [], None)
    bench.serves()
    rows = bench.health.snapshot().endpoints
    assert (bool(rows), len(rows), list(rows), rows[ID].success_probability) == (True, 1, [ID], 10 / 11)
    with pytest.raises(KeyError):
        rows["q/lab/model"]


def test_what_is_not_used_for_an_hour_is_forgotten() -> None:
    """An instance that runs for months would fill its memory with endpoints that nobody uses."""
    bench = Bench()
    held = bench.begun(candidate("held"))
    bench.serves(tried=candidate("old"))
    bench.fails(FailureKind.CREDENTIAL, http_status=401, tried=candidate("old"))
    bench.health.asked("old/model")
    for number in range(BYOK_MOST + 50):
        bench.health.begun(candidate("own", is_byok=True), str(number)).failed(failure(FailureKind.CREDENTIAL, http_status=401))
    assert len(bench.health._all.byok) == BYOK_MOST
    bench.passes(3_601)
    bench.serves(tried=candidate("new"))
    assert set(bench.health.snapshot().endpoints) == {"held/lab/model", "new/lab/model"}
    assert (bench.health._all.refusals, bench.health._all.byok, bench.health._all.retries) == ({}, {}, {})
    held.left()


def test_budgets_are_of_one_model_each() -> None:
    """One model's outage would take the fallbacks of all others."""
    bench = Bench()
    bench.health.asked(MODEL)
    assert sum(bench.health.grants(candidate()) for _ in range(500)) == 100
    assert bench.health.grants(candidate(model="lab/other"))


def test_an_endpoint_that_is_open_is_granted_fewer_attempts_than_its_model() -> None:
    """Where all endpoints are dead each call would ask all of them; or one dead one keep calls from the sound ones."""
    bench = Bench()
    bench.opens()
    bench.health.asked(MODEL)
    assert sum(bench.health.grants(candidate()) for _ in range(500)) == 5
    assert sum(bench.health.grants(candidate("q")) for _ in range(500)) == 95


def test_the_fleet_s_word_makes_an_endpoint_s_attempts_few_too() -> None:
    """An instance that has not met a dead endpoint yet would ask it as often as if nobody had told."""
    bench = Bench()
    bench.heeds(ejected=True)
    assert sum(bench.health.grants(candidate()) for _ in range(500)) == 5


def test_a_dead_endpoint_is_opened_while_it_still_answers_old_calls() -> None:
    """An endpoint with long answers would be asked for as long after its death as they last."""
    bench = Bench()
    slow = [bench.begun() for _ in range(30)]
    for _ in range(4):
        bench.fails()
        slow.pop(0).served(Usage())
        assert not bench.seen().open
    bench.fails()
    assert bench.seen().open


def test_a_cold_start_does_not_open_a_sound_endpoint() -> None:
    """Every instance would begin by shutting what fails quicker than it answers, which is everything."""
    bench = Bench()
    begun = [bench.begun() for _ in range(25)]
    for watch in begun[2::5]:
        watch.failed(failure())
    assert not bench.seen().open
    for place, watch in enumerate(begun):
        if place % 5 != 2:
            watch.served(Usage())
    assert not bench.seen().open


def test_timeouts_of_calls_from_before_an_answer_do_not_open_an_endpoint() -> None:
    """A short breakdown would shut an endpoint half a minute later, when it has long been sound again."""
    bench = Bench()
    hanging = [bench.begun() for _ in range(5)]
    bench.serves()
    for watch in hanging:
        watch.failed(failure(FailureKind.TIMEOUT))
    assert not bench.seen().open


@pytest.mark.parametrize("kind", [*sorted(CALLERS | (CREDENTIALS - {FailureKind.MODEL_GONE}), key=str), "left", "excused"])
def test_calls_that_say_nothing_leave_a_row_of_failures_as_it_is(kind: FailureKind | str) -> None:
    """Callers who err, or leave, would keep a dead endpoint alive among those whose calls it loses."""
    bench = Bench()
    for times in (2, 2, 1):
        assert not bench.seen().open
        bench.fails(times=times)
        between = bench.begun()
        if kind == "left":
            between.left()
        elif kind == "excused":
            between.failed(failure(FailureKind.DEADLINE), excused=True)
        else:
            between.failed(failure(FailureKind(kind)))
    assert bench.seen().open


ENDS = ["served", "left", "failed", "throttled", "refused", "gone", "callers", "first"]


def end(watch: Watch, how: str) -> None:
    """Tell a watch something."""
    kinds = {
        "failed": FailureKind.SERVER,
        "throttled": FailureKind.THROTTLED,
        "refused": FailureKind.CREDENTIAL,
        "gone": FailureKind.MODEL_GONE,
        "callers": FailureKind.REQUEST,
    }
    if how in kinds:
        watch.failed(failure(kinds[how]))
    elif how == "served":
        watch.served(Usage(output_tokens=50), 50)
    elif how == "left":
        watch.left()
    else:
        watch.first(5)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([*ENDS, "begin"]), st.booleans(), st.integers(0, 20)), max_size=80)
)
def test_no_call_under_way_is_ever_lost_or_counted_twice(steps: list[tuple[int, str, bool, int]]) -> None:
    """An endpoint would look busy for ever, or its probe never end, and its traffic stay away until the next restart."""
    bench = Bench()
    watches: dict[int, Watch] = {}
    under_way: set[int] = set()
    for place, how, is_byok, wait_s in steps:
        if how == "begin":
            if place in under_way:
                watches[place].left()
            watches[place] = bench.begun(candidate(is_byok=is_byok))
            under_way.add(place)
        elif place in watches:
            end(watches[place], how)
            if how != "first":
                under_way.discard(place)
        row = bench.seen()
        assert row.in_flight == len(under_way)
        bench.passes(wait_s)
    for watch in watches.values():
        watch.left()
        watch.served(Usage())
    assert bench.seen().in_flight == 0
    bench.passes(400)
    row = bench.seen()
    assert not row.open or row.probe
    assert bench.health._all.of(ID, 0.0).breaker.probes == 0


UP = Uptime(last_5m=0.99)


def test_an_endpoint_that_the_fleet_ejected_is_tried_last() -> None:
    """Every instance would have to find out for itself, at its callers' cost, what others know already."""
    bench = Bench()
    bench.heeds(ejected=True, probers=("other",), ok=1, failed=20)
    row = bench.seen()
    assert (row.open, row.cause, row.probe, row.open_until_ms) == (True, Cause.FLEET, False, None)
    assert row.success_probability == pytest.approx(10 / 31)
    assert not bench.seen("q").open


def test_the_prober_sends_one_call_in_two_seconds() -> None:
    """An endpoint that the fleet ejected would stay out for ever, or be asked by every call of its prober."""
    bench = Bench()
    bench.heeds(ejected=True, probers=("me",))
    assert bench.seen().probe
    late = bench.planned()
    probe = bench.begun()
    assert not bench.seen().probe
    assert bench.health.puts_off(late, "B")
    bench.health.begun(late, "B").served(Usage())
    bench.passes(5)
    assert not bench.seen().probe
    probe.served(Usage())
    assert bench.seen().probe
    probe = bench.begun()
    bench.passes(1)
    probe.first(1)
    probe.served(Usage())
    assert not bench.seen().probe
    assert bench.health.puts_off(late, "B")
    bench.passes(1)
    assert bench.seen().probe
    assert bench.health.tallies()[0].probed == 2
    bench.fails()
    bench.passes(2)
    bench.serves()
    assert bench.health.tallies()[0].probed == 1
    bench.heeds(version=2)
    bench.serves()
    assert bench.health.tallies()[0].probed == 0


def test_a_breaker_of_one_s_own_is_not_probed_while_the_fleet_has_a_prober() -> None:
    """A dead endpoint would be probed by every instance."""
    bench = Bench()
    bench.passes(bench.opens())
    bench.heeds(ejected=True, probers=("other",))
    assert not bench.seen().probe
    bench.heeds(version=2)
    assert bench.seen().probe


def test_an_endpoint_comes_back_step_by_step_for_all() -> None:
    """All instances would send all their calls to an endpoint at the moment the fleet takes it back."""
    bench = Bench()
    bench.heeds(back_ms=bench.clock.now_ms() - 15_000)
    assert bench.seen().ramp == 0.5
    bench.passes(15)
    assert bench.seen().ramp == 1.0


def test_what_the_fleet_measured_is_passed_on() -> None:
    """Plans would ask every instance's own few calls for percentiles."""
    bench = Bench()
    first, speed = Percentiles(p99=900.0), Percentiles(p50=40.0)
    bench.heeds(ok=90, uptime=UP, first_token_ms=first, throughput=speed, cache_read_share=0.25)
    row = bench.seen()
    assert (row.time_to_first_token_percentiles_ms, row.throughput_percentiles, row.uptime) == (first, speed, UP)
    assert (row.cache_read_share, row.success_probability, row.open, row.degraded) == (0.25, 0.99, False, False)


@pytest.mark.parametrize(
    ("share", "degraded", "opened"),
    [(0.95, False, False), (0.949, True, False), (0.8, True, False), (0.799, False, True), (None, False, False)],
)
def test_uptime_of_five_minutes_ranks_an_endpoint(share: float | None, degraded: bool, opened: bool) -> None:
    """An endpoint that fails one call in ten would be drawn as often as a sound one."""
    bench = Bench()
    bench.heeds(uptime=Uptime(last_5m=share))
    row = bench.seen()
    assert (row.degraded, row.open) == (degraded, opened)
    assert row.cause is (Cause.UPTIME if opened else None)


def test_the_uptime_from_before_an_ejection_does_not_hold_an_endpoint_back() -> None:
    """An endpoint that is well again would get no traffic for five minutes."""
    bench = Bench()
    bench.heeds(uptime=Uptime(last_5m=0.5), back_ms=bench.clock.now_ms() - 299_999)
    assert not bench.seen().open
    bench.heeds(version=2, uptime=Uptime(last_5m=0.5), back_ms=bench.clock.now_ms() - 300_000)
    assert bench.seen().open


def test_who_counted_more_is_believed() -> None:
    """An instance with one call would overrule the whole fleet, or be overruled by an idle one."""
    bench = Bench()
    bench.heeds(ok=0, failed=3)
    assert bench.seen().success_probability == pytest.approx(9 / 13)
    bench.serves(times=4)
    assert bench.seen().success_probability == pytest.approx(13 / 14)


def test_an_old_view_is_forgotten() -> None:
    """An aggregator that died would keep an endpoint out for ever."""
    bench = Bench()
    bench.heeds(ejected=True, probers=("other",), age_ms=10_000)
    bench.passes(19)
    assert bench.seen().open
    bench.heeds(ejected=True, probers=("other",), age_ms=29_000)
    bench.passes(1.1)
    assert not bench.seen().open
    bench.heeds(version=2, ejected=True, probers=("other",), age_ms=31_000)
    assert not bench.seen().open
    bench.heeds(version=3, ejected=True, probers=("other",), age_ms=-60_000)
    bench.passes(29)
    assert bench.seen().open
    bench.heeds(version=3, ejected=True, probers=("other",), age_ms=-60_000)
    bench.passes(1.1)
    assert not bench.seen().open


def test_a_late_read_does_not_bring_an_older_view_back() -> None:
    """A copy of the store that lags would eject an endpoint again that is back."""
    bench = Bench()
    bench.heeds(version=5)
    bench.heeds(version=4, ejected=True)
    assert not bench.seen().open
    bench.passes(31)
    bench.heeds(version=1, ejected=True)
    assert bench.seen().open


def test_a_fleet_that_says_nothing_any_more_is_not_heeded() -> None:
    """Turning the fleet's health off would need a restart."""
    bench = Bench()
    bench.heeds(ejected=True)
    bench.health.heed(None, "me")
    assert not bench.seen().open


def test_a_model_that_is_gone_here_is_told_as_such() -> None:
    """An operator would look for an outage where a model was taken away."""
    bench = Bench()
    bench.heeds(ejected=True, probers=("me",))
    bench.fails(FailureKind.MODEL_GONE)
    bench.passes(3)
    row = bench.seen()
    assert (row.open, row.cause, row.probe) == (True, Cause.MODEL_GONE, False)
    assert row.open_until_ms is not None
