"""The table of failures, row by row as routing.md has it, and timeouts that never add up to more than there is."""

import itertools

import pytest

from junctor.domain.errors import (
    ContentPolicyError,
    ContextLengthError,
    JunctorError,
    RequestRefusedError,
    UpstreamCapacityError,
    UpstreamUnavailableError,
)
from junctor.domain.routing import Attempt, AttemptOutcome, Failure, FailureKind, Timers
from junctor.policy import fallback
from junctor.policy.fallback import Decision, TimeUp

CONTEXT, POLICY, REFUSED = FailureKind.CONTEXT_LENGTH, FailureKind.CONTENT_POLICY, FailureKind.REQUEST
TABLE: dict[FailureKind, tuple[Decision, Decision, AttemptOutcome]] = {
    FailureKind.CONNECT: (Decision.SAME, Decision.NEXT, AttemptOutcome.UNREACHABLE),
    FailureKind.RESET: (Decision.NEXT, Decision.NEXT, AttemptOutcome.FAILED),
    FailureKind.TIMEOUT: (Decision.NEXT, Decision.NEXT, AttemptOutcome.TIMED_OUT),
    FailureKind.SERVER: (Decision.NEXT, Decision.NEXT, AttemptOutcome.FAILED),
    FailureKind.REDIRECT: (Decision.NEXT, Decision.NEXT, AttemptOutcome.FAILED),
    FailureKind.MALFORMED: (Decision.NEXT, Decision.NEXT, AttemptOutcome.MALFORMED),
    FailureKind.THROTTLED: (Decision.SPARE, Decision.SPARE, AttemptOutcome.THROTTLED),
    FailureKind.CREDENTIAL: (Decision.SPARE, Decision.SPARE, AttemptOutcome.CREDENTIAL_REFUSED),
    FailureKind.MODEL_GONE: (Decision.NEXT, Decision.NEXT, AttemptOutcome.MODEL_GONE),
    FailureKind.REQUEST: (Decision.STOP, Decision.STOP, AttemptOutcome.REQUEST_REFUSED),
    FailureKind.CONTEXT_LENGTH: (Decision.STOP, Decision.STOP, AttemptOutcome.REQUEST_REFUSED),
    FailureKind.CONTENT_POLICY: (Decision.STOP, Decision.STOP, AttemptOutcome.REQUEST_REFUSED),
    FailureKind.DEADLINE: (Decision.NEXT, Decision.NEXT, AttemptOutcome.TIMED_OUT),
}
"""By kind: what follows the first failure at an endpoint, what follows the second, and what callers are told."""

REMAINING_S = [0.001, 0.1, 1.0, 2.0, 5.0, 30.0, 75.0, 300.0, 600.0, 900.0]
TRIED = (Attempt("p", "p/m", AttemptOutcome.FAILED, 5),)


def test_the_table_has_every_kind() -> None:
    """A kind of failure that adapters gain would be decided by accident."""
    assert set(TABLE) == set(FailureKind) == set(fallback.OUTCOMES)


@pytest.mark.parametrize("kind", FailureKind)
def test_each_kind_is_decided_as_promised(kind: FailureKind) -> None:
    """A refused request would be sent to every provider, or a dead provider end the call."""
    first, second, outcome = TABLE[kind]
    assert fallback.decide(Failure(kind=kind), 1) is first
    assert fallback.decide(Failure(kind=kind), 2) is second
    assert fallback.OUTCOMES[kind] is outcome


@pytest.mark.parametrize("kind", FailureKind)
def test_only_a_plain_refusal_goes_on_where_the_answer_was_begun(kind: FailureKind) -> None:
    """A prompt that is too long, or not allowed, would be sent to every provider if it ends with a beginning."""
    expected = Decision.NEXT if kind is REFUSED else TABLE[kind][0]
    assert fallback.decide(Failure(kind=kind), 1, prefilled=True) is expected


@pytest.mark.parametrize("p99_ms", [None, 1.0, 4_000.0, 1e9])
@pytest.mark.parametrize(("reasoning", "streamed", "last"), [*itertools.product([False, True], repeat=3)])
@pytest.mark.parametrize("remaining_s", REMAINING_S)
def test_no_timeout_is_longer_than_what_remains(
    remaining_s: float, reasoning: bool, streamed: bool, last: bool, p99_ms: float | None
) -> None:
    """A caller's deadline would pass while an endpoint is still being waited for."""
    timers = fallback.timers(remaining_s, reasoning=reasoning, streamed=streamed, last=last, p99_ms=p99_ms)
    assert 0 < timers.connect_s <= timers.total_s <= remaining_s
    assert 0 < timers.first_token_s <= remaining_s
    assert timers.connect_s <= 2.0
    assert timers.first_token_s <= (120.0 if reasoning else 30.0)
    assert timers.idle_s == 30.0


@pytest.mark.parametrize("remaining_s", REMAINING_S)
def test_an_endpoint_leaves_time_for_the_next_unless_it_is_the_last(remaining_s: float) -> None:
    """One silent endpoint would use up the whole deadline, and nothing be left to fall back with."""
    stream = fallback.timers(remaining_s, reasoning=True, streamed=True, last=False)
    assert stream.first_token_s == pytest.approx(min(0.4 * remaining_s, 120.0))
    whole = fallback.timers(remaining_s, reasoning=True, streamed=False, last=False)
    assert whole.total_s == pytest.approx(0.6 * remaining_s)
    for streamed in (True, False):
        last = fallback.timers(remaining_s, reasoning=True, streamed=streamed, last=True)
        assert last.total_s == remaining_s
        assert last.first_token_s == min(remaining_s, 120.0)


@pytest.mark.parametrize(
    ("p99_ms", "last", "expected_s"),
    [
        (3_000.0, False, 6.0),
        (100.0, False, 1.0),
        (14_000.0, False, 28.0),
        (16_000.0, False, 30.0),
        (None, False, 30.0),
        (100.0, True, 30.0),
    ],
)
def test_an_endpoint_is_waited_for_twice_as_long_as_it_takes_at_its_worst(
    p99_ms: float | None, last: bool, expected_s: float
) -> None:
    """A quick endpoint that hangs would be waited for as long as the slowest, or the last one be given up too soon."""
    timers = fallback.timers(100.0, reasoning=False, streamed=True, last=last, p99_ms=p99_ms)
    assert timers.first_token_s == expected_s


def test_a_long_prompt_at_a_slow_endpoint_is_waited_for_by_its_share_of_a_short_deadline() -> None:
    """What an endpoint takes at its worst would eat the time of the one that is to take over."""
    assert fallback.timers(5.0, reasoning=True, streamed=True, last=False, p99_ms=60_000.0).first_token_s == 2.0


def carved(remaining_s: float, *, streamed: bool, last: bool, p99_ms: float | None = None) -> Timers:
    """Return the timers of an attempt."""
    return fallback.timers(remaining_s, reasoning=False, streamed=streamed, last=last, p99_ms=p99_ms)


@pytest.mark.parametrize(
    ("kind", "timers", "expected"),
    [
        (FailureKind.DEADLINE, carved(10.0, streamed=True, last=False), TimeUp.CALLERS),
        (FailureKind.DEADLINE, carved(10.0, streamed=True, last=True), TimeUp.CALLERS),
        (FailureKind.DEADLINE, carved(10.0, streamed=False, last=True), TimeUp.CALLERS),
        (FailureKind.DEADLINE, carved(10.0, streamed=False, last=False), TimeUp.SHARE),
        (FailureKind.TIMEOUT, carved(10.0, streamed=True, last=False), TimeUp.SHARE),
        (FailureKind.TIMEOUT, carved(10.0, streamed=True, last=False, p99_ms=1_000.0), TimeUp.NOBODYS),
        (FailureKind.TIMEOUT, carved(10.0, streamed=True, last=False, p99_ms=9_000.0), TimeUp.SHARE),
        (FailureKind.SERVER, carved(10.0, streamed=False, last=False), TimeUp.NOBODYS),
        (FailureKind.CONNECT, carved(10.0, streamed=False, last=False), TimeUp.NOBODYS),
    ],
)
def test_whose_time_was_up_is_told_by_the_timers(kind: FailureKind, timers: Timers, expected: TimeUp) -> None:
    """Callers with short deadlines would lower the health of endpoints, or endpoints that hang never be found out."""
    assert fallback.time_up(Failure(kind=kind), timers, 10.0, 5.0) is expected


def test_a_first_token_that_does_not_come_for_as_long_as_anybody_waits_is_nobody_s_haste() -> None:
    """An endpoint that hangs would live on for as long as its callers are patient."""
    timers = carved(300.0, streamed=True, last=False)
    assert fallback.time_up(Failure(kind=FailureKind.TIMEOUT), timers, 300.0, 30.0) is TimeUp.NOBODYS


def test_a_stall_in_the_middle_is_never_the_caller_s() -> None:
    """An endpoint that stalls after its first word would never be found out."""
    stalled = Failure(kind=FailureKind.TIMEOUT, committed=True)
    assert fallback.time_up(stalled, carved(10.0, streamed=True, last=False), 10.0, 5.0) is TimeUp.NOBODYS


@pytest.mark.parametrize(("took_s", "expected"), [(0.5, TimeUp.SHARE), (0.1, TimeUp.NOBODYS)])
def test_a_connection_that_was_hardly_given_time_is_the_caller_s(took_s: float, expected: TimeUp) -> None:
    """A caller with half a second would shut every far endpoint, or a host that refuses never be noticed."""
    assert fallback.time_up(Failure(kind=FailureKind.CONNECT), carved(0.5, streamed=True, last=True), 0.5, took_s) is expected


@pytest.mark.parametrize(
    ("hint_s", "remaining_s", "expected"),
    [(2.0, 8.0, True), (2.1, 100.0, False), (2.0, 7.9, False), (0.0, 0.1, True), (1.0, 4.0, True), (1.0, 3.9, False)],
)
def test_a_short_wait_is_worth_it_if_there_is_time(hint_s: float, remaining_s: float, expected: bool) -> None:
    """Calls would fail for want of a second, or be held up until their deadline."""
    assert fallback.is_worth_waiting(hint_s, remaining_s) is expected


@pytest.mark.parametrize("streamed", [True, False])
def test_three_silent_endpoints_fit_into_one_deadline(streamed: bool) -> None:
    """The last endpoint would be tried after the caller has gone."""
    remaining_s = 100.0
    for last in (False, False, True):
        timers = fallback.timers(remaining_s, reasoning=False, streamed=streamed, last=last)
        remaining_s -= timers.first_token_s if streamed else timers.total_s
        assert remaining_s >= 0
    assert remaining_s < 100


@pytest.mark.parametrize(
    ("kind", "error"), [(CONTEXT, ContextLengthError), (POLICY, ContentPolicyError), (REFUSED, RequestRefusedError)]
)
def test_the_caller_s_own_failure_is_told_in_the_provider_s_words(kind: FailureKind, error: type[JunctorError]) -> None:
    """The caller could not mend what only the provider can name."""
    failures = [Failure(kind=FailureKind.SERVER, message="secret"), Failure(kind=kind, message="top_k is bad")]
    found = fallback.final_error(failures, TRIED)
    assert type(found) is error
    assert found.metadata["provider_message"] == "top_k is bad"
    assert "top_k" not in found.message


@pytest.mark.parametrize("kind", [kind for kind, (first, *_) in TABLE.items() if first is not Decision.STOP])
def test_a_provider_s_own_failure_is_not_told_in_its_words(kind: FailureKind) -> None:
    """A provider's error page, with whatever is in it, would reach the caller."""
    found = fallback.final_error([Failure(kind=kind, message="secret", code="secret")], TRIED)
    assert isinstance(found, UpstreamUnavailableError | UpstreamCapacityError)
    assert found.attempts == TRIED
    assert "secret" not in repr((found.message, found.metadata))


@pytest.mark.parametrize(
    ("hints", "expected_s"), [([None], 1.0), ([3.0], 3.0), ([5.0, None, 2.0], 2.0), ([0.0, 9.0], 0.0), ([None, 7.0], 7.0)]
)
def test_when_all_are_throttled_the_least_hint_is_passed_on(hints: list[float | None], expected_s: float) -> None:
    """Callers would come back too early, or wait for the slowest of all."""
    failures = [Failure(kind=FailureKind.THROTTLED, retry_after_s=hint) for hint in hints]
    found = fallback.final_error(failures, TRIED)
    assert isinstance(found, UpstreamCapacityError)
    assert found.retry_after_s == expected_s


def test_one_that_is_not_throttled_makes_it_unavailable() -> None:
    """An outage would look like a question of rate."""
    failures = [Failure(kind=FailureKind.THROTTLED, retry_after_s=1.0), Failure(kind=FailureKind.SERVER)]
    assert type(fallback.final_error(failures, TRIED)) is UpstreamUnavailableError
    assert type(fallback.final_error(failures[::-1], TRIED)) is UpstreamUnavailableError
