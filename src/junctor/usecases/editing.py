"""Changes of what is stored, by its version: read, make the new one, write it if nothing came between, else again.

A change says what a thing shall be, so that one that has landed already, under a lost reply, is found as no change at all.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Struct

from junctor.domain.account import Account, ApiKey, Member, Workspace
from junctor.domain.errors import ChangedMeanwhileError, InvalidFieldError, JunctorError
from junctor.ledger import trying
from junctor.ports.ambient import Dice
from junctor.ports.table import Check, Done, Operation, Page, Query, Table
from junctor.records import accounts

TRIES = 8
N = TypeVar("N", Account, Member, Workspace, ApiKey)
Need: TypeAlias = tuple[Check, JunctorError]
"""What must hold for a change, and what is raised if it does not."""


def no_needs(_old: object, _new: object) -> Sequence[Need]:
    """Need nothing."""
    return ()


async def edit(
    table: Table,
    dice: Dice,
    read: Callable[[], Awaitable[N]],
    make: Callable[[N], N],
    needs: Callable[[N, N], Sequence[Need]] = no_needs,
) -> N:
    """Make what is read into what `make` returns, and return it as it is now. `needs` is asked with the old and the new one.

    Raises:
        JunctorError: what `read`, `make` and `needs` say.
        ChangedMeanwhileError: others changed it each time.
        StoreError: it could not be done, or its fate is not known.
    """
    doubt = trying.Doubt()
    for tried in range(TRIES):
        old = await read()
        new = make(old)
        if new == old:
            return old
        needed: Sequence[Need] = needs(old, new)
        writes: tuple[Operation, ...] = (accounts.change(old, new), *(check for check, _ in needed))
        answer = await trying.transact(table, dice, writes, doubt)
        if isinstance(answer, Done):
            return msgspec.structs.replace(new, ver=old.ver + 1)
        if answer.index > 0:
            raise doubt.refused(needed[answer.index - 1][1])
        await asyncio.sleep(trying.backoff_s(dice, tried))
    raise doubt.refused(ChangedMeanwhileError("Others changed it at the same time.", trying.BACKOFF_MAX_S))


async def page_of(table: Table, dice: Dice, query: Query, page_token: str) -> Page:
    """Read a page of a list, which begins where `page_token` says, empty for the beginning.

    Raises:
        InvalidFieldError: the token is none of this list's.
        StoreError: it cannot be read.
    """
    wanted = msgspec.structs.replace(query, after=page_token or None)
    try:
        return await trying.repeat(dice, lambda: table.query(wanted))
    except ValueError:
        raise InvalidFieldError(("page_token", "is not a next_page_token of this list")) from None


def applied(noun: N, change: Struct) -> N:
    """Return a noun with those fields of a change that are set."""
    given = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET}
    return msgspec.structs.replace(noun, **given)
