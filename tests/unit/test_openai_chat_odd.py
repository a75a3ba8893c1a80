"""What the OpenAI-chat dialect makes of answers that are well meant and written otherwise than OpenAI writes them.

Each was seen at a server that calls itself compatible: whoever refuses it has paid for it, and pays the next one too.
"""

import json
from collections.abc import Mapping

import pytest

from junctor.adapters.providers.dialects.openai_chat import OpenAIChat
from junctor.adapters.providers.dialects.openai_chat.reading import PIECES_MAX
from junctor.domain.completion import (
    Choice,
    Completion,
    Delta,
    FinishReason,
    Logprobs,
    Message,
    OtherAnnotation,
    Role,
    Speech,
    StreamEnd,
    TextPart,
    TokenLogprob,
    ToolCall,
    ToolCallFragment,
    TopLogprob,
    Usage,
)
from junctor.domain.routing import Failure

Json = Mapping[str, object]
COUNTS = {"prompt_tokens": 12, "completion_tokens": 5}
COUNTED = Usage(input_tokens=12, output_tokens=5)


def whole(message: object, choice: Json | None = None, **answer: object) -> Completion:
    """Decode a whole answer with one choice."""
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop", **(choice or {})}], **answer}
    decoded = OpenAIChat().decode(json.dumps(body).encode())
    assert isinstance(decoded, Completion)
    return decoded


def only(message: object, choice: Json | None = None, **answer: object) -> Choice:
    """Decode a whole answer with one choice and return that."""
    return whole(message, choice, **answer).choices[0]


def streamed(*chunks: object) -> tuple[list[Delta], StreamEnd]:
    """Decode a stream of these chunks, and one that ends it."""
    sent = (*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in sent) + "data: [DONE]\n\n"
    *deltas, end = OpenAIChat().decoder().feed(events.encode())
    assert isinstance(end, StreamEnd), end
    return [delta for delta in deltas if isinstance(delta, Delta)], end


def chunk(delta: object, choice: Json | None = None, **more: object) -> Json:
    """Return a chunk with one delta."""
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None, **(choice or {})}], **more}


ARGUMENTS = '{"city": "Paris", "n": 12345678901234567890}'


@pytest.mark.parametrize("arguments", [ARGUMENTS, "{}", "[1]"])
def test_arguments_as_json(arguments: str) -> None:
    """A call of llama.cpp (ggml-org/llama.cpp issue 20198) or of TGI (issue 2136) would be lost, or its numbers be changed."""
    calls = f'"tool_calls":[{{"index":0,"id":"a","function":{{"name":"f","arguments":{arguments}}}}}]'
    decoded = OpenAIChat().decode(f'{{"choices":[{{"message":{{{calls}}}}}]}}'.encode())
    assert isinstance(decoded, Completion)
    assert decoded.choices[0].message.tool_calls == (ToolCall("a", "f", arguments),)
    (delta,) = OpenAIChat().decoder().feed(f'data: {{"choices":[{{"delta":{{{calls}}}}}]}}\n\n'.encode())
    assert isinstance(delta, Delta)
    assert delta.tool_calls == (ToolCallFragment(0, "a", "f", arguments),)


PARTS: list[tuple[object, str, str | None]] = [
    # Mistral's pictures are plain addresses: HeyPuter/puter pull 3177, vllm-project/vllm pull 16990.
    ([{"type": "text", "text": "A"}, {"type": "image_url", "image_url": "https://a/b.png"}], "A", None),
    ([{"type": "image_url", "image_url": "x"}, {"type": "thinking", "thinking": ["h", {"text": "m"}]}, "B"], "B", "hm"),
    ([{"type": "thinking", "thinking": "hm"}, {"type": "image_url", "image_url": "x"}, {"text": "B"}], "B", "hm"),
    # Lists of plain strings and Databricks' typed parts: databrickslabs/ontobricks pull 109, posit-dev/chatlas pull 397.
    (["A", "B"], "AB", None),
    ([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}, {"type": "text", "text": "A"}], "A", "hm"),
    # microsoft/autogen issue 7410.
    ([{"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": "A"}], "A", "hm"),
    (
        [{"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": "A"}, {"type": "image_url", "image_url": 1}],
        "A",
        "hm",
    ),
    (
        [
            {"type": "reasoning", "summary": ["h", {"type": "summary_text", "text": "m"}]},
            {"type": "text", "text": "A"},
            {"type": "image_url", "image_url": 1},
        ],
        "A",
        "hm",
    ),
    ({"type": "text", "text": "A"}, "A", None),
    ([{"type": "", "text": "A"}], "A", None),
    ([{"type": "", "text": "A"}, {"type": "image_url", "image_url": 1}], "A", None),
]


@pytest.mark.parametrize(("content", "text", "thought"), PARTS)
def test_contents_in_parts(content: object, text: str, thought: str | None) -> None:
    """An answer would be lost for a picture beside it, or for the form of its parts."""
    assert only({"content": content}).message == Message(Role.ASSISTANT, (TextPart(text),), reasoning=thought)
    assert streamed(chunk({"content": content}))[0] == [Delta(content=text, reasoning=thought)]


@pytest.mark.parametrize("nothing", [None, [], {}, "", False])
def test_members_with_nothing_in_them(nothing: object) -> None:
    """An answer would be lost where a host writes nothing as an empty list, as null, or as false."""
    names = ("refusal", "reasoning", "reasoning_content", "reasoning_details", "tool_calls", "audio", "annotations")
    empty = dict.fromkeys((*names, "executed_tools", "name", "role", "function_call"), nothing)
    outer = {"logprobs": nothing, "native_finish_reason": nothing, "delta": nothing, "error": nothing}
    decoded = whole({"content": "A", **empty}, outer, usage=nothing, x_groq=nothing, error=nothing, id=nothing)
    assert decoded.choices == (Choice(0, Message(Role.ASSISTANT, (TextPart("A"),)), FinishReason.STOP, "stop"),)
    assert decoded.usage is None
    outer = {"logprobs": nothing, "native_finish_reason": nothing, "message": nothing, "error": nothing}
    deltas, end = streamed(chunk({"content": "A", **empty}, outer, usage=nothing, x_groq=nothing, error=nothing, id=nothing))
    assert deltas == [Delta(content="A")]
    assert end.usage is None


def test_chunks_with_nothing_in_them() -> None:
    """A stream would break off at Azure's chunks without a delta, or at null ones.

    BerriAI/litellm issue 3811, microsoft/autogen pull 7711; empty roles: MiniMax-AI/MiniMax-M2.5 issue 2.
    """
    sent = (chunk({"content": "A", "role": ""}), chunk(None), chunk([]), None, chunk({"content": "B", "role": ""}))
    assert streamed(*sent)[0] == [Delta(content="A"), Delta(content="B")]


USAGES: list[tuple[object, Usage | None]] = [
    ({**COUNTS, "prompt_tokens_details": [], "completion_tokens_details": []}, COUNTED),
    ({**COUNTS, "prompt_tokens_details": None, "completion_tokens_details": "none"}, COUNTED),
    ({**COUNTS, "prompt_tokens_details": {"text_tokens": [1]}, "completion_tokens_details": {"image_tokens": None}}, COUNTED),
    ({"prompt_tokens": 12.0, "completion_tokens": 5.0, "total_tokens": 17.0}, COUNTED),
    # Counts as text: Arize-ai/openinference pull 1183.
    ({"prompt_tokens": "12", "completion_tokens": 5, "total_tokens": []}, COUNTED),
    (
        {**COUNTS, "prompt_tokens_details": {"cached_tokens": "3"}, "completion_tokens_details": {"reasoning_tokens": [2]}},
        Usage(input_tokens=12, output_tokens=5, cache_read_tokens=3),
    ),
    ({"prompt_tokens": "twelve", "completion_tokens": 5}, None),
    ({"prompt_tokens": "-12", "completion_tokens": 5}, None),
    ({"prompt_tokens": "1_2", "completion_tokens": 5}, None),
    ({"prompt_tokens": {"total": 12}, "completion_tokens": 5}, None),
    ({"prompt_tokens": True, "completion_tokens": 5}, None),
    ("12 and 5", None),
    ([12, 5], None),
]


@pytest.mark.parametrize(("usage", "read"), USAGES)
def test_usage(usage: object, read: Usage | None) -> None:
    """An answer would be lost for the sake of its bill, or a count be guessed that was not told."""
    assert whole({"content": "A"}, usage=usage).usage == read
    assert whole({"content": "A"}, x_groq={"usage": usage}).usage == read
    assert streamed(chunk({"content": "A"}), {"choices": [], "usage": usage})[1].usage == read


def test_a_delta_where_the_message_should_be() -> None:
    """An answer in the form of a stream's one chunk would be handed on and charged as one in which nothing was said."""
    calls = [{"function": {"name": "f", "arguments": "{}"}}]
    decoded = OpenAIChat().decode(json.dumps(chunk({"content": "A", "tool_calls": calls}, {"finish_reason": "stop"})).encode())
    assert isinstance(decoded, Completion)
    assert decoded.choices[0].message.parts == (TextPart("A"),)
    assert [call.name for call in decoded.choices[0].message.tool_calls] == ["f"]


def test_an_empty_id() -> None:
    """Azure's streams, whose first chunk has an empty id, could not be found at the provider; nothing would pass for an id."""
    assert streamed({"id": "", "choices": []}, chunk({"content": "A"}, id="x"))[1].upstream_id == "x"
    assert streamed(chunk({"content": "A"}, id=""))[1].upstream_id is None
    assert whole({"content": "A"}, id="").upstream_id is None


@pytest.mark.parametrize("odd", [{}, {"id": 1}])
@pytest.mark.parametrize("error", ["stopped early", {"message": "stopped early"}])
def test_an_error_in_groqs_own_part(error: object, odd: Json) -> None:
    """A stream that Groq ended too early would pass for whole: its SDK has the error in x_groq of chat_completion_chunk."""
    last = {**chunk({}, {"finish_reason": "stop"}, x_groq={"id": "r", "error": error}), **odd}
    *_, end = OpenAIChat().decoder().feed(f"data: {json.dumps(last)}\n\n".encode())
    assert isinstance(end, Failure)
    assert end.message == "stopped early"
    first = chunk({"content": "A"}, x_groq={"id": "r", "error": None, "usage": COUNTS})
    assert streamed({**first, **odd})[1].usage == COUNTED


def test_words_and_numbers() -> None:
    """An answer would be lost for a number that is text elsewhere, and text that is a number."""
    call = {"index": "0", "id": 7, "type": 1, "function": {"name": "f", "arguments": "{}"}}
    decoded = whole({"content": "A", "name": 1, "tool_calls": [call]}, {"index": 0.0, "native_finish_reason": 1}, id=5)
    assert decoded.upstream_id == "5"
    assert decoded.choices[0].native_finish_reason == "1"
    assert decoded.choices[0].message.tool_calls == (ToolCall("7", "f", "{}"),)
    sent = chunk({"content": "A", "tool_calls": [call, call | {"index": "1", "id": 8}]}, {"index": "0"}, id=5, created="now")
    deltas, end = streamed(sent)
    assert deltas[0].tool_calls == (ToolCallFragment(0, "7", "f", "{}"), ToolCallFragment(1, "8", "f", "{}"))
    assert end.upstream_id == "5"
    audio = {"id": 1, "data": "AAAA", "transcript": None, "expires_at": "9"}
    assert only({"audio": audio}).message.speech == Speech("1", "AAAA", expires_at=9)


@pytest.mark.parametrize("index", [None, 0, 0.0, "0"])
def test_an_index_that_is_missing(index: object) -> None:
    """An answer of GitHub Copilot, which leaves the index out, would be lost: pydantic/pydantic-ai pull 8059."""
    assert only({"content": "A"}, {"index": index}).index == 0
    assert streamed(chunk({"content": "A"}, {"index": index}))[0] == [Delta(content="A")]


@pytest.mark.parametrize(
    ("finish", "native"),
    [
        (None, ""),  # Ollama: docling-project/docling issue 1647
        ("", ""),  # BerriAI/litellm pull 20732
        ("null", ""),  # KoboldCpp: PowerShell/AIShell issue 350
        (False, ""),
        ([], ""),
        ({}, ""),
        ({"type": 1}, ""),
        ("eos_token", "eos_token"),  # TGI: dstackai/dstack pull 2229
        ({"type": "stop", "matched": 128009}, "stop"),  # SGLang: sgl-project/sglang issue 4097
        (1, "1"),
    ],
)
def test_reasons_to_stop(finish: object, native: str) -> None:
    """An answer would be lost for a reason that is no word, or a missing one be taken for a reason."""
    choice = only({"content": "A"}, {"finish_reason": finish})
    assert (choice.finish_reason, choice.native_finish_reason) == (FinishReason.STOP, native)
    assert streamed(chunk({"content": "A"}, {"finish_reason": finish}))[1].choices[0].native_finish_reason == "stop"


@pytest.mark.parametrize("reason", ["", "null", False, [], {}])
def test_no_reason_ends_no_stream(reason: object) -> None:
    """A stream that broke off would pass for whole, as its chunks gave null for a reason, in letters."""
    decoder = OpenAIChat().decoder()
    decoder.feed(f"data: {json.dumps(chunk({'content': 'A'}, {'finish_reason': reason}))}\n\n".encode())
    assert isinstance(decoder.end(), Failure)


TOKEN = {"token": "A", "logprob": -0.5, "bytes": None, "top_logprobs": None}


def test_logprobs_with_nulls() -> None:
    """All would be lost for SGLang's null, its word for minus infinity, or LiteLLM's where there are no likeliest tokens.

    sgl-project/sglang pull 20323, BerriAI/litellm issue 21932.
    """
    impossible = {"token": "B", "logprob": None}
    told = {"content": [TOKEN, TOKEN | {"logprob": None, "top_logprobs": [impossible]}], "refusal": None}
    read = Logprobs((TokenLogprob("A", -0.5), TokenLogprob("A", -9999.0, top=(TopLogprob("B", -9999.0),))))
    assert only({"content": "A"}, {"logprobs": told}).logprobs == read
    assert only({"content": "A", "annotations": {}}, {"logprobs": told}).logprobs == read
    assert streamed(chunk({"content": "A"}, {"logprobs": told}))[0] == [Delta(content="A", logprobs=read)]


@pytest.mark.parametrize(
    "told", [0.5, "x", {"content": {}}, {"content": [None]}, {"content": [TOKEN | {"top_logprobs": [1]}]}, {"content": [{}]}]
)
def test_logprobs_that_nobody_understands(told: object) -> None:
    """An answer would be lost for the sake of a remark, streamed or not."""
    assert only({"content": "A"}, {"logprobs": told}).logprobs is None
    assert streamed(chunk({"content": "A"}, {"logprobs": told}))[0] == [Delta(content="A")]


def test_remarks() -> None:
    """An answer would be lost for a remark, or the only remark for want of its list."""
    message = {"content": "A", "annotations": {"a": 1}, "executed_tools": "none", "reasoning_details": {"b": 2}}
    read = only(message | {"reasoning": {"effort": "high"}, "reasoning_content": [{"type": "text", "text": "hm"}]}).message
    assert read.annotations == (OtherAnnotation('{"a": 1}'),)
    assert read.reasoning_details == ('{"b": 2}',)
    assert read.reasoning == "hm"


def test_an_error_beside_odd_members() -> None:
    """An error would pass for an answer that nobody understands, and its code be lost."""
    decoded = OpenAIChat().decode(b'{"id": 1, "error": {"code": 429, "message": "slow"}, "choices": []}')
    assert isinstance(decoded, Failure)
    assert decoded.code == "429"
    decoded = OpenAIChat().decode(b'{"id": 1, "choices": [{"error": {"code": 502, "message": "m"}, "message": null}]}')
    assert isinstance(decoded, Failure)
    assert decoded.code == "502"


@pytest.mark.parametrize(
    "message",
    [
        {"content": 1},
        {"content": True},
        {"content": {"answer": 1, "text": 2}},
        {"content": [{"type": "text", "text": 1}]},
        {"content": [1]},
        {"content": "A", "refusal": 1},
        {"content": "A", "tool_calls": "f"},
        {"content": "A", "tool_calls": {"f": 1}},
        {"content": "A", "tool_calls": [1]},
        {"content": "A", "tool_calls": [{"function": "f"}]},
        {"content": "A", "tool_calls": [{"function": {"name": 1}}]},
        {"content": "A", "audio": "AAAA"},
        {"audio": {"data": 1}},
        "A",
        1,
    ],
)
def test_what_was_said_is_never_passed_over(message: object) -> None:
    """An answer without what the model said would be handed on as whole."""
    body = {"id": 1, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    assert isinstance(OpenAIChat().decode(json.dumps(body).encode()), Failure)
    (end,) = OpenAIChat().decoder().feed(f"data: {json.dumps(chunk(message, id=1))}\n\n".encode())
    assert isinstance(end, Failure)


@pytest.mark.parametrize(
    "choices", ["x", {"0": {}}, 1, [1], [None], [{"index": -1}], [{"index": 1024}], [{"index": "x"}], [{}] * 1025]
)
def test_choices_that_are_none(choices: object) -> None:
    """Rubbish would pass for an answer, or its number for a place in a table without end."""
    body = {"id": 1, "choices": choices}
    assert isinstance(OpenAIChat().decode(json.dumps(body).encode()), Failure)
    (end,) = OpenAIChat().decoder().feed(f"data: {json.dumps(body)}\n\n".encode())
    assert isinstance(end, Failure)


def test_as_many_pieces_as_elsewhere() -> None:
    """An odd answer would be allowed fewer parts than another, or more."""
    for count, kind in ((PIECES_MAX, Completion), (PIECES_MAX + 1, Failure)):
        for name in ("tool_calls", "annotations", "reasoning_details"):
            body = {"id": 1, "choices": [{"message": {"content": "A", name: [{}] * count}}]}
            assert isinstance(OpenAIChat().decode(json.dumps(body).encode()), kind)
