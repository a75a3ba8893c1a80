"""Endpoints to be tried by hand: a clock that is moved, candidates, one instance's health, and what an operator was told."""

from collections.abc import Mapping
from typing import Any

import msgspec

from junctor.domain.catalog import Endpoint, PriceCard, PriceParts
from junctor.domain.completion import Usage
from junctor.domain.health import EndpointHealth, FleetView, Verdict
from junctor.domain.routing import Candidate, Failure, FailureKind
from junctor.usecases.instance_health import InstanceHealth
from junctor.usecases.watch import Watch
from tests.support.world import EPOCH_MS, NotedTelemetry, SeededDice

ACCOUNT = "ACCOUNT"
MODEL = "lab/model"
PRICE = PriceCard(version="1", parts=PriceParts(), source="s", as_of="d")


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def now_ms(self) -> int:
        """Return the wall clock."""
        return EPOCH_MS + round(self.now_s * 1000)

    def monotonic_s(self) -> float:
        """Return where the hands stand."""
        return self.now_s


class EventTelemetry(NotedTelemetry):
    """Keeps the events, too."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, str]] = []

    def event(self, name: str, fields: Mapping[str, str | int]) -> None:
        """Keep the event, and the endpoint and credential that it is about."""
        self.events.append((name, " ".join(str(fields[key]) for key in ("endpoint", "credential") if key in fields)))


def candidate(provider: str = "p", credential: str | None = "KEY", model: str = MODEL, **fields: Any) -> Candidate:
    """Return a provider's endpoint as a plan would name it."""
    endpoint = Endpoint(
        id=f"{provider}/{model}", model=model, provider=provider, upstream_model="m", dialect="d", base_url="https://a.example"
    )
    return Candidate(endpoint, credential, PRICE, **fields)


def failure(kind: FailureKind = FailureKind.SERVER, **fields: Any) -> Failure:
    """Return a failure."""
    return Failure(kind=kind, **fields)


class Bench:
    """One instance's health with its clock, its chance and its telemetry at hand."""

    def __init__(self, seed: int = 0) -> None:
        self.clock = HandClock()
        self.telemetry = EventTelemetry()
        self.health = InstanceHealth(self.clock, SeededDice(seed), self.telemetry)

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.now_s += seconds

    def seen(self, provider: str = "p", model: str = MODEL) -> EndpointHealth:
        """Return what a plan would know of an endpoint now; an endpoint of which nothing is known has a sound one's health."""
        return self.health.snapshot().endpoints.get(f"{provider}/{model}", EndpointHealth(success_probability=0.9))

    def planned(self, tried: Candidate | None = None) -> Candidate:
        """Return a candidate with what a plan would know of it now."""
        tried = tried or candidate()
        return msgspec.structs.replace(tried, health=self.health.snapshot().endpoints.get(tried.endpoint.id))

    def begun(self, tried: Candidate | None = None, account: str = ACCOUNT) -> Watch:
        """Begin a try of a candidate as it is planned now."""
        return self.health.begun(self.planned(tried), account)

    def fails(
        self, kind: FailureKind = FailureKind.SERVER, times: int = 1, tried: Candidate | None = None, **fields: Any
    ) -> None:
        """Have so many tries fail, each at once."""
        for _ in range(times):
            self.begun(tried).failed(failure(kind, **fields))

    def serves(self, times: int = 1, tried: Candidate | None = None) -> None:
        """Have so many tries answered, each at once."""
        for _ in range(times):
            self.begun(tried).served(Usage())

    def opens(self) -> float:
        """Have the breaker open, and return for how many seconds."""
        self.fails(times=5)
        until_ms = self.seen().open_until_ms
        assert until_ms is not None
        return (until_ms - self.clock.now_ms()) / 1000

    def heeds(self, version: int = 1, me: str = "me", age_ms: int = 0, **fields: Any) -> None:
        """Have the fleet say this of the endpoint."""
        verdict = Verdict(endpoint=candidate().endpoint.id, **fields)
        self.health.heed(FleetView(version, self.clock.now_ms() - age_ms, {verdict.endpoint: verdict}), me)
