"""The invariants of ledger.md as pure judgements of nouns: each function says nothing where all is well.

What one item says by itself may be judged at any time, and so may a CLOSED lease with its slots, as both are final. What must
agree between items is judged by `replayed`, which its caller may ask only for what stood still.
"""

from collections.abc import Sequence

from junctor.domain.credits import Limit, Payment, Purse, PurseState, Window
from junctor.domain.lease import Lease, LeaseState, SlotState
from junctor.domain.money import NanoUsd
from junctor.ledger.auditing.findings import Findings
from junctor.ledger.auditing.journal import Postings
from junctor.records.generations import Bill
from junctor.records.statements import Statement


def purse(findings: Findings, where: str, found: Purse) -> None:
    """Judge what a purse says by itself (I1, I2, I16)."""
    sums = found.avail_nanousd + found.leased_nanousd + found.spent_nanousd + found.expired_nanousd - found.owed_nanousd
    text = f"{found.credited_nanousd} nano-USD were credited, but what it has, leased, spent, lost and owes makes {sums}"
    findings.check("I1", where, text, holds=found.credited_nanousd == sums)
    parts = (found.avail_nanousd, found.leased_nanousd, found.spent_nanousd, found.owed_nanousd, found.expired_nanousd)
    findings.check("I2", where, "a sum is below zero", holds=min(parts) >= 0)
    swept = found.expired_nanousd == 0 or found.state is PurseState.EXPIRED
    findings.check("I16", where, f"{found.expired_nanousd} nano-USD were swept from it while it is OPEN", holds=swept)


def payment(findings: Findings, where: str, found: Payment | None, refunded: NanoUsd) -> None:
    """Judge that no more went back of a payment, which was read later, than came (I1); None for one that is not there."""
    left, amount = (found.refundable_nanousd, found.amount_nanousd) if found else (0, 0)
    text = f"{refunded} nano-USD went back and {left} still may, of {amount}"
    findings.check("I1", where, text, holds=left >= 0 and refunded + left <= amount)


def window(findings: Findings, where: str, found: Window, limit: Limit | None) -> None:
    """Judge what a window says by itself (I2). `limit` was read after it."""
    sums = found.headroom_nanousd + found.leased_nanousd + found.spent_nanousd
    text = f"its limit is {found.limit_nanousd} nano-USD, but its headroom, leased and spent make {sums}"
    findings.check("I2", where, text, holds=found.limit_nanousd == sums)
    lowered = limit is None or bool(limit.change)
    sound = min(found.leased_nanousd, found.spent_nanousd) >= 0 and (found.headroom_nanousd >= 0 or lowered)
    findings.check("I2", where, "a sum is below zero, and its limit was never lowered", holds=sound)


def in_force(findings: Findings, where: str, found: Window, limit: Limit) -> None:
    """Judge that one of the newest windows has the limit in force (I17)."""
    text = f"it has a limit of {found.limit_nanousd} nano-USD, but {limit.limit_nanousd} is in force"
    findings.check("I17", where, text, holds=found.limit_nanousd == limit.limit_nanousd)


def replayed(findings: Findings, where: str, found: Purse | Window | None, posted: Postings) -> None:
    """Judge that a purse or window holds what the journal says (I1, I3, I9, I12); None for one that is not there."""
    if found is None:
        text = "the journal names it, but it is not there"
        empty = not (posted.entries or posted.taken or posted.spent)
        findings.check("I12", where, text, holds=empty)
        return
    if isinstance(found, Purse):
        credited(findings, where, found, posted)
    leases = f"its OPEN leases have {posted.taken}" if posted.leased else "no lease of it is OPEN"
    text = f"{found.leased_nanousd} nano-USD are leased, but {leases}"
    findings.check("I3" if posted.leased else "I9", where, text, holds=found.leased_nanousd == posted.taken)
    text = f"{found.spent_nanousd} nano-USD were spent, but its CLOSED leases and statements make {posted.spent}"
    findings.check("I12", where, text, holds=found.spent_nanousd == posted.spent)


def credited(findings: Findings, where: str, found: Purse, posted: Postings) -> None:
    """Judge that as much was credited to a purse as its entries say (I1, I15)."""
    text = f"{found.credited_nanousd} nano-USD were credited, but its payments, refunds and moves make {posted.credited}"
    findings.check("I1", where, text, holds=found.credited_nanousd == posted.credited)


def bounded(findings: Findings, where: str, posted: Postings, spent: tuple[NanoUsd, NanoUsd]) -> None:
    """Judge that what the journal says was spent lies between what was spent before and after it was read (I12)."""
    text = f"between {spent[0]} and {spent[1]} nano-USD were spent, but its CLOSED leases and statements make {posted.spent}"
    findings.check("I12", where, text, holds=spent[0] <= posted.spent <= spent[1])


def statement(findings: Findings, where: str, found: Statement) -> None:
    """Judge what a statement says by itself (I12)."""
    parts = sum(found.purses.values())
    text = f"its leases spent {found.total_nanousd} nano-USD, but its purses make {parts}"
    findings.check("I12", where, text, holds=found.total_nanousd == parts)
    sums = (*found.purses.values(), *found.windows.values())
    text = f"a sum is below zero or above its total of {found.total_nanousd} nano-USD"
    findings.check("I12", where, text, holds=all(0 <= amount <= found.total_nanousd for amount in sums))


def summed(findings: Findings, where: str, found: Statement | None, named: tuple[int, NanoUsd]) -> None:
    """Judge a statement, read later, by the leases that name it and whose entries are still there (I12)."""
    count, total = named
    has = (found.leases, found.total_nanousd) if found else (0, 0)
    text = f"it sums {has[0]} leases and {has[1]} nano-USD, but {count} leases of {total} nano-USD say that they are in it"
    findings.check("I12", where, text, holds=named == has or (count < has[0] and total <= has[1]))


def lease(findings: Findings, where: str, found: Lease, *, indexed: bool) -> None:
    """Judge what a lease's entry says by itself (I3, I4, I6, I11)."""
    parts = sum(leg.amount_nanousd for leg in found.legs)
    text = f"it has {found.amount_nanousd} nano-USD, but its legs make {parts}"
    distinct = len({leg.purse for leg in found.legs}) == len(found.legs) and all(leg.amount_nanousd > 0 for leg in found.legs)
    findings.check("I3", where, text, holds=distinct and parts == found.amount_nanousd)
    still_open = found.state is LeaseState.OPEN
    text = f"it is {found.state.value}, and the index of OPEN leases says otherwise"
    findings.check("I11", where, text, holds=still_open is indexed)
    total = found.total_nanousd
    text = f"it is {found.state.value} and its total is {total}, of {found.amount_nanousd} nano-USD"
    sound = total is None if still_open else total is not None and 0 <= total <= found.amount_nanousd
    findings.check("I4", where, text, holds=sound)


def slots(findings: Findings, where: str, found: Lease, bills: Sequence[Bill], *, whole: bool) -> None:
    """Judge a lease's slots (I4, I5, I6, I10, I13). `whole`: none of them can have expired."""
    closed = found.state is LeaseState.CLOSED
    bound = 0
    for bill in bills:
        place = f"{where} slot {bill.number}"
        bound += bill.hold_nanousd if bill.state is SlotState.OPEN else bill.cost_nanousd
        text = f"it is {bill.state.value} and costs {bill.cost_nanousd} nano-USD"
        findings.check("I10", place, text, holds=bill.state is SlotState.SETTLED or bill.cost_nanousd == 0)
        text = f"it costs {bill.cost_nanousd} nano-USD, and its hold is {bill.hold_nanousd}"
        findings.check("I13", place, text, holds=0 <= bill.cost_nanousd <= bill.hold_nanousd)
        findings.check("I5", place, "it is OPEN in a CLOSED lease", holds=not (closed and bill.state is SlotState.OPEN))
    text = f"its slots cost and hold {bound} nano-USD, but it has {found.amount_nanousd}"
    findings.check("I4", where, text, holds=bound <= found.amount_nanousd)
    if closed and whole:
        costs = sum(bill.cost_nanousd for bill in bills)
        text = f"its total is {found.total_nanousd} nano-USD, but its slots cost {costs}"
        findings.check("I6", where, text, holds=found.total_nanousd == costs)
