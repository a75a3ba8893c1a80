"""The journal replayed: what entries, leases and statements say that each purse and window must hold (I12).

It adds and does not judge. A lease that is summed in a statement counts there alone. Of a CLOSED lease that spent more than it
had, which `judging` reports, only what it had is counted.
"""

from collections.abc import Mapping
from typing import assert_never

from msgspec import Struct

from junctor.domain.credits import Clawback, Entry, Move, Payment, Refund
from junctor.domain.lease import Lease, LeaseState
from junctor.domain.money import NanoUsd
from junctor.policy.legs import split_total
from junctor.records import keys
from junctor.records.statements import Statement


class Postings(Struct):
    """What the journal says of one purse or window.

    `leased` is by lease, `entries` counts, and `trail` stands for which CLOSED leases are in no statement. No lease or entry
    ever goes back to what it was: so where two readings have equal postings, nothing happened to the place between them.
    """

    entries: int = 0
    credited: NanoUsd = 0
    leased: dict[str, NanoUsd] = {}
    trail: int = 0
    unstated: NanoUsd = 0
    stated: NanoUsd = 0

    @property
    def spent(self) -> NanoUsd:
        """Return what CLOSED leases spent of it, whether they are summed or not."""
        return self.unstated + self.stated

    @property
    def taken(self) -> NanoUsd:
        """Return what OPEN leases have of it."""
        return sum(self.leased.values())


class Journal:
    """The postings of one account, by the sort keys of its purses and windows."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._postings: dict[str, Postings] = {}
        self.refunded: dict[str, NanoUsd] = {}
        self.summed: dict[str, tuple[int, NanoUsd]] = {}

    @property
    def places(self) -> Mapping[str, Postings]:
        """Return the postings of every place that anything was posted to."""
        return self._postings

    def add_entry(self, entry: Entry) -> None:
        """Post a payment, refund, clawback or move."""
        match entry:
            case Payment():
                self._credit(entry.purse, entry.amount_nanousd)
            case Refund() | Clawback():
                self._credit(entry.purse, -entry.amount_nanousd)
                self.refunded[entry.payment] = self.refunded.get(entry.payment, 0) + entry.amount_nanousd
            case Move():
                self._credit(entry.source, -entry.amount_nanousd)
                self._credit(entry.target, entry.amount_nanousd)
            case _:
                assert_never(entry)

    def add_lease(self, lease: Lease, statement: str | None) -> None:
        """Post a lease, or note that it is summed in a statement."""
        total = lease.total_nanousd or 0
        if statement is not None:
            count, sum_nanousd = self.summed.get(statement, (0, 0))
            self.summed[statement] = count + 1, sum_nanousd + total
            return
        spent = split_total(lease.legs, min(total, sum(leg.amount_nanousd for leg in lease.legs)))
        for leg, part in zip(lease.legs, spent, strict=True):
            self._lease(self._purse(leg.purse), lease, leg.amount_nanousd, part)
        for window in lease.windows:
            self._lease(self._at(window), lease, lease.amount_nanousd, total)

    def add_statement(self, statement: Statement) -> None:
        """Post the sums of a statement."""
        for purse, amount in statement.purses.items():
            self._purse(purse).stated += amount
        for window, amount in statement.windows.items():
            self._at(window).stated += amount

    def _credit(self, purse: str, amount: NanoUsd) -> None:
        posting = self._purse(purse)
        posting.entries += 1
        posting.credited += amount

    def _lease(self, posting: Postings, lease: Lease, amount: NanoUsd, spent: NanoUsd) -> None:
        if lease.state is LeaseState.OPEN:
            posting.leased[lease.id] = posting.leased.get(lease.id, 0) + amount
        else:
            posting.trail = hash((posting.trail, lease.id))
            posting.unstated += spent

    def _purse(self, purse: str) -> Postings:
        return self._at(keys.purse(self._account, purse).sort)

    def _at(self, place: str) -> Postings:
        return self._postings.setdefault(place, Postings())
