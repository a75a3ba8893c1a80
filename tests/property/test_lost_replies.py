"""Lost answers of the store are no failures and have no double effects, through the wired ledger; the full run is a command."""

import pytest

from tests.support.lost_replies import lose_replies


@pytest.mark.parametrize("seed", range(3))
def test_every_tenth_answer_lost(seed: int) -> None:
    """A network that loses packets would have callers refused, or generations billed twice, or money lost between books."""
    came = lose_replies(4_000, seed)
    assert came.wrong == ()
    assert came.lost > 300
    assert min(came.settled, came.void, came.refused, came.known) > 0
