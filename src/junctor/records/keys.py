"""The keys of every item: nowhere else is a key string built. An account's items begin with the account."""

from junctor.domain.lease import Slot
from junctor.ports.table import PARTITION, SORT, Key

LEASE_PREFIX = "LEASE#"
PURSE_PREFIX = "PURSE#"
LIMIT_PREFIX = "LIMIT#"
WINDOW_PREFIX = "WINDOW#"
PAYMENT_PREFIX, REFUND_PREFIX, CLAWBACK_PREFIX, MOVE_PREFIX = "PAY#", "REF#", "CLAW#", "MOVE#"
SLOT_PREFIX = "SLOT#"


def api_key(lookup_id: str) -> Key:
    """Return where an API key lies: by its public part, as its account is not known before it is read."""
    return Key(f"KEY#{lookup_id}", "KEY")


def account(account_id: str) -> Key:
    """Return where an organisation lies."""
    return Key(_account(account_id), "ORG")


def lease(account_id: str, lease_id: str) -> Key:
    """Return where a lease's META lies: an account's leases sort by the time at which they were acquired."""
    return Key(_account(account_id), LEASE_PREFIX + lease_id)


def slot(place: Slot) -> Key:
    """Return where a slot lies: the slots of one lease are one partition, in order."""
    return Key(f"{_account(place.account)}#L#{place.lease}", f"{SLOT_PREFIX}{place.number:06d}")


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
