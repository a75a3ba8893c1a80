"""How each error looks on the wire: the one table (errors.md). Plain integers, so that every protocol can read it.

Codes are those of google.rpc.Code. A test fails when an error class has no row.
"""

from msgspec import Struct

from junctor.domain import errors

INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, PERMISSION_DENIED = 3, 4, 5, 7
ALREADY_EXISTS = 6
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, UNIMPLEMENTED, INTERNAL = 8, 9, 10, 12, 13
UNAVAILABLE, UNAUTHENTICATED = 14, 16


class StatusRow(Struct, frozen=True):
    """An error's gRPC code and HTTP status."""

    code: int
    http: int


STATUS: dict[type[errors.JunctorError], StatusRow] = {
    errors.ApiKeyInvalidError: StatusRow(UNAUTHENTICATED, 401),
    errors.ScopeMissingError: StatusRow(PERMISSION_DENIED, 403),
    errors.InvalidFieldError: StatusRow(INVALID_ARGUMENT, 400),
    errors.MessageTooLargeError: StatusRow(RESOURCE_EXHAUSTED, 413),
    errors.RequestRefusedError: StatusRow(INVALID_ARGUMENT, 400),
    errors.ContextLengthError: StatusRow(INVALID_ARGUMENT, 400),
    errors.ContentPolicyError: StatusRow(INVALID_ARGUMENT, 400),
    errors.ModelNotFoundError: StatusRow(NOT_FOUND, 404),
    errors.GenerationNotFoundError: StatusRow(NOT_FOUND, 404),
    errors.NoEligibleEndpointError: StatusRow(FAILED_PRECONDITION, 404),
    errors.InsufficientCreditsError: StatusRow(FAILED_PRECONDITION, 402),
    errors.KeyBudgetExceededError: StatusRow(RESOURCE_EXHAUSTED, 429),
    errors.ModelNotAllowedError: StatusRow(PERMISSION_DENIED, 403),
    errors.RequestIdReusedError: StatusRow(INVALID_ARGUMENT, 400),
    errors.RequestInProgressError: StatusRow(ABORTED, 409),
    errors.RequestCompletedError: StatusRow(ALREADY_EXISTS, 409),
    errors.ResourceNotFoundError: StatusRow(NOT_FOUND, 404),
    errors.ResourceExistsError: StatusRow(ALREADY_EXISTS, 409),
    errors.ChangedMeanwhileError: StatusRow(ABORTED, 409),
    errors.BookingRefusedError: StatusRow(FAILED_PRECONDITION, 409),
    errors.OutcomeUnknownError: StatusRow(UNAVAILABLE, 503),
    errors.UpstreamUnavailableError: StatusRow(UNAVAILABLE, 503),
    errors.UpstreamCapacityError: StatusRow(UNAVAILABLE, 429),
    errors.StreamInterruptedError: StatusRow(ABORTED, 502),
    errors.DeadlineError: StatusRow(DEADLINE_EXCEEDED, 504),
    errors.OverloadedError: StatusRow(UNAVAILABLE, 503),
    errors.DrainingError: StatusRow(UNAVAILABLE, 503),
    errors.LedgerUnavailableError: StatusRow(UNAVAILABLE, 503),
    errors.RateLimitedError: StatusRow(RESOURCE_EXHAUSTED, 429),
    errors.NotBuiltError: StatusRow(UNIMPLEMENTED, 501),
    errors.InternalError: StatusRow(INTERNAL, 500),
}


def row(error: errors.JunctorError) -> StatusRow:
    """Return an error's row."""
    return STATUS[type(error)]
