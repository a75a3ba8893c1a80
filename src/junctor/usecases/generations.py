"""What generations were, read back: one by its id, or an account's from the newest to the oldest.

There is no index: an id names its slot and an account's leases sort by time, so both are found under the caller's own account.
An id of another account is therefore looked for where it is not, and answered as any other that does not exist. All reads are
consistent, so that what was answered can be read at once. A list is bounded in what it reads of the store, not only in what it
returns: a page may be short, or empty, and not the last. Its page token is a position that means nothing outside the caller's
account, whoever wrote it.

Who may list what: a completion key its own; a management key all of its organisation, but a plain member's only those of his
own keys, one by one, as a slot does not tell whose its key is.
"""

from contextlib import aclosing
from functools import partial
from typing import NoReturn

from msgspec import Struct

from junctor.domain.account import Actor, KeyScope, MemberRole
from junctor.domain.errors import GenerationNotFoundError, InvalidFieldError, ScopeMissingError
from junctor.domain.generation import Generation
from junctor.domain.lease import Slot
from junctor.ledger import trying
from junctor.policy import access
from junctor.policy.api_keys import LOOKUP_CHARS
from junctor.ports.ambient import Dice
from junctor.ports.table import Item, Table
from junctor.records import accounts, generations, ids, keys, leases
from junctor.usecases.stored import told

READS_MAX = 64
"""Reads of slots for one page; many leases have one generation only."""

LEASES_AT_ONCE = READS_MAX + 1
"""Leases read at once: all that a page can come to look through, and the one at whose end it begins."""

SLOTS_LEAST = 128
"""Slots read at once, at least: a short page then passes over other keys' and unused ones in few reads."""


class _Walk(Struct):
    """How far a list is: what was found, up to which slot was looked, and how many reads are left."""

    found: list[Generation]
    at: Slot | None
    reads: int = READS_MAX


class Generations:
    """Reads generations of the caller's account."""

    def __init__(self, table: Table, dice: Dice) -> None:
        self._table = table
        self._dice = dice

    async def get(self, actor: Actor, generation_id: str) -> Generation:
        """Read one generation.

        Raises:
            GenerationNotFoundError: the account has none of this id, whatever the reason.
            LedgerUnavailableError: the store does not answer.
        """
        place = ids.parse_generation_id(generation_id, actor.account)
        found = await told(trying.get(self._table, self._dice, keys.slot(place))) if place else None
        if place is None or found is None or not generations.was_used(found):
            raise GenerationNotFoundError(f"There is no generation {generation_id!r}.", generation=generation_id)
        return generations.generation_of(found, place)

    async def list(self, actor: Actor, page_size: int, page_token: str, api_key: str) -> tuple[tuple[Generation, ...], str]:
        """Read a page of at most `page_size` generations, and the token of the next page, empty at the end.

        The newest lease's come first, and in it the newest slot's. `page_token` and `api_key` may be empty.

        Raises:
            InvalidFieldError: the page token is none.
            ScopeMissingError: the caller may not list these.
            LedgerUnavailableError: the store does not answer.
        """
        after = ids.parse_generation_id(page_token, actor.account) if page_token else None
        if page_token and after is None:
            raise InvalidFieldError(("page_token", "is not a next_page_token of this list"))
        await told(self._check(actor, api_key))
        wanted = actor.key if actor.scope is KeyScope.COMPLETION else api_key
        walk = _Walk([], after)
        more = await told(self._walk(walk, actor.account, wanted, page_size))
        return tuple(walk.found), ids.generation_id(walk.at) if more and walk.at else ""

    async def _check(self, actor: Actor, api_key: str) -> None:
        """Refuse a list of what the caller may not see; the same answer for keys of others and keys that do not exist."""
        if actor.scope is KeyScope.COMPLETION:
            if api_key not in {"", actor.key}:
                _refuse("This API key may list its own generations only.", actor)
        elif actor.role is MemberRole.MEMBER and not await self._sees(actor, api_key):
            _refuse("A member may list the generations of his own API keys only: name one.", actor)

    async def _sees(self, actor: Actor, api_key: str) -> bool:
        if len(api_key) != LOOKUP_CHARS:
            return False
        found = await trying.get(self._table, self._dice, keys.api_key(api_key))
        key = accounts.api_key_of(found) if found else None
        return key is not None and key.account == actor.account and access.sees(actor, key)

    async def _walk(self, walk: _Walk, account: str, api_key: str, size: int) -> bool:
        """Look through leases from where the walk is, and tell whether there may be more when it stops."""
        query = partial(leases.newest_first, account, walk.at.lease if walk.at else None, LEASES_AT_ONCE)
        async with aclosing(trying.read_all(self._table, self._dice, query)) as found:
            async for item in found:
                top = Slot(account, leases.id_at(item), ids.SLOT_NUMBER_MAX)
                if await self._walk_lease(walk, top, api_key, size):
                    return True
        return False

    async def _walk_lease(self, walk: _Walk, top: Slot, api_key: str, size: int) -> bool:
        """Look through a lease's slots from where the walk is, and tell whether it has to stop there."""
        number = walk.at.number - 1 if walk.at and walk.at.lease == top.lease else top.number
        while number >= 0 and walk.reads:
            walk.reads -= 1
            limit = max(size - len(walk.found), SLOTS_LEAST)
            query = generations.newest_first(Slot(top.account, top.lease, number), limit)
            page = await trying.repeat(self._dice, partial(self._table.query, query))
            for item in page.items:
                number = generations.number_of(item) - 1
                walk.at = Slot(top.account, top.lease, number + 1)
                walk.found += _wanted(item, walk.at, api_key)
                if len(walk.found) == size:
                    return True
            if page.next is None:
                walk.at = Slot(top.account, top.lease, 0)
                break
        return walk.reads == 0


def _wanted(found: Item, place: Slot, api_key: str) -> tuple[Generation, ...]:
    if not generations.was_used(found):
        return ()
    generation = generations.generation_of(found, place)
    return (generation,) if api_key in {"", generation.api_key} else ()


def _refuse(text: str, actor: Actor) -> NoReturn:
    raise ScopeMissingError(text, scope=actor.scope.value)
