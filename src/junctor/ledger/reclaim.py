"""Leases whose owner did not close them, closed for him (ledger.md: reclaim).

It finds them in the index of OPEN leases, which may lag, and so reads each one again before it acts. It trusts its clock for
nothing but when to look: run anywhere, at any time, by many and twice, it costs at most a fresh lease.
"""

from functools import partial

from msgspec import Struct

from junctor.domain.lease import Lease, LeaseState
from junctor.ledger import closing, trying
from junctor.ledger.credits import tend
from junctor.ports.ambient import Dice
from junctor.ports.table import Key, StoreError, Table
from junctor.records import keys, leases


class Reclaimed(Struct, frozen=True):
    """What one run did.

    `failed` counts what the store did not let it do, which is for the next run. `broken` are leases (account, id) that cannot
    be closed because their books are wrong, which is for people.
    """

    closed: tuple[Lease, ...] = ()
    failed: int = 0
    broken: tuple[tuple[str, str], ...] = ()


async def reclaim(table: Table, dice: Dice, now_ms: int) -> Reclaimed:
    """Close every lease that is OPEN past its end, then collect and sweep in the accounts where one was."""
    closed: list[Lease] = []
    broken: list[tuple[str, str]] = []
    overdue, failed = await _overdue(table, dice, now_ms)
    for account, lease_id in overdue:
        try:
            lease = await _close(table, dice, keys.lease(account, lease_id), now_ms)
        except StoreError:
            failed += 1
        except ValueError:
            broken.append((account, lease_id))
        else:
            closed.extend([lease] if lease else [])
    for account in dict(overdue):
        try:
            await tend(table, dice, account, now_ms)
        except StoreError:
            failed += 1
    return Reclaimed(tuple(closed), failed, tuple(broken))


async def _overdue(table: Table, dice: Dice, now_ms: int) -> tuple[list[tuple[str, str]], int]:
    """Return the leases (account, id) that the index shows as OPEN past their end, and how many shards did not answer."""
    found: list[tuple[str, str]] = []
    failed = 0
    for shard in range(leases.OPEN_SHARDS):
        try:
            found += [
                leases.name_of(item) async for item in trying.read_all(table, dice, partial(leases.overdue, shard, now_ms))
            ]
        except StoreError:
            failed += 1
    return found, failed


async def _close(table: Table, dice: Dice, place: Key, now_ms: int) -> Lease | None:
    """Close a lease that the index has shown, if it is still OPEN; None if it is not."""
    found = await trying.get(table, dice, place)
    lease = leases.lease_of(found) if found else None
    if lease is None or lease.state is LeaseState.CLOSED:
        return None
    return await closing.close(table, dice, lease, now_ms)
