"""One call to DynamoDB: sent once, its errors told in our words.

An error says one of three things: the request was judged and refused (`RefusedCall`, with the items that DynamoDB sends along),
nothing was written (ThrottledError, ConflictError, UnavailableError), or a write was sent and its fate is not known
(UnknownOutcomeError). Nothing is sent again here: how often and how long something is tried is decided in one place, by those
who know what it is for (`ledger/trying`). Two such places multiply, and a table in trouble gets that many times the requests.
Text of others stays in the cause and out of the message.
"""

import asyncio
import random
from collections.abc import Mapping
from typing import Protocol

from junctor.adapters.tables.dynamodb_sender import (
    Answer,
    Complaint,
    ComplaintError,
    MalformedError,
    NeverSentError,
    Sender,
    SendError,
)
from junctor.adapters.tables.dynamodb_values import Attributes
from junctor.ports.table import ConflictError, StoreError, ThrottledError, UnavailableError, UnknownOutcomeError

BATCH_PAUSE_FIRST_S, BATCH_PAUSE_MAX_S = 0.010, 0.200
"""How long a batch waits at most for what DynamoDB left undone of it: doubling from the one to the other."""
BATCH_DOUBLINGS_MAX = 16

_THROTTLED = {
    "ProvisionedThroughputExceededException",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "ThrottlingException",
    "ThrottlingError",
    "Throttling",
}
_CONFLICT = {"TransactionConflictException", "TransactionConflict", "ReplicatedWriteConflictException"}
_MALFORMED = {
    "ValidationException",
    "ValidationError",
    "IdempotentParameterMismatchException",
    "ItemCollectionSizeLimitExceeded",
}
_CONDITION = {"ConditionalCheckFailed", "ConditionalCheckFailedException"}
_SERVER_ERROR = 500


class RefusedCall(Exception):
    """A condition did not hold. `old` is the item as DynamoDB sent it, None if there was none."""

    def __init__(self, index: int, old: Attributes | None) -> None:
        super().__init__(index)
        self.index = index
        self.old = old


class LastingError(UnavailableError):
    """Nothing was written, and trying again would not help: no such table, no permission, no credentials.

    `code` is DynamoDB's name for it, empty if it said nothing.
    """

    lasting = True

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class Dice(Protocol):
    """Chance for the pauses."""

    def uniform(self, low: float, high: float) -> float:
        """Return a number between the two."""


class Calls:
    """Sends calls."""

    def __init__(self, sender: Sender, dice: Dice | None = None) -> None:
        self._sender = sender
        self._dice = dice if dice is not None else random.SystemRandom()

    async def read(self, operation: str, request: Mapping[str, object]) -> Answer:
        """Send a read. Raises ThrottledError, UnavailableError, ValueError."""
        try:
            return await self._sender.send(operation, request)
        except SendError as error:
            raise explain(error, writes=False) from error

    async def write(self, operation: str, request: Mapping[str, object]) -> Answer:
        """Send a write. Raises StoreError, ValueError, RefusedCall."""
        try:
            return await self._sender.send(operation, request)
        except SendError as error:
            raise explain(error, writes=True) from error

    async def pause(self, number: int) -> None:
        """Wait in the midst of a batch, for the time of this number, from 1 on: full jitter below a bound that doubles."""
        await asyncio.sleep(
            self._dice.uniform(0.0, min(BATCH_PAUSE_MAX_S, BATCH_PAUSE_FIRST_S * 2.0 ** min(number - 1, BATCH_DOUBLINGS_MAX)))
        )

    async def close(self) -> None:
        """Wait for what was sent, and let go of what sends."""
        await self._sender.close()


def explain(error: SendError, *, writes: bool) -> Exception:
    """Say in our words what it means that a request was not done."""
    if isinstance(error, ComplaintError):
        return _explain_complaint(error.status, error.complaint, writes=writes)
    if isinstance(error, NeverSentError):
        return LastingError(str(error)) if error.lasting else UnavailableError(str(error))
    if isinstance(error, MalformedError):
        return ValueError("the request is malformed")
    return _fate(writes=writes)


def _explain_complaint(status: int, complaint: Complaint, *, writes: bool) -> Exception:
    code = complaint.code
    if code == "TransactionCanceledException":
        return _explain_cancellation(complaint)
    if code in _CONDITION:
        return RefusedCall(0, complaint.item or None)
    if code == "TransactionInProgressException":
        return UnknownOutcomeError("a transaction with this token is still being worked on")
    told = _told(code)
    if told is not None:
        return told
    if status >= _SERVER_ERROR:
        return _fate(writes=writes)
    return LastingError("the table refuses this caller or is not there: see JUNCTOR_TABLE_PREFIX, the region, the role", code)


def _explain_cancellation(complaint: Complaint) -> Exception:
    """Say why a transaction was cancelled (API reference: CancellationReasons, in the order of its operations)."""
    reasons = complaint.cancellation_reasons or []
    errors = [_told(reason.code or "") for reason in reasons]
    # What was in the way of one operation may have kept an earlier condition from being judged: try again first.
    for error in errors:
        if isinstance(error, (ConflictError, ThrottledError)):
            return error
    for index, reason in enumerate(reasons):
        if reason.code in _CONDITION:
            return RefusedCall(index, reason.item or None)
    return next((error for error in errors if error is not None), LastingError("the transaction was cancelled"))


def _told(code: str) -> StoreError | ValueError | None:
    if code in _THROTTLED:
        return ThrottledError("the table is asked too much")
    if code in _CONFLICT:
        return ConflictError("a transaction is at work on the same item")
    if code in _MALFORMED:
        return ValueError("the table refuses the request as malformed")
    return None


def _fate(*, writes: bool) -> StoreError:
    if writes:
        return UnknownOutcomeError("the write was sent and not answered")
    return UnavailableError("the table does not answer")
