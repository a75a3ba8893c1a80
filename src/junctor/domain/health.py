"""How well endpoints answer, as routing needs to know it, and what instances tell each other of it (routing.md, Health).

An instance counts what it sees (a Tally for each endpoint and interval); all tallies together make the fleet's view (a Verdict
for each endpoint). What a plan looks at is an EndpointHealth: this instance's own measurements with the fleet's verdict.
"""

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct


class Percentiles(Struct, frozen=True):
    """A value or a bound at each percentile of the last five minutes, None where there is none."""

    p50: float | None = None
    p75: float | None = None
    p90: float | None = None
    p99: float | None = None


class Uptime(Struct, frozen=True):
    """The share (0 to 1) of calls that were answered, callers' own errors and 429 left out; None where too few were made."""

    last_5m: float | None = None
    last_30m: float | None = None
    last_1d: float | None = None


class Cause(Enum):
    """Why an endpoint is tried after all others."""

    FAILURES = "failures"
    """Too many of its answers to this instance failed."""
    FLEET = "fleet"
    """Too many of its answers to the whole fleet failed."""
    UPTIME = "uptime"
    """It answered too few calls of the last five minutes to be more than a last resort."""
    MODEL_GONE = "model_gone"
    """It does not know the model any more."""


class EndpointHealth(Struct, frozen=True, kw_only=True):
    """What was measured of one endpoint; None where nothing was.

    `open`: its breaker is, so that it is tried last, for the `cause` and until `open_until_ms` (Unix milliseconds), where that
    is known. `probe`: it is open, but this instance should try it now, before all others, to see whether it is back.
    `degraded`: too many of its answers failed of late for it to be tried with the sound ones. `full`: it has as many calls
    under way as it bore when it last asked to slow down. `ramp` (0 to 1) is the share of its traffic that it gets back so far
    after its breaker closed. `in_flight` counts the calls under way there. `cooling` names the credentials that it is not to be
    asked with for now. `cache_read_share` (0 to 1) is how much of its input was read from its cache.
    """

    success_probability: float
    time_to_first_token_ms: float | None = None
    throughput_tokens_per_s: float | None = None
    open: bool = False
    cause: Cause | None = None
    open_until_ms: int | None = None
    probe: bool = False
    degraded: bool = False
    full: bool = False
    ramp: float = 1.0
    in_flight: int = 0
    cooling: frozenset[str] = frozenset()
    cache_read_share: float = 0.0
    time_to_first_token_percentiles_ms: Percentiles | None = None
    throughput_percentiles: Percentiles | None = None
    uptime: Uptime | None = None


class HealthSnapshot(Struct, frozen=True):
    """The health of all endpoints that were measured, by endpoint id, at one instant (Unix milliseconds)."""

    endpoints: Mapping[str, EndpointHealth]
    at_ms: int = 0


class Tally(Struct, frozen=True, kw_only=True):
    """What one instance saw of one endpoint in one interval. Callers' own errors and those of BYOK credentials are not in it.

    `begun` is how many calls began, less those that said nothing of the endpoint when they ended, and those that began to wait
    for longer than its answers take; so it may be negative. `ok` and `failed` count by when calls ended. `throttled` are
    answers of 429, which are no failures. `probed` is how many probes in a row were answered, to this instant. The samples are
    some of those measured, picked without favour: milliseconds, and tokens a second.
    """

    endpoint: str
    provider: str
    ok: int = 0
    failed: int = 0
    begun: int = 0
    throttled: int = 0
    probed: int = 0
    first_token_ms: tuple[float, ...] = ()
    throughput: tuple[float, ...] = ()
    input_tokens: int = 0
    cache_read_tokens: int = 0


class Verdict(Struct, frozen=True, kw_only=True):
    """What the fleet says of one endpoint. `ok` and `failed` are decayed counts.

    `ejected`: no instance draws it, and each of the instances named in `probers` tries it with one real request every two
    seconds.
    `back_ms` is when its last ejection ended (Unix milliseconds), from which its traffic comes back step by step.
    """

    endpoint: str
    ok: float = 0.0
    failed: float = 0.0
    ejected: bool = False
    probers: tuple[str, ...] = ()
    back_ms: int | None = None
    uptime: Uptime | None = None
    first_token_ms: Percentiles | None = None
    throughput: Percentiles | None = None
    cache_read_share: float = 0.0


class FleetView(Struct, frozen=True):
    """The verdicts by endpoint id, of one instant (Unix milliseconds). Whoever writes the next one has the next version."""

    version: int
    at_ms: int
    verdicts: Mapping[str, Verdict]
