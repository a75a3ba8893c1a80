"""Organisations and API keys as items."""

from collections.abc import Mapping
from typing import cast

import msgspec

from junctor.domain.account import Account, ApiKey
from junctor.ports.table import Item, Value
from junctor.records import keys


def account_item(account: Account) -> Item:
    """Return an organisation as an item."""
    return {**keys.attributes(keys.account(account.id)), **_fields(account)}


def account_of(item: Item) -> Account:
    """Return the organisation in an item."""
    return msgspec.convert(item, Account)


def api_key_item(key: ApiKey) -> Item:
    """Return an API key as an item: the digest and never the secret."""
    return {**keys.attributes(keys.api_key(key.lookup_id)), **_fields(key)}


def api_key_of(item: Item) -> ApiKey:
    """Return the API key in an item."""
    return msgspec.convert(item, ApiKey, builtin_types=(bytes,))


def _fields(noun: Account | ApiKey) -> dict[str, Value]:
    fields = cast("Mapping[str, Value]", msgspec.to_builtins(noun, builtin_types=(bytes,)))
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items() if value is not None}
