"""Organisations, members, workspaces and API keys as items.

An API key lies under its public part; a small entry among its account's items, written and removed with it, says that it is
there. A member or workspace that was removed leaves its id behind, marked: given to another, it would wake the keys of the
first. Each change asks for the `ver` that it knows, and raises it, so that none overwrites another and none lands late.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

import msgspec

from junctor.domain.account import Account, ApiKey, Member, Workspace
from junctor.ports.table import (
    SORT,
    Absent,
    Add,
    Check,
    Delete,
    Equals,
    Exists,
    Item,
    Key,
    PutNew,
    Query,
    Remove,
    Set,
    Update,
    Value,
)
from junctor.records import keys, organisations

GONE = "gone"
"""The mark of a member or workspace that was removed."""

Noun: TypeAlias = Account | Member | Workspace | ApiKey


def account_item(account: Account) -> Item:
    """Return an organisation as an item."""
    return {**keys.attributes(keys.account(account.id)), **_fields(account)}


def account_of(item: Item) -> Account:
    """Return the organisation in an item."""
    return msgspec.convert(item, Account)


def new_account(account: Account) -> tuple[PutNew, PutNew]:
    """Return the writes of a new organisation: itself, and its place in the list of all."""
    return PutNew(account_item(account)), PutNew(organisations.listing_item(account))


def member_item(member: Member) -> Item:
    """Return a member as an item."""
    return {**keys.attributes(keys.member(member.account, member.id)), **_fields(member)}


def member_of(item: Item) -> Member | None:
    """Return the member in an item, None if he was removed."""
    return None if GONE in item else msgspec.convert(item, Member)


def workspace_item(workspace: Workspace) -> Item:
    """Return a workspace as an item."""
    return {**keys.attributes(keys.workspace(workspace.account, workspace.id)), **_fields(workspace)}


def workspace_of(item: Item) -> Workspace | None:
    """Return the workspace in an item, None if it was removed."""
    return None if GONE in item else msgspec.convert(item, Workspace)


def removal(found: Member | Workspace) -> Update:
    """Return the write that removes a member or workspace, keeps its id from being given again, and may be repeated."""
    return Update(_place(found), (Exists("id"),), (Set(GONE, value=True), Set("name", ""), Add("ver", 1)))


def api_key_item(key: ApiKey) -> Item:
    """Return an API key as an item: digests and never a secret."""
    return {**keys.attributes(keys.api_key(key.lookup_id)), **_fields(key)}


def api_key_of(item: Item) -> ApiKey:
    """Return the API key in an item."""
    return msgspec.convert(item, ApiKey, builtin_types=(bytes,))


def new_api_key(key: ApiKey) -> tuple[PutNew, PutNew]:
    """Return the writes of a new API key: itself, and its entry among its account's items."""
    entry: Item = dict(keys.attributes(keys.api_key_entry(key.account, key.lookup_id)))
    return PutNew(api_key_item(key)), PutNew(entry)


def no_api_key(key: ApiKey) -> tuple[Delete, Delete]:
    """Return the writes that remove an API key and its entry."""
    return Delete(keys.api_key(key.lookup_id)), Delete(keys.api_key_entry(key.account, key.lookup_id))


def belongings(key: ApiKey) -> tuple[Key, ...]:
    """Return where what must be there for an API key to be good lies: its member and its workspace, if it has them."""
    member = (keys.member(key.account, key.member),) if key.member is not None else ()
    workspace = (keys.workspace(key.account, key.workspace),) if key.workspace is not None else ()
    return (*member, *workspace)


def present(place: Key) -> Check:
    """Return the check that a member or workspace is there."""
    return Check(place, (Exists("id"), Absent(GONE)))


def change(old: Noun, new: Noun) -> Update:
    """Return the write that makes the one into the other, as its next version, if it is still as it was."""
    before, after = _fields(old), _fields(new)
    changes = [Set(name, value) for name, value in after.items() if name != "ver" and before.get(name) != value]
    gone = [Remove(name) for name in before if name not in after]
    return Update(_place(old), (Equals("ver", old.ver),), (*changes, *gone, Set("ver", old.ver + 1)))


def listed(account: str, prefix: str, limit: int) -> Query:
    """Return the query for an account's members, workspaces or entries of API keys, by the prefix of their family."""
    return Query(partition=keys.account(account).partition, prefix=prefix, limit=limit, consistent=True)


def listed_keys(entries: Sequence[Item]) -> tuple[Key, ...]:
    """Return where the API keys lie whose entries were found."""
    return tuple(keys.api_key(str(entry[SORT]).removeprefix(keys.API_KEY_PREFIX)) for entry in entries)


def _place(noun: Noun) -> Key:
    if isinstance(noun, Account):
        return keys.account(noun.id)
    if isinstance(noun, ApiKey):
        return keys.api_key(noun.lookup_id)
    return (keys.member if isinstance(noun, Member) else keys.workspace)(noun.account, noun.id)


def _fields(noun: Noun) -> Mapping[str, Value]:
    return cast("Mapping[str, Value]", _plain(msgspec.to_builtins(noun, builtin_types=(bytes,))))


def _plain(value: object) -> object:
    """Return a value as a store gives it back: lists for tuples, and nothing for None."""
    if isinstance(value, dict):
        return {name: _plain(held) for name, held in value.items() if held is not None}
    return [_plain(held) for held in value] if isinstance(value, (list, tuple)) else value
