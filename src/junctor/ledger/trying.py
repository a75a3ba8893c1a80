"""Store calls repeated until their fate is known: what every operation of the ledger stands on.

Here alone it is decided how often and how long the store is tried: a store sends what it is asked once, and says what it met.
Somebody waits for most calls, and is better told soon that the store fails than kept: a fault of a second is ridden out, a
lasting one is told after PATIENCE_S and what the last try takes. Work that nobody waits for is `unhurried`.

A repeated write is safe only because each finds its own earlier try again: by an id that is put if absent, by a state that
changes once, or by a transaction's token. This module does not look; it repeats the same call with the same token, and hands
back what was found where the write was refused. What it remembers is doubt: a try whose answer was lost may be applied long
after a later one was refused, so such a refusal is no proof that nothing happens.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TypeVar

from junctor.ports.ambient import Dice
from junctor.ports.table import (
    ConflictError,
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

TRIES, PATIENCE_S = 8, 2.5
"""How often a call is made that somebody waits for, and for how long after the first try another one begins."""
LEISURE_S, LEISURE_PAUSE_MAX_S = 200.0, 5.0
"""For how long calls are made that nobody waits for, and their longest pause. A transaction's token lasts for longer."""
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.01, 0.2
"""Bounds of the pauses after meeting another writer, who will soon be done."""
TROUBLE_FIRST_S, TROUBLE_MAX_S = 0.025, 0.8
"""Bounds of the pauses after any other failure, at least half of which is waited: more than a second in all."""
DOUBLINGS_MAX = 16

T = TypeVar("T")

_unhurried: ContextVar[bool] = ContextVar("unhurried", default=False)


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


@contextmanager
def unhurried() -> Iterator[None]:
    """Let this task try each call of the store for LEISURE_S, with pauses that grow.

    For what must be done in the end and is done beside all calls: no one who waits may hang on anything that is begun within.
    """
    token = _unhurried.set(True)
    try:
        yield
    finally:
        _unhurried.reset(token)


async def repeat(
    dice: Dice,
    call: Callable[[], Awaitable[T]],
    doubt: Doubt | None = None,
    *,
    failed: StoreError | None = None,
    twice: bool = True,
) -> T:
    """Call the store until it answers, and note any doubt. `failed`: what a first try met, which counts as one of them.

    `twice`: whether a write may be made twice; if not, a try whose fate is not known is the last one.

    Raises:
        StoreError: what the last try met; UnknownOutcomeError if the fate of any try is not known, as that one may land yet.
    """
    now = asyncio.get_running_loop().time
    began_s, tried = now(), 0
    while True:
        try:
            if failed is not None and tried == 0:
                raise failed
            return await call()
        except StoreError as error:
            doubt = doubt or Doubt()
            if isinstance(error, UnknownOutcomeError):
                doubt.unknown = error
            pause_s = _pause_s(dice, tried, error)
            tried += 1
            once = not twice and doubt.unknown is not None
            if once or (error.lasting and not _unhurried.get()) or not _goes_on(tried, now() + pause_s - began_s):
                raise doubt.unknown or error from None
        await asyncio.sleep(pause_s)


async def get(table: Table, dice: Dice, key: Key) -> Item | None:
    """Read one item, consistently. Raises StoreError."""
    return (await repeat(dice, lambda: table.get(key))).item


async def put_new(table: Table, dice: Dice, item: Item, *, failed: StoreError | None = None) -> Done | Refused:
    """Write an item if its key is free. `failed`: what a first try met. Raises StoreError."""
    return await repeat(dice, lambda: table.put_new(item), failed=failed)


async def update(table: Table, dice: Dice, change: Update, doubt: Doubt | None = None, *, twice: bool = True) -> Done | Refused:
    """Change one item if its conditions hold. `twice`: as in `repeat`. Raises StoreError."""
    return await repeat(dice, lambda: table.update(change.key, change.conditions, change.changes), doubt, twice=twice)


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


def _goes_on(tried: int, passed_s: float) -> bool:
    """Tell whether another try may begin after so many, so long after the first."""
    return passed_s <= LEISURE_S if _unhurried.get() else tried < TRIES and passed_s <= PATIENCE_S


def _pause_s(dice: Dice, tries: int, error: StoreError) -> float:
    longest_s = LEISURE_PAUSE_MAX_S if _unhurried.get() else None
    if isinstance(error, ConflictError):
        return backoff_s(dice, tries, longest_s or BACKOFF_MAX_S)
    bound_s = min(TROUBLE_FIRST_S * 2.0 ** min(tries, DOUBLINGS_MAX), longest_s or TROUBLE_MAX_S)
    return bound_s * (1.0 + dice.uniform()) / 2.0


def backoff_s(dice: Dice, tries: int, longest_s: float = BACKOFF_MAX_S) -> float:
    """Return how long to wait after so many failed tries: full jitter, doubling."""
    return min(BACKOFF_FIRST_S * 2.0 ** min(tries, DOUBLINGS_MAX), longest_s) * dice.uniform()
