"""What is left of an API key's limits as items: one for each minute, and one for the calls at a time.

Each key has a partition of its own. A minute's item is made by whoever takes first, with the limit that he knows, and only ever
falls; so what was once seen there bounds what is left. The claims are one map, rewritten as a whole under a stamp that is never
used twice: a write that comes late, or after the item was swept and made anew, meets another stamp.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from junctor.domain.rates import Claim, RateLimit, Share
from junctor.ports.table import Absent, Add, AtLeast, Change, Condition, Equals, Item, Key, Set, Update
from junctor.records import keys

LEFT: Final = {RateLimit.REQUESTS_PER_MIN: "requests", RateLimit.TOKENS_PER_MIN: "tokens"}
"""The attribute of a minute's item that holds what is left of a limit."""

CLAIMS, STAMP, TTL = "claims", "stamp", "ttl"
MINUTE_S, MINUTE_KEPT_S, CLAIMS_KEPT_S = 60, 300, 3600
STAMP_BYTES = 16


def take(account: str, api_key: str, minute: int, shares: Sequence[Share]) -> Update:
    """Return the update that takes all shares of a minute, or none if less is left or was taken of a fresh one meanwhile."""
    conditions: list[Condition] = []
    changes: list[Change] = [Set(TTL, (minute + 1) * MINUTE_S + MINUTE_KEPT_S)]
    for share in shares:
        attribute = LEFT[share.limit]
        if share.fresh_of is None:
            conditions.append(AtLeast(attribute, share.amount))
            changes.append(Add(attribute, -share.amount))
        else:
            conditions.append(Absent(attribute))
            changes.append(Set(attribute, share.fresh_of - share.amount))
    return Update(keys.rate_minute(account, api_key, minute), tuple(conditions), tuple(changes))


def left(found: Item | None, limit: RateLimit) -> int | None:
    """Return what is left of a limit in a minute's item; None if nobody took of it."""
    value = found.get(LEFT[limit]) if found is not None else None
    return value if isinstance(value, int) else None


def claims_of(found: Item | None) -> dict[str, Claim]:
    """Return the claims in an item, by instance."""
    return msgspec.convert(found[CLAIMS], dict[str, Claim]) if found is not None else {}


def claim(where: Key, found: Item | None, claims: Mapping[str, Claim], stamp: bytes, now_ms: int) -> Update:
    """Return the update that writes a key's claims, if those found are still there; `stamp` is new for each try."""
    seen: Condition = Absent(STAMP) if found is None else Equals(STAMP, _stamp(found))
    written = msgspec.to_builtins(dict(claims))
    changes = (Set(CLAIMS, written), Set(STAMP, stamp), Set(TTL, now_ms // 1000 + CLAIMS_KEPT_S))
    return Update(where, (seen,), changes)


def _stamp(found: Item) -> bytes:
    return msgspec.convert(found[STAMP], bytes, builtin_types=(bytes,))
