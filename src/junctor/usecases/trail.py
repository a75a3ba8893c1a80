"""What becomes known of one call on its way, for its one log line. Filled by the stories, written once at the end."""

import base64
from collections.abc import Sequence

from junctor.domain.account import Actor, Caller
from junctor.domain.call import Receipt, Route
from junctor.domain.completion import FinishReason, Usage
from junctor.domain.routing import Adjustment, Attempt, Candidate
from junctor.ports.telemetry import Counter, RequestLine
from junctor.usecases.services import Services

INCIDENT_BYTES = 10


class Trail:
    """The traces of one call. `attempts` grows as endpoints are tried.

    `output_cap`: the most output tokens that the organisation's money lets an answer have; None where it binds nothing.
    """

    __slots__ = (
        "_incident",
        "_method",
        "_services",
        "_started_s",
        "adjustments",
        "attempts",
        "caller",
        "finish_reason",
        "generation_id",
        "output_cap",
        "receipt",
        "requested_model",
        "served",
        "time_to_first_token_ms",
        "usage",
    )

    def __init__(self, services: Services, method: str) -> None:
        self._services = services
        self._method = method
        self._started_s = services.clock.monotonic_s()
        self._incident = ""
        self.caller: Caller | Actor | None = None
        self.requested_model = ""
        self.served: Candidate | None = None
        self.attempts: list[Attempt] = []
        self.adjustments: tuple[Adjustment, ...] = ()
        self.output_cap: int | None = None
        self.usage = Usage()
        self.finish_reason: FinishReason | None = None
        self.time_to_first_token_ms: int | None = None
        self.generation_id = ""
        self.receipt: Receipt | None = None

    def elapsed_ms(self) -> int:
        """Return the milliseconds since the call was received."""
        return int((self._services.clock.monotonic_s() - self._started_s) * 1000)

    def route(self, served: Candidate, dropped: Sequence[str]) -> Route:
        """Return where a call that was answered went, for the caller; `dropped` names the parameters that were left out."""
        return Route(
            requested_model=self.requested_model,
            served=served,
            attempts=tuple(self.attempts),
            adjustments=(*self.adjustments, *map(Adjustment, dropped)),
        )

    def incident(self, error: BaseException) -> str:
        """Report a bug and return the id under which it can be found in the log."""
        self._incident = base64.b32encode(self._services.dice.draw(INCIDENT_BYTES)).decode().lower()
        self._services.telemetry.incident(self._incident, error)
        self._services.telemetry.count(Counter.INCIDENT)
        return self._incident

    def disbelieve(self, served: Candidate) -> None:
        """Count an answer whose provider reports more tokens than it could have read or written."""
        self._services.telemetry.count(Counter.USAGE_DISBELIEVED, provider=served.endpoint.provider)

    def close(self, status: str) -> None:
        """Write the line: `status` is OK or an error's reason."""
        served, receipt = self.served, self.receipt
        self._services.telemetry.request(
            RequestLine(
                method=self._method,
                status=status,
                latency_ms=self.elapsed_ms(),
                account=self.caller.account if self.caller else "",
                api_key=self.caller.key if self.caller else "",
                generation_id=self.generation_id,
                requested_model=self.requested_model,
                model=served.endpoint.model if served else "",
                provider=served.endpoint.provider if served else "",
                endpoint=served.endpoint.id if served else "",
                attempts=tuple(self.attempts),
                input_tokens=self.usage.input_tokens,
                output_tokens=self.usage.output_tokens,
                estimated=self.usage.estimated,
                finish_reason=self.finish_reason.value if self.finish_reason else "",
                time_to_first_token_ms=self.time_to_first_token_ms,
                cost_nanousd=receipt.cost_nanousd if receipt else None,
                billing_pending=receipt.pending if receipt else False,
                incident=self._incident,
            )
        )
