"""What would the same call have cost with perfect knowledge? Two yardsticks, for the same request with the same luck.

Of a drawn call: the same draw, with the same seed, where each endpoint's health is the truth and not what an instance believes.
Measured times and calls under way are the instance's own in both. An endpoint that answers less than SOUND of its requests is
degraded, one that answers less than SERVING is as good as ejected: the bounds of routing.md for published health. Of a `:floor`
call: the cheapest endpoint that would have answered in time.
"""

from typing import Final

import msgspec

from junctor.domain.call import Call, Snapshots
from junctor.domain.health import EndpointHealth, HealthSnapshot
from junctor.domain.money import NanoUsd
from junctor.policy import routing
from tests.simulation_routing.weather import Site, Weather

SOUND: Final = 0.95
SERVING: Final = 0.8
_UNKNOWN: Final = EndpointHealth(success_probability=1.0)


def drawn_nanousd(call: Call, snapshots: Snapshots, weather: Weather, luck: int, now_s: float) -> NanoUsd | None:
    """Return what a call would cost by a draw that knows the truth, None where all of its candidates fail."""
    health = snapshots.health
    known = {
        endpoint.id: _truth(health.endpoints.get(endpoint.id, _UNKNOWN), weather.sites[endpoint.provider], now_s)
        for endpoints in snapshots.catalog.endpoints.values()
        for endpoint in endpoints
    }
    true = msgspec.structs.replace(snapshots, health=HealthSnapshot(known, health.at_ms))
    for candidate in routing.plan(call, true).candidates:
        if _answers(weather.sites[candidate.endpoint.provider], luck, now_s):
            return candidate.expected_nanousd
    return None


def cheapest_nanousd(call: Call, snapshots: Snapshots, weather: Weather, luck: int, now_s: float) -> NanoUsd | None:
    """Return what the cheapest endpoint costs that would answer a call, None where none would."""
    ids = {endpoint.id: endpoint for endpoints in snapshots.catalog.endpoints.values() for endpoint in endpoints}
    answering = {
        ident: EndpointHealth(success_probability=1.0, open=not _answers(weather.sites[endpoint.provider], luck, now_s))
        for ident, endpoint in ids.items()
    }
    true = msgspec.structs.replace(snapshots, health=HealthSnapshot(answering, snapshots.health.at_ms))
    first = routing.plan(call, true).candidates[0]
    return None if answering[first.endpoint.id].open else first.expected_nanousd


def _truth(believed: EndpointHealth, site: Site, now_s: float) -> EndpointHealth:
    success = site.success if site.has_room(now_s) else 0.0
    return EndpointHealth(
        success_probability=success,
        time_to_first_token_ms=believed.time_to_first_token_ms,
        throughput_tokens_per_s=believed.throughput_tokens_per_s,
        in_flight=believed.in_flight,
        open=success < SERVING,
        degraded=success < SOUND,
        cache_read_share=believed.cache_read_share,
    )


def _answers(site: Site, luck: int, now_s: float) -> bool:
    return site.has_room(now_s) and not site.fails(luck)
