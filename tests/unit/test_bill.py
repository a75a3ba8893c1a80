"""The table of what a request costs in the store: as committed, as measured, and as the promise of the ledger has it."""

import pytest

from tests.support import bill
from tests.support.bill import MODES, Mode
from tests.support.contention import contend


def test_the_committed_table_is_what_is_measured() -> None:
    """Whoever budgets for the store would go by figures of an older ledger; `poe bill --write` renews them."""
    assert bill.committed() == bill.text()


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode.name.startswith("busy")], ids=lambda mode: mode.name)
def test_a_busy_scope_pays_for_two_small_writes(mode: Mode) -> None:
    """Every request would cost its leases again, on everybody's bill."""
    units = bill.measure(mode)
    assert units.write_units <= 2.1 + 3 * mode.named
    assert units.read_units <= 0.2


def test_instances_that_share_an_account_seldom_meet() -> None:
    """Ten servers under one account would wear each other out at its purse, and refuse calls."""
    came = contend(rate=100, instances=10, purses=1, seconds=60)  # how often they meet does not depend on the rate
    assert came.wrong == ()
    assert came.failed == 0
    assert came.share >= 0.95


@pytest.mark.parametrize(("windows", "named"), [(0, False), (2, False), (0, True)])
def test_one_call_per_lease_costs_what_the_protocol_says(windows: int, named: bool) -> None:
    """The measurement would leave operations out, or count them twice, and the table be wrong in a way that nobody sees."""
    first, both = (bill.measure(Mode("", calls, 20.0, limits=windows, named=named)) for calls in (1, 2))
    second = {name: 2 * getattr(both, name) - getattr(first, name) for name in first.__struct_fields__}
    assert second["write_units"] - second["index_units"] == 10 + 4 * windows + 3 * named
    assert second["index_units"] == 2
    assert second["purse_units"] == 4


def test_every_mode_is_priced_by_its_units() -> None:
    """A column would not be the sum that its head says it is."""
    rows = [line.split(" | ") for line in bill.committed().splitlines()[4:]]
    assert [row[0].removeprefix("| ") for row in rows] == [mode.name for mode in MODES]
    for row in rows:
        write, _, read, dollars = (float(cell) for cell in row[1:5])
        assert dollars == pytest.approx(write * 0.625 + read * 0.125, abs=0.012)
