"""One call to DynamoDB: sent from a small pool of threads, tried again where nothing was written, its errors told in our words.

An error says one of three things: the request was judged and refused (`RefusedCall`, with the items that DynamoDB sends along),
nothing was written (ThrottledError, ConflictError, UnavailableError: tried again with full jitter), or a write was sent and its
fate is not known (UnknownOutcomeError: never tried again here). Text of others stays in the cause and out of the message.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeAlias, TypeVar, cast

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProxyConnectionError,
)

from junctor.ports.table import ConflictError, StoreError, ThrottledError, UnavailableError, UnknownOutcomeError

_Sent = TypeVar("_Sent")

Attributes: TypeAlias = Mapping[str, Mapping[str, object]]

TRIES = 8
"""How often a call is sent before its error is passed on."""

FIRST_PAUSE_S = 0.010
PAUSE_MAX_S = 0.200

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
_NEVER_SENT = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError)
_SERVER_ERROR = 500


class RefusedCall(Exception):
    """A condition did not hold. `old` is the item as DynamoDB sent it, None if there was none."""

    def __init__(self, index: int, old: Attributes | None) -> None:
        super().__init__(index)
        self.index = index
        self.old = old


class _Lasting(UnavailableError):
    """Nothing was written, and trying again would not help: no such table, no permission, no credentials."""


class Dice(Protocol):
    """Chance for the pauses."""

    def uniform(self, low: float, high: float) -> float:
        """Return a number between the two."""


class Calls:
    """Sends calls from at most `threads` threads."""

    def __init__(self, threads: int, dice: Dice | None = None) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="dynamodb")
        self._dice = dice if dice is not None else random.SystemRandom()

    async def read(self, send: Callable[..., _Sent], **request: object) -> _Sent:
        """Send a read until it is answered. Raises ThrottledError, UnavailableError, ValueError."""
        return await self._call(send, request, writes=False)

    async def write(self, send: Callable[..., _Sent], **request: object) -> _Sent:
        """Send a write until it is answered or its fate is not known. Raises StoreError, ValueError, RefusedCall."""
        return await self._call(send, request, writes=True)

    async def pause(self, attempt: int) -> None:
        """Wait before the next attempt, counted from 1: full jitter below a bound that doubles."""
        await asyncio.sleep(self._dice.uniform(0.0, min(PAUSE_MAX_S, FIRST_PAUSE_S * 2 ** (attempt - 1))))

    async def close(self) -> None:
        """Finish what was sent and end the threads."""
        await asyncio.to_thread(self._executor.shutdown)

    async def _call(self, send: Callable[..., _Sent], request: Mapping[str, object], *, writes: bool) -> _Sent:
        attempt = 1
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._executor, partial(send, **request))
            except (ClientError, BotoCoreError) as error:
                told = explain(error, writes=writes)
                again = isinstance(told, (ThrottledError, ConflictError, UnavailableError)) and not isinstance(told, _Lasting)
                if not again or attempt == TRIES:
                    raise told from error
            await self.pause(attempt)
            attempt += 1


def explain(error: ClientError | BotoCoreError, *, writes: bool) -> Exception:
    """Say in our words what an error of botocore means."""
    if isinstance(error, ClientError):
        return _explain_answer(error, writes=writes)
    if isinstance(error, ParamValidationError):
        return ValueError("the request is malformed")
    if isinstance(error, _NEVER_SENT):
        return UnavailableError("the table cannot be reached")
    if isinstance(error, HTTPClientError):
        return _fate(writes=writes)
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return _Lasting(
            "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (a local engine takes any value)"
        )
    # Configuration, an endpoint that cannot be found: it never came to sending.
    return _Lasting("the table cannot be used with this configuration")


def _explain_answer(error: ClientError, *, writes: bool) -> Exception:
    answer = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    if code == "TransactionCanceledException":
        return _explain_cancellation(answer)
    if code in _CONDITION:
        return RefusedCall(0, _old(answer))
    if code == "TransactionInProgressException":
        return UnknownOutcomeError("a transaction with this token is still being worked on")
    told = _told(code)
    if told is not None:
        return told
    if int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", _SERVER_ERROR)) >= _SERVER_ERROR:
        return _fate(writes=writes)
    return _Lasting("the table refuses this caller or is not there")


def _explain_cancellation(answer: Mapping[str, object]) -> Exception:
    """Say why a transaction was cancelled (API reference: CancellationReasons, in the order of its operations)."""
    reasons = answer.get("CancellationReasons")
    listed: list[Mapping[str, object]] = reasons if isinstance(reasons, list) else []
    errors = [_told(str(reason.get("Code"))) for reason in listed]
    # What was in the way of one operation may have kept an earlier condition from being judged: try again first.
    for error in errors:
        if isinstance(error, (ConflictError, ThrottledError)):
            return error
    for index, reason in enumerate(listed):
        if reason.get("Code") in _CONDITION:
            return RefusedCall(index, _old(reason))
    return next((error for error in errors if error is not None), _Lasting("the transaction was cancelled"))


def _old(reason: Mapping[str, object]) -> Attributes | None:
    return cast("Attributes | None", reason.get("Item")) or None


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
