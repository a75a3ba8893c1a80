"""What follows from a failed attempt: the next endpoint, the same one again, or an answer to the caller (routing.md, Failures).

Fallback happens only before the commit point. What the caller could mend himself stops at once: no other endpoint would like
his request better. Everything else is an endpoint's own trouble and goes on to the next one.
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
IDLE_S = 30.0
WHOLE_ANSWER_SHARE = 0.6

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


class Decision(Enum):
    """What to do after a failed attempt."""

    NEXT = "next"
    SAME = "same"
    STOP = "stop"


def decide(failure: Failure, tries_here: int) -> Decision:
    """Say what follows a failure before the commit point, after so many tries of the same endpoint."""
    if failure.kind in _CALLERS:
        return Decision.STOP
    if failure.kind is FailureKind.CONNECT and tries_here == 1:
        return Decision.SAME
    return Decision.NEXT


def timers(remaining_s: float, *, reasoning: bool, streamed: bool, last: bool) -> Timers:
    """Carve an attempt's timeouts out of what remains until the deadline.

    A whole answer has no first token to watch for: unless the endpoint is the last one, it gets a share of what remains, so
    that another can still answer.
    """
    first_token = min(
        remaining_s if last else FIRST_TOKEN_SHARE * remaining_s, FIRST_TOKEN_REASONING_S if reasoning else FIRST_TOKEN_S
    )
    total = remaining_s if streamed or last else WHOLE_ANSWER_SHARE * remaining_s
    return Timers(connect_s=min(CONNECT_S, total), first_token_s=first_token, idle_s=IDLE_S, total_s=total)


def final_error(failures: Sequence[Failure], attempts: tuple[Attempt, ...]) -> JunctorError:
    """Return what the caller is told once no endpoint is left to try. `failures` is never empty."""
    last = failures[-1]
    if last.kind in _CALLERS:
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
