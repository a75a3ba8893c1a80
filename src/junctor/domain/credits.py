"""Where an account's money lies and how it gets there: purses, the entries that change what is credited, limits and windows.

Sums are nano-USD (domain/money.py), instants Unix milliseconds. The books of a purse balance at every instant:
credited = avail + leased + spent + expired - owed. A chargeback takes from credited and adds to owed; collecting takes from
avail and from owed. A window's do too: limit = headroom + leased + spent.
"""

from enum import Enum

from msgspec import Struct

from junctor.domain.money import NanoUsd


class PurseState(Enum):
    """Whether a purse may still be leased from."""

    OPEN = "OPEN"
    EXPIRED = "EXPIRED"


class Interval(Enum):
    """How long a window of a limit is: a UTC day, a week from Monday, a month, or all time."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    ALL = "ALL"


class LimitSubject(Enum):
    """What a limit is of, the broadest first."""

    ORGANISATION = "org"
    WORKSPACE = "workspace"
    MEMBER = "member"
    API_KEY = "key"


class Purse(Struct, frozen=True, kw_only=True):
    """A part of an account's money: its main purse, a shard of that, or a grant, which alone has `expires_at_ms`."""

    account: str
    id: str
    state: PurseState = PurseState.OPEN
    avail_nanousd: NanoUsd = 0
    leased_nanousd: NanoUsd = 0
    spent_nanousd: NanoUsd = 0
    credited_nanousd: NanoUsd = 0
    owed_nanousd: NanoUsd = 0
    expired_nanousd: NanoUsd = 0
    expires_at_ms: int | None = None


class Payment(Struct, frozen=True, kw_only=True):
    """Money that came in under an outside id; `refundable_nanousd` is what of it may still go back.

    The fee was taken before: what was paid is amount and fee together.
    """

    account: str
    id: str
    purse: str
    amount_nanousd: NanoUsd
    refundable_nanousd: NanoUsd
    at_ms: int
    fee_nanousd: NanoUsd = 0


class Refund(Struct, frozen=True, kw_only=True):
    """Money that went back by our own will, out of a payment, under an outside id."""

    account: str
    id: str
    payment: str
    purse: str
    amount_nanousd: NanoUsd
    at_ms: int


class Clawback(Struct, frozen=True, kw_only=True):
    """Money of a payment that was taken back from us under an outside id: a chargeback."""

    account: str
    id: str
    payment: str
    purse: str
    amount_nanousd: NanoUsd
    at_ms: int


class Move(Struct, frozen=True, kw_only=True):
    """Money that went from one purse of an account to another, under an outside id."""

    account: str
    id: str
    source: str
    target: str
    amount_nanousd: NanoUsd
    at_ms: int


Entry = Payment | Refund | Clawback | Move
"""What changes how much is credited to a purse: each is written once, by its outside id."""


class Limit(Struct, frozen=True, kw_only=True):
    """The most that may be spent in each window by a key, member, workspace, account or guardrail.

    `subject_id` is the id of the workspace, member or key, empty for the organisation. `ver` rises with each change of the
    limit and with each new window. `change` is the outside id of the latest change, empty if it is as it was made.
    """

    account: str
    id: str
    limit_nanousd: NanoUsd
    interval: Interval
    subject: LimitSubject = LimitSubject.ORGANISATION
    subject_id: str = ""
    ver: int = 0
    change: str = ""


class Window(Struct, frozen=True, kw_only=True):
    """One period of a limit. `key` names it among the account's items; headroom is below 0 only after a limit was lowered."""

    account: str
    key: str
    limit_nanousd: NanoUsd
    headroom_nanousd: NanoUsd
    leased_nanousd: NanoUsd = 0
    spent_nanousd: NanoUsd = 0
