"""How well endpoints answer, as this instance sees it (routing.md, Health, L1): what plans look at, and what the fleet is told.

Every try of an endpoint is a Watch. A plan's view of an endpoint is made anew only after something happened there, or when
time has changed it; nothing is done for endpoints at which nobody looks. It refuses nothing: whether there is another endpoint
to try is the plan's to know. What the fleet says is heeded while it is fresh, and nothing waits for it.
"""

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar, overload

from junctor.domain.health import EndpointHealth, FleetView, HealthSnapshot, Tally
from junctor.domain.routing import Candidate
from junctor.policy.health.measured import Instant, Measured, Word
from junctor.policy.health.seen import Seen
from junctor.ports.ambient import Clock, Dice
from junctor.ports.telemetry import Telemetry
from junctor.usecases.measurements import Measurements
from junctor.usecases.watch import Watch

LOOKED_AT_EVERY_S: Final = 0.25
"""For how long a view of an endpoint holds at which nothing happens: what fades does so in tens of seconds."""
FLEET_FRESH_MS: Final = 30_000

_Other = TypeVar("_Other")


class InstanceHealth:
    """The health of all endpoints in one instance."""

    def __init__(self, clock: Clock, dice: Dice, telemetry: Telemetry) -> None:
        self._clock = clock
        self._all = Measurements(clock, dice, telemetry)
        self._fleet = _Fleet()
        self._rows = _Rows(self._all, self._fleet)

    def snapshot(self) -> HealthSnapshot:
        """Return the health of all endpoints as of now, for use at once: a later snapshot moves on what this one shows."""
        now = Instant(self._clock.monotonic_s(), self._clock.now_ms())
        self._rows.now = now
        return HealthSnapshot(self._rows, now.ms)

    def begun(self, candidate: Candidate, account: str) -> Watch:
        """Note that an endpoint is being tried, on behalf of an account."""
        endpoint, now_s = candidate.endpoint.id, self._clock.monotonic_s()
        measured = self._all.of(endpoint, now_s)
        watch = Watch(self._all, measured, candidate, account, now_s)
        if candidate.health is not None and candidate.health.probe:
            word = self._fleet.word(endpoint, now_s)
            if measured.wants_probe(now_s, word):
                watch.probes(for_fleet=word is not None and word.verdict.ejected)
        self._all.sweep(now_s)
        return watch

    def puts_off(self, candidate: Candidate, account: str) -> bool:
        """Say whether others should be tried before a candidate for something that its plan did not know yet.

        That is a probe which another call makes already, or an account's own credential that is in trouble there.
        """
        if candidate.is_byok:
            held = self._all.byok.get((account, candidate.endpoint.id))
            if held is not None and self._clock.monotonic_s() < held.until_s:
                return True
        if candidate.health is None or not candidate.health.probe:
            return False
        endpoint, now_s = candidate.endpoint.id, self._clock.monotonic_s()
        measured, word = self._all.of(endpoint, now_s), self._fleet.word(endpoint, now_s)
        return measured.is_open(now_s, word) and not measured.wants_probe(now_s, word)

    def is_open(self, candidate: Candidate) -> bool:
        """Say whether a candidate's endpoint is tried after all others by now."""
        now_s, endpoint = self._clock.monotonic_s(), candidate.endpoint.id
        return self._all.of(endpoint, now_s).is_open(now_s, self._fleet.word(endpoint, now_s))

    def cools(self, candidate: Candidate, credential: str) -> bool:
        """Say whether a credential is not to be used at a candidate's endpoint for now."""
        now_s, endpoint = self._clock.monotonic_s(), candidate.endpoint
        held = self._all.of(endpoint.id, now_s).cooling.get(credential)
        return (held is not None and now_s < held.until_s) or credential in self._all.refused(endpoint.provider, now_s)

    def asked(self, model: str) -> None:
        """Pay one call into the budget of a model's further attempts."""
        now_s = self._clock.monotonic_s()
        self._all.budget(model, now_s).asked(now_s)

    def grants(self, candidate: Candidate) -> bool:
        """Take one further attempt out of the budget of a candidate's model, if there is one for an endpoint like this."""
        budget = self._all.budget(candidate.endpoint.model, now_s := self._clock.monotonic_s())
        return budget.take(now_s, is_open=self.is_open(candidate))

    def tallies(self) -> tuple[Tally, ...]:
        """Return what was seen since the last time, of each endpoint of which anything was."""
        found: list[Tally] = []
        now_s = self._clock.monotonic_s()
        for endpoint, measured in self._all.endpoints.items():
            measured.pass_overdue(now_s)
            if not measured.interval.nothing:
                found.append(measured.interval.tally(endpoint, measured.probed))
                measured.interval = Seen()
        return tuple(found)

    def heed(self, view: FleetView | None, me: str) -> None:
        """Take over what the fleet says, until a newer view or until it is too old; None if it says nothing any more.

        `me` is the name by which the verdicts would call this instance a prober.
        """
        now_s = self._clock.monotonic_s()
        self._fleet.heed(view, me, now_s, self._clock.now_ms())
        for endpoint in self._fleet.verdicts:
            self._all.of(endpoint, now_s)
        for endpoint, measured in self._all.endpoints.items():
            word = self._fleet.word(endpoint, now_s)
            if word is None or not word.verdict.ejected:
                measured.probed = 0
        self._all.changed()


class _Fleet:
    """What the fleet said last. It counts for thirty seconds of its own age, told by both clocks: either may be wrong."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Word] = {}
        self._version: int | None = None
        self._until_s = 0.0

    def heed(self, view: FleetView | None, me: str, now_s: float, now_ms: int) -> None:
        """Take over a view. One that was heeded before grows older, and an older one is a read that came late."""
        if view is None:
            self.verdicts, self._version = {}, None
            return
        if self._version is not None and view.version < self._version and now_s < self._until_s:
            return
        if view.version != self._version:
            left_ms = FLEET_FRESH_MS - max(0, now_ms - view.at_ms)
            self._version, self._until_s = view.version, now_s + left_ms / 1000
        self.verdicts = {name: Word(verdict, me in verdict.probers) for name, verdict in view.verdicts.items()}

    def word(self, endpoint: str, now_s: float) -> Word | None:
        """Return what counts of it for an endpoint at this instant."""
        return self.verdicts.get(endpoint) if now_s < self._until_s else None


class _Rows(Mapping[str, EndpointHealth]):
    """The health of every endpoint by its id, each made when it is looked at. `now` is the instant of the last snapshot."""

    def __init__(self, all_: Measurements, fleet: _Fleet) -> None:
        self._all = all_
        self._measured = all_.endpoints
        self._fleet = fleet
        self.now = Instant(0.0, 0)

    def __getitem__(self, endpoint: str) -> EndpointHealth:
        """Return one endpoint's health."""
        found = self.get(endpoint)
        if found is None:
            raise KeyError(endpoint)
        return found

    @overload
    def get(self, key: str, /) -> EndpointHealth | None: ...
    @overload
    def get(self, key: str, /, default: EndpointHealth | _Other) -> EndpointHealth | _Other: ...
    def get(self, key: str, /, default: object = None) -> object:
        """Return one endpoint's health, else the default."""
        measured = self._measured.get(key)
        if measured is None:
            if not self._all.refusals or not (refused := self._all.refused(key.partition("/")[0], self.now.s)):
                return default
            return Measured(self.now.s).health(self.now, None, refused)
        row = measured.row
        if row is not None and self.now.s < measured.row_until_s:
            return row
        return self._made(key, measured)

    def __iter__(self) -> Iterator[str]:
        """Name the endpoints of which anything is known."""
        return iter(self._all.endpoints)

    def __len__(self) -> int:
        """Count them."""
        return len(self._all.endpoints)

    def _made(self, endpoint: str, measured: Measured) -> EndpointHealth:
        now = self.now
        refused = self._all.refused(endpoint.partition("/")[0], now.s) if self._all.refusals else ()
        row = measured.health(now, self._fleet.word(endpoint, now.s), refused)
        measured.row, measured.row_until_s = row, now.s + LOOKED_AT_EVERY_S
        return row
