"""How much a scope is used of late, and how large its leases are for that."""

import pytest

from junctor.domain.credits import Purse
from junctor.ledger.sizing import PINCHED_S, PURSE_SHARE, TRAFFIC_S, Sizing
from junctor.ledger.traffic import Traffic
from tests.support.virtual_loop import run_virtual
from tests.support.world import LoopClock, SeededDice


@pytest.mark.parametrize(("per_s", "quiet"), [(0.1, True), (0.3, True), (0.5, False), (1, False), (100, False)])
def test_less_than_a_call_in_three_seconds_is_quiet(per_s: float, quiet: bool) -> None:
    """Money would be kept for scopes that hardly call, or each call of a busy one take a lease of its own."""
    traffic = Traffic()
    for number in range(200):
        traffic.called(number / per_s)
    assert traffic.quiet(199 / per_s) is quiet
    assert traffic.used_at_s == 199 / per_s
    assert traffic.quiet(199 / per_s + 60)


@pytest.mark.parametrize("per_s", [1, 20, 1_000])
def test_what_is_spent_of_late_is_expected_to_go_on(per_s: int) -> None:
    """Leases would be too small for the traffic, or take far too much."""
    traffic = Traffic()
    for number in range(20 * per_s):
        traffic.spent(1_000, number / per_s)
    expected = 5 * per_s * 1_000
    assert expected * 0.8 <= traffic.expected(5, 20) <= expected * 1.2
    assert traffic.expected(5, 20 + 30) < expected / 1_000


def test_the_first_call_after_years_is_quiet() -> None:
    """A monotonic clock that began long ago would make the arithmetic fail."""
    traffic = Traffic()
    assert traffic.quiet(1e9)
    traffic.called(2e9)
    assert traffic.quiet(2e9)


def purse(amount: int) -> Purse:
    """Return a purse with so much."""
    return Purse(account="A", id="main", avail_nanousd=amount, credited_nanousd=amount)


def taken(
    amount: int, needed: int, *, calls: int, crowd: int = 0, modest: bool = False, cost: int = 0, pinched: bool = False
) -> int | None:
    """Return how much a scope with so many calls of late takes for one that needs so much, of an account that has so much."""

    async def main() -> int | None:
        sizing = Sizing(LoopClock(), SeededDice())
        if pinched:
            sizing.pinch()
        for _ in range(calls):
            sizing.traffic.called(0.0)
            sizing.traffic.spent(cost, 0.0)
        legs = sizing.legs([purse(amount)], needed, needed, crowd=crowd, modest=modest)
        return None if legs is None else sum(leg.amount_nanousd for leg in legs)

    return run_virtual(main())


def test_how_much_is_taken() -> None:
    """One call now and then would bind far more than it may cost, or a busy scope write to the purse for each call."""
    rich = 1_000_000
    assert taken(rich, 10, calls=1) == 10
    assert taken(rich, 10, calls=1, crowd=500) == 10
    assert taken(rich, 10, calls=30) == 10
    assert taken(rich, 10, calls=30, crowd=500) == 500
    traffic_s = taken(rich, 10, calls=30, cost=100)
    assert traffic_s is not None
    assert 0.75 * TRAFFIC_S * 1_000 <= traffic_s <= 1.25 * TRAFFIC_S * 1_000
    assert taken(rich, 10, calls=30, cost=100, modest=True) == 10
    assert taken(rich, 10, calls=30, cost=100, pinched=True) == 10
    assert taken(rich, 10, calls=30, crowd=rich) == rich // PURSE_SHARE
    assert taken(80, 10, calls=30, crowd=70) == 10
    assert taken(79, 10, calls=30, crowd=70) == 10  # scarce: less than eight calls are left
    assert taken(10, 10, calls=30, crowd=70) == 10
    assert taken(9, 10, calls=30, crowd=70) is None


def test_what_is_worth_keeping() -> None:
    """Leases would lie about unused where money is short, or be given back between two calls of a busy scope."""

    async def main() -> None:
        clock = LoopClock()
        sizing = Sizing(clock, SeededDice())
        assert not sizing.keeps
        for _ in range(30):
            sizing.traffic.called(0.0)
        assert sizing.keeps
        sizing.legs([purse(79)], 10, 10, crowd=0, modest=True)
        assert not sizing.keeps
        sizing.legs([purse(80)], 10, 10, crowd=0, modest=True)
        assert sizing.keeps
        sizing.pinch()
        assert not sizing.keeps

    run_virtual(main())
    assert PINCHED_S > 0
