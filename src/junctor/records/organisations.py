"""The list of organisations as items, so that whoever must see all of them can, without reading a whole table.

One item for each account, written in one transaction with the account's own, in one of a fixed number of partitions by its id.
"""

from junctor.domain.account import Account
from junctor.ports.table import SORT, Item, Key, Query
from junctor.records import keys

SHARDS = 16
"""Partitions of the list: part of its layout, as an account is looked for where it was put."""


def listing_item(account: Account) -> Item:
    """Return an account's item in the list."""
    place = Key(keys.organisations(_shard(sum(account.id.encode()) % SHARDS)), account.id)
    return {**keys.attributes(place), "name": account.name}


def listed(shard: int, after: str | None) -> Query:
    """Return the query for one shard of the list, in the order of the ids."""
    return Query(partition=keys.organisations(_shard(shard)), consistent=True, after=after)


def id_of(found: Item) -> str:
    """Return the account that an item of the list is about."""
    return str(found[SORT])


def _shard(number: int) -> str:
    return f"{number:02d}"
