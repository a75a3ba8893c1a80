"""The auditor of the ledger's items: it finds what is planted, item by item, and nothing in books that are right."""

import pytest

from junctor.domain.credits import Clawback
from junctor.domain.lease import Leg
from junctor.ledger import closing, leasing
from junctor.ledger.credits import chargeback, expire
from junctor.ports.table import Item
from tests.support.bank import ACCOUNT, DAY, NOW_MS, Bank, play
from tests.support.ledger_audit import steps, violations


def books() -> list[Item]:
    """Return books that are right, with something of each kind in them."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(1_000)
        await bank.credit(100, "grant")
        await bank.limited(DAY)
        closed = await bank.leased(100, DAY)
        await bank.spent(closed, 0, 7)
        await closing.close(bank.table, bank.dice, closed, NOW_MS)
        lease = bank.lease(50, DAY, number=1, legs=(Leg("main", 40), Leg("grant", 10)))
        await leasing.acquire(bank.table, bank.dice, lease)
        await bank.spent(lease, 0, 9)
        await bank.opened(lease, 1, 20)
        await expire(bank.table, bank.dice, ACCOUNT, "grant")
        entry = Clawback(account=ACCOUNT, id="c", payment="pay-main", purse="main", amount_nanousd=5, at_ms=NOW_MS)
        await chargeback(bank.table, bank.dice, entry)

    return play(scenario)


BOOKS = books()


def place(item: Item) -> str:
    """Return an item's keys as one text."""
    return f"{item['pk']!s} {item['sk']!s}"


def planted(match: str, **changes: object) -> list[Item]:
    """Return the books with the attributes of one item changed; None takes one away. `match` is in its keys."""
    places = [number for number, item in enumerate(BOOKS) if match in place(item)]
    assert len(places) == 1, (match, len(places))
    wrong: dict[str, object] = {**BOOKS[places[0]], **changes}
    kept = {name: value for name, value in wrong.items() if value is not None}
    return [*BOOKS[: places[0]], kept, *BOOKS[places[0] + 1 :]]  # type: ignore[list-item]


def lease_id(state: str) -> str:
    """Return the id of the lease in this state."""
    (found,) = [str(item["id"]) for item in BOOKS if str(item["sk"]).startswith("LEASE#") and item["state"] == state]
    return found


OPEN, CLOSED = lease_id("OPEN"), lease_id("CLOSED")


def test_books_that_are_right_are_called_so() -> None:
    """Every run would fail, and soon nobody look."""
    assert violations(BOOKS) == []
    assert violations([]) == []
    assert steps(BOOKS, BOOKS) == []


@pytest.mark.parametrize(
    ("match", "changes", "invariant"),
    [
        ("PURSE#main", {"avail_nanousd": 1}, "I1 "),
        ("PURSE#main", {"credited_nanousd": 996, "avail_nanousd": 949}, "I1 "),
        ("PAY#pay-main", {"amount_nanousd": 999}, "I1 "),
        ("CLAW#c", {"amount_nanousd": 6}, "I1 "),
        ("PURSE#main", {"avail_nanousd": -1, "credited_nanousd": 46}, "I2 "),
        ("WINDOW#key-1#", {"headroom_nanousd": 1}, "I2 "),
        ("WINDOW#key-1#", {"headroom_nanousd": -1, "limit_nanousd": 56}, "I2 "),
        ("WINDOW#key-1#", {"limit_nanousd": 501, "headroom_nanousd": 444}, "I17 "),
        ("PURSE#main", {"leased_nanousd": 41, "avail_nanousd": 947}, "I3 "),
        ("WINDOW#key-1#", {"leased_nanousd": 51, "headroom_nanousd": 442}, "I3 "),
        (f"LEASE#{OPEN}", {"legs": [{"purse": "main", "amount_nanousd": 40}]}, "I3 "),
        (f"LEASE#{OPEN}", {"amount_nanousd": 28}, "I4 "),
        (f"{OPEN} SLOT#000001", {"hold_nanousd": 42}, "I4 "),
        (f"{CLOSED} SLOT#000000", {"state": "OPEN", "cost_nanousd": None}, "I5 "),
        (f"LEASE#{CLOSED}", {"total_nanousd": 8}, "I6 "),
        (f"{CLOSED} SLOT#000000", {"cost_nanousd": 8}, "I6 "),
        ("PURSE#main", {"spent_nanousd": 8, "avail_nanousd": 947}, "I9 "),
        (f"{CLOSED} SLOT#000001", {"cost_nanousd": 1, "hold_nanousd": 1}, "I10 "),
        (f"{OPEN} SLOT#000001", {"state": "LOST"}, "I10 "),
        (f"{OPEN} SLOT#000000", {"cost_nanousd": 11}, "I13 "),
        ("PURSE#grant", {"state": "OPEN"}, "I16 "),
        (f"LEASE#{OPEN}", {"open_shard": None, "open_until": None}, "I11 "),
        (f"LEASE#{CLOSED}", {"open_shard": "00", "open_until": "1"}, "I11 "),
    ],
)
def test_what_is_wrong_is_found(match: str, changes: dict[str, object], invariant: str) -> None:
    """A simulation would run over a broken ledger and call it right."""
    assert any(text.startswith(invariant) for text in violations(planted(match, **changes))), violations(
        planted(match, **changes)
    )


@pytest.mark.parametrize(
    ("match", "changes", "invariant"),
    [
        (f"{OPEN} SLOT#000000", {"cost_nanousd": 8}, "I10 "),
        (f"LEASE#{CLOSED}", {"total_nanousd": 8}, "I10 "),
        (f"LEASE#{OPEN}", {"legs": [{"purse": "grant", "amount_nanousd": 11}]}, "I16 "),
        ("PURSE#grant", {"state": "OPEN"}, "I16 "),
        ("WINDOW#key-1#", {"leased_nanousd": 999, "headroom_nanousd": -9}, "I2 "),
        ("PAY#pay-main", {"amount_nanousd": 999}, "I15 "),
    ],
)
def test_what_no_write_may_do_is_found(match: str, changes: dict[str, object], invariant: str) -> None:
    """An end could be rewritten, or a debt be leased again, with books that add up."""
    assert [text[: len(invariant)] for text in steps(BOOKS, planted(match, **changes))] == [invariant]


def test_money_in_leases_of_an_account_at_rest_is_found() -> None:
    """Money that nobody can ever give back would look like money at work."""
    rest = [item for item in BOOKS if OPEN not in place(item)]
    assert sum("no lease is OPEN" in text for text in violations(rest)) == 1


def test_a_refund_of_more_than_was_paid_is_found() -> None:
    """Money would go back that never came."""
    paid = next(item for item in BOOKS if item["sk"] == "PAY#pay-main")
    refund = {**paid, "sk": "REF#r", "id": "r", "payment": "pay-main", "amount_nanousd": 1_001}
    assert any("more than came" in text for text in violations([*BOOKS, refund]))
