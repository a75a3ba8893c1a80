"""What follows from a failed attempt: the next endpoint, the same one again, or an answer to the caller (routing.md, Failures).

Fallback happens only before the commit point. What the caller could mend himself stops at once: no other endpoint would like
his request better. Everything else is an endpoint's own trouble and goes on to the next one, or that of a credential there,
which another of the provider's may not share. So does the refusal of a request whose last message is the beginning of the
answer: many endpoints take none, and say so as they say of a mistake.
"""

from collections.abc import Sequence
from enum import Enum

from junctor.domain.errors import (
    ContentPolicyError,
    ContextLengthError,
    JunctorError,
    RequestRefusedError,
    UpstreamCapacityError,
    UpstreamUnavailableError,
)
from junctor.domain.routing import Attempt, AttemptOutcome, Failure, FailureKind, Timers

CONNECT_S = 2.0
FIRST_TOKEN_S = 30.0
FIRST_TOKEN_REASONING_S = 120.0
FIRST_TOKEN_SHARE = 0.4
FIRST_TOKEN_LEAST_S = 1.0
"""What even an endpoint is given that is always quick: its next prompt may be longer than all before."""
TIMES_P99 = 2.0
IDLE_S = 30.0
WHOLE_ANSWER_SHARE = 0.6
WAIT_MOST_S = 2.0
WAIT_SHARE = 0.25

OUTCOMES = {
    FailureKind.CONNECT: AttemptOutcome.UNREACHABLE,
    FailureKind.RESET: AttemptOutcome.FAILED,
    FailureKind.TIMEOUT: AttemptOutcome.TIMED_OUT,
    FailureKind.SERVER: AttemptOutcome.FAILED,
    FailureKind.REDIRECT: AttemptOutcome.FAILED,
    FailureKind.MALFORMED: AttemptOutcome.MALFORMED,
    FailureKind.THROTTLED: AttemptOutcome.THROTTLED,
    FailureKind.CREDENTIAL: AttemptOutcome.CREDENTIAL_REFUSED,
    FailureKind.MODEL_GONE: AttemptOutcome.MODEL_GONE,
    FailureKind.REQUEST: AttemptOutcome.REQUEST_REFUSED,
    FailureKind.CONTEXT_LENGTH: AttemptOutcome.REQUEST_REFUSED,
    FailureKind.CONTENT_POLICY: AttemptOutcome.REQUEST_REFUSED,
    FailureKind.DEADLINE: AttemptOutcome.TIMED_OUT,
}

_CALLERS = frozenset({FailureKind.REQUEST, FailureKind.CONTEXT_LENGTH, FailureKind.CONTENT_POLICY})
_CREDENTIALS = frozenset({FailureKind.THROTTLED, FailureKind.CREDENTIAL})


class Decision(Enum):
    """What to do after a failed attempt."""

    NEXT = "next"
    SAME = "same"
    SPARE = "spare"
    """The same endpoint with another credential, else the next."""
    STOP = "stop"


class TimeUp(Enum):
    """Whose time was up when an attempt failed."""

    NOBODYS = "nobodys"
    """It failed of itself, or took as long as no endpoint may."""
    SHARE = "share"
    """The part of the caller's deadline that the attempt was given."""
    CALLERS = "callers"
    """The caller's deadline."""


def decide(failure: Failure, tries_here: int, *, prefilled: bool = False) -> Decision:
    """Say what follows a failure before the commit point, after so many tries of the same endpoint.

    `prefilled`: whether the request has the beginning of its answer.
    """
    if failure.kind is FailureKind.REQUEST and prefilled:
        return Decision.NEXT
    if failure.kind in _CALLERS:
        return Decision.STOP
    if failure.kind is FailureKind.CONNECT and tries_here == 1:
        return Decision.SAME
    if failure.kind in _CREDENTIALS:
        return Decision.SPARE
    return Decision.NEXT


def timers(remaining_s: float, *, reasoning: bool, streamed: bool, last: bool, p99_ms: float | None = None) -> Timers:
    """Carve an attempt's timeouts out of what remains until the deadline.

    `p99_ms` is the endpoint's time to first token that one answer in a hundred exceeds: after twice that it is not waited for
    any longer, if there is another. A whole answer has no first token to watch for: unless the endpoint is the last one, it
    gets a share of what remains, so that another can still answer.
    """
    first_token = FIRST_TOKEN_REASONING_S if reasoning else FIRST_TOKEN_S
    if last:
        first_token = min(first_token, remaining_s)
    else:
        first_token = min(first_token, FIRST_TOKEN_SHARE * remaining_s)
        if p99_ms is not None:
            first_token = min(first_token, max(FIRST_TOKEN_LEAST_S, TIMES_P99 * p99_ms / 1000))
    total = remaining_s if streamed or last else WHOLE_ANSWER_SHARE * remaining_s
    return Timers(connect_s=min(CONNECT_S, total), first_token_s=first_token, idle_s=IDLE_S, total_s=total)


def time_up(failure: Failure, timers: Timers, remaining_s: float, took_s: float) -> TimeUp:
    """Say whose time was up when an attempt failed that took so long of what remained until the deadline.

    Timeouts tell it: whatever is shorter than all endpoints are given was cut out of the deadline, and the last endpoint of a
    plan, as any stream, has the deadline itself for its total.
    """
    if failure.kind is FailureKind.DEADLINE:
        return TimeUp.CALLERS if timers.total_s >= remaining_s else TimeUp.SHARE
    if failure.kind is FailureKind.TIMEOUT and not failure.committed:
        return TimeUp.SHARE if timers.first_token_s >= FIRST_TOKEN_SHARE * remaining_s else TimeUp.NOBODYS
    if failure.kind is FailureKind.CONNECT and timers.connect_s < CONNECT_S and took_s >= timers.connect_s:
        return TimeUp.SHARE
    return TimeUp.NOBODYS


def is_worth_waiting(hint_s: float, remaining_s: float) -> bool:
    """Say whether to wait for so long as an endpoint asks, where all ask to slow down."""
    return hint_s <= min(WAIT_MOST_S, WAIT_SHARE * remaining_s)


def final_error(failures: Sequence[Failure], attempts: tuple[Attempt, ...], *, prefilled: bool = False) -> JunctorError:
    """Return what the caller is told once no endpoint is left to try. `failures` is never empty, `prefilled` as in `decide`."""
    last = failures[-1]
    may_pass = prefilled and any(failure.kind is not FailureKind.REQUEST for failure in failures)
    if last.kind in _CALLERS and not (may_pass and last.kind is FailureKind.REQUEST):
        return _caller_error(last)
    if all(failure.kind is FailureKind.THROTTLED for failure in failures):
        hints = [failure.retry_after_s for failure in failures if failure.retry_after_s is not None]
        return UpstreamCapacityError("Every endpoint asks to slow down.", attempts, min(hints, default=1.0))
    return UpstreamUnavailableError("Every endpoint that may take this call failed.", attempts)


def _caller_error(failure: Failure) -> JunctorError:
    if failure.kind is FailureKind.CONTEXT_LENGTH:
        return ContextLengthError("The request is longer than the model's context.", provider_message=failure.message)
    if failure.kind is FailureKind.CONTENT_POLICY:
        return ContentPolicyError("The provider refuses this content.", provider_message=failure.message)
    return RequestRefusedError("The provider refuses this request.", provider_message=failure.message)
