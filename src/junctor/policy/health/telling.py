"""What an instance tells the others first, where it saw more endpoints in an interval than a digest holds.

Those that it probed or that failed, then those with the most calls. The others wait and are told with what is seen of them
next, so that none is left out for long and no call is left out of an uptime.
"""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from junctor.domain.health import Tally

ENDPOINTS_MOST: Final = 24
"""How many endpoints are told of one interval: about what two intervals in one digest have room for."""


def urgency(tally: Tally) -> tuple[bool, int, int, str]:
    """Return what a tally sorts by: the most urgent one comes first."""
    return tally.probed == 0, -tally.failed, -(tally.ok + tally.throttled), tally.endpoint


def told_now(waiting: Iterable[Tally], seen: Iterable[Tally]) -> tuple[tuple[Tally, ...], tuple[Tally, ...]]:
    """Return what to tell of what waits and what was seen since, and what goes on waiting."""
    all_ = {tally.endpoint: tally for tally in waiting}
    for tally in seen:
        earlier = all_.get(tally.endpoint)
        all_[tally.endpoint] = tally if earlier is None else _together(earlier, tally)
    ranked = sorted(all_.values(), key=urgency)
    return tuple(ranked[:ENDPOINTS_MOST]), tuple(ranked[ENDPOINTS_MOST:])


def _together(earlier: Tally, later: Tally) -> Tally:
    """Return the two tallies of one endpoint as one, with the later one's samples where it has any."""
    return replace(
        later,
        ok=earlier.ok + later.ok,
        failed=earlier.failed + later.failed,
        begun=earlier.begun + later.begun,
        throttled=earlier.throttled + later.throttled,
        first_token_ms=later.first_token_ms or earlier.first_token_ms,
        throughput=later.throughput or earlier.throughput,
        input_tokens=earlier.input_tokens + later.input_tokens,
        cache_read_tokens=earlier.cache_read_tokens + later.cache_read_tokens,
    )
