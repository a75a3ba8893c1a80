"""Leases and slots: the part of an account's money that one instance spends, one slot a generation (ledger.md)."""

from enum import Enum

from msgspec import Struct

from junctor.domain.money import NanoUsd


class LeaseState(Enum):
    """Whether a lease may still be spent from."""

    OPEN = "OPEN"
    CLOSED = "CLOSED"


class SlotState(Enum):
    """How far a slot is. All but OPEN are final."""

    OPEN = "OPEN"
    SETTLED = "SETTLED"
    VOID = "VOID"
    EXPIRED = "EXPIRED"
    SEALED = "SEALED"


class Leg(Struct, frozen=True):
    """What a lease took from one purse."""

    purse: str
    amount_nanousd: NanoUsd


class Lease(Struct, frozen=True, kw_only=True):
    """A sum that one instance may spend.

    `until_ms`: the owner opens no slot after it. `exp_ms`: anyone may close the lease after it. Both are Unix milliseconds.
    `width`: slot k may be sent only when all slots up to k - width are acknowledged.
    """

    id: str
    account: str
    scope: str
    owner: str
    until_ms: int
    exp_ms: int
    width: int
    amount_nanousd: NanoUsd = 0
    legs: tuple[Leg, ...] = ()
    windows: tuple[str, ...] = ()
    state: LeaseState = LeaseState.OPEN
    total_nanousd: NanoUsd | None = None


class Slot(Struct, frozen=True):
    """One generation's place in a lease, counted from 0."""

    account: str
    lease: str
    number: int
