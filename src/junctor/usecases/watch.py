"""One try of one endpoint, as health sees it: it begins, may bring its first content, and ends exactly once.

What each failure says, and of what, is the table of routing.md (Failures): of the endpoint, of a credential there, or of
nothing. A failure of a credential that is the caller's own (BYOK) is held against his account at this endpoint alone. An
endpoint that asks for no credential and refuses it all the same is at fault itself.

A caller who leaves says nothing of an endpoint that had brought no content yet. Where it had, the answer counts as one: else
an endpoint whose callers often leave would be known by its failures only. A stall is not his to tell, the idle timer does.

Invariant: however a watch ends, once or more often, it takes back its one call under way, once.
"""

from typing import Final

from junctor.domain.completion import Usage
from junctor.domain.routing import Candidate, Failure, FailureKind
from junctor.policy.health.cooling import Cooling
from junctor.policy.health.measured import GONE_S, Measured
from junctor.usecases.measurements import Measurements

ENDPOINTS_OWN: Final = frozenset(
    {
        FailureKind.CONNECT,
        FailureKind.RESET,
        FailureKind.TIMEOUT,
        FailureKind.SERVER,
        FailureKind.REDIRECT,
        FailureKind.MALFORMED,
        FailureKind.DEADLINE,
    }
)
"""The failures that lower an endpoint's health."""
_CREDENTIALS: Final = frozenset({FailureKind.THROTTLED, FailureKind.CREDENTIAL, FailureKind.MODEL_GONE})
_FORBIDDEN: Final = 403
"""The refusal that may mean no more than a model which the credential may not use: it counts at that endpoint only."""

THROUGHPUT_TOKENS_LEAST: Final = 16
THROUGHPUT_S_LEAST: Final = 0.05
"""Below these an answer came in too few pieces for its speed to be known: most came with its first content."""


class Watch:
    """The try of one candidate. Whatever it is told after its end changes nothing."""

    __slots__ = (
        "_account",
        "_all",
        "_began_s",
        "_candidate",
        "_first_s",
        "_for_fleet",
        "_measured",
        "_number",
        "_probe",
        "_under_way",
    )

    def __init__(self, all_: Measurements, measured: Measured, candidate: Candidate, account: str, began_s: float) -> None:
        self._all = all_
        self._measured = measured
        self._candidate = candidate
        self._account = account
        self._began_s = began_s
        self._first_s: float | None = None
        self._under_way = True
        self._probe = False
        self._for_fleet = False
        self._number = measured.begins(began_s)
        measured.row = None

    def probes(self, *, for_fleet: bool) -> None:
        """Make this the endpoint's one probe, of this instance's breaker or in the fleet's name."""
        self._probe, self._for_fleet = True, for_fleet
        self._measured.breaker.probes += 1
        self._measured.probed_s = self._began_s

    def first(self, ms: float) -> None:
        """Note a stream's first content, so many milliseconds after its beginning."""
        if not self._under_way or self._first_s is not None:
            return
        self._first_s = now_s = self._all.clock.monotonic_s()
        self._measured.heard(self._number)
        self._measured.first_ms.peak(now_s, ms)
        self._measured.interval.first_token_ms.add(ms, self._all.dice.uniform)
        self._content(now_s)

    def served(self, usage: Usage, tokens: int | None = None) -> None:
        """Note an answer that came to its own end; `tokens` is the output of a stream that came since its first content."""
        if not self._under_way:
            return
        now_s, measured = self._all.clock.monotonic_s(), self._measured
        if self._first_s is None:
            measured.whole_s.peak(now_s, now_s - self._began_s)
            self._content(now_s)
        elif tokens is not None and tokens >= THROUGHPUT_TOKENS_LEAST and now_s - self._first_s >= THROUGHPUT_S_LEAST:
            speed = tokens / (now_s - self._first_s)
            measured.throughput.add(now_s, speed)
            measured.interval.throughput.add(speed, self._all.dice.uniform)
        self._answered(now_s, usage)

    def left(self) -> None:
        """Note that the caller, or his time, was gone."""
        if not self._under_way:
            return
        if self._first_s is not None:
            self._answered(self._all.clock.monotonic_s(), None)
        else:
            self._told_nothing()

    def failed(self, failure: Failure, *, excused: bool = False) -> None:
        """Note a failure; `excused`: it was the caller's own time that was up."""
        if not self._under_way:
            return
        now_s, kind = self._all.clock.monotonic_s(), failure.kind
        if kind in ENDPOINTS_OWN or (kind is FailureKind.CREDENTIAL and self._candidate.credential is None):
            if not excused:
                self._endpoint_failed(now_s)
                return
        elif kind in _CREDENTIALS and self._candidate.is_byok:
            self._cool(self._all.byok_cooling(self._account, self._candidate.endpoint.id), now_s, failure)
        elif kind in _CREDENTIALS:
            self._credential_failed(now_s, failure)
        self._told_nothing()

    def excuses(self, *, streamed: bool) -> bool:
        """Say whether so short a wait says nothing of this endpoint."""
        now_s = self._all.clock.monotonic_s()
        reasoning = "reasoning" in self._candidate.endpoint.parameters
        return self._measured.excuses(now_s, now_s - self._began_s, streamed=streamed, reasoning=reasoning)

    def _content(self, now_s: float) -> None:
        """Note that the endpoint answers at all: a probe has found out what it is for."""
        measured = self._measured
        if measured.breaker.back(now_s, self._began_s, measured.counts):
            self._all.tell("endpoint_back", self._candidate.endpoint)
        if self._probe:
            measured.breaker.probes -= 1
            measured.probed += self._for_fleet
            self._probe = False
        measured.row = None

    def _answered(self, now_s: float, usage: Usage | None) -> None:
        measured, candidate = self._measured, self._candidate
        measured.counts.add(now_s, ok=True)
        measured.breaker.streak.serves(self._number)
        measured.interval.answered(usage)
        if measured.limit.most is not None:
            measured.limit.answered(now_s)
        if candidate.is_byok:
            self._all.byok.pop((self._account, candidate.endpoint.id), None)
        elif candidate.credential is not None and (cooling := measured.cooling.get(candidate.credential)):
            cooling.answered()
        self._end()

    def _endpoint_failed(self, now_s: float) -> None:
        measured = self._measured
        measured.counts.add(now_s, ok=False)
        measured.interval.failed += 1
        if self._for_fleet:
            measured.probed = 0
        self._end()
        measured.pass_overdue(now_s)
        most, chance = measured.most_failed(), self._all.dice.uniform()
        if measured.breaker.failed(self._number, now_s, self._began_s, chance, most_failed=most):
            self._all.tell("endpoint_opened", self._candidate.endpoint)

    def _credential_failed(self, now_s: float, failure: Failure) -> None:
        measured, endpoint, credential = self._measured, self._candidate.endpoint, self._candidate.credential
        if failure.kind is FailureKind.MODEL_GONE:
            if now_s >= measured.gone_until_s:
                self._all.tell("endpoint_gone", endpoint)
            measured.gone_until_s = now_s + GONE_S
            return
        if failure.kind is FailureKind.THROTTLED:
            measured.interval.throttled += 1
            measured.limit.throttle(now_s, self._began_s, measured.in_flight)
        if credential is None:
            return
        if failure.kind is FailureKind.CREDENTIAL and failure.http_status != _FORBIDDEN:
            self._all.refuse(endpoint, credential, now_s)
            return
        cooling = measured.cooling.setdefault(credential, Cooling())
        if failure.kind is FailureKind.CREDENTIAL and now_s >= cooling.until_s:
            self._all.tell("credential_refused", endpoint, credential)
        self._cool(cooling, now_s, failure)

    def _cool(self, cooling: Cooling, now_s: float, failure: Failure) -> None:
        if failure.kind is FailureKind.THROTTLED:
            cooling.throttle(now_s, self._began_s, failure.retry_after_s)
        elif failure.kind is FailureKind.MODEL_GONE:
            cooling.until_s = now_s + GONE_S
        else:
            cooling.refuse(now_s)

    def _told_nothing(self) -> None:
        """End without a word on the endpoint."""
        measured = self._measured
        measured.breaker.streak.passes(self._number)
        measured.interval.begun -= self._number in measured.waiting
        self._end()

    def _end(self) -> None:
        self._under_way = False
        if self._first_s is None:
            self._measured.heard(self._number)
        self._measured.in_flight -= 1
        self._measured.row = None
        if self._probe:
            self._measured.breaker.probes -= 1
            self._probe = False
