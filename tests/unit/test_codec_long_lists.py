"""Lists that are too long are refused by their length alone."""

import pytest

from junctor.domain.errors import InvalidFieldError
from junctor.doors.codec import messages
from junctor.doors.codec.checks import Checks, Limits
from junctor.v1.completion_pb2 import Message, Part, ReasoningDetail, Role, TextPart, ToolCall

LIMITS = Limits(messages_max=2, parts_max=4)
_TEXT = Message(role=Role.ROLE_USER, parts=[Part(text=TextPart(text="Hello"))])


@pytest.mark.parametrize(
    ("turns", "field"),
    [
        ([Message()] * 3, "spec.messages"),
        ([Message(parts=[Part()] * 3)] * 2, "spec.messages.parts"),
        ([_TEXT, Message(parts=[Part()] * 4)], "spec.messages.parts"),
        ([Message(tool_calls=[ToolCall()] * 3)] * 2, "spec.messages.tool_calls"),
        ([Message(reasoning_details=[ReasoningDetail()] * 3)] * 2, "spec.messages.reasoning_details"),
    ],
)
def test_what_is_too_long_is_not_read(turns: list[Message], field: str) -> None:
    """One request of a few megabytes of empty entries would keep everybody else waiting for seconds."""
    checks = Checks(LIMITS)
    assert messages.conversation(turns, checks, "spec.messages") == ()
    with pytest.raises(InvalidFieldError) as refused:
        checks.done()
    # The entries are all wrong themselves: had they been read, they would be named too.
    assert [name for name, _ in refused.value.violations] == [field]


def test_turns_of_one_text_count_as_parts() -> None:
    """The shortest way through a conversation would have no bound."""
    checks = Checks(Limits(messages_max=5, parts_max=4))
    assert len(messages.conversation([_TEXT] * 4, checks, "spec.messages")) == 4
    checks.done()
    assert messages.conversation([_TEXT] * 5, checks, "spec.messages") == ()
    with pytest.raises(InvalidFieldError, match="parts: has 5 entries; at most 4 are allowed"):
        checks.done()
