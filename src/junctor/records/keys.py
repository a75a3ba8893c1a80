"""The keys of every item: nowhere else is a key string built. An account's items begin with the account."""

from functools import lru_cache

from junctor.domain.lease import Slot
from junctor.ports.table import PARTITION, SORT, Key
from junctor.records.ids import THREE_DIGITS

LEASE_PREFIX = "LEASE#"
PURSE_PREFIX = "PURSE#"
LIMIT_PREFIX = "LIMIT#"
WINDOW_PREFIX = "WINDOW#"
PAYMENT_PREFIX, REFUND_PREFIX, CLAWBACK_PREFIX, MOVE_PREFIX = "PAY#", "REF#", "CLAW#", "MOVE#"
SLOT_PREFIX = "SLOT#"
STATEMENT_PREFIX = "STATEMENT#"
ORGANISATIONS_PREFIX = "ORGS#"
MEMBER_PREFIX, WORKSPACE_PREFIX, API_KEY_PREFIX = "MEMBER#", "WORKSPACE#", "APIKEY#"
OVERLAY_PREFIX = "RECORD#"
LEASES_KEPT = 1_024
"""Leases whose slots' partition is remembered: each slot of a lease is written twice."""


def api_key(lookup_id: str) -> Key:
    """Return where an API key lies: by its public part, as its account is not known before it is read."""
    return Key(f"KEY#{lookup_id}", "KEY")


def account(account_id: str) -> Key:
    """Return where an organisation lies."""
    return Key(_account(account_id), "ORG")


def member(account_id: str, member_id: str) -> Key:
    """Return where a member lies."""
    return Key(_account(account_id), MEMBER_PREFIX + member_id)


def workspace(account_id: str, workspace_id: str) -> Key:
    """Return where a workspace lies."""
    return Key(_account(account_id), WORKSPACE_PREFIX + workspace_id)


def api_key_entry(account_id: str, lookup_id: str) -> Key:
    """Return where it is noted that an API key is an account's, so that an account's keys are found."""
    return Key(_account(account_id), API_KEY_PREFIX + lookup_id)


def lease(account_id: str, lease_id: str) -> Key:
    """Return where a lease's META lies: an account's leases sort by the time at which they were acquired."""
    return Key(_account(account_id), LEASE_PREFIX + lease_id)


def slot(place: Slot) -> Key:
    """Return where a slot lies: the slots of one lease are one partition, in order."""
    number = place.number
    sort = f"{SLOT_PREFIX}{THREE_DIGITS[number // 1_000]}{THREE_DIGITS[number % 1_000]}"
    return Key(_slots(place.account, place.lease), sort)


@lru_cache(maxsize=LEASES_KEPT)
def _slots(account_id: str, lease_id: str) -> str:
    return f"{_account(account_id)}#L#{lease_id}"


def purse(account_id: str, purse_id: str) -> Key:
    """Return where a purse lies: all purses of an account are read by one query."""
    return Key(_account(account_id), PURSE_PREFIX + purse_id)


def purse_at(place: Key) -> str | None:
    """Return the id of the purse that lies there; None if it is another item's place."""
    return place.sort.removeprefix(PURSE_PREFIX) if place.sort.startswith(PURSE_PREFIX) else None


def entry(account_id: str, prefix: str, outside_id: str) -> Key:
    """Return where a payment, refund, clawback or move lies: by its kind's prefix and its outside id."""
    return Key(_account(account_id), prefix + outside_id)


def limit(account_id: str, limit_id: str) -> Key:
    """Return where a limit lies. Its id holds no `#`."""
    return Key(_account(account_id), LIMIT_PREFIX + limit_id)


def limits_ver(account_id: str) -> Key:
    """Return where the count lies that rises with each limit made or removed, so that none comes back as it was."""
    return Key(_account(account_id), "LIMITVER")


def window_name(limit_id: str, period: str) -> str:
    """Name a window among its account's items, as leases do: those of one limit sort by time, and apart from the limits.

    So an account's limits are read without their history.
    """
    return f"{WINDOW_PREFIX}{limit_id}#{period}"


def window(account_id: str, name: str) -> Key:
    """Return where a window lies."""
    return Key(_account(account_id), name)


def limit_of_window(name: str) -> str:
    """Return the id of the limit that a window belongs to."""
    return name.removeprefix(WINDOW_PREFIX).partition("#")[0]


def request(account_id: str, digest: bytes) -> Key:
    """Return where a request lies that its caller named: by the digest of the name, spread over partitions."""
    return Key(f"{_account(account_id)}#R#{digest.hex()}", "IDEM")


def attributes(key: Key) -> dict[str, str]:
    """Return a key as the attributes of an item."""
    return {PARTITION: key.partition, SORT: key.sort}


def _account(account_id: str) -> str:
    return f"A#{account_id}"


def organisations(shard: str) -> str:
    """Return the partition of one shard of the list of organisations, which is spread so that no partition is hot."""
    return f"{ORGANISATIONS_PREFIX}{shard}"


def statement(account_id: str, name: str) -> Key:
    """Return where a part of a statement lies: by its month and number, so that what begins with a month is that month's."""
    return Key(_account(account_id), STATEMENT_PREFIX + name)


def summed(account_id: str) -> Key:
    """Return where it is noted up to which lease an account's statements go."""
    return Key(_account(account_id), "SUMMED")


def rate_minute(account_id: str, lookup_id: str, minute: int) -> Key:
    """Return where it lies what is left of an API key's limits in a minute: each key is a partition, as it is written often."""
    return Key(_rates(account_id, lookup_id), f"RATE#{minute}")


def rate_claims(account_id: str, lookup_id: str) -> Key:
    """Return where it lies which instance may let in how many of an API key's calls at a time."""
    return Key(_rates(account_id, lookup_id), "CLAIMS")


def _rates(account_id: str, lookup_id: str) -> str:
    return f"{_account(account_id)}#K#{lookup_id}"


def overlay_version() -> Key:
    """Return where the version lies of what the operator changed in the catalogue."""
    return Key("CATALOG", "VERSION")


def overlay_record(kind: str, name: str) -> Key:
    """Return where one of the operator's changes of the catalogue lies: all of them are one small partition."""
    return Key("CATALOG", f"{OVERLAY_PREFIX}{kind}#{name}")
