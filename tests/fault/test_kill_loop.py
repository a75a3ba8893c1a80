"""The small form of `poe kill`."""

from pathlib import Path

from junctor.domain.lease import SlotState
from tests.fault.kill_loop import CALLERS, kill_loop


async def test_every_answer_has_its_record_after_kill_nine(tmp_path: Path) -> None:
    """An answer would be given whose record dies with the server: work that nobody can bill, prove or look up."""
    report = await kill_loop(tmp_path, kills=3, seed=11)
    assert report.violations == ()
    assert report.kills == 3
    # Else the kills met a server that had nothing to lose.
    assert report.answered > 0 < report.opened
    assert 0 < report.interrupted <= 3 * CALLERS
    assert report.states[SlotState.SETTLED.value] >= report.answered
