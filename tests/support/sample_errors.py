"""One error of every kind, with the dynamic parts at the caller's choice."""

from collections.abc import Callable

from junctor.domain import errors
from junctor.domain.catalog import Endpoint
from junctor.domain.rates import Need, RateLimit
from junctor.domain.routing import Attempt, AttemptOutcome, Exclusion

Make = Callable[[str, int], errors.JunctorError]


def endpoint(endpoint_id: str) -> Endpoint:
    """Return an endpoint that is only a name."""
    return Endpoint(id=endpoint_id, model="m", provider="p", upstream_model="m", dialect="d", base_url="")


def attempts(text: str, count: int) -> tuple[Attempt, ...]:
    """Return so many failed attempts at an endpoint of this name."""
    return (Attempt("p", text, AttemptOutcome.MODEL_GONE, 10**15, 500),) * count


def exclusions(text: str, count: int) -> tuple[Exclusion, ...]:
    """Return so many exclusions of an endpoint of this name, for two reasons."""
    return tuple(Exclusion(endpoint(text), ("PRICE_UNKNOWN", "CREDENTIALS_MISSING")[place % 2]) for place in range(count))


EVERY: dict[type[errors.JunctorError], Make] = {
    errors.ApiKeyInvalidError: lambda text, count: errors.ApiKeyInvalidError(),
    errors.ScopeMissingError: lambda text, count: errors.ScopeMissingError(text, scope=text),
    errors.InvalidFieldError: lambda text, count: errors.InvalidFieldError(*[(text, text)] * count),
    errors.MessageTooLargeError: lambda text, count: errors.MessageTooLargeError(text, limit=text),
    errors.RequestRefusedError: lambda text, count: errors.RequestRefusedError(text, provider_message=text),
    errors.ContextLengthError: lambda text, count: errors.ContextLengthError(text, provider_message=text, limit=text),
    errors.ContentPolicyError: lambda text, count: errors.ContentPolicyError(text, provider_message=text),
    errors.ModelNotFoundError: lambda text, count: errors.ModelNotFoundError(text, (text,) * 3),
    errors.GenerationNotFoundError: lambda text, count: errors.GenerationNotFoundError(text, generation=text),
    errors.NoEligibleEndpointError: lambda text, count: errors.NoEligibleEndpointError(text, exclusions(text, count)),
    errors.InsufficientCreditsError: lambda text, count: errors.InsufficientCreditsError(
        needed=count, available=count, leased=count, affordable_max_tokens=count, retry_after_s=3.0
    ),
    errors.KeyBudgetExceededError: lambda text, count: errors.KeyBudgetExceededError(
        limit=text, needed=count, available=count, leased=count, retry_after_s=3.0
    ),
    errors.ModelNotAllowedError: lambda text, count: errors.ModelNotAllowedError(text, model=text),
    errors.RequestIdReusedError: lambda text, count: errors.RequestIdReusedError(),
    errors.RequestInProgressError: lambda text, count: errors.RequestInProgressError(text, 1.0, generation_id=text),
    errors.RequestCompletedError: lambda text, count: errors.RequestCompletedError(text, generation_id=text, cost_nanousd=text),
    errors.ResourceNotFoundError: lambda text, count: errors.ResourceNotFoundError(text, text),
    errors.ResourceExistsError: lambda text, count: errors.ResourceExistsError(text, resource_name=text),
    errors.ChangedMeanwhileError: lambda text, count: errors.ChangedMeanwhileError(text, 0.1),
    errors.BookingRefusedError: lambda text, count: errors.BookingRefusedError(text, booking=text),
    errors.OutcomeUnknownError: lambda text, count: errors.OutcomeUnknownError(text, 1.0),
    errors.UpstreamUnavailableError: lambda text, count: errors.UpstreamUnavailableError(text, attempts(text, count)),
    errors.UpstreamCapacityError: lambda text, count: errors.UpstreamCapacityError(text, attempts(text, count), 1e300),
    errors.StreamInterruptedError: lambda text, count: errors.StreamInterruptedError(
        text, generation_id=text, delivered_tokens=text
    ),
    errors.DeadlineError: lambda text, count: errors.DeadlineError(text),
    errors.OverloadedError: lambda text, count: errors.OverloadedError(text, 0.5, stage=text),
    errors.DrainingError: lambda text, count: errors.DrainingError(text, 2.0),
    errors.LedgerUnavailableError: lambda text, count: errors.LedgerUnavailableError(text, 1.0),
    errors.RateLimitedError: lambda text, count: errors.RateLimitedError(text, Need(RateLimit.CONCURRENCY, 1, 10**15), 1.0),
    errors.NotBuiltError: lambda text, count: errors.NotBuiltError(text, method=text),
    errors.InternalError: lambda text, count: errors.InternalError(text),
}
"""How to make an error of each kind from a text and a length of its lists."""
