"""Every way in which a call can be refused or fail, as exceptions; doors/status.py says how each looks on the wire.

An error carries a `reason` (a stable word), a message made of our own words, and `metadata`: every dynamic part of the message.
Text of providers is passed on only where the caller needs it to mend his request, and exception text never.
"""

from collections.abc import Mapping

from junctor.domain.money import NanoUsd
from junctor.domain.rates import Need, RateLimit
from junctor.domain.routing import Attempt, Exclusion

_UNITS = {
    RateLimit.REQUESTS_PER_MIN: "requests per minute",
    RateLimit.TOKENS_PER_MIN: "tokens per minute",
    RateLimit.CONCURRENCY: "calls at a time",
}


class JunctorError(Exception):
    """The root of the tree. Only its leaves are raised."""

    reason = "INTERNAL"

    def __init__(self, message: str, **metadata: str) -> None:
        """Keep the message and its dynamic parts."""
        super().__init__(message)
        self.message = message
        self.metadata: Mapping[str, str] = metadata


class RetryableError(JunctorError):
    """An error after which the same call may succeed; `retry_after_s` is None where nothing is known of when."""

    def __init__(self, message: str, retry_after_s: float | None = None, **metadata: str) -> None:
        """Keep when to try again."""
        super().__init__(message, **metadata)
        self.retry_after_s = retry_after_s


class ApiKeyInvalidError(JunctorError):
    """The key is missing, malformed, unknown, disabled or expired: one reason for all, so that nothing can be probed."""

    reason = "API_KEY_INVALID"

    def __init__(self) -> None:
        """Say the same whatever the cause."""
        super().__init__("The API key is missing or not valid.")


class ScopeMissingError(JunctorError):
    """The key is valid, but not for this kind of call."""

    reason = "SCOPE_MISSING"


class InvalidFieldError(JunctorError):
    """Fields of the request are wrong: `violations` are (field path, what is wrong) pairs, never empty."""

    reason = "INVALID_FIELD"

    def __init__(self, *violations: tuple[str, str]) -> None:
        """Keep all that is wrong, so that it can be mended at once."""
        field, wrong = violations[0]
        super().__init__(f"{field}: {wrong}", field=field)
        self.violations = violations


class MessageTooLargeError(JunctorError):
    """The request, or the answer, is larger than the limit."""

    reason = "MESSAGE_TOO_LARGE"


class ContextLengthError(JunctorError):
    """The request is longer than the model's context."""

    reason = "CONTEXT_LENGTH_EXCEEDED"


class ContentPolicyError(JunctorError):
    """The provider refuses the content."""

    reason = "CONTENT_POLICY"


class RequestRefusedError(JunctorError):
    """The provider refuses the request's form; metadata has its words."""

    reason = "INVALID_FIELD"


class ModelNotFoundError(JunctorError):
    """There is no such model; `near` are names that look alike."""

    reason = "MODEL_NOT_FOUND"

    def __init__(self, model: str, near: tuple[str, ...] = ()) -> None:
        """Name the model and what may have been meant."""
        hint = f" Near names: {', '.join(near)}." if near else ""
        super().__init__(f"There is no model {model!r}.{hint}", model=model, near=", ".join(near))
        self.model = model


class GenerationNotFoundError(JunctorError):
    """The account has no such generation."""

    reason = "GENERATION_NOT_FOUND"


class NoEligibleEndpointError(JunctorError):
    """The model exists, but nothing that serves it may be used for this call."""

    reason = "NO_ELIGIBLE_ENDPOINT"

    def __init__(self, model: str, excluded: tuple[Exclusion, ...]) -> None:
        """Keep why each endpoint was left out."""
        super().__init__(f"No endpoint of {model!r} can take this call.", model=model)
        self.excluded = excluded


class AttemptsFailedError(RetryableError):
    """Endpoints were tried and none answered; the caller was not charged."""

    def __init__(self, message: str, attempts: tuple[Attempt, ...], retry_after_s: float | None = None) -> None:
        """Keep what was tried."""
        super().__init__(message, retry_after_s, attempt_count=str(len(attempts)))
        self.attempts = attempts


class UpstreamUnavailableError(AttemptsFailedError):
    """Every endpoint failed."""

    reason = "UPSTREAM_UNAVAILABLE"


class UpstreamCapacityError(AttemptsFailedError):
    """Every endpoint is throttled."""

    reason = "UPSTREAM_CAPACITY"


class InsufficientCreditsError(RetryableError):
    """The organisation's credits do not cover what the call may cost; the caller was not charged.

    `retry_after_s` is set where a part is leased at present and may come back.
    """

    reason = "INSUFFICIENT_CREDITS"

    def __init__(
        self, *, needed: NanoUsd, available: NanoUsd, leased: NanoUsd, affordable_max_tokens: int, retry_after_s: float | None
    ) -> None:
        """Keep the sums, and the most output tokens for which the credits would do."""
        super().__init__(
            "The credits do not cover what this call may cost.",
            retry_after_s,
            needed_nanousd=str(needed),
            available_nanousd=str(available),
            leased_nanousd=str(leased),
            affordable_max_tokens=str(affordable_max_tokens),
        )


class KeyBudgetExceededError(RetryableError):
    """A limit of the key, its member, workspace or organisation does not cover what the call may cost."""

    reason = "KEY_BUDGET_EXCEEDED"

    def __init__(
        self, *, limit: str, needed: NanoUsd, available: NanoUsd, leased: NanoUsd, retry_after_s: float | None = None
    ) -> None:
        """Name the limit and keep its sums."""
        super().__init__(
            f"The limit {limit!r} does not cover what this call may cost.",
            retry_after_s,
            limit=limit,
            needed_nanousd=str(needed),
            available_nanousd=str(available),
            leased_nanousd=str(leased),
        )
        self.limit = limit


class ModelNotAllowedError(JunctorError):
    """The key may not ask for this model, or none of the providers that it allows has it."""

    reason = "MODEL_NOT_ALLOWED"


class RequestIdReusedError(JunctorError):
    """The request id was given to another request."""

    reason = "REQUEST_ID_REUSED"

    def __init__(self) -> None:
        """Say it; there is nothing to add."""
        super().__init__("The request id was used for another request.")


class RequestInProgressError(RetryableError):
    """The same request is being answered elsewhere at present."""

    reason = "REQUEST_IN_PROGRESS"


class RequestCompletedError(JunctorError):
    """The same request was answered, and charged; metadata has its generation and cost."""

    reason = "REQUEST_COMPLETED"


class ResourceNotFoundError(JunctorError):
    """The organisation has no such thing; `kind` is a word such as api_key, `name` is what was asked for."""

    reason = "RESOURCE_NOT_FOUND"

    def __init__(self, kind: str, name: str) -> None:
        """Keep what was looked for."""
        super().__init__(f"There is no {kind.replace('_', ' ')} {name!r}.", resource_type=kind, resource_name=name)
        self.kind = kind
        self.name = name


class ResourceExistsError(JunctorError):
    """There is one of that name already."""

    reason = "RESOURCE_EXISTS"


class ChangedMeanwhileError(RetryableError):
    """Someone else changed the same thing at the same time; nothing was done."""

    reason = "CHANGED_MEANWHILE"


class BookingRefusedError(JunctorError):
    """The books do not allow this movement of money; metadata has the `booking`, a stable word such as PAYMENT_SHORT."""

    reason = "BOOKING_REFUSED"


class OutcomeUnknownError(RetryableError):
    """The store did not tell whether a change took effect: asking again under the same id tells, and does it once."""

    reason = "OUTCOME_UNKNOWN"


class StreamInterruptedError(JunctorError):
    """The answer broke off after it had begun; metadata has the generation and what was delivered."""

    reason = "STREAM_INTERRUPTED"


class DeadlineError(JunctorError):
    """The caller's deadline passed; metadata has the stage."""

    reason = "DEADLINE_EXCEEDED"

    def __init__(self, stage: str) -> None:
        """Name the stage in which time ran out."""
        super().__init__(f"The deadline passed at the stage {stage!r}.", stage=stage)


class OverloadedError(RetryableError):
    """Too much is under way; nothing was done."""

    reason = "OVERLOADED"


class DrainingError(RetryableError):
    """This instance is ending; another will answer."""

    reason = "DRAINING"


class LedgerUnavailableError(RetryableError):
    """The ledger cannot be written, so nothing may be spent; the caller was not charged."""

    reason = "LEDGER_UNAVAILABLE"


class RateLimitedError(RetryableError):
    """An API key's limit on requests or tokens in a minute, or on calls at a time, is reached; nothing was done."""

    reason = "RATE_LIMITED"

    def __init__(self, api_key: str, need: Need, retry_after_s: float | None = None) -> None:
        """Name the key, the limit and what was needed of it."""
        unit = _UNITS[need.limit]
        message = (
            f"The API key's limit of {need.allowed} {unit} is reached."
            if need.amount <= need.allowed
            else f"The call needs {need.amount} {unit}, more than the API key's limit of {need.allowed}."
        )
        allowed, needed = str(need.allowed), str(need.amount)
        super().__init__(message, retry_after_s, limit=need.limit.value, allowed=allowed, needed=needed, api_key=api_key)
        self.api_key = api_key


class NotBuiltError(JunctorError):
    """The method is part of the API, but this version does not answer it."""

    reason = "UNIMPLEMENTED"


class InternalError(JunctorError):
    """A bug; metadata has the incident under which the log tells more."""

    reason = "INTERNAL"

    def __init__(self, incident: str) -> None:
        """Name the incident and nothing else."""
        super().__init__("Something went wrong inside Junctor.", incident=incident)
