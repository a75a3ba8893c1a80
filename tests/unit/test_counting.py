"""Our own count, for providers that report none: every text that a model reads or writes is in it, pictures are not."""

import pytest

from junctor.domain.completion import (
    Choice,
    Completion,
    CompletionSpec,
    Delta,
    FinishReason,
    ImagePart,
    Message,
    Role,
    TextPart,
    Tool,
    ToolCall,
    ToolCallFragment,
    Usage,
)
from junctor.policy import counting


@pytest.mark.parametrize(("byte_count", "tokens"), [(0, 0), (1, 1), (3, 1), (4, 1), (5, 2), (4_000_001, 1_000_001)])
def test_four_bytes_are_a_token_rounded_up(byte_count: int, tokens: int) -> None:
    """An answer of one letter would be free."""
    assert counting.tokens(byte_count) == tokens


def test_the_input_is_all_that_a_model_reads() -> None:
    """A request full of tool results would look empty, and be billed as such."""
    spec = CompletionSpec(
        model="not counted",
        messages=(
            Message(Role.USER, (TextPart("a"), ImagePart("https://not.counted"), TextPart("é€")), name="nobody"),
            Message(
                Role.ASSISTANT,
                tool_calls=(ToolCall("not counted", "ff", "{}"),),
                reasoning="rrr",
                refusal="nnnn",
            ),
        ),
        tools=(Tool("tt", "d" * 10, "{}" * 10), Tool("u")),
    )
    assert counting.input_bytes(spec) == (1 + 2 + 3) + (2 + 2 + 3 + 4) + (2 + 10 + 20 + 1)


def test_a_delta_is_counted_whole() -> None:
    """A stream of tool calls would be delivered for nothing."""
    assert counting.delta_bytes(Delta()) == 0
    fragments = (ToolCallFragment(0, "not counted", "ff", "{"), ToolCallFragment(1))
    assert counting.delta_bytes(Delta(0, "é", "rr", ('{"not":"counted"}',), fragments, "n")) == 2 + 2 + 3 + 1


def test_an_answer_is_counted_as_its_deltas_would_be() -> None:
    """The same answer would cost another sum streamed than whole."""
    one = Message(Role.ASSISTANT, (TextPart("abc"),), reasoning="r")
    other = Message(Role.ASSISTANT, tool_calls=(ToolCall("1", "f", "{}"),), refusal="n")
    choices = tuple(Choice(place, message, FinishReason.STOP, "stop") for place, message in enumerate((one, other)))
    deltas = (Delta(0, "abc", "r"), Delta(1, tool_calls=(ToolCallFragment(0, "1", "f", "{}"),), refusal="n"))
    assert counting.completion_bytes(Completion(choices=choices)) == sum(map(counting.delta_bytes, deltas)) == 8


def test_an_estimate_is_marked_as_one() -> None:
    """Our guess would be taken for the provider's word."""
    spec = CompletionSpec(model="m", messages=(Message(Role.USER, (TextPart("x" * 9),)),))
    assert counting.estimate(spec, 5) == Usage(input_tokens=3, output_tokens=2, estimated=True)
