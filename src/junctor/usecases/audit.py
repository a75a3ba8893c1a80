"""The books audited: one account's or all of them, read-only, on any store, beside those who work on it.

A store that fails for one account does not keep the others from being audited. Nothing is repaired here: a difference is for
people.
"""

from enum import IntEnum

from msgspec import Struct

from junctor.ledger import trying
from junctor.ledger.auditing.audit import audit
from junctor.ledger.auditing.findings import Audited
from junctor.ledger.listing import read_accounts
from junctor.ports.ambient import Clock, Dice
from junctor.ports.table import StoreError, Table
from junctor.records import keys

NOT_JUDGED = "I7, I8, I14, and of I10 and I16 what only history shows, which a store's items do not tell"
"""What no audit of a store's items can say."""


class Verdict(IntEnum):
    """What an audit comes to: all is right, something is wrong, or something could not be read or judged."""

    RIGHT = 0
    DIFFERENT = 1
    UNJUDGED = 2


class Unread(Struct, frozen=True):
    """An account that could not be read: the store did not answer, or there is nothing of it."""

    account: str
    reason: str


Finding = Audited | Unread


class Auditor:
    """Audits accounts one after another."""

    def __init__(self, table: Table, clock: Clock, dice: Dice) -> None:
        self._table = table
        self._clock = clock
        self._dice = dice

    async def accounts(self) -> tuple[str, ...]:
        """Return the ids of all accounts. Raises StoreError."""
        return tuple([account async for account in read_accounts(self._table, self._dice)])

    async def audit(self, account: str) -> Finding:
        """Audit one account; one that has no money yet is right."""
        try:
            audited = await audit(self._table, self._dice, account, self._clock.now_ms())
            if any(audited.items.values()) or await trying.get(self._table, self._dice, keys.account(account)):
                return audited
        except StoreError as error:
            return Unread(account, str(error) or "the store does not answer")
        return Unread(account, "there is nothing of it in this store")


def verdict(finding: Finding) -> Verdict:
    """Say what one account's audit comes to."""
    if isinstance(finding, Unread):
        return Verdict.UNJUDGED
    if finding.differences:
        return Verdict.DIFFERENT
    return Verdict.UNJUDGED if finding.moving else Verdict.RIGHT


def summed_up(verdicts: set[Verdict]) -> Verdict:
    """Say what many audits come to: a difference counts before what could not be judged."""
    for worst in (Verdict.DIFFERENT, Verdict.UNJUDGED):
        if worst in verdicts:
            return worst
    return Verdict.RIGHT
