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
from junctor.domain.routing import Attempt, AttemptOutcome, Failure, FailureKind
from junctor.policy import fallback
from junctor.policy.fallback import Decision

CONTEXT, POLICY, REFUSED = FailureKind.CONTEXT_LENGTH, FailureKind.CONTENT_POLICY, FailureKind.REQUEST
TABLE: dict[FailureKind, tuple[Decision, Decision, AttemptOutcome]] = {
    FailureKind.CONNECT: (Decision.SAME, Decision.NEXT, AttemptOutcome.UNREACHABLE),
    FailureKind.RESET: (Decision.NEXT, Decision.NEXT, AttemptOutcome.FAILED),
    FailureKind.TIMEOUT: (Decision.NEXT, Decision.NEXT, AttemptOutcome.TIMED_OUT),
    FailureKind.SERVER: (Decision.NEXT, Decision.NEXT, AttemptOutcome.FAILED),
    FailureKind.REDIRECT: (Decision.NEXT, Decision.NEXT, AttemptOutcome.FAILED),
    FailureKind.MALFORMED: (Decision.NEXT, Decision.NEXT, AttemptOutcome.MALFORMED),
    FailureKind.THROTTLED: (Decision.NEXT, Decision.NEXT, AttemptOutcome.THROTTLED),
    FailureKind.CREDENTIAL: (Decision.NEXT, Decision.NEXT, AttemptOutcome.CREDENTIAL_REFUSED),
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


@pytest.mark.parametrize(("reasoning", "streamed", "last"), [*itertools.product([False, True], repeat=3)])
@pytest.mark.parametrize("remaining_s", REMAINING_S)
def test_no_timeout_is_longer_than_what_remains(remaining_s: float, reasoning: bool, streamed: bool, last: bool) -> None:
    """A caller's deadline would pass while an endpoint is still being waited for."""
    timers = fallback.timers(remaining_s, reasoning=reasoning, streamed=streamed, last=last)
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
