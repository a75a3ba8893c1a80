"""What a caller is told when the store fails under what he asked: that nothing was done, or that it is not known."""

from collections.abc import Awaitable
from typing import TypeVar

from junctor.domain.errors import LedgerUnavailableError, OutcomeUnknownError
from junctor.ports.table import StoreError, UnknownOutcomeError

RETRY_AFTER_S = 1.0

T = TypeVar("T")


async def told(work: Awaitable[T]) -> T:
    """Wait for work on the store.

    Raises:
        OutcomeUnknownError: a change was sent and its fate is not known.
        LedgerUnavailableError: the store does not answer, and nothing was changed.
    """
    try:
        return await work
    except UnknownOutcomeError as error:
        raise OutcomeUnknownError("The store did not tell whether the change took effect.", RETRY_AFTER_S) from error
    except StoreError as error:
        raise LedgerUnavailableError("The store does not answer at present; nothing was changed.", RETRY_AFTER_S) from error
