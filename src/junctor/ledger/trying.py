"""Store calls repeated until their fate is known: what every operation of the ledger stands on.

A repeated write is safe only because each finds its own earlier try again: by an id that is put if absent, by a state that
changes once, or by a transaction's token. This module does not look; it repeats the same call with the same token, and hands
back what was found where the write was refused. What it remembers is doubt: a try whose answer was lost may be applied long
after a later one was refused, so such a refusal is no proof that nothing happens.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from junctor.ports.ambient import Dice
from junctor.ports.table import (
    Done,
    Item,
    Key,
    Operation,
    Query,
    Refused,
    StoreError,
    Table,
    UnknownOutcomeError,
    Update,
)

TRIES = 8
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.01, 0.2
DOUBLINGS_MAX = 16

T = TypeVar("T")


class Doubt:
    """Whether the fate of any try of one write is not known, over as many calls as are made for it."""

    def __init__(self) -> None:
        self.unknown: UnknownOutcomeError | None = None

    def refused(self, answer: T) -> T:
        """Return an answer that says that nothing happens, of a refusal that need not last.

        Raises:
            UnknownOutcomeError: an earlier try may still be on its way, and land once what stands against it is gone.
        """
        if self.unknown is not None:
            raise self.unknown
        return answer


async def repeat(
    dice: Dice, call: Callable[[], Awaitable[T]], doubt: Doubt | None = None, *, failed: StoreError | None = None
) -> T:
    """Call the store until it answers, and note any doubt. `failed`: what a first try met, which counts as one of them.

    Raises:
        StoreError: what the last try met; UnknownOutcomeError if the fate of any try is not known, as that one may land yet.
    """
    for tried in range(TRIES):
        try:
            if failed is not None and tried == 0:
                raise failed
            return await call()
        except StoreError as error:
            doubt = doubt or Doubt()
            if isinstance(error, UnknownOutcomeError):
                doubt.unknown = error
            if tried == TRIES - 1:
                raise doubt.unknown or error from None
            await asyncio.sleep(backoff_s(dice, tried))
    raise AssertionError  # pragma: no cover - the loop returns or raises


async def get(table: Table, dice: Dice, key: Key) -> Item | None:
    """Read one item, consistently. Raises StoreError."""
    return (await repeat(dice, lambda: table.get(key))).item


async def put_new(table: Table, dice: Dice, item: Item, *, failed: StoreError | None = None) -> Done | Refused:
    """Write an item if its key is free. `failed`: what a first try met. Raises StoreError."""
    return await repeat(dice, lambda: table.put_new(item), failed=failed)


async def update(table: Table, dice: Dice, change: Update, doubt: Doubt | None = None) -> Done | Refused:
    """Change one item if its conditions hold. Raises StoreError."""
    return await repeat(dice, lambda: table.update(change.key, change.conditions, change.changes), doubt)


async def transact(table: Table, dice: Dice, operations: Sequence[Operation], doubt: Doubt | None = None) -> Done | Refused:
    """Apply all operations or none.

    The token is a digest of the operations: the same ones are applied once, and others never pass for them. So operations that
    may rightly be applied twice do not belong here. Raises StoreError.
    """
    token = hashlib.sha256(repr(tuple(operations)).encode()).hexdigest()
    return await repeat(dice, lambda: table.transact(operations, token), doubt)


async def read_all(table: Table, dice: Dice, query: Callable[[str | None], Query]) -> AsyncGenerator[Item, None]:
    """Yield the items of all pages of a query, which is built from where the page before ended. Raises StoreError."""
    after: str | None = None
    while True:
        page = await repeat(dice, partial(table.query, query(after)))
        for item in page.items:
            yield item
        if page.next is None:
            return
        after = page.next


def backoff_s(dice: Dice, tries: int, longest_s: float = BACKOFF_MAX_S) -> float:
    """Return how long to wait after so many failed tries: full jitter, doubling."""
    return min(BACKOFF_FIRST_S * 2.0 ** min(tries, DOUBLINGS_MAX), longest_s) * dice.uniform()
