"""Organisations: made, read, listed and changed. They are never removed, only disabled: their books must stay."""

from functools import partial

import msgspec
from msgspec import UNSET, Struct, UnsetType

from junctor.domain.account import Account, Actor, RecurringGrant
from junctor.domain.errors import InvalidFieldError, ResourceNotFoundError
from junctor.domain.money import NanoUsd
from junctor.ledger import trying
from junctor.policy import access
from junctor.ports.ambient import Clock, Dice
from junctor.ports.table import Done, Item, Table
from junctor.records import accounts, ids, keys, organisations
from junctor.usecases.editing import applied, edit, page_of


class OrganisationChange(Struct, frozen=True, kw_only=True):
    """What shall be different; what is not set stays."""

    name: str | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    recurring_grant: RecurringGrant | UnsetType | None = UNSET
    low_balance_nanousd: NanoUsd | UnsetType | None = UNSET


class Organisations:
    """What operators and administrators do with organisations. Every method may raise StoreError."""

    def __init__(self, table: Table, clock: Clock, dice: Dice) -> None:
        self._table = table
        self._clock = clock
        self._dice = dice

    async def create(self, name: str) -> Account:
        """Make an organisation under a new id. Only for operators: whoever calls this has seen to that."""
        while True:
            now_ms = self._clock.now_ms()
            account = Account(id=ids.ulid(now_ms, self._dice.draw(ids.ULID_RANDOM_BYTES)), name=name, created_at_ms=now_ms)
            answer = await trying.transact(self._table, self._dice, accounts.new_account(account))
            if isinstance(answer, Done) or (answer.old is not None and _is(answer.old, account)):
                return account

    async def get(self, actor: Actor, organisation: str) -> Account:
        """Read an organisation. Raises InvalidFieldError, ResourceNotFoundError, ScopeMissingError."""
        return await self._read(access.account_for(actor, organisation, access.READERS))

    async def list(self, page_size: int, page_token: str) -> tuple[tuple[Account, ...], str]:
        """Read a page of the organisations and the token of the next page, empty at the end. Only for operators.

        Raises InvalidFieldError for a token that is none.
        """
        shard, inner = _start_of(page_token)
        found: list[Account] = []
        while shard < organisations.SHARDS and len(found) < page_size:
            query = msgspec.structs.replace(organisations.listed(shard, None), limit=page_size - len(found))
            page = await page_of(self._table, self._dice, query, inner)
            places = tuple(keys.account(organisations.id_of(item)) for item in page.items)
            held = await trying.repeat(self._dice, partial(self._table.batch_get, places))
            found += sorted((accounts.account_of(item) for item in held.items), key=lambda account: account.id)
            shard, inner = (shard, page.next) if page.next is not None else (shard + 1, "")
        return tuple(found), f"{shard}.{inner}" if shard < organisations.SHARDS else ""

    async def update(self, actor: Actor, organisation: str, change: OrganisationChange) -> Account:
        """Change an organisation; disabling it and its recurring grant are for operators.

        Raises InvalidFieldError, ResourceNotFoundError, ScopeMissingError, ChangedMeanwhileError.
        """
        account = access.account_for(actor, organisation, access.ADMINS)
        if change.disabled is not UNSET or change.recurring_grant is not UNSET:
            access.require_operator(actor)
        return await edit(self._table, self._dice, lambda: self._read(account), lambda old: applied(old, change))

    async def _read(self, account: str) -> Account:
        found = await trying.get(self._table, self._dice, keys.account(account))
        if found is None:
            raise ResourceNotFoundError("organisation", account)
        return accounts.account_of(found)


def _is(found: Item, account: Account) -> bool:
    return accounts.account_of(found) == account


def _start_of(page_token: str) -> tuple[int, str]:
    """Read a page token: the shard, and the store's own token within it."""
    shard, _, inner = (page_token or "0.").partition(".")
    if not shard.isascii() or not shard.isdecimal() or int(shard[:4]) >= organisations.SHARDS:
        raise InvalidFieldError(("page_token", "is not a next_page_token of this list"))
    return int(shard), inner
