"""How well endpoints answer, as routing needs to know it."""

from collections.abc import Mapping

from msgspec import Struct

from junctor.domain.routing import Percentiles


class EndpointHealth(Struct, frozen=True, kw_only=True):
    """What was measured of one endpoint; None where nothing was.

    `open`: its breaker is, so that it is tried last. `degraded`: too many of its answers failed of late for it to be tried with
    the sound ones. `ramp` (0 to 1) is the share of its traffic that it gets back so far after its breaker closed. `in_flight`
    counts the calls under way there. `cache_read_share` (0 to 1) is how much of its input was read from its cache. The
    percentiles are of the last five minutes.
    """

    success_probability: float
    time_to_first_token_ms: float | None = None
    throughput_tokens_per_s: float | None = None
    open: bool = False
    degraded: bool = False
    ramp: float = 1.0
    in_flight: int = 0
    cache_read_share: float = 0.0
    time_to_first_token_percentiles_ms: Percentiles | None = None
    throughput_percentiles: Percentiles | None = None


class HealthSnapshot(Struct, frozen=True):
    """The health of all endpoints that were measured, by endpoint id, at one instant (Unix milliseconds)."""

    endpoints: Mapping[str, EndpointHealth]
    at_ms: int = 0
