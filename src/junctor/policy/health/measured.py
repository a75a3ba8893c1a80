"""What does one endpoint's health come to? All that an instance measured of it, and what the fleet says, as routing reads it.

Of success the side that counted more is believed: an instance with little traffic learns from the fleet, and a fleet of one
from itself. Where the fleet has ejected an endpoint, only the prober that it names tries it; else this instance's own breaker
says whether a probe is due. Uptime, percentiles and what was read from caches are the fleet's alone.
"""

from collections.abc import Collection
from typing import Final

import msgspec
from msgspec import Struct, field

from junctor.domain.health import Cause, EndpointHealth, Verdict
from junctor.policy.health.breaker import Breaker, most_failed, ramp
from junctor.policy.health.cooling import Cooling, Limit
from junctor.policy.health.decay import MEAN_S, PEAK_S, Counts, Faded, success_probability
from junctor.policy.health.seen import Seen

GONE_S: Final = 300.0
PROBE_EVERY_S: Final = 2.0
KNOWN_S: Final = 300.0
"""How long what was measured of speed is believed without a new measurement."""
NORMAL_UPTIME: Final = 0.95
LEAST_UPTIME: Final = 0.8
UPTIME_MS: Final = 300_000
"""The time of which the uptime that ranks an endpoint tells."""
PATIENCE_LEAST_S: Final = 1.0
PATIENCE_UNKNOWN_REASONING_S: Final = 10.0
EXCUSE_HALF_LIFE_S: Final = 30.0
_NONE: Final[frozenset[str]] = frozenset()


class Instant(Struct, frozen=True):
    """One instant on both clocks: seconds that never go back, and Unix milliseconds."""

    s: float
    ms: int


class Word(Struct, frozen=True):
    """What the fleet says of an endpoint, and whether this instance is the one that probes it."""

    verdict: Verdict
    is_prober: bool


class Measured(Struct):
    """All that one instance knows of one endpoint.

    `begun` counts its tries, and so numbers them. `waiting` are those without any content yet, by number, with when they began,
    in that order; but for `overdue` ones, which wait for longer than whole answers took of late. `first_ms` and `whole_s` are
    how long the first content of a stream and a whole answer took, at their worst of late. `probed` counts the probes in a row
    that were answered while the fleet had ejected the endpoint.
    """

    used_s: float
    begun: int = 0
    in_flight: int = 0
    waiting: dict[int, float] = field(default_factory=dict)
    overdue: int = 0
    counts: Counts = field(default_factory=Counts)
    breaker: Breaker = field(default_factory=Breaker)
    first_ms: Faded = field(default_factory=lambda: Faded(PEAK_S))
    whole_s: Faded = field(default_factory=lambda: Faded(PEAK_S))
    throughput: Faded = field(default_factory=lambda: Faded(MEAN_S))
    limit: Limit = field(default_factory=Limit)
    cooling: dict[str, Cooling] = field(default_factory=dict)
    gone_until_s: float = 0.0
    probed_s: float | None = None
    probed: int = 0
    interval: Seen = field(default_factory=Seen)
    row: EndpointHealth | None = None
    row_until_s: float = 0.0

    def begins(self, now_s: float) -> int:
        """Note that a call begins, and return its number."""
        self.in_flight += 1
        self.interval.begun += 1
        self.begun += 1
        self.waiting[self.begun] = now_s
        return self.begun

    def heard(self, number: int) -> None:
        """Note that a call waits no more: it has content, or has ended without any."""
        if self.waiting.pop(number, None) is None:
            self.overdue -= 1

    def pass_overdue(self, now_s: float) -> None:
        """Take what is overdue for calls that say nothing: they neither stand against failures nor part a row of them.

        Most likely it fails, too, but at an endpoint that is silent its time is up only much later. Where it is not known how
        long whole answers take, nothing is overdue.
        """
        worst_s = self.whole_s.value
        while worst_s is not None and self.waiting:
            number = next(iter(self.waiting))
            if now_s - self.waiting[number] <= worst_s:
                return
            del self.waiting[number]
            self.overdue += 1
            self.interval.begun -= 1
            self.breaker.streak.passes(number)

    def most_failed(self) -> bool:
        """Tell whether most calls failed of late, of those that ended and those that may well be answered yet."""
        return most_failed(self.counts, self.in_flight - self.overdue)

    def is_open(self, now_s: float, word: Word | None) -> bool:
        """Say whether it is tried after all others, by its breaker or the fleet's word."""
        return self.breaker.open_until_s is not None or now_s < self.gone_until_s or (word is not None and word.verdict.ejected)

    def wants_probe(self, now_s: float, word: Word | None) -> bool:
        """Say whether this instance should try it now to see whether it is back."""
        if now_s < self.gone_until_s or self.breaker.probes:
            return False
        if word is not None and word.verdict.ejected:
            return word.is_prober and (self.probed_s is None or now_s - self.probed_s >= PROBE_EVERY_S)
        return self.breaker.half_open(now_s)

    def excuses(self, now_s: float, waited_s: float, *, streamed: bool, reasoning: bool) -> bool:
        """Say whether a wait, cut short for the caller's deadline, was too short to say anything of the endpoint.

        It is as long as such answers took of late at their worst; what was measured long ago excuses ever less, so that an
        endpoint which never answers anybody does not live on its past.
        """
        worst = self.first_ms if streamed else self.whole_s
        if worst.value is None:
            return waited_s < (PATIENCE_UNKNOWN_REASONING_S if reasoning else PATIENCE_LEAST_S)
        worst_s = worst.value / 1000 if streamed else worst.value
        worth: float = 0.5 ** ((now_s - worst.at_s) / EXCUSE_HALF_LIFE_S)
        return waited_s < max(PATIENCE_LEAST_S, worst_s * worth)

    def health(self, now: Instant, word: Word | None, refused: Collection[str]) -> EndpointHealth:
        """Return what routing should know now; `refused` names credentials that are off at all of the provider's endpoints."""
        now_s, breaker, counts = now.s, self.breaker, self.counts
        counts.fade(now_s)
        cooling = frozenset(refused) if refused else _NONE
        if self.cooling:
            cooling |= {name for name, held in self.cooling.items() if now_s < held.until_s}
        own = EndpointHealth(
            success_probability=success_probability(counts.ok, counts.failed),
            time_to_first_token_ms=self.first_ms.known(now_s, KNOWN_S),
            throughput_tokens_per_s=self.throughput.known(now_s, KNOWN_S),
            full=self.limit.most is not None and self.limit.full(now_s, self.in_flight),
            ramp=1.0 if breaker.closed_s is None else breaker.ramp(now_s),
            in_flight=self.in_flight,
            cooling=cooling,
        )
        gone = now_s < self.gone_until_s
        if gone or breaker.open_until_s is not None or word is not None:
            until_s = self.gone_until_s if gone else breaker.open_until_s
            own = msgspec.structs.replace(
                own,
                open=until_s is not None,
                cause=None if until_s is None else Cause.MODEL_GONE if gone else Cause.FAILURES,
                open_until_ms=None if until_s is None or until_s <= now_s else now.ms + round((until_s - now_s) * 1000),
                probe=self.wants_probe(now_s, word),
            )
        return own if word is None else _with(own, word.verdict, self.counts, now)


def _with(own: EndpointHealth, verdict: Verdict, counts: Counts, now: Instant) -> EndpointHealth:
    """Return an instance's own view of an endpoint with what the fleet says of it."""
    chance = own.success_probability
    if verdict.ok + verdict.failed > counts.ok + counts.failed:
        chance = success_probability(verdict.ok, verdict.failed)
    uptime = None if verdict.uptime is None else verdict.uptime.last_5m
    if verdict.back_ms is not None and now.ms - verdict.back_ms < UPTIME_MS:
        uptime = None  # what it was ejected for is still in the window, and it has been tried since
    out = verdict.ejected or (uptime is not None and uptime < LEAST_UPTIME)
    back = 1.0 if verdict.back_ms is None else ramp((now.ms - verdict.back_ms) / 1000)
    fleets = out and own.cause is not Cause.MODEL_GONE
    return msgspec.structs.replace(
        own,
        success_probability=chance,
        open=own.open or out,
        cause=(Cause.FLEET if verdict.ejected else Cause.UPTIME) if fleets else own.cause,
        open_until_ms=None if fleets else own.open_until_ms,
        degraded=uptime is not None and LEAST_UPTIME <= uptime < NORMAL_UPTIME,
        ramp=min(own.ramp, back),
        cache_read_share=verdict.cache_read_share,
        time_to_first_token_percentiles_ms=verdict.first_token_ms,
        throughput_percentiles=verdict.throughput,
        uptime=verdict.uptime,
    )
