"""The cap that an endpoint is asked for, where the organisation's money bounds an answer."""

from typing import cast

import pytest
from msgspec.structs import replace

from junctor.domain.completion import CompletionSpec, Message, Role, TextPart
from junctor.usecases import attempt
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail
from tests.support.world import CANDIDATE, ENDPOINT


class _Clocks:
    """What a trail asks for."""

    @property
    def clock(self) -> "_Clocks":
        return self

    def monotonic_s(self) -> float:
        """Return no time."""
        return 0.0


@pytest.mark.parametrize(
    ("context", "estimated", "cap"),
    [(None, 10**6, 8_192), (128_000, 1_000, 8_192), (128_000, 124_000, 4_000), (128_000, 130_000, 1_024), (3_000, 2_900, 375)],
)
def test_a_cap_leaves_room_for_an_answer(context: int | None, estimated: int, cap: int) -> None:
    """A caller would pay for a long prompt and get one token, as our estimate of it was a little too high."""
    trail = Trail(cast("Services", _Clocks()), "Complete")
    trail.output_cap = 8_192
    message = Message(role=Role.USER, parts=(TextPart("word" * estimated),))
    candidate = replace(CANDIDATE, endpoint=replace(ENDPOINT, context_tokens=context))
    spec = attempt._as_taken(CompletionSpec(model="lab/model", messages=(message,)), candidate, trail)
    assert spec.max_tokens == cap
    assert [adjustment.sent for adjustment in trail.adjustments] == [str(cap)]
