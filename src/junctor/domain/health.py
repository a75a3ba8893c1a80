"""How well endpoints answer, as routing needs to know it."""

from collections.abc import Mapping

from msgspec import Struct


class EndpointHealth(Struct, frozen=True, kw_only=True):
    """What was measured of one endpoint; None where nothing was."""

    success_probability: float
    time_to_first_token_ms: float | None = None
    throughput_tokens_per_s: float | None = None
    open: bool = False


class HealthSnapshot(Struct, frozen=True):
    """The health of all endpoints that were measured, by endpoint id, at one instant (Unix milliseconds)."""

    endpoints: Mapping[str, EndpointHealth]
    at_ms: int = 0
