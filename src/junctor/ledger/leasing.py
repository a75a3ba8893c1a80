"""Leases taken, enlarged and renewed: one transaction each, the lease's entry first (ledger.md: acquire, grow, renew).

A refusal for want of money is an answer with the first purse or window that was short; nothing was taken then, nor will be:
where an earlier try may land yet, once there is money, it is UnknownOutcomeError instead. A lease that is already there is such
a try whose reply was lost: its amount, legs and windows are what was taken, whatever was asked for this time. So a caller who
is refused, or left in doubt, asks again, for less, under the same lease id.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from junctor.domain.credits import Purse, Window
from junctor.domain.lease import Lease, LeaseState, Leg
from junctor.domain.money import NanoUsd
from junctor.ledger import limits, trying
from junctor.policy.legs import merge_legs
from junctor.ports.ambient import Dice
from junctor.ports.table import Done, Item, Key, PutNew, Refused, Table
from junctor.records import exchanges, keys, leases, purses, windows

WINDOWS_MAX = 8
"""The most windows of one lease."""


class Leased(Struct, frozen=True):
    """The lease as it is now, which need not be as large as was asked for."""

    lease: Lease


class LeaseClosed(Struct, frozen=True):
    """Somebody closed the lease. Nothing was taken."""

    lease: Lease


class PurseShort(Struct, frozen=True):
    """A purse has too little, owes, is expired, or is not there (`found` is None then). Nothing was taken."""

    purse: str
    found: Purse | None


class WindowShort(Struct, frozen=True):
    """A window has too little headroom, or belongs to no limit (`found` is None then). Nothing was taken."""

    window: str
    found: Window | None


Shortage = PurseShort | WindowShort


async def acquire(table: Table, dice: Dice, lease: Lease) -> Leased | LeaseClosed | Shortage:
    """Take a lease's legs from their purses, and its amount from its windows, broadest first.

    Raises:
        StoreError: it could not be done, or its fate is not known.
        ValueError: the legs do not make up the amount, or there are too many windows or one twice.
    """
    _check(lease)
    entry, takes, doubt = PutNew(leases.item(lease)), exchanges.taking(lease), trying.Doubt()
    while True:
        answer = await trying.transact(table, dice, (entry, *takes), doubt)
        if isinstance(answer, Done):
            return Leased(lease)
        if answer.index == 0:
            return _as_found(answer, lease)
        short = await _short(table, dice, lease.account, takes[answer.index - 1].key, answer.old)
        if short is not None:
            return doubt.refused(short)


async def grow(table: Table, dice: Dice, lease: Lease, more: Sequence[Leg]) -> Leased | LeaseClosed | Shortage:
    """Take more for a lease. One at a time for each: a larger lease that is found is an earlier try of ours.

    Raises:
        StoreError: it could not be done, or its fate is not known.
        ValueError: there is nothing to take, or two legs are of one purse.
    """
    if not more:
        raise ValueError("a lease does not grow by nothing")
    added = sum(leg.amount_nanousd for leg in more)
    grown = msgspec.structs.replace(lease, amount_nanousd=lease.amount_nanousd + added, legs=merge_legs(lease.legs, more))
    taken = msgspec.structs.replace(lease, amount_nanousd=added, legs=tuple(more))
    _check(taken)
    entry, takes, doubt = leases.growing(lease, grown), exchanges.taking(taken), trying.Doubt()
    while True:
        answer = await trying.transact(table, dice, (entry, *takes), doubt)
        if isinstance(answer, Done):
            return Leased(grown)
        if answer.index == 0:
            return _as_found(answer, lease)
        short = await _short(table, dice, lease.account, takes[answer.index - 1].key, answer.old)
        if short is not None:
            return doubt.refused(short)


async def renew(table: Table, dice: Dice, old: Lease, total: NanoUsd, new: Lease) -> Leased | LeaseClosed | Shortage:
    """Close a lease and take another, in one transaction that nets what both do to each purse and window.

    Only for a lease without a call in flight, each of whose slots has ended, as its owner knows; `total` is what they cost. If
    the old lease was closed by someone else, the new one is taken alone. If there is too little, both are as before. After any
    StoreError the old lease may be closed at any moment: open no slot in it, close it.

    Raises:
        StoreError: it could not be done, or its fate is not known.
        ValueError: as in `acquire`, or the total is more than the old lease had.
    """
    _check(new)
    doubt = trying.Doubt()
    while True:
        entries = (PutNew(leases.item(new)), leases.closing(old, total))
        exchanged = exchanges.renewing(old, total, new)
        answer = await trying.transact(table, dice, (*entries, *exchanged), doubt)
        if isinstance(answer, Done):
            return Leased(new)
        if answer.index == 0:
            return _as_found(answer, new)
        if answer.index == 1:
            found = _as_found(answer, old)
            if isinstance(found, LeaseClosed):
                return await acquire(table, dice, new)
            old = found.lease  # it grew later than its owner had learned
            doubt = trying.Doubt()  # no try that knew it smaller can land any more
            continue
        short = await _short(table, dice, new.account, exchanged[answer.index - 2].key, answer.old)
        if short is not None:
            return doubt.refused(short)


def _check(lease: Lease) -> None:
    if sum(leg.amount_nanousd for leg in lease.legs) != lease.amount_nanousd:
        raise ValueError("a lease's legs do not make up its amount")
    if any(leg.amount_nanousd <= 0 for leg in lease.legs) or len({leg.purse for leg in lease.legs}) < len(lease.legs):
        raise ValueError("a lease has an empty leg, or two of one purse")
    if len(lease.windows) > WINDOWS_MAX or len(set(lease.windows)) < len(lease.windows):
        raise ValueError(f"a lease has more than {WINDOWS_MAX} windows, or one twice")


def _as_found(answer: Refused, lease: Lease) -> Leased | LeaseClosed:
    found = leases.lease_of(answer.old) if answer.old else None
    if found is not None and found.state is LeaseState.OPEN:
        return Leased(found)
    return LeaseClosed(found or lease)


async def _short(table: Table, dice: Dice, account: str, refused: Key, old: Item | None) -> Shortage | None:
    """Name what is short; None if it was a window that was not there and is now."""
    purse = keys.purse_at(refused)
    if purse is not None:
        return PurseShort(purse, purses.purse_of(old) if old else None)
    if old is not None:
        return WindowShort(refused.sort, windows.window_of(old))
    opened = await limits.open_window(table, dice, account, refused.sort)
    return None if opened else WindowShort(refused.sort, None)
