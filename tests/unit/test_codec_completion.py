"""Every field of a request reaches the domain as it was sent, or is refused by name; what is absent stays absent."""

import math
from collections.abc import Callable

import msgspec
import pytest

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
    Role,
    Speech,
    TextFormat,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    UrlCitation,
    Voice,
)
from junctor.domain.errors import InvalidFieldError
from junctor.v1 import completion_pb2 as pb
from tests.support.requests import changed, minimal, read, violations

Change = Callable[[pb.CompletionSpec], object]
SCHEMA = '{"type": "object", "b": 1, "a": 123456789012345678901234567890, "c": 5.0}'

SIMPLE: dict[str, tuple[object, ...]] = {
    "parallel_tool_calls": (True, False),
    "max_tokens": (1, 2**31 - 1),
    "temperature": (0.0, 0.7, 2.0),
    "top_p": (0.0, 1.0),
    "top_k": (0, 40),
    "min_p": (0.0, 1.0),
    "top_a": (0.0, 1.0),
    "frequency_penalty": (-2.0, 0.0, 2.0),
    "presence_penalty": (-2.0, 2.0),
    "repetition_penalty": (0.0, 2.0),
    "seed": (0, -(2**63), 2**63 - 1),
    "verbosity": ("high", ""),
    "user": ("someone",),
    "service_tier": ("flex",),
    "prompt_cache_key": ("key",),
    "n": (1, 2, 128),
    "logprobs": (True, False),
}
BY_HAND = {
    *("model", "messages", "tools", "tool_choice", "response_format", "stop", "logit_bias", "reasoning", "modalities"),
    *("models", "prediction", "metadata", "extra_json", "top_logprobs", "audio"),
}
UNBUILT = {"session_id", "preset"}


def spec_with(change: Change) -> CompletionSpec:
    """Read the minimal request with one change of its spec."""
    return read(changed(lambda request: change(request.spec)))


def wrong_with(change: Change) -> dict[str, str]:
    """Return what is wrong with the minimal request after one change of its spec."""
    return violations(changed(lambda request: change(request.spec)))


def test_every_field_of_the_spec_has_its_test() -> None:
    """A field that the protos gain could be ignored without anybody noticing."""
    assert {*SIMPLE, *BY_HAND, *UNBUILT} == set(pb.CompletionSpec.DESCRIPTOR.fields_by_name)


def test_absent_stays_absent() -> None:
    """A default of ours would be sent upstream in the caller's name."""
    message = Message(Role.USER, (TextPart("Hello"),))
    assert read(minimal()) == CompletionSpec(model="lab/model", messages=(message,))


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in SIMPLE.items() for value in values])
def test_a_simple_field_is_carried_over(field: str, value: object) -> None:
    """A parameter would be lost, or an explicit zero taken for absence."""
    found = spec_with(lambda spec: setattr(spec, field, value))
    assert getattr(found, field) == value
    assert found == msgspec.structs.replace(read(minimal()), **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("max_tokens", value) for value in (0, -1)),
        *((field, math.nan) for field, values in SIMPLE.items() if isinstance(values[0], float)),
        *((field, sign * math.inf) for field, values in SIMPLE.items() if isinstance(values[0], float) for sign in (1, -1)),
        *((field, -0.01) for field in ("temperature", "top_p", "min_p", "top_a", "repetition_penalty")),
        *((field, 1.01) for field in ("top_p", "min_p", "top_a")),
        *((field, 2.01) for field in ("temperature", "frequency_penalty", "presence_penalty", "repetition_penalty")),
        *((field, -2.01) for field in ("frequency_penalty", "presence_penalty")),
        *(("top_k", -1), ("n", 0), ("n", -1), ("n", 129)),
    ],
)
def test_a_number_out_of_its_range_is_refused(field: str, value: float) -> None:
    """NaN and negative limits would travel to providers, and into arithmetic with money."""
    assert list(wrong_with(lambda spec: setattr(spec, field, value))) == [f"spec.{field}"]


@pytest.mark.parametrize("number", [0, 1, 20])
def test_top_logprobs_go_with_logprobs(number: int) -> None:
    """Every provider would refuse the request, each in words of its own."""

    def asked(*, logprobs: bool | None) -> Change:
        return lambda spec: spec.MergeFrom(pb.CompletionSpec(logprobs=logprobs, top_logprobs=number))

    assert spec_with(asked(logprobs=True)).top_logprobs == number
    assert list(wrong_with(asked(logprobs=None))) == list(wrong_with(asked(logprobs=False))) == ["spec.top_logprobs"]


@pytest.mark.parametrize("number", [-1, 21])
def test_top_logprobs_out_of_their_range_are_refused(number: int) -> None:
    """A provider would refuse the request later, or answer with a megabyte for each word."""
    asked = pb.CompletionSpec(logprobs=True, top_logprobs=number)
    assert list(wrong_with(lambda spec: spec.MergeFrom(asked))) == ["spec.top_logprobs"]


def test_fallback_models_are_carried_over() -> None:
    """A call would end where its caller wanted another model asked."""
    assert spec_with(lambda spec: spec.models.extend(["lab/second", "lab/third:floor"])).models == (
        "lab/second",
        "lab/third:floor",
    )
    assert list(wrong_with(lambda spec: spec.models.extend(["lab/second", ""]))) == ["spec.models[1]"]
    assert list(wrong_with(lambda spec: spec.models.extend(["x" * 129]))) == ["spec.models[0]"]
    assert wrong_with(lambda spec: spec.models.extend(["lab/second"] * 32)) == {}
    assert list(wrong_with(lambda spec: spec.models.extend([""] * 33))) == ["spec.models"]


def test_a_conversation_is_carried_over() -> None:
    """Turns would change their speaker, order, names or tool calls on the way."""
    request = minimal()
    del request.spec.messages[:]
    add = request.spec.messages.add
    add(role=pb.ROLE_SYSTEM).parts.add().text.text = ""
    add(role=pb.ROLE_DEVELOPER, name="dev").parts.add().text.text = "Be brief."
    user = add(role=pb.ROLE_USER)
    user.parts.add().text.text = "What is it?"
    user.parts[0].cache_control.type = "ephemeral"
    user.parts[0].cache_control.ttl = "1h"
    user.parts.add().image.url = "https://example.com/a.png"
    user.parts[1].image.detail = "low"
    user.parts.add().image.url = "DATA:image/png;base64,AAAA"
    user.parts.add().audio.MergeFrom(pb.AudioPart(data="AB+/", format="wav"))
    user.parts[3].cache_control.type = "ephemeral"
    user.parts.add().file.MergeFrom(pb.FilePart(filename="a.pdf", file_data="data:application/pdf;base64,AAAA"))
    user.parts.add().file.file_data = "https://example.com/b.pdf"
    assistant = add(role=pb.ROLE_ASSISTANT, reasoning="", refusal="no")
    assistant.tool_calls.add(id="1", name="f", arguments_json="")
    assistant.tool_calls.add(id="2", name="g", arguments_json=SCHEMA)
    assistant.reasoning_details.add(detail_json='{"b":1,"a":2}')
    assistant.annotations.add().url_citation.MergeFrom(
        pb.UrlCitation(url="https://a.example", title="", content="c", start_index=0, end_index=2**40)
    )
    assistant.annotations.add().url_citation.url = "https://b.example"
    assistant.speech.MergeFrom(pb.Speech(id="audio-1", data="AAAA", transcript="Aloud.", expires_at=9))
    assistant.annotations.add(other_json='{"type": "file",  "n": 10000000000000000000001}')
    add(role=pb.ROLE_ASSISTANT)
    add(role=pb.ROLE_TOOL, tool_call_id="1").parts.add().text.text = "done"
    assert read(request).messages == (
        Message(Role.SYSTEM, (TextPart(""),)),
        Message(Role.DEVELOPER, (TextPart("Be brief."),), name="dev"),
        Message(
            Role.USER,
            (
                TextPart("What is it?", CacheControl("ephemeral", "1h")),
                ImagePart("https://example.com/a.png", "low"),
                ImagePart("DATA:image/png;base64,AAAA"),
                AudioPart("AB+/", "wav", CacheControl("ephemeral")),
                FilePart("a.pdf", "data:application/pdf;base64,AAAA"),
                FilePart(file_data="https://example.com/b.pdf"),
            ),
        ),
        Message(
            Role.ASSISTANT,
            tool_calls=(ToolCall("1", "f", ""), ToolCall("2", "g", SCHEMA)),
            reasoning="",
            reasoning_details=('{"b":1,"a":2}',),
            refusal="no",
            annotations=(
                UrlCitation("https://a.example", "", "c", 0, 2**40),
                UrlCitation("https://b.example"),
                OtherAnnotation('{"type": "file",  "n": 10000000000000000000001}'),
            ),
            speech=Speech(transcript="Aloud."),
        ),
        Message(Role.ASSISTANT),
        Message(Role.TOOL, (TextPart("done"),), tool_call_id="1"),
    )


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda turn: setattr(turn, "reasoning", "x"), ""),
        (lambda turn: setattr(turn, "refusal", ""), ""),
        (lambda turn: turn.tool_calls.add(id="1", name="f"), ""),
        (lambda turn: turn.reasoning_details.add(detail_json="{}"), ""),
        (lambda turn: turn.annotations.add(other_json="{}"), ""),
        (lambda turn: turn.speech.SetInParent(), ""),
        (lambda turn: turn.annotations.add(), ".annotations[0]"),
        (lambda turn: turn.annotations.add(other_json="{"), ".annotations[0].other_json"),
        (
            lambda turn: turn.annotations.add(url_citation=pb.UrlCitation(start_index=-1)),
            ".annotations[0].url_citation.start_index",
        ),
        (
            lambda turn: turn.annotations.add(url_citation=pb.UrlCitation(end_index=2**53 + 1)),
            ".annotations[0].url_citation.end_index",
        ),
        (lambda turn: turn.parts.add().audio.MergeFrom(pb.AudioPart(data="AAAA")), ".parts[1].audio.format"),
        *(
            (lambda turn, data=data: turn.parts.add().audio.MergeFrom(pb.AudioPart(data=data, format="mp3")), place)
            for data in ("", "==", "A A", "A-_A", "data:audio/mp3;base64,AAAA", "é")
            for place in (".parts[1].audio.data",)
        ),
        (lambda turn: turn.parts.add().file.MergeFrom(pb.FilePart(file_id="file-1")), ".parts[1].file.file_id"),
        (lambda turn: turn.parts.add().file.MergeFrom(pb.FilePart(filename="")), ".parts[1].file.filename"),
        *(
            (lambda turn, data=data: setattr(turn.parts.add().file, "file_data", data), ".parts[1].file.file_data")
            for data in ("", "AAAA", "http://a.example/x.pdf", "file:///etc/passwd", "data:application/pdf,AA")
        ),
        (lambda turn: setattr(turn, "tool_call_id", "1"), ".tool_call_id"),
        (lambda turn: setattr(turn, "role", pb.ROLE_TOOL), ".tool_call_id"),
        (lambda turn: turn.ClearField("parts"), ".parts"),
        (lambda turn: setattr(turn, "name", ""), ".name"),
        (lambda turn: turn.parts.add(), ".parts[1]"),
        (lambda turn: turn.parts[0].cache_control.SetInParent(), ".parts[0].cache_control.type"),
        *(
            (lambda turn, url=url: setattr(turn.parts.add().image, "url", url), ".parts[1].image.url")
            for url in (
                "",
                "http://a.example/x.png",
                "file:///etc/passwd",
                "data:text/html;base64,AA",
                "data:image/png,AA",
                "x",
            )
        ),
    ],
)
def test_a_turn_that_makes_no_sense_is_refused(change: Callable[[pb.Message], object], place: str) -> None:
    """A malformed turn would be repaired by guessing, or reach a provider who refuses it without saying where."""
    assert f"spec.messages[0]{place}" in wrong_with(lambda spec: change(spec.messages[0]))


def test_no_message_is_refused() -> None:
    """A model would be asked nothing, for money."""
    assert wrong_with(lambda spec: spec.ClearField("messages")) == {"spec.messages": "is empty"}


def test_tools_are_carried_over() -> None:
    """A schema with reordered keys breaks prompt caches, and a changed number breaks the tool."""
    request = minimal()
    tool = request.spec.tools.add(name="search", description="", parameters_json=SCHEMA, strict=False)
    tool.cache_control.type = "ephemeral"
    request.spec.tools.add(name="x" * 64)
    request.spec.tool_choice.mode = pb.ToolChoice.MODE_FUNCTION
    request.spec.tool_choice.function_name = "search"
    found = read(request)
    assert found.tools == (Tool("search", "", SCHEMA, strict=False, cache_control=CacheControl("ephemeral")), Tool("x" * 64))
    assert found.tool_choice == ToolChoice(ToolMode.FUNCTION, "search")


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a.b", "ä", "a\n"])
@pytest.mark.parametrize("where", ["tools[0].name", "response_format.json_schema.name"])
def test_a_name_that_no_provider_takes_is_refused(name: str, where: str) -> None:
    """The provider would refuse it later, in words of its own."""

    def change(spec: pb.CompletionSpec) -> None:
        if where.startswith("tools"):
            spec.tools.add(name=name)
        else:
            spec.response_format.json_schema.name = name
            spec.response_format.json_schema.SetInParent()

    assert list(wrong_with(change)) == [f"spec.{where}"]


@pytest.mark.parametrize("mode", ["NONE", "AUTO", "REQUIRED"])
def test_tool_modes_are_carried_over(mode: str) -> None:
    """A model told to call no tool would call one."""
    number = pb.ToolChoice.Mode.Value(f"MODE_{mode}")
    assert spec_with(lambda spec: setattr(spec.tool_choice, "mode", number)).tool_choice == ToolChoice(ToolMode[mode])
    named = wrong_with(lambda spec: spec.tool_choice.MergeFrom(pb.ToolChoice(mode=number, function_name="f")))
    assert list(named) == ["spec.tool_choice.function_name"]


@pytest.mark.parametrize("name", [None, "missing"])
def test_a_tool_choice_must_name_a_tool_that_is_there(name: str | None) -> None:
    """The model would be forced to call what does not exist."""
    choice = pb.ToolChoice(mode=pb.ToolChoice.MODE_FUNCTION, function_name=name)
    assert list(wrong_with(lambda spec: spec.tool_choice.MergeFrom(choice))) == ["spec.tool_choice.function_name"]


def test_response_formats_are_carried_over() -> None:
    """The answer would come in another form than its reader expects."""

    def with_format(response_format: pb.ResponseFormat) -> object:
        return spec_with(lambda spec: spec.response_format.MergeFrom(response_format)).response_format

    assert with_format(pb.ResponseFormat(text=pb.TextFormat())) == TextFormat()
    assert with_format(pb.ResponseFormat(json_object=pb.JsonObjectFormat())) == JsonObjectFormat()
    assert with_format(pb.ResponseFormat(grammar=pb.GrammarFormat(grammar="root ::= x"))) == GrammarFormat("root ::= x")
    bare = pb.JsonSchema(name="n")
    assert with_format(pb.ResponseFormat(json_schema=bare)) == JsonSchemaFormat("n")
    whole = pb.JsonSchema(name="n", description="", schema_json=SCHEMA, strict=False)
    assert with_format(pb.ResponseFormat(json_schema=whole)) == JsonSchemaFormat("n", "", SCHEMA, strict=False)


def test_stop_tells_empty_from_absent() -> None:
    """An empty list switches a provider's own sequences off, an absent one does not."""
    assert spec_with(lambda spec: spec.stop.SetInParent()).stop == ()
    assert spec_with(lambda spec: spec.stop.sequences.extend(["a", "b"])).stop == ("a", "b")
    assert wrong_with(lambda spec: spec.stop.sequences.extend(["a", ""])) == {"spec.stop.sequences[1]": "is empty"}


def test_reasoning_is_carried_over() -> None:
    """A caller's limit of thinking would be lost, or one be set that he did not ask for."""
    assert spec_with(lambda spec: spec.reasoning.SetInParent()).reasoning == Reasoning()
    whole = pb.Reasoning(effort="high", max_tokens=1, exclude=False)
    assert spec_with(lambda spec: spec.reasoning.MergeFrom(whole)).reasoning == Reasoning("high", 1, exclude=False)
    assert list(wrong_with(lambda spec: setattr(spec.reasoning, "max_tokens", 0))) == ["spec.reasoning.max_tokens"]
    assert list(wrong_with(lambda spec: setattr(spec.reasoning, "effort", ""))) == ["spec.reasoning.effort"]


def test_maps_come_in_a_fixed_order() -> None:
    """The same request would have another encoding each time, and so another hash."""
    found = spec_with(lambda spec: spec.metadata.update({"b": "2", "a": ""}))
    assert found.metadata == (("a", ""), ("b", "2"))
    found = spec_with(lambda spec: spec.logit_bias.update({7: -100.0, -1: 100.0, 3: 0.0}))
    assert found.logit_bias == ((-1, 100.0), (3, 0.0), (7, -100.0))
    assert list(wrong_with(lambda spec: spec.metadata.update({"": "x"}))) == ["spec.metadata"]


@pytest.mark.parametrize("bias", [math.nan, math.inf, -100.5, 100.5])
def test_a_bias_out_of_its_range_is_refused(bias: float) -> None:
    """NaN would travel to a provider as no JSON at all."""
    assert list(wrong_with(lambda spec: spec.logit_bias.update({7: bias}))) == ["spec.logit_bias[7]"]


def test_prediction_and_modalities_are_carried_over() -> None:
    """An empty prediction would be taken for none, and text not be asked for where it was."""
    assert spec_with(lambda spec: setattr(spec.prediction, "content", "text")).prediction == "text"
    assert spec_with(lambda spec: spec.prediction.SetInParent()).prediction == ""
    assert spec_with(lambda spec: spec.modalities.append("text")).modalities == ("text",)


def test_a_voice_goes_with_sound() -> None:
    """A provider would refuse the one without the other, or an answer that was to be heard come as text."""
    voice = pb.Voice(voice="alloy", format="wav")
    spoken = spec_with(lambda spec: spec.MergeFrom(pb.CompletionSpec(modalities=["text", "audio"], audio=voice)))
    assert (spoken.modalities, spoken.audio) == (("text", "audio"), Voice("alloy", "wav"))
    assert list(wrong_with(lambda spec: spec.modalities.append("audio"))) == ["spec.audio"]
    assert list(wrong_with(lambda spec: spec.audio.MergeFrom(voice))) == ["spec.audio"]
    empty = pb.CompletionSpec(modalities=["audio"], audio=pb.Voice())
    assert list(wrong_with(lambda spec: spec.MergeFrom(empty))) == ["spec.audio.voice", "spec.audio.format"]


def test_extra_is_carried_verbatim() -> None:
    """Parameters that only one provider knows would be reordered, or lose large integers."""
    assert spec_with(lambda spec: setattr(spec, "extra_json", SCHEMA)).extra == SCHEMA


@pytest.mark.parametrize(
    "key",
    [
        *sorted(set(pb.CompletionSpec.DESCRIPTOR.fields_by_name)),
        *("stream", "stream_options", "max_completion_tokens", "reasoning_effort", "thinking", "\\u006dodel"),
    ],
)
def test_extra_cannot_set_what_has_a_field_of_its_own(key: str) -> None:
    """A model, a limit or a stream flag smuggled past its check would be billed as something else."""
    found = wrong_with(lambda spec: setattr(spec, "extra_json", f'{{"fine":1,"{key}":1}}'))
    assert list(found) == ["spec.extra_json"]
    assert key.replace("\\u006d", "m") in found["spec.extra_json"]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    """A caller would mend his request one round trip at a time."""
    request = minimal()
    request.spec.model = ""
    request.spec.temperature = 3
    request.spec.messages[0].role = pb.ROLE_UNSPECIFIED
    request.spec.extra_json = "["
    request.request_id = "r"
    assert set(violations(request)) == {
        *("spec.model", "spec.temperature", "spec.messages[0].role", "spec.extra_json", "request_id"),
    }


def test_what_is_told_of_a_hopeless_request_is_bounded() -> None:
    """A request with a million mistakes would cost a million texts."""
    request = minimal()
    for _ in range(1000):
        request.spec.messages.add()
    with pytest.raises(InvalidFieldError) as caught:
        read(request)
    assert 10 <= len(caught.value.violations) <= 100
