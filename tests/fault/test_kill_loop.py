"""The small forms of `poe kill`."""

from pathlib import Path

import pytest

from junctor.domain.lease import SlotState
from tests.fault.kill_callers import CALLERS
from tests.fault.kill_loop import Report, kill_loop
from tests.support.engines.places import found
from tests.support.tables import fake_credentials


def _held(report: Report, kills: int) -> None:
    assert report.violations == ()
    assert report.kills == kills
    # Else the kills met a server that had nothing to lose.
    assert report.answered > 0 < report.opened
    # A caller may be cut twice by one kill: in what he sends again, and in what he had begun.
    assert 0 < report.interrupted <= 2 * kills * CALLERS
    assert report.states[SlotState.SETTLED.value] >= report.answered
    assert report.states[SlotState.OPEN.value] == 0
    assert report.reclaimed > 0 < report.spent_nanousd


async def test_no_debit_is_lost_or_doubled_by_kill_nine(tmp_path: Path) -> None:
    """Work that was answered would not be billed, or billed twice, or money would stay behind in a dead server's lease."""
    _held(await kill_loop(tmp_path, kills=5, seed=11), 5)


async def test_a_store_that_dies_with_its_server_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same over DynamoDB's own protocol, where a write that was applied may never be acknowledged."""
    found("dynoxide")
    fake_credentials(monkeypatch)
    _held(await kill_loop(tmp_path, kills=2, seed=11, store="dynoxide", with_engine=True), 2)
