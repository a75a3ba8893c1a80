"""The one table of errors, held to errors.md row by row."""

import pytest

from junctor.domain import errors
from junctor.doors import status

OK, CANCELLED, UNKNOWN = 0, 1, 2

PROMISED = {
    "ApiKeyInvalidError": ("API_KEY_INVALID", 16, 401),
    "ScopeMissingError": ("SCOPE_MISSING", 7, 403),
    "InvalidFieldError": ("INVALID_FIELD", 3, 400),
    "MessageTooLargeError": ("MESSAGE_TOO_LARGE", 8, 413),
    "RequestRefusedError": ("INVALID_FIELD", 3, 400),
    "ContextLengthError": ("CONTEXT_LENGTH_EXCEEDED", 3, 400),
    "ContentPolicyError": ("CONTENT_POLICY", 3, 400),
    "ModelNotFoundError": ("MODEL_NOT_FOUND", 5, 404),
    "GenerationNotFoundError": ("GENERATION_NOT_FOUND", 5, 404),
    "ModelNotAllowedError": ("MODEL_NOT_ALLOWED", 7, 403),
    "NoEligibleEndpointError": ("NO_ELIGIBLE_ENDPOINT", 9, 404),
    "InsufficientCreditsError": ("INSUFFICIENT_CREDITS", 9, 402),
    "KeyBudgetExceededError": ("KEY_BUDGET_EXCEEDED", 8, 429),
    "RateLimitedError": ("RATE_LIMITED", 8, 429),
    "RequestIdReusedError": ("REQUEST_ID_REUSED", 3, 400),
    "RequestInProgressError": ("REQUEST_IN_PROGRESS", 10, 409),
    "RequestCompletedError": ("REQUEST_COMPLETED", 6, 409),
    "ResourceNotFoundError": ("RESOURCE_NOT_FOUND", 5, 404),
    "ResourceExistsError": ("RESOURCE_EXISTS", 6, 409),
    "ChangedMeanwhileError": ("CHANGED_MEANWHILE", 10, 409),
    "BookingRefusedError": ("BOOKING_REFUSED", 9, 409),
    "OutcomeUnknownError": ("OUTCOME_UNKNOWN", 14, 503),
    "UpstreamUnavailableError": ("UPSTREAM_UNAVAILABLE", 14, 503),
    "UpstreamCapacityError": ("UPSTREAM_CAPACITY", 14, 429),
    "StreamInterruptedError": ("STREAM_INTERRUPTED", 10, 502),
    "DeadlineError": ("DEADLINE_EXCEEDED", 4, 504),
    "OverloadedError": ("OVERLOADED", 14, 503),
    "DrainingError": ("DRAINING", 14, 503),
    "LedgerUnavailableError": ("LEDGER_UNAVAILABLE", 14, 503),
    "NotBuiltError": ("UNIMPLEMENTED", 12, 501),
    "InternalError": ("INTERNAL", 13, 500),
}
"""By class: reason, gRPC code, HTTP status, copied from the design."""


def leaves(kind: type[errors.JunctorError]) -> set[type[errors.JunctorError]]:
    """Return the classes below this one that nothing is derived from."""
    below = kind.__subclasses__()
    return {leaf for derived in below for leaf in leaves(derived)} if below else {kind}


def test_every_error_that_can_be_raised_has_its_row_and_no_row_is_without_error() -> None:
    """An error without a row would end a call as a bug."""
    assert set(status.STATUS) == leaves(errors.JunctorError)
    assert {kind.__name__ for kind in status.STATUS} == set(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_each_row_is_as_promised(name: str) -> None:
    """Callers branch on codes and reasons: UNAVAILABLE is repeated by their libraries on its own."""
    kind = getattr(errors, name)
    row = status.STATUS[kind]
    assert (kind.reason, row.code, row.http) == PROMISED[name]


def test_unknown_never_leaves() -> None:
    """UNKNOWN tells a caller nothing, and OK would be a lie."""
    assert not {OK, CANCELLED, UNKNOWN} & {row.code for row in status.STATUS.values()}


def test_an_error_finds_its_row() -> None:
    """The lookup would miss what the table holds."""
    assert status.row(errors.DeadlineError("receipt")) is status.STATUS[errors.DeadlineError]
