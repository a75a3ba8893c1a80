"""Requests that their callers named, as items: which generation answers each (IDEM of ledger.md).

An item counts as long as it is there: no clock decides whether a request may be billed again. The table's broom takes it away
some time after a day.
"""

from junctor.domain.idempotency import RequestRecord
from junctor.ports.table import Add, Equals, Item, Set, Update
from junctor.records import keys

LIFE_S = 24 * 3600


def item(record: RequestRecord, now_ms: int) -> Item:
    """Return a record as an item."""
    return {
        **keys.attributes(keys.request(record.account, record.digest)),
        "generation": record.generation,
        "attempt": record.attempt,
        "request_hash": record.request_hash,
        "ttl": _ttl(now_ms),
    }


def generation_of(found: Item) -> str:
    """Return which generation answers the request."""
    return str(found["generation"])


def same_request(found: Item, record: RequestRecord) -> bool:
    """Tell whether the request found under an id is the one in hand."""
    return found["request_hash"] == record.request_hash


def take_over(record: RequestRecord, old: str, now_ms: int) -> Update:
    """Return the update that lets another generation answer a request, if the old one still does."""
    where = keys.request(record.account, record.digest)
    changes = (Set("generation", record.generation), Add("attempt", 1), Set("ttl", _ttl(now_ms)))
    return Update(where, (Equals("generation", old),), changes)


def _ttl(now_ms: int) -> int:
    return now_ms // 1000 + LIFE_S
