"""How far a stream's own count says that money is held for it."""

import pytest

from junctor.domain.completion import CompletionSpec, Delta
from junctor.usecases.stream import _Count


@pytest.mark.parametrize("held_tokens", [1, 2, 3, 8_192])
def test_what_is_held_reaches_any_output(held_tokens: int) -> None:
    """A deployment that holds for one token would lease an organisation's whole credit for one answer, step by step."""
    count = _Count(CompletionSpec(model="m", messages=()), held_tokens)
    count.deltas((Delta(index=0, content="x" * 4 * 10 * held_tokens),))
    steps = 0
    while count.outgrows and steps < 20:
        count.covered()
        steps += 1
    assert 0 < steps < 20
    assert not count.outgrows
