"""The audit that operators run: it finds every planted mistake that the tests' own auditor finds, and none in right books."""

from collections.abc import Mapping
from typing import Any

import pytest

from junctor.domain.credits import Refund
from junctor.domain.lease import Leg
from junctor.ledger import closing, leasing
from junctor.ledger.auditing.audit import OVERDUE_MS, SLOTS_KEPT_MS
from junctor.ledger.credits import refund
from junctor.ledger.statements import summarise
from junctor.ports.table import Item, Value
from junctor.records.tables import CORE
from tests.support.auditing import NEXT_MONTH_MS, audited, told
from tests.support.bank import ACCOUNT, DAY, EXP_MS, NOW_MS, Bank, JudgedStore
from tests.support.ledger_audit import violations
from tests.support.virtual_loop import run_virtual
from tests.unit import test_ledger_audit as other

PLANTED: list[tuple[str, Mapping[str, object], str]] = [
    case for mark in vars(other.test_what_is_wrong_is_found)["pytestmark"] for case in mark.args[1]
]
"""The mistakes that the tests' own auditor is tried on."""


def test_books_that_are_right_are_called_so() -> None:
    """An operator would be woken for nothing, and soon not wake."""
    found = audited(other.BOOKS)
    assert told(found) == []
    assert found.moving == ()
    assert found.items == {"entries": 3, "leases": 2, "limits": 1, "purses": 2, "slots": 6, "windows": 1}
    assert set(found.checks) == {"I1", "I2", "I3", "I4", "I5", "I6", "I10", "I11", "I12", "I13", "I16", "I17"}
    assert found.balance.credited_nanousd == 1_095
    assert audited([]).items == {"slots": 0}


@pytest.mark.parametrize(("match", "changes", "invariant"), PLANTED)
def test_both_auditors_find_what_is_planted(match: str, changes: dict[str, object], invariant: str) -> None:
    """A mistake in the books would pass the one check that runs on real money."""
    wrong = other.planted(match, **changes)
    assert violations(wrong)
    found = {one.invariant for one in audited(wrong).differences}
    unread = invariant in {"I10 ", "I16 "} and found == {"I12"}
    assert invariant.strip() in found or unread or (invariant == "I9 " and "I12" in found), found


def test_a_refund_of_more_than_was_paid_is_found() -> None:
    """Money would go back that never came."""
    paid = next(item for item in other.BOOKS if item["sk"] == "PAY#pay-main")
    back = {**paid, "sk": "REF#r", "id": "r", "payment": "pay-main", "amount_nanousd": 1_001}
    assert any("went back" in text for text in told(audited([*other.BOOKS, back])))
    orphan = {**back, "payment": "none", "amount_nanousd": 1}
    assert any(text.startswith("I1 PAY#none") for text in told(audited([*other.BOOKS, orphan])))


@pytest.mark.parametrize("name", ["PURSE#main", "WINDOW#key-1#", "PURSE#grant"])
def test_a_purse_or_window_that_is_gone_is_found(name: str) -> None:
    """Money would be lost with its purse, and nobody miss it."""
    rest = [item for item in other.BOOKS if name not in str(item["sk"])]
    assert len(rest) == len(other.BOOKS) - 1
    assert any("not there" in text for text in told(audited(rest)))


@pytest.mark.parametrize(
    ("match", "changes"),
    [
        ("PURSE#main", {"avail_nanousd": "many"}),
        ("PAY#pay-main", {"amount_nanousd": None}),
        (f"LEASE#{other.OPEN}", {"legs": 7}),
        ("WINDOW#key-1#", {"limit_nanousd": True}),
    ],
)
def test_what_cannot_be_read_is_told(match: str, changes: dict[str, Any]) -> None:
    """One damaged item would end the audit of all others."""
    assert any("it cannot be read" in text for text in told(audited(other.planted(match, **changes))))


def test_a_lease_in_another_s_place_is_found() -> None:
    """A lease would count twice under two keys, or for another account."""
    lease = next(item for item in other.BOOKS if str(item["sk"]).startswith(f"LEASE#{other.CLOSED}"))
    copy = {**lease, "sk": "LEASE#" + "0" * 26}
    assert any("another lease" in text for text in told(audited([*other.BOOKS, copy])))


def test_leases_left_open_and_old_ones_are_told_apart_from_mistakes() -> None:
    """A store at rest after a crash, or old enough that slots are gone, would be called wrong."""
    found = audited(other.BOOKS, now_ms=EXP_MS + OVERDUE_MS + 1)
    assert (told(found), found.overdue, found.aged) == ([], 1, 0)
    rest = [item for item in other.BOOKS if f"{other.CLOSED}" not in str(item["pk"])]
    assert any(text.startswith("I6 ") for text in told(audited(rest)))
    found = audited(rest, now_ms=NOW_MS + SLOTS_KEPT_MS)
    assert (told(found), found.aged) == ([], 2)


def stated() -> list[Item]:
    """Return books whose closed leases are summed."""

    async def main() -> list[Item]:
        store = JudgedStore()
        bank = await Bank(store).open()
        await bank.credit(1_000)
        await bank.credit(100, "grant")
        await bank.limited(DAY)
        for number in range(3):
            legs = (Leg("grant", 4), Leg("main", 46))
            await leasing.acquire(bank.table, bank.dice, bank.lease(50, DAY, number=number, legs=legs))
            lease = bank.lease(50, DAY, number=number, legs=legs)
            await bank.spent(lease, 0, 7 + number)
            await closing.close(bank.table, bank.dice, lease, NOW_MS)
        await bank.leased(20, DAY, number=9)
        entry = Refund(account=ACCOUNT, id="r", payment="pay-main", purse="main", amount_nanousd=5, at_ms=NOW_MS)
        await refund(bank.table, bank.dice, entry)
        assert (await summarise(bank.table, bank.dice, ACCOUNT, NEXT_MONTH_MS)).leases == 3
        return store.items(CORE)

    return run_virtual(main())


ALL_STATED = stated()
STATED = [item for item in ALL_STATED if Bank(JudgedStore()).lease(0).id not in other.place(item)]


def test_books_rebuild_from_statements() -> None:
    """Balances could not be explained any more once the journal's first entries are swept."""
    found = audited(STATED, now_ms=NEXT_MONTH_MS)
    assert told(found) == []
    assert "I9" in found.checks
    assert found.items["statements"] == 1
    assert found.items["leases"] == 3


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("total_nanousd", 1),
        ("purse:main", -1),
        ("purse:grant", 1),
        ("window:WINDOW#key-1#DAY-2026-09-21", 1),
        ("leases", -2),
        ("purse:other", 1),
        ("window:other", 1),
    ],
)
def test_a_statement_that_was_tampered_with_is_found(name: str, changes: int) -> None:
    """What stands for a whole month could be wrong for ever."""
    place = next(number for number, item in enumerate(STATED) if str(item["sk"]).startswith("STATEMENT#"))
    old = STATED[place].get(name, 0)
    assert isinstance(old, int)
    assert old or name in {"purse:other", "window:other"}
    wrong = [*STATED[:place], {**STATED[place], name: old + changes}, *STATED[place + 1 :]]
    assert any(text.startswith("I12 ") for text in told(audited(wrong, now_ms=NEXT_MONTH_MS)))
    gone = [*STATED[:place], *STATED[place + 1 :]]
    assert any(text.startswith("I12 ") for text in told(audited(gone, now_ms=NEXT_MONTH_MS)))


@pytest.mark.parametrize("changes", [{"total_nanousd": 1, "purse:main": 1}, {"leases": -2}])
def test_a_statement_is_held_to_the_leases_that_are_still_there(changes: Mapping[str, int]) -> None:
    """A month could be made dearer together with its purse, while every lease of it says otherwise."""
    wrong: list[Item] = []
    for item in ALL_STATED:
        if str(item["sk"]).startswith("STATEMENT#"):
            wrong.append(added(item, changes))
        elif item["sk"] == "PURSE#main" and "purse:main" in changes:
            wrong.append(added(item, {"spent_nanousd": 1, "avail_nanousd": -1}))
        else:
            wrong.append(item)
    assert told(audited(ALL_STATED, now_ms=NEXT_MONTH_MS)) == []
    (text,) = told(audited(wrong, now_ms=NEXT_MONTH_MS))
    assert "say that they are in it" in text


def added(item: Item, changes: Mapping[str, int]) -> Item:
    """Return an item with amounts added to it."""
    sums: dict[str, Value] = dict(item)
    for name, amount in changes.items():
        present = item[name]
        assert isinstance(present, int)
        sums[name] = present + amount
    return sums
