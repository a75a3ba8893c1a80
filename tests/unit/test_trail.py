"""The one log line of a call, from what became known of it."""

from typing import cast

from junctor.domain.account import Caller
from junctor.domain.call import Receipt
from junctor.domain.completion import FinishReason, Usage
from junctor.domain.routing import Attempt, AttemptOutcome
from junctor.ports.telemetry import Counter, RequestLine
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail
from tests.support.world import CANDIDATE, NotedTelemetry, SeededDice


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def now_ms(self) -> int:
        """Not looked at: durations come from the other clock."""
        raise AssertionError

    def monotonic_s(self) -> float:
        """Return where the hands stand."""
        return self.now_s


class Rig:
    """What a trail needs of the services."""

    def __init__(self) -> None:
        self.clock = Hands()
        self.dice = SeededDice()
        self.telemetry = NotedTelemetry()
        self.trail = Trail(cast("Services", self), "Complete")


def test_a_call_of_which_nothing_is_known_still_leaves_a_line() -> None:
    """Refused calls would leave no trace."""
    rig = Rig()
    rig.trail.close("API_KEY_INVALID")
    assert rig.telemetry.lines == [RequestLine(method="Complete", status="API_KEY_INVALID", latency_ms=0)]


def test_everything_that_became_known_is_in_the_line() -> None:
    """An operator could not tell which key spent what, where and how fast."""
    rig = Rig()
    trail = rig.trail
    trail.caller = Caller("A", "K", "w")
    trail.requested_model = "alias"
    trail.served = CANDIDATE
    trail.attempts = [Attempt("p", "p/lab/model", AttemptOutcome.SERVED, 9)]
    trail.usage = Usage(3, 4, estimated=True)
    trail.finish_reason = FinishReason.LENGTH
    trail.time_to_first_token_ms = 8
    trail.generation_id = "gen-1"
    trail.receipt = Receipt("gen-1", pending=True, cost_nanousd=7)
    rig.clock.now_s += 1.2345
    trail.close("OK")
    assert rig.telemetry.lines == [
        RequestLine(
            method="Complete",
            status="OK",
            latency_ms=1234,
            account="A",
            api_key="K",
            generation_id="gen-1",
            requested_model="alias",
            model="lab/model",
            provider="p",
            endpoint="p/lab/model",
            attempts=(Attempt("p", "p/lab/model", AttemptOutcome.SERVED, 9),),
            input_tokens=3,
            output_tokens=4,
            estimated=True,
            finish_reason="length",
            time_to_first_token_ms=8,
            cost_nanousd=7,
            billing_pending=True,
        )
    ]


def test_a_bug_is_told_under_an_incident_of_its_own() -> None:
    """What the caller is told could not be found in the log."""
    rig = Rig()
    error = ValueError("secret")
    incident = rig.trail.incident(error)
    rig.trail.close("INTERNAL")
    assert rig.telemetry.incidents == [(incident, error)]
    assert rig.telemetry.counts == {Counter.INCIDENT: 1}
    assert rig.telemetry.lines[0].incident == incident
    assert len(incident) == 16
    assert incident.isalnum()
    assert rig.trail.incident(error) != incident
