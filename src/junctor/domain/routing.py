"""How a call may be routed, where it will be tried, and what came of each try."""

from enum import Enum

from msgspec import Struct

from junctor.domain.catalog import Endpoint, PriceCard, Quantization
from junctor.domain.health import EndpointHealth, Percentiles
from junctor.domain.money import NanoUsd, PicoUsd


class SortBy(Enum):
    """What endpoints are sorted by."""

    PRICE = "price"
    THROUGHPUT = "throughput"
    LATENCY = "latency"


class Partition(Enum):
    """What is sorted together: each model's endpoints apart, or those of all models."""

    MODEL = "model"
    NONE = "none"


class Sort(Struct, frozen=True):
    """An order of endpoints that replaces load balancing."""

    by: SortBy
    partition: Partition = Partition.MODEL


class MaxPrice(Struct, frozen=True):
    """The most that may be paid for each unit."""

    input_picousd: PicoUsd | None = None
    output_picousd: PicoUsd | None = None
    request_picousd: PicoUsd | None = None
    image_picousd: PicoUsd | None = None


class RoutingPreferences(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Which endpoints a call may use, and in what order. `only` empty allows none, `only` None allows all."""

    order: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    require_parameters: bool = False
    data_collection: bool | None = None
    zdr: bool = False
    quantizations: tuple[Quantization, ...] = ()
    sort: Sort | None = None
    max_price: MaxPrice | None = None
    preferred_min_throughput: Percentiles | None = None
    preferred_max_latency_ms: Percentiles | None = None


class Credential(Struct, frozen=True):
    """What opens a provider: the name of a secret, never the secret, and its share of the calls against that of others."""

    name: str
    weight: float = 1.0


class Candidate(Struct, frozen=True):
    """An endpoint with the credential and the price under which it would be tried.

    `credential` is the name of a secret, never the secret; None where the endpoint asks for none. `spare` names those that may
    stand in for it, in order. `expected_nanousd` is what the call is expected to cost there. `weight` (0 to 1) is its part of
    the draw among those of its rank, None where all was sorted. `health` is what the plan knew of the endpoint.
    """

    endpoint: Endpoint
    credential: str | None
    price: PriceCard
    is_byok: bool = False
    expected_nanousd: NanoUsd | None = None
    weight: float | None = None
    spare: tuple[str, ...] = ()
    health: EndpointHealth | None = None


class Exclusion(Struct, frozen=True):
    """An endpoint that will not be tried, and why: a stable word such as CREDENTIALS_MISSING (policy/routing/filters)."""

    endpoint: Endpoint
    reason: str


class Plan(Struct, frozen=True):
    """Where a call will be tried, in order, and what was left out. Empty `candidates` means that nothing is eligible."""

    candidates: tuple[Candidate, ...]
    excluded: tuple[Exclusion, ...] = ()


class FailureKind(Enum):
    """What went wrong upstream, by what follows from it (the table of routing.md)."""

    CONNECT = "connect"
    """Nothing was sent: DNS, TLS, refused, or a kept-alive connection that died before any response byte."""
    RESET = "reset"
    """The connection broke after the request was sent."""
    TIMEOUT = "timeout"
    """No first token, or no next one, in time."""
    SERVER = "server"
    """408, 5xx, 529, or an error inside a 200."""
    REDIRECT = "redirect"
    """3xx: never followed."""
    MALFORMED = "malformed"
    """Empty, undecodable, over a limit, or ended without a finish reason."""
    THROTTLED = "throttled"
    """429."""
    CREDENTIAL = "credential"
    """401, 402 or 403 on our credential."""
    MODEL_GONE = "model_gone"
    """404."""
    REQUEST = "request"
    """400, 413, 422: the request itself is refused."""
    CONTEXT_LENGTH = "context_length"
    """The request is longer than the endpoint's context."""
    CONTENT_POLICY = "content_policy"
    """The provider refuses the content."""
    DEADLINE = "deadline"
    """All the time that the attempt had is up."""


class Failure(Struct, frozen=True, kw_only=True):
    """What went wrong in one attempt: a value, not an exception.

    `message` is the provider's own text, or ours; it is shown only for failures that are the caller's to mend. `committed`
    tells whether content had already come.
    """

    kind: FailureKind
    http_status: int | None = None
    code: str | None = None
    message: str = ""
    retry_after_s: float | None = None
    committed: bool = False


class AttemptOutcome(Enum):
    """How an attempt ended, as callers are told."""

    SERVED = "served"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    FAILED = "failed"
    MALFORMED = "malformed"
    THROTTLED = "throttled"
    CREDENTIAL_REFUSED = "credential_refused"
    MODEL_GONE = "model_gone"
    REQUEST_REFUSED = "request_refused"
    INTERRUPTED = "interrupted"


class Attempt(Struct, frozen=True):
    """One try of one endpoint. `latency_ms` runs to the first content or to the failure."""

    provider: str
    endpoint: str
    outcome: AttemptOutcome
    latency_ms: int
    http_status: int | None = None


class Adjustment(Struct, frozen=True):
    """A parameter that was dropped for an endpoint (`sent` None) or sent with another value."""

    parameter: str
    sent: str | None = None


class Timers(Struct, frozen=True):
    """How long an attempt may take, each in seconds: timeouts, not instants. `total_s` bounds all the rest."""

    connect_s: float
    first_token_s: float
    idle_s: float
    total_s: float
