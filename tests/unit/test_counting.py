"""Our own count, for providers that report none: all that a model reads or writes is in it, but for pictures."""

import pytest

from junctor.domain.completion import (
    AudioPart,
    Choice,
    Completion,
    CompletionSpec,
    Delta,
    FilePart,
    FinishReason,
    ImagePart,
    Message,
    Part,
    Role,
    Speech,
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


def test_speech_is_counted_by_its_words_and_its_length() -> None:
    """A model would speak for an hour for nothing, wherever its provider reports no usage."""
    second = Speech("not counted", "A" * 64_000, "é")  # 48,000 bytes are a second
    aloud = Message(Role.ASSISTANT, speech=second)
    completion = Completion(choices=(Choice(0, aloud, FinishReason.STOP, "stop"),))
    assert counting.completion_bytes(completion) == counting.delta_bytes(Delta(speech=second)) == 2 + 4 * 20
    assert counting.delta_bytes(Delta(speech=Speech("1"))) == 0
    asked = CompletionSpec(model="m", messages=(), modalities=("text", "audio"))
    assert counting.estimate(asked, 82) == Usage(output_tokens=21, estimated=True, audio_output_tokens=21)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (AudioPart("A" * 6_400 * 10, "wav"), 10),
        (AudioPart("A" * 6_400 * 10, "mp3"), 60),
        (AudioPart("AAAA", "mp3"), 1),
        (FilePart(file_data="data:application/pdf;base64," + "A" * 17_688), 237),
        (FilePart(file_data="data:text/plain;base64," + "A" * 1_600), 300),
        (FilePart(file_data="https://not.counted/a.pdf"), 0),
        (FilePart(), 0),
        (ImagePart("data:image/png;base64," + "A" * 4_000), 0),
    ],
)
def test_media_are_estimated_by_their_size(part: Part, expected: int) -> None:
    """An hour of sound would be heard for nothing, wherever its provider reports no usage."""
    spec = CompletionSpec(model="m", messages=(Message(Role.USER, (TextPart("x" * 4), part)),))
    heard = expected if isinstance(part, AudioPart) else 0
    assert counting.estimate(spec, 0) == Usage(input_tokens=1 + expected, estimated=True, audio_input_tokens=heard)
    assert counting.input_bytes(spec) == 4


def test_an_estimate_is_marked_as_one() -> None:
    """Our guess would be taken for the provider's word."""
    spec = CompletionSpec(model="m", messages=(Message(Role.USER, (TextPart("x" * 9),)),))
    assert counting.estimate(spec, 5) == Usage(input_tokens=3, output_tokens=2, estimated=True)
