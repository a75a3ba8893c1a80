"""What is asked of whoever carries one request to DynamoDB and its answer back? `send` it once, and say what came of it.

Requests and answers are those of the low-level API; an answer's parts that Junctor reads have a place in `Answer`, and what
does not fit its shape was not answered. A sender neither repeats nor judges: `dynamodb_calls` does, by the three ways in which
sending ends without an answer.

Invariant: `NeverSentError` is raised only where no byte of the request can have reached DynamoDB.
"""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct, field

from junctor.adapters.tables.dynamodb_values import Attributes

CLOSED = "the store is closed"
UNREACHABLE = "DynamoDB cannot be reached: JUNCTOR_DYNAMODB_ENDPOINT, or the region, says where it is"
UNUSABLE = "the table cannot be used with this configuration"
NO_CREDENTIALS = (
    "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (a local engine takes any value)"
)
"""Why a request was never sent."""


class Counted(Struct, frozen=True, rename="pascal"):
    """What a request consumed of one table (API reference: ConsumedCapacity)."""

    capacity_units: float = 0.0


class WantedKeys(Struct, frozen=True, rename="pascal"):
    """The keys of a batch that were not read (API reference: KeysAndAttributes)."""

    keys: list[dict[str, dict[str, object]]] = []


class TableState(Struct, frozen=True, rename="pascal"):
    """How a table does (API reference: TableDescription)."""

    table_status: str = ""


class ExpiryState(Struct, frozen=True, rename="pascal"):
    """Whether items expire (API reference: TimeToLiveDescription)."""

    time_to_live_status: str = ""


class Answer(Struct, frozen=True, rename="pascal"):
    """Every part of an answer that is read, whatever was asked."""

    item: Attributes | None = None
    attributes: Attributes | None = None
    items: list[Attributes] = []
    last_evaluated_key: Attributes | None = None
    consumed_capacity: Counted | list[Counted | None] | None = None
    responses: dict[str, list[Attributes]] = {}
    unprocessed_keys: dict[str, WantedKeys] = {}
    unprocessed_items: dict[str, list[dict[str, object]]] = {}
    table: TableState = TableState()
    time_to_live_description: ExpiryState = ExpiryState()


class Reason(Struct, frozen=True, rename="pascal"):
    """Why one operation of a transaction was refused, if it was (API reference: CancellationReason)."""

    code: str | None = None
    item: Attributes | None = None


class Complaint(Struct, frozen=True, rename="pascal"):
    """An error that DynamoDB answered with. `kind` may have a prefix, which ends in `#`."""

    kind: str = field(default="", name="__type")
    item: Attributes | None = None
    cancellation_reasons: list[Reason] | None = None

    @property
    def code(self) -> str:
        """Return the error's name."""
        return self.kind.rpartition("#")[2]


class SendError(Exception):
    """The root of the tree. Only its leaves are raised."""


class NeverSentError(SendError):
    """No byte has left. `lasting`: trying again would not help. The text is our own and may be shown."""

    def __init__(self, text: str, *, lasting: bool = False) -> None:
        super().__init__(text)
        self.lasting = lasting


class UnansweredError(SendError):
    """The request was sent, at least in part, and no answer came that can be understood."""


class ComplaintError(SendError):
    """DynamoDB answered with an error."""

    def __init__(self, status: int, complaint: Complaint) -> None:
        super().__init__(status, complaint.code)
        self.status = status
        self.complaint = complaint


class MalformedError(SendError):
    """The request is none that DynamoDB could take; it was not sent."""


class Sender(Protocol):
    """Carries requests. It may be made without an event loop, and is used in one."""

    async def send(self, operation: str, request: Mapping[str, object]) -> Answer:
        """Send a request of the low-level API once, by the operation's name there. Raises SendError.

        If its task is cancelled, the request may arrive all the same.
        """

    async def close(self) -> None:
        """Wait for what was sent, and let go of every resource."""
