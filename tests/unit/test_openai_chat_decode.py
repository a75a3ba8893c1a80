"""What the OpenAI-chat dialect makes of whole answers."""

import json

import pytest

from junctor.adapters.providers.dialects.openai_chat import OpenAIChat
from junctor.domain.completion import (
    Choice,
    Completion,
    FinishReason,
    Logprobs,
    Message,
    OtherAnnotation,
    Role,
    Speech,
    TextPart,
    TokenLogprob,
    ToolCall,
    TopLogprob,
    UrlCitation,
    Usage,
)
from junctor.domain.routing import Failure, FailureKind


def decode(answer: object) -> Completion | Failure:
    """Decode an answer given as plain JSON."""
    return OpenAIChat().decode(json.dumps(answer).encode())


def only(message: object, finish: str | None = "stop", **answer: object) -> Choice:
    """Decode an answer of one choice and return that."""
    decoded = decode({"choices": [{"index": 0, "message": message, "finish_reason": finish}], **answer})
    assert isinstance(decoded, Completion)
    (choice,) = decoded.choices
    return choice


def used(usage: object, **answer: object) -> Usage | None:
    """Decode an answer with this usage and return what was read."""
    decoded = decode({"choices": [{"finish_reason": "stop"}], "usage": usage, **answer})
    assert isinstance(decoded, Completion)
    return decoded.usage


def test_plain_answer() -> None:
    """The commonest answer of all would be misread."""
    message: object = {"role": "assistant", "content": "Hi", "refusal": None, "annotations": []}
    answer = {
        "id": "chatcmpl-1",
        "choices": [{"message": message, "finish_reason": "stop"}, {"message": {"content": "Ho"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "unknown": [{}],
    }
    assert decode(answer) == Completion(
        choices=(
            Choice(0, Message(Role.ASSISTANT, (TextPart("Hi"),)), FinishReason.STOP, "stop"),
            Choice(1, Message(Role.ASSISTANT, (TextPart("Ho"),)), FinishReason.LENGTH, "length"),
        ),
        usage=Usage(input_tokens=3, output_tokens=2),
        upstream_id="chatcmpl-1",
    )


def test_content_as_a_list() -> None:
    """Magistral's answers would be refused, or its thoughts shown as its answer."""
    thinking = [{"type": "text", "text": "hm"}, {"type": "text", "text": "m"}]
    content = [
        {"type": "thinking", "thinking": thinking},
        {"type": "text", "text": "A"},
        {"type": "reference", "reference_ids": [1]},
        {"type": "thinking", "thinking": "!"},
        {"type": "text", "text": "B"},
    ]
    assert only({"content": content}).message == Message(Role.ASSISTANT, (TextPart("AB"),), reasoning="hmm!")


def test_three_spellings_of_reasoning() -> None:
    """Thoughts of some hosts would be lost, and details changed on their way could not be replayed."""
    assert only({"reasoning": "a"}).message.reasoning == "a"
    assert only({"reasoning_content": "b"}).message.reasoning == "b"
    assert only({"reasoning": "c", "reasoning_content": "c", "content": None}).message == Message(Role.ASSISTANT, reasoning="c")
    body = b'{"choices":[{"message":{"reasoning_details":[{"z": 1,\n"a":123456789012345678901},{"signature":"x"}]}}]}'
    decoded = OpenAIChat().decode(body)
    assert isinstance(decoded, Completion)
    assert decoded.choices[0].message.reasoning_details == ('{"z": 1,\n"a":123456789012345678901}', '{"signature":"x"}')


TOKEN = {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": [{"token": "e", "logprob": -2, "bytes": None}]}
READ_TOKEN = TokenLogprob("é", -0.5, "é".encode(), (TopLogprob("e", -2.0),))


def likely(logprobs: object) -> Logprobs | None:
    """Decode an answer with these log probabilities and return what was read."""
    decoded = decode({"choices": [{"message": {"content": "é"}, "finish_reason": "stop", "logprobs": logprobs}]})
    assert isinstance(decoded, Completion)
    return decoded.choices[0].logprobs


def test_logprobs() -> None:
    """A caller would not learn how sure the model was of what it said or refused."""
    assert likely({"content": [TOKEN], "refusal": None}) == Logprobs((READ_TOKEN,))
    assert likely({"content": None, "refusal": [TOKEN, TOKEN]}) == Logprobs(refusal=(READ_TOKEN, READ_TOKEN))
    bare = {"content": [{"token": "x", "logprob": -9999.0, "bytes": [256]}]}
    assert likely(bare) == Logprobs((TokenLogprob("x", -9999.0),))


@pytest.mark.parametrize(
    "logprobs",
    [None, {}, [], "x", 1, {"content": []}, {"content": [], "refusal": []}, {"content": [{"token": 1}]}, {"tokens": ["x"]}],
)
def test_logprobs_that_nobody_understands_spoil_no_answer(logprobs: object) -> None:
    """An answer that is paid for would be thrown away for the sake of a remark."""
    assert likely(logprobs) is None


def test_annotations() -> None:
    """The sources of an answer would be lost, or a remark that only its provider understands be changed on its way."""
    body = (
        b'{"choices":[{"message":{"content":"x","annotations":['
        b'{"type":"url_citation","url_citation":{"start_index":0,"end_index":5,"url":"https://a","title":"t","content":"c"}},'
        b'{"type":"url_citation","url_citation":{"start_index":-1,"end_index":1e400,"url":"https://b"}},'
        b'{"type":"url_citation","url_citation":{"start_index":-1,"end_index":9007199254740993,"url":"https://b"}},'
        b'{"type": "file", "file": {"hash":  "h", "n": 123456789012345678901}}, null],'
        b'"executed_tools":[{"type":"search", "output": "o"}]}}]}'
    )
    decoded = OpenAIChat().decode(body)
    assert isinstance(decoded, Completion)
    assert decoded.choices[0].message.annotations == (
        UrlCitation("https://a", "t", "c", 0, 5),
        OtherAnnotation('{"type":"url_citation","url_citation":{"start_index":-1,"end_index":1e400,"url":"https://b"}}'),
        UrlCitation("https://b"),
        OtherAnnotation('{"type": "file", "file": {"hash":  "h", "n": 123456789012345678901}}'),
        OtherAnnotation("null"),
        OtherAnnotation('{"type":"search", "output": "o"}'),
    )
    assert only({"content": "x", "annotations": []}).message == Message(Role.ASSISTANT, (TextPart("x"),))


def test_speech() -> None:
    """What a model says aloud would be paid for and thrown away."""
    audio = {"id": "audio-1", "data": "AAAA", "transcript": "Aloud.", "expires_at": 1_729_018_505}
    spoken = only({"content": None, "audio": audio}).message
    assert spoken == Message(Role.ASSISTANT, speech=Speech("audio-1", "AAAA", "Aloud.", 1_729_018_505))
    assert only({"content": "x", "audio": {}}).message == only({"content": "x", "audio": None}).message
    assert only({"audio": {"data": "AAAA", "expires_at": -1}}).message.speech == Speech(data="AAAA")


def test_refusal() -> None:
    """A model's refusal would look like an empty answer."""
    assert only({"content": None, "refusal": "no"}).message == Message(Role.ASSISTANT, refusal="no")


def test_tool_calls() -> None:
    """Calls of hosts that leave out type or id would be lost, or could not be answered."""
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"function": {"name": "g", "arguments": None}, "index": 1},
        {"id": "", "function": {"name": "h", "arguments": "{}"}},
    ]
    assert only({"tool_calls": calls}, "tool_calls").message.tool_calls == (
        ToolCall("a", "f", '{"x": 1}'),
        ToolCall("call_1", "g", ""),
        ToolCall("call_2", "h", "{}"),
    )


def test_minted_ids_are_unique() -> None:
    """Two calls under one id could not be told apart by their answers."""
    call = {"function": {"name": "f", "arguments": "{}"}}
    taken = {"id": "call_1", **call}
    decoded = decode({"choices": [{"message": {"tool_calls": [call, call, taken]}}, {"message": {"tool_calls": [call]}}]})
    assert isinstance(decoded, Completion)
    assert [call.id for choice in decoded.choices for call in choice.message.tool_calls] == [
        "call_0",
        "call_1_",
        "call_1",
        "call_3",
    ]
    one, other = (only({"tool_calls": [call]}, id=answer_id).message.tool_calls[0].id for answer_id in ("x", "y"))
    assert one != other


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("model_length", FinishReason.LENGTH),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("function_call", FinishReason.TOOL_CALLS),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("eos", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("something new", FinishReason.STOP),
    ],
)
def test_finish_reasons(native: str, reason: FinishReason) -> None:
    """A caller would take a cut answer for a whole one."""
    choice = only({"content": "x"}, native)
    assert (choice.finish_reason, choice.native_finish_reason) == (reason, native)


def test_a_stop_with_tool_calls_is_tool_calls() -> None:
    """A caller that looks at the finish reason would end its loop with the tools uncalled."""
    call = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    choice = only({"tool_calls": [call]}, "stop")
    assert (choice.finish_reason, choice.native_finish_reason) == (FinishReason.TOOL_CALLS, "stop")
    assert only({"tool_calls": [call]}, "length").finish_reason is FinishReason.LENGTH
    assert only({"content": "x", "tool_calls": []}, "stop").finish_reason is FinishReason.STOP


def test_native_reason_of_an_aggregator() -> None:
    """What the host behind an aggregator said would be lost."""
    decoded = decode({"choices": [{"message": {"content": "x"}, "finish_reason": "stop", "native_finish_reason": "STOP"}]})
    assert isinstance(decoded, Completion)
    assert decoded.choices[0].native_finish_reason == "STOP"


def test_usage_and_its_parts() -> None:
    """Cached and reasoning tokens would be charged at the wrong price."""
    assert used(
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 150,
            "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 40},
        }
    ) == Usage(input_tokens=100, output_tokens=50, cache_read_tokens=30, cache_write_tokens=20, reasoning_tokens=40)
    deepseek = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5}
    assert used(deepseek) == Usage(input_tokens=9, output_tokens=1, cache_read_tokens=4)
    groq = {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    assert used(None, x_groq=groq) == Usage(input_tokens=3, output_tokens=4)


def test_sound_and_predictions_are_counted() -> None:
    """Sound would be charged as text, and a caller not see what his wrong prediction costs him."""
    assert used(
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "prompt_tokens_details": {"audio_tokens": 60},
            "completion_tokens_details": {
                "audio_tokens": 20,
                "accepted_prediction_tokens": 15,
                "rejected_prediction_tokens": 10,
            },
        }
    ) == Usage(
        input_tokens=100,
        output_tokens=50,
        audio_input_tokens=60,
        audio_output_tokens=20,
        accepted_prediction_tokens=15,
        rejected_prediction_tokens=10,
    )
    details = {"audio_tokens": 11, "accepted_prediction_tokens": -1, "rejected_prediction_tokens": 10**30}
    absurd = {"prompt_tokens_details": {"audio_tokens": 11}, "completion_tokens_details": details}
    assert used({"prompt_tokens": 10, "completion_tokens": 10, **absurd}) == Usage(input_tokens=10, output_tokens=10)


def test_reasoning_that_is_counted_apart() -> None:
    """A host that adds its reasoning to the total only would be paid less than it charges us."""
    details = {"reasoning_tokens": 40}
    apart = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 55, "completion_tokens_details": details}
    assert used(apart) == Usage(input_tokens=10, output_tokens=45, reasoning_tokens=40)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": 1, "completion_tokens": 10**12},
        {"prompt_tokens": 1, "completion_tokens": 10**30},
        {"prompt_tokens": 1, "completion_tokens": None},
        {"total_tokens": 5},
        {},
        None,
    ],
)
def test_absurd_usage_is_none(usage: object) -> None:
    """A broken counter at a provider would be charged to the caller, or credited."""
    assert used(usage) is None


def test_absurd_parts_are_zero() -> None:
    """A part larger than its whole would make the rest negative, and the charge with it."""
    assert used(
        {
            "prompt_tokens": 10,
            "completion_tokens": 10,
            "prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 11},
        }
    ) == Usage(input_tokens=10, output_tokens=10, cache_read_tokens=8)
    negative = {"prompt_tokens": 10, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": -5}}
    assert used(negative) == Usage(input_tokens=10, output_tokens=10)


def test_filtered_answer_without_a_message() -> None:
    """Azure's filtered answers would count as its failures."""
    decoded = decode({"choices": [{"index": 0, "finish_reason": "content_filter"}]})
    assert isinstance(decoded, Completion)
    assert decoded.choices[0] == Choice(0, Message(Role.ASSISTANT), FinishReason.CONTENT_FILTER, "content_filter")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"<html>",
        b"null",
        b"[]",
        b"{}",
        b'{"choices": null}',
        b'{"choices": []}',
        b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": ""}}]}',
        b'{"choices": [{"index": -1, "message": {"content": "x"}}]}',
        b'{"choices": "x"}',
        b'{"choices": [{"message": {"content": "\xff"}}]}',
        b'{"x": ' + b"[" * 100_000,
    ],
)
def test_undecodable_or_empty(body: bytes) -> None:
    """An answer with nothing in it would be handed to the caller as success."""
    failure = OpenAIChat().decode(body)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.http_status, failure.committed) == (FailureKind.MALFORMED, 200, False)


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        ({"error": {"code": 502, "message": "m"}, "choices": []}, FailureKind.SERVER, "502"),
        ({"error": {"code": 429, "message": "m"}}, FailureKind.THROTTLED, "429"),
        ({"error": {"code": 400, "message": "m"}}, FailureKind.SERVER, "400"),
        ({"error": {"code": "context_length_exceeded", "message": "m"}}, FailureKind.CONTEXT_LENGTH, "context_length_exceeded"),
        ({"error": "m"}, FailureKind.SERVER, None),
        ({"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "m"}}]}, FailureKind.SERVER, "502"),
    ],
)
def test_error_inside_a_success(answer: object, kind: FailureKind, code: str | None) -> None:
    """An error with status 200 would be handed to the caller as an answer, and charged."""
    assert decode(answer) == Failure(kind=kind, http_status=200, code=code, message="m")


def test_an_answer_that_ends_in_error() -> None:
    """A broken answer would pass for a whole one."""
    failure = decode({"choices": [{"message": {"content": "x"}, "finish_reason": "error"}], "error": None})
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.SERVER
