"""What may be told of a call. There is no free-form field: prompts, outputs and secrets have no place to go."""

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

from msgspec import Struct

from junctor.domain.routing import Attempt


class RequestLine(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The one log line of a request; its fields are the allow-list.

    `status` is OK or the error's reason. Costs are nano-USD, times milliseconds.
    """

    method: str
    status: str
    latency_ms: int
    account: str = ""
    api_key: str = ""
    generation_id: str = ""
    requested_model: str = ""
    model: str = ""
    provider: str = ""
    endpoint: str = ""
    attempts: tuple[Attempt, ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False
    finish_reason: str = ""
    time_to_first_token_ms: int | None = None
    cost_nanousd: int | None = None
    billing_pending: bool = False
    incident: str = ""


class Counter(Enum):
    """Things that are counted."""

    SETTLE_PENDING = "settle_pending"
    SETTLE_LOST = "settle_lost"
    WASTED_UPSTREAM = "wasted_upstream"
    UNDERCHARGED = "undercharged_nanousd"
    USAGE_DISBELIEVED = "usage_disbelieved"
    REVENUE_LOST = "revenue_lost_nanousd"
    LEASE_FENCED = "lease_fenced"
    CLOSE_FAILED = "close_failed"
    LOOK_FAILED = "look_failed"
    LEASE_RECLAIMED = "lease_reclaimed"
    LEASE_BROKEN = "lease_broken"
    RECLAIM_FAILED = "reclaim_failed"
    HEALTH_WRITE_FAILED = "health_write_failed"
    HEALTH_READ_FAILED = "health_read_failed"
    HEALTH_ITEM_BAD = "health_item_bad"
    INCIDENT = "incident"


class Telemetry(Protocol):
    """Where lines, counts and incidents go. No method blocks or raises."""

    def request(self, line: RequestLine) -> None:
        """Write the line of one request."""

    def count(self, counter: Counter, amount: int = 1, **labels: str) -> None:
        """Add to a counter. Labels come from small closed sets."""

    def incident(self, incident: str, error: BaseException) -> None:
        """Write where a bug struck: the error's type and the places in the code, not its text."""

    def event(self, name: str, fields: Mapping[str, str | int]) -> None:
        """Write something that happened to the server itself, such as its start."""
