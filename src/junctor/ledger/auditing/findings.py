"""What an audit says: what it checked, what is wrong, and what it could not judge. It decides nothing by itself."""

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct

from junctor.domain.money import NanoUsd


class Difference(Struct, frozen=True):
    """One thing that is wrong: which invariant it breaks (ledger.md), in which item, in plain words."""

    invariant: str
    account: str
    where: str
    text: str


class Balance(Struct, frozen=True, kw_only=True):
    """An account's purses added up. `spent` and the others are as the purses have them, not as they were rebuilt."""

    credited_nanousd: NanoUsd = 0
    avail_nanousd: NanoUsd = 0
    leased_nanousd: NanoUsd = 0
    spent_nanousd: NanoUsd = 0
    owed_nanousd: NanoUsd = 0
    expired_nanousd: NanoUsd = 0


class Audited(Struct, frozen=True, kw_only=True):
    """The audit of one account.

    `items` counts what was read by family, `checks` what was judged by invariant. `moving` names what went on changing, and so
    was not judged in full. `overdue` counts leases that a reclaimer should have closed, `aged` those whose slots may have
    expired, so that their totals stand alone.
    """

    account: str
    items: Mapping[str, int]
    checks: Mapping[str, int]
    differences: tuple[Difference, ...] = ()
    moving: tuple[str, ...] = ()
    overdue: int = 0
    aged: int = 0
    balance: Balance = Balance()


class Findings:
    """Gathers the differences of one account, each once, and counts what was judged."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._differences: dict[Difference, None] = {}
        self.checks: Counter[str] = Counter()

    def check(self, invariant: str, where: str, text: str, *, holds: bool) -> None:
        """Count one judgement; `text` says what is wrong if it does not hold."""
        self.checks[invariant] += 1
        if not holds:
            self._differences[Difference(invariant, self._account, where, text)] = None

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Return what is wrong, in the order in which it was found."""
        return tuple(self._differences)
