"""The bounds for which money is held: all text counts, images count generously, and no limit is forgotten."""

import msgspec
import pytest

from junctor.domain.catalog import Endpoint
from junctor.domain.completion import (
    AudioPart,
    CompletionSpec,
    FilePart,
    GrammarFormat,
    ImagePart,
    JsonSchemaFormat,
    Message,
    Part,
    Role,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    VideoPart,
)
from junctor.policy import bounds
from junctor.policy.pricing import COUNT_MAX

WORDS = "é" * 1_000


def asked(*parts: Part) -> CompletionSpec:
    """Return a request of one message."""
    return CompletionSpec(model="m", messages=(Message(Role.USER, parts),))


def said(**fields: object) -> CompletionSpec:
    """Return a request whose one message has these fields."""
    return CompletionSpec(model="m", messages=(msgspec.structs.replace(Message(Role.ASSISTANT), **fields),))


def wanted(**fields: object) -> CompletionSpec:
    """Return a request with these fields and a message of nothing."""
    return msgspec.structs.replace(asked(), **fields)


def endpoint(*, context: int | None = None, output: int | None = None) -> Endpoint:
    """Return an endpoint with these limits."""
    return Endpoint(
        id="p/a/m",
        model="a/m",
        provider="p",
        upstream_model="m",
        dialect="openai-chat",
        base_url="",
        context_tokens=context,
        output_tokens_max=output,
    )


def test_the_image_constant_is_what_its_docstring_says() -> None:
    """Money would be held for an image that nobody bills, or too little for one that somebody does."""
    assert bounds.IMAGE_TOKENS == 48_169


@pytest.mark.parametrize(
    "spec",
    [
        asked(TextPart(WORDS)),
        said(name=WORDS),
        said(tool_call_id=WORDS),
        said(reasoning=WORDS),
        said(reasoning_details=("{}", WORDS)),
        said(refusal=WORDS),
        said(tool_calls=(ToolCall(WORDS, "", ""),)),
        said(tool_calls=(ToolCall("", WORDS, ""),)),
        said(tool_calls=(ToolCall("", "", ""), ToolCall("", "", WORDS))),
        wanted(tools=(Tool(WORDS),)),
        wanted(tools=(Tool("t"), Tool("t", WORDS))),
        wanted(tools=(Tool("t", None, WORDS),)),
        wanted(tool_choice=ToolChoice(ToolMode.FUNCTION, WORDS)),
        wanted(response_format=JsonSchemaFormat(WORDS)),
        wanted(response_format=JsonSchemaFormat("s", WORDS)),
        wanted(response_format=JsonSchemaFormat("s", None, WORDS)),
        wanted(response_format=GrammarFormat(WORDS)),
        wanted(prediction=WORDS),
        wanted(extra=WORDS),
    ],
)
def test_every_text_that_may_reach_a_model_counts_by_its_bytes(spec: CompletionSpec) -> None:
    """A field of any length would be read at somebody else's expense."""
    empty = bounds.input_bound(bounds.size(asked()), None)
    assert 1_990 <= bounds.input_bound(bounds.size(spec), None) - empty < 2_200


def test_what_no_model_reads_does_not_count() -> None:
    """Callers with little money would be turned away for their own labels."""
    spec = wanted(user=WORDS, metadata=(("key", WORDS),), prompt_cache_key=WORDS, stop=(WORDS,), model=WORDS)
    assert bounds.input_bound(bounds.size(spec), None) == bounds.input_bound(bounds.size(asked()), None)


def test_many_small_messages_and_tools_count_more_than_their_text() -> None:
    """A conversation of single letters would be billed for its chat template, beyond the hold."""
    turns = CompletionSpec(model="m", messages=(Message(Role.USER, (TextPart("x"),)),) * 4_096)
    assert bounds.input_bound(bounds.size(turns), None) > 4_096 * (1 + 20)
    tools = wanted(tools=(Tool("t"),) * 512)
    assert bounds.input_bound(bounds.size(tools), None) > 512 * (1 + 10)


def test_an_empty_request_has_the_slack_of_hidden_prompts() -> None:
    """What providers add by themselves would not be held."""
    assert bounds.HIDDEN_TOKENS <= bounds.input_bound(bounds.size(asked()), None) <= bounds.HIDDEN_TOKENS + 100


def test_a_context_limits_text_but_not_the_billing_of_images() -> None:
    """The hold for an image would end at a context that gpt-4o-mini bills beyond."""
    long = TextPart("x" * 5_000_000)
    assert bounds.input_bound(bounds.size(asked(long)), 128_000) == 128_000
    images = tuple(ImagePart("https://example.test/a.png") for _ in range(3))
    assert bounds.input_bound(bounds.size(asked(long, *images)), 128_000) == 128_000 + 3 * bounds.IMAGE_TOKENS


@pytest.mark.parametrize("detail", [None, "low", "high", "auto"])
def test_an_image_counts_the_same_however_it_is_sent(detail: str | None) -> None:
    """Base64 would be held for as text, or a detail trusted that some providers ignore."""
    text = TextPart("look")
    without = bounds.input_bound(bounds.size(asked(text)), None)
    for url in ("https://example.test/a.png", "data:image/png;base64," + "A" * 1_000_000):
        assert bounds.input_bound(bounds.size(asked(text, ImagePart(url, detail))), None) == without + bounds.IMAGE_TOKENS


@pytest.mark.parametrize("part", [AudioPart("AAAA", "wav"), VideoPart("https://example.test/a.mp4")])
def test_what_cannot_be_bounded_counts_as_a_full_context(part: Part) -> None:
    """A film would be held for as if it were its address."""
    assert bounds.input_bound(bounds.size(asked(TextPart("look"), part)), 128_000) == 128_000
    assert bounds.input_bound(bounds.size(asked(TextPart("look"), part)), None) == COUNT_MAX
    assert bounds.input_bound(bounds.size(asked(part, ImagePart(""))), 128_000) == 128_000 + bounds.IMAGE_TOKENS


def test_a_page_of_a_file_may_be_billed_beyond_its_room() -> None:
    """A document of many pages would be billed by gpt-4o-mini at 33 times the context that it was held for."""
    file = FilePart(file_data="https://example.test/a.pdf")
    assert bounds.PAGE_TIMES * 85 >= 2_833
    assert bounds.input_bound(bounds.size(asked(TextPart("read"), file)), 100_000) == 100_000 * bounds.PAGE_TIMES
    both = bounds.size(asked(file, AudioPart("AAAA", "wav"), ImagePart("")))
    assert bounds.input_bound(both, 100_000) == 100_000 * bounds.PAGE_TIMES + bounds.IMAGE_TOKENS
    assert bounds.input_bound(both, None) == COUNT_MAX


def test_a_prediction_may_be_billed_once_without_being_said() -> None:
    """A long prediction that the model does not follow would be billed beyond what is held."""
    assert bounds.rejected_bound(wanted(prediction=WORDS)) == 2_000
    assert bounds.rejected_bound(wanted()) == bounds.rejected_bound(wanted(prediction="")) == 0


def test_images_are_counted_over_all_messages() -> None:
    """A price for each image would be charged for the first turn only."""
    spec = CompletionSpec(model="m", messages=(*asked(ImagePart(""), TextPart("a")).messages, *asked(ImagePart("")).messages))
    assert (bounds.size(spec).images, bounds.size(asked(TextPart("a"))).images) == (2, 0)


def test_no_bound_leaves_the_range_that_prices_are_made_for() -> None:
    """A request of very many images would end in an internal error instead of a hold that nobody can pay."""
    assert bounds.input_bound(bounds.size(asked(*(ImagePart(""),) * 30_000)), None) == COUNT_MAX
    assert bounds.output_bound(wanted(max_tokens=2**31 - 1), endpoint()) == COUNT_MAX


@pytest.mark.parametrize(
    ("max_tokens", "limits", "bound"),
    [
        (None, endpoint(), 8_192),
        (None, endpoint(output=4_096), 4_096),
        (None, endpoint(context=2_048), 2_048),
        (None, endpoint(context=128_000, output=16_384), 8_192),
        (1, endpoint(output=4_096), 1),
        (50_000, endpoint(), 50_000),
        (50_000, endpoint(output=16_384), 16_384),
        (50_000, endpoint(context=32_000, output=40_000), 32_000),
    ],
)
def test_output_is_bounded_by_the_least_of_its_limits(max_tokens: int | None, limits: Endpoint, bound: int) -> None:
    """Money would be held for output that cannot come, or not for output that can."""
    assert bounds.output_bound(wanted(max_tokens=max_tokens), limits) == bound


def test_the_default_output_is_a_parameter() -> None:
    """An operator could not choose how much is held for callers who set no limit."""
    assert bounds.output_bound(asked(), endpoint(), 100) == 100
    assert bounds.output_bound(wanted(max_tokens=7), endpoint(), 100) == 7
