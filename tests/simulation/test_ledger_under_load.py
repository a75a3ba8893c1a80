"""The ledger's operations with replies lost and under load, in small; `poe simulate-ledger lost` and `load` do it in full."""

import pytest

from junctor.adapters.tables.faults import Fault, FaultPlan
from tests.simulation import lost
from tests.simulation.load import load
from tests.simulation.lost import lose


def test_a_lost_reply_is_no_failure_and_does_nothing_twice() -> None:
    """A caller would be told that his money is not there, or be charged for every try."""
    losses = lose(3_000)
    assert losses.operations >= 3_000
    assert losses.lost > 250
    assert (losses.failures, losses.breaches) == ((), ())


def test_a_failure_would_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No failure would be found because none is looked for."""
    monkeypatch.setattr(lost, "LOST", FaultPlan(chances=((Fault.REPLY_LOST, 0.7),)))
    assert lose(100).failures


def test_ten_instances_seldom_meet_on_one_account() -> None:
    """An account of a thousand calls a second would spend its time in tries that fail."""
    loaded = load(rate=1_000, instances=10, purses=4, seconds=10)
    assert loaded.calls > 8_000
    assert loaded.transactions >= 40
    assert (loaded.refused, loaded.breaches) == (0, ())
    assert loaded.share >= 0.95


def test_short_leases_would_meet_often() -> None:
    """The share would be good because transactions never meet in the simulated store."""
    loaded = load(rate=1_000, instances=10, purses=1, seconds=2, lease_s=0.2)
    assert loaded.breaches == ()
    assert loaded.share < 0.8
