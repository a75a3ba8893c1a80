"""The keys of every item: nowhere else is a key string built. An account's items begin with the account."""

from junctor.domain.lease import Slot
from junctor.ports.table import PARTITION, SORT, Key

LEASE_PREFIX = "LEASE#"


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
    return Key(f"{_account(place.account)}#L#{place.lease}", f"SLOT#{place.number:06d}")


def attributes(key: Key) -> dict[str, str]:
    """Return a key as the attributes of an item."""
    return {PARTITION: key.partition, SORT: key.sort}


def _account(account_id: str) -> str:
    return f"A#{account_id}"
