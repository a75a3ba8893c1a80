"""What the OpenAI-chat dialect sends."""

import json
import math

import msgspec
import pytest

from junctor.adapters.providers.dialect import Encoded, Quirks
from junctor.adapters.providers.dialects.openai_chat import OpenAIChat
from junctor.domain.catalog import Endpoint
from junctor.domain.completion import (
    AudioPart,
    CacheControl,
    CompletionSpec,
    FilePart,
    GrammarFormat,
    ImagePart,
    JsonObjectFormat,
    JsonSchemaFormat,
    Message,
    OtherAnnotation,
    Reasoning,
    ResponseFormat,
    Role,
    Speech,
    TextFormat,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    UrlCitation,
    VideoPart,
    Voice,
)

ALL = tuple(
    name
    for name in CompletionSpec.__struct_fields__
    if name not in {"model", "models", "messages", "session_id", "preset", "extra"}
)
ENDPOINT = Endpoint(
    id="p/author/model",
    model="author/model",
    provider="p",
    upstream_model="model-2026",
    dialect="openai_chat",
    base_url="",
)
HELLO = Message(Role.USER, (TextPart("Hello?"),))
SPEC = CompletionSpec(model="author/model", messages=(HELLO,))
MARK = CacheControl("ephemeral", "1h")


def encode(
    spec: CompletionSpec, quirks: Quirks | None = None, *, stream: bool = False, known: tuple[str, ...] = ALL
) -> Encoded:
    """Encode for an endpoint that understands `known`."""
    endpoint = msgspec.structs.replace(ENDPOINT, parameters=known)
    return OpenAIChat().encode(endpoint, spec, quirks or Quirks(), stream=stream)


def body(spec: CompletionSpec, quirks: Quirks | None = None, *, stream: bool = False) -> dict[str, object]:
    """Return the body as plain JSON, less what every request has."""
    fields: dict[str, object] = json.loads(encode(spec, quirks, stream=stream).body)
    assert fields.pop("model") == "model-2026"
    assert fields.pop("stream") is stream
    del fields["messages"]
    return fields


def messages(*given: Message, quirks: Quirks | None = None) -> list[dict[str, object]]:
    """Return messages as they are sent."""
    spec = CompletionSpec(model="author/model", messages=given)
    sent: list[dict[str, object]] = json.loads(encode(spec, quirks).body)["messages"]
    return sent


def test_absent_is_absent() -> None:
    """A default of ours would change what the provider does."""
    encoded = encode(SPEC)
    expected = b'{"model":"model-2026","messages":[{"role":"user","content":"Hello?"}],"stream":false}'
    assert encoded == Encoded("/chat/completions", expected)


def test_stream_asks_for_usage() -> None:
    """A stream without usage can only be charged by guess; a host that refuses the option would refuse everything."""
    assert body(SPEC, stream=True) == {"stream_options": {"include_usage": True}}
    assert body(SPEC, Quirks(asks_for_stream_usage=False), stream=True) == {}


def test_same_named_parameters() -> None:
    """A parameter would be lost or sent under a name that nobody knows."""
    values: dict[str, object] = {
        "parallel_tool_calls": False,
        "stop": ("a", "b"),
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 0,
        "min_p": 0.1,
        "top_a": 0.2,
        "frequency_penalty": -2.0,
        "presence_penalty": 2.0,
        "repetition_penalty": 1.5,
        "logprobs": True,
        "top_logprobs": 0,
        "modalities": ("text",),
        "verbosity": "low",
        "user": "u",
        "service_tier": "flex",
        "prompt_cache_key": "k",
        "n": 2,
    }
    spec = msgspec.convert({"model": "m", "messages": [], "tools": [{"name": "f"}], **values}, CompletionSpec)
    sent = body(spec)
    del sent["tools"]
    assert sent == {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def test_renamed_and_reshaped_parameters() -> None:
    """The figures that bound cost and chance would go to fields that the host ignores."""
    spec = msgspec.structs.replace(
        SPEC,
        max_tokens=7,
        seed=2**60,
        logit_bias=((50256, -100.0), (3, 0.5)),
        prediction="p",
        metadata=(("b", "1"), ("a", "2")),
    )
    shared = {
        "logit_bias": {"50256": -100, "3": 0.5},
        "prediction": {"type": "content", "content": "p"},
        "metadata": {"b": "1", "a": "2"},
    }
    assert body(spec) == {"max_completion_tokens": 7, "seed": 2**60, **shared}
    mistral = Quirks(max_tokens_field="max_tokens", seed_field="random_seed")
    assert body(spec, mistral) == {"max_tokens": 7, "random_seed": 2**60, **shared}
    assert b'"50256":-100,' in encode(spec).body


def test_tools_and_choices() -> None:
    """A schema whose keys are reordered or whose integers are rounded is another schema, and misses the prompt cache."""
    schema = '{"type": "object",\n "b": 123456789012345678901234567890, "a": 1.0}'
    spec = msgspec.structs.replace(
        SPEC,
        tools=(Tool("f", "does", schema, strict=False, cache_control=MARK), Tool("g")),
        tool_choice=ToolChoice(ToolMode.FUNCTION, "f"),
    )
    assert f'"parameters":{schema}'.encode() in encode(spec).body
    sent = body(spec)
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert sent["tools"] == [
        {
            "type": "function",
            "function": {"name": "f", "description": "does", "parameters": json.loads(schema), "strict": False},
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
        },
        {"type": "function", "function": {"name": "g"}},
    ]
    any_ = Quirks(required_tool_choice="any")
    for mode, quirks, word in (
        (ToolMode.NONE, any_, "none"),
        (ToolMode.AUTO, any_, "auto"),
        (ToolMode.REQUIRED, Quirks(), "required"),
        (ToolMode.REQUIRED, any_, "any"),
    ):
        assert body(msgspec.structs.replace(spec, tool_choice=ToolChoice(mode)), quirks)["tool_choice"] == word


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        (TextFormat(), {"type": "text"}),
        (JsonObjectFormat(), {"type": "json_object"}),
        (GrammarFormat("root ::= x"), {"type": "grammar", "grammar": "root ::= x"}),
        (JsonSchemaFormat("s"), {"type": "json_schema", "json_schema": {"name": "s"}}),
        (
            JsonSchemaFormat("s", "d", '{"z":1,"a":2}', strict=True),
            {
                "type": "json_schema",
                "json_schema": {"name": "s", "description": "d", "schema": {"z": 1, "a": 2}, "strict": True},
            },
        ),
    ],
)
def test_response_formats(form: ResponseFormat, sent: object) -> None:
    """The answer would come in another form than was asked for."""
    assert body(msgspec.structs.replace(SPEC, response_format=form)) == {"response_format": sent}


@pytest.mark.parametrize(
    ("reasoning", "by_effort", "by_object", "by_switch"),
    [
        (Reasoning(effort="high"), {"reasoning_effort": "high"}, {"reasoning": {"effort": "high"}}, "enabled"),
        (Reasoning(effort="none"), {"reasoning_effort": "none"}, {"reasoning": {"effort": "none"}}, "disabled"),
        (
            Reasoning(effort="low", max_tokens=9, exclude=False),
            {"reasoning_effort": "low"},
            {"reasoning": {"effort": "low", "max_tokens": 9, "exclude": False}},
            "enabled",
        ),
        (Reasoning(max_tokens=9), None, {"reasoning": {"max_tokens": 9}}, "enabled"),
        (Reasoning(exclude=True), {}, {}, None),
    ],
)
def test_reasoning_dialects(reasoning: Reasoning, by_effort: object, by_object: object, by_switch: str | None) -> None:
    """A model would think as it likes, at the caller's cost."""
    spec = msgspec.structs.replace(SPEC, reasoning=reasoning)
    assert body(spec) == (by_effort or {})
    assert encode(spec).dropped == (("reasoning",) if by_effort is None else ())
    assert body(spec, Quirks(reasoning_request="reasoning_object")) == by_object
    switch = {} if by_switch is None else {"thinking": {"type": by_switch}}
    assert body(spec, Quirks(reasoning_request="thinking_type")) == switch


def test_what_the_endpoint_does_not_understand_is_dropped_and_named() -> None:
    """An unknown parameter makes hosts refuse the request; a silent drop would deceive the caller."""
    spec = msgspec.structs.replace(SPEC, temperature=1.0, stop=("x",), n=2, top_k=1, session_id="s", preset="p", models=("b",))
    encoded = encode(spec, Quirks(refused_parameters=("n", "top_p")), known=("temperature", "n", "stop"))
    assert encoded.dropped == ("top_k", "n")
    assert json.loads(encoded.body).keys() == {"model", "messages", "stream", "temperature", "stop"}
    assert encode(spec, Quirks(refused_parameters=("stop",)), known=()).dropped == ("stop", "temperature", "top_k", "n")
    assert encode(msgspec.structs.replace(SPEC, reasoning=Reasoning(exclude=True)), known=()).dropped == ()


def test_tool_parameters_go_with_the_tools() -> None:
    """A tool choice without tools is refused by every host."""
    spec = msgspec.structs.replace(SPEC, tools=(Tool("f"),), tool_choice=ToolChoice(ToolMode.AUTO), parallel_tool_calls=True)
    encoded = encode(spec, known=("tool_choice", "parallel_tool_calls"))
    assert encoded.dropped == ("tools", "tool_choice", "parallel_tool_calls")
    assert json.loads(encoded.body).keys() == {"model", "messages", "stream"}


def test_never_nan() -> None:
    """NaN goes out as null, which some hosts read as their default and some refuse."""
    spec = msgspec.structs.replace(SPEC, temperature=math.nan, top_p=math.inf, logit_bias=((1, math.nan),), min_p=0.5)
    assert body(spec) == {"min_p": 0.5}
    assert encode(spec).dropped == ("temperature", "top_p", "logit_bias")


def test_extra_is_verbatim_and_replaces_nothing() -> None:
    """A caller's extra could turn the stream off, or raise what its own fields bound."""
    extra = '{"z": {"y": 1,\n "x": 12345678901234567890123}, "stream": true, "a":"1"}'
    encoded = encode(msgspec.structs.replace(SPEC, extra=extra))
    assert encoded.body.endswith(b'"stream":false,"z":{"y": 1,\n "x": 12345678901234567890123},"a":"1"}')
    assert encoded.dropped == ("extra",)
    assert encode(msgspec.structs.replace(SPEC, extra='{"a":1}')).dropped == ()


def test_content_is_as_plain_as_it_can_be() -> None:
    """Hosts that take only strings would refuse every request, and cache marks and pictures would be lost."""
    assert messages(
        Message(Role.SYSTEM, (TextPart("s"),), name="n"),
        Message(Role.DEVELOPER, (TextPart("d", MARK),)),
        Message(Role.USER, (TextPart("a"), TextPart("b"))),
        Message(Role.USER, (ImagePart("https://x/y.png", "low", CacheControl("ephemeral")),)),
        Message(Role.USER),
        Message(Role.ASSISTANT),
        Message(Role.ASSISTANT, refusal="no"),
    ) == [
        {"role": "system", "content": "s", "name": "n"},
        {"role": "developer", "content": [{"type": "text", "text": "d", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "user",
            "content": [
                {
                    "type": "image_url",
                    "image_url": {"url": "https://x/y.png", "detail": "low"},
                    "cache_control": {"type": "ephemeral"},
                }
            ],
        },
        {"role": "user", "content": ""},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "refusal": "no"},
    ]


def test_cache_marks_can_be_refused() -> None:
    """A host that knows no cache marks would refuse the request."""
    quirks = Quirks(refused_parameters=("cache_control",))
    assert messages(Message(Role.USER, (TextPart("d", MARK),)), quirks=quirks) == [{"role": "user", "content": "d"}]
    spec = msgspec.structs.replace(SPEC, tools=(Tool("f", cache_control=MARK),))
    assert body(spec, quirks) == {"tools": [{"type": "function", "function": {"name": "f"}}]}


def test_recordings_and_documents() -> None:
    """The model would answer without having heard or read what it is asked about."""
    parts = (
        AudioPart("AAAA", "wav", MARK),
        FilePart("a.pdf", "data:application/pdf;base64,AAAA", cache_control=MARK),
        FilePart(file_data="https://x/y.pdf"),
    )
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}
    address = {"type": "file", "file": {"file_data": "https://x/y.pdf"}}
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert messages(Message(Role.USER, parts)) == [{"role": "user", "content": [audio | mark, file | mark, address]}]
    unmarked = Quirks(refused_parameters=("cache_control",))
    assert messages(Message(Role.USER, parts), quirks=unmarked) == [{"role": "user", "content": [audio, file, address]}]


def test_parts_that_the_doors_refuse() -> None:
    """A part nobody writes would vanish from the conversation without a word."""
    with pytest.raises(AssertionError, match="VideoPart"):
        messages(Message(Role.USER, (VideoPart("https://x/y.mp4"),)))


def test_remarks_are_not_sent_back() -> None:
    """A host would refuse the turn for a key that it does not know."""
    turn = Message(Role.ASSISTANT, (TextPart("a"),), annotations=(UrlCitation("https://x"), OtherAnnotation("{}")))
    assert messages(turn) == [{"role": "assistant", "content": "a"}]


def test_speech_is_asked_of_who_can_speak() -> None:
    """A host that only writes would refuse the request, and one that speaks would not be told how."""
    spec = msgspec.structs.replace(SPEC, modalities=("text", "audio"), audio=Voice("alloy", "wav"))
    asked = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
    speaking = msgspec.structs.replace(ENDPOINT, parameters=(), output_modalities=("text", "audio"))
    sent = OpenAIChat().encode(speaking, spec, Quirks(), stream=False)
    assert asked.items() <= json.loads(sent.body).items()
    assert sent.dropped == ()
    assert encode(spec, known=()).dropped == ("modalities", "audio")


def test_a_spoken_turn_is_sent_as_its_words() -> None:
    """The model would forget what it said, or a host be asked for sound that another one keeps."""
    spoken = Speech("audio-1", "AAAA", "Aloud.", 9)
    assert messages(Message(Role.ASSISTANT, speech=spoken)) == [{"role": "assistant", "content": "Aloud."}]
    both = Message(Role.ASSISTANT, (TextPart("Written."),), speech=spoken)
    parts = [{"type": "text", "text": "Written."}, {"type": "text", "text": "Aloud."}]
    assert messages(both) == [{"role": "assistant", "content": parts}]


def test_top_logprobs_go_with_logprobs() -> None:
    """A host would refuse the one without the other."""
    spec = msgspec.structs.replace(SPEC, logprobs=True, top_logprobs=3)
    assert body(spec) == {"logprobs": True, "top_logprobs": 3}
    encoded = encode(spec, known=("top_logprobs",))
    assert encoded.dropped == ("logprobs", "top_logprobs")
    assert json.loads(encode(spec, known=("logprobs",)).body)["logprobs"] is True


def test_reasoning_replay() -> None:
    """Hosts that want their reasoning back would refuse the turn; others would be billed for it or refuse it."""
    turn = Message(Role.ASSISTANT, (TextPart("a"),), reasoning="why", reasoning_details=('{"b": 1, "a":2}',))
    plain = {"role": "assistant", "content": "a"}
    assert messages(turn) == [plain]
    assert messages(turn, quirks=Quirks(reasoning_replay="reasoning_content")) == [plain | {"reasoning_content": "why"}]
    replayed = plain | {"reasoning": "why", "reasoning_details": [{"b": 1, "a": 2}]}
    assert messages(turn, quirks=Quirks(reasoning_replay="reasoning")) == [replayed]
    other = Message(Role.USER, (TextPart("a"),), reasoning="why")
    assert messages(other, quirks=Quirks(reasoning_replay="reasoning")) == [{"role": "user", "content": "a"}]


def test_tool_turns() -> None:
    """The model would not see what its tools answered."""
    calls = (ToolCall("call_1", "f", '{"a": 1}'), ToolCall("AbCdEfGh1", "g", "{}"))
    turn = Message(Role.ASSISTANT, tool_calls=calls)
    answer = Message(Role.TOOL, (TextPart("42"),), tool_call_id="call_1")
    assert messages(turn, answer) == [
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
                {"id": "AbCdEfGh1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "content": "42", "tool_call_id": "call_1"},
    ]


def test_nine_alphanumeric_ids() -> None:
    """Mistral refuses any other id, and an answer under another id than its call's belongs to nothing."""
    calls = (ToolCall("call_1", "f", ""), ToolCall("AbCdEfGh1", "g", ""))
    conversation = (Message(Role.ASSISTANT, tool_calls=calls), Message(Role.TOOL, (TextPart("42"),), tool_call_id="call_1"))
    sent = messages(*conversation, quirks=Quirks(tool_call_ids="nine_alphanumeric"))
    written = sent[0]["tool_calls"]
    assert isinstance(written, list)
    assert written[1]["id"] == "AbCdEfGh1"
    assert written[0]["id"] == sent[1]["tool_call_id"]
    assert len(written[0]["id"]) == 9
    assert written[0]["id"].isalnum()
