"""Thoughts that the caller excluded never reach him; everything else does, in order."""

import msgspec
import pytest

from junctor.domain.completion import (
    Choice,
    ChoiceEnd,
    Completion,
    CompletionSpec,
    Delta,
    FinishReason,
    Logprobs,
    Message,
    Reasoning,
    Role,
    StreamEnd,
    TextPart,
    TokenLogprob,
    ToolCallFragment,
    UrlCitation,
    Usage,
)
from junctor.domain.routing import Failure, FailureKind
from junctor.policy import visible

SHOWN = [None, Reasoning(), Reasoning(exclude=False), Reasoning(effort="high")]
END = StreamEnd(choices=(ChoiceEnd(0, FinishReason.STOP, "stop"),))
FAILURE = Failure(kind=FailureKind.RESET, committed=True)
CITED = (UrlCitation("https://a"),)
LIKELY = Logprobs((TokenLogprob("thought", -1.0),))
FRAGMENT = (ToolCallFragment(0, "1", "f", "{}"),)


def spec(reasoning: Reasoning | None) -> CompletionSpec:
    """Return a request with this wish about reasoning."""
    return CompletionSpec(model="m", messages=(), reasoning=reasoning)


HIDDEN = spec(Reasoning(exclude=True))
BATCH = (
    Delta(0, reasoning="thought"),
    Delta(0, reasoning_details=("{}",)),
    Delta(1, "said", "thought", ("{}",)),
    Delta(0, "", "thought"),
    Delta(0, reasoning="", tool_calls=FRAGMENT),
    Delta(0, reasoning="thought", refusal="no"),
    Delta(0, reasoning="thought", annotations=CITED),
    Delta(0, reasoning="thought", logprobs=LIKELY),
    Delta(0),
    Delta(0, "plain", logprobs=LIKELY),
    END,
)


@pytest.mark.parametrize("reasoning", SHOWN)
def test_nothing_is_taken_from_who_did_not_ask_for_it(reasoning: Reasoning | None) -> None:
    """A caller would lose the thoughts that he pays for."""
    assert visible.seen(BATCH, spec(reasoning)) == BATCH
    message = Message(Role.ASSISTANT, (TextPart("said"),), reasoning="thought", reasoning_details=("{}",))
    completion = Completion(choices=(Choice(0, message, FinishReason.STOP, "stop"),))
    assert visible.answer(completion, spec(reasoning)) == completion


def test_excluded_thoughts_are_taken_out_of_a_stream() -> None:
    """Thoughts would be shown to people who must not see them, or content be lost with them."""
    assert visible.seen(BATCH, HIDDEN) == (
        Delta(1, "said"),
        Delta(0, ""),
        Delta(0, tool_calls=FRAGMENT),
        Delta(0, refusal="no"),
        Delta(0, annotations=CITED),
        Delta(0),
        Delta(0, "plain", logprobs=LIKELY),
        END,
    )
    assert visible.seen((Delta(0, reasoning="thought"),), HIDDEN) == ()
    assert visible.seen((), HIDDEN) == ()
    assert visible.seen((Delta(0, reasoning="thought"), FAILURE), HIDDEN) == (FAILURE,)


def test_excluded_thoughts_are_taken_out_of_an_answer() -> None:
    """The same for an answer as a whole; what it cost stays."""
    thinking = Message(Role.ASSISTANT, (TextPart("said"),), reasoning="thought", reasoning_details=("{}",), refusal="no")
    bare = Message(Role.ASSISTANT, (TextPart("said"),), refusal="no")
    usage = Usage(output_tokens=5, reasoning_tokens=4)
    whole = [Completion(choices=(Choice(0, turn, FinishReason.STOP, "stop"),) * 2, usage=usage) for turn in (thinking, bare)]
    assert visible.answer(whole[0], HIDDEN) == whole[1]


def test_excluded_thoughts_are_not_told_by_their_probabilities() -> None:
    """Thoughts would be shown word for word, as the tokens of an answer of which the likelihood is asked."""
    bare = Message(Role.ASSISTANT, (TextPart("said"),))
    thinking = msgspec.structs.replace(bare, reasoning="thought")
    choices = tuple(Choice(0, turn, FinishReason.STOP, "stop", LIKELY) for turn in (thinking, bare))
    shown = visible.answer(Completion(choices=choices), HIDDEN).choices
    assert shown == (Choice(0, bare, FinishReason.STOP, "stop"), Choice(0, bare, FinishReason.STOP, "stop", LIKELY))
