"""Every limit of a request, at its last allowed size and one beyond."""

from collections.abc import Callable

import pytest

from junctor.doors.codec.checks import Limits
from junctor.v1 import completion_pb2 as pb
from junctor.v1.router_service_pb2 import CompleteRequest
from tests.support.requests import minimal, violations

SMALL = Limits(
    messages_max=3,
    parts_max=5,
    tools_max=2,
    stop_max=2,
    metadata_max=2,
    logit_bias_max=3,
    modalities_max=2,
    json_depth_max=3,
    string_bytes_max=40,
    name_chars_max=10,
    identifier_chars_max=6,
    model_bytes_max=12,
)
Fill = Callable[[CompleteRequest, int], object]


def text(count: int) -> str:
    """Return a text of so many bytes, with wide characters in it where there is room."""
    return "€" * (count // 3) + "x" * (count % 3)


def add_messages(request: CompleteRequest, count: int) -> None:
    """Bring the messages to this number."""
    for _ in range(count - 1):
        request.spec.messages.add(role=pb.ROLE_ASSISTANT)


def add_parts(request: CompleteRequest, count: int) -> None:
    """Bring the parts of two messages together to this number."""
    second = request.spec.messages.add(role=pb.ROLE_USER)
    for number in range(count - 1):
        request.spec.messages[0].parts.add().text.text = "a"
        if number == 0:
            second.parts.add().CopyFrom(request.spec.messages[0].parts.pop())


def add_tools(request: CompleteRequest, count: int) -> None:
    """Add so many tools."""
    for number in range(count):
        request.spec.tools.add(name=f"t{number}")


def deep(count: int) -> str:
    """Return a JSON object of this depth."""
    return '{"a":' * count + "0" + "}" * count


def tool(request: CompleteRequest) -> pb.Tool:
    """Add a tool."""
    return request.spec.tools.add(name="t")


def assistant(request: CompleteRequest) -> pb.Message:
    """Add a turn of the model."""
    return request.spec.messages.add(role=pb.ROLE_ASSISTANT)


COUNTS: dict[str, tuple[int, str, Fill]] = {
    "messages": (3, "spec.messages", add_messages),
    "parts": (5, "spec.messages.parts", add_parts),
    "tools": (2, "spec.tools", add_tools),
    "stop": (2, "spec.stop", lambda request, count: request.spec.stop.sequences.extend("abcdefgh"[:count])),
    "metadata": (
        2,
        "spec.metadata",
        lambda request, count: request.spec.metadata.update({f"k{number}": "v" for number in range(count)}),
    ),
    "logit_bias": (
        3,
        "spec.logit_bias",
        lambda request, count: request.spec.logit_bias.update(dict.fromkeys(range(count), 1.0)),
    ),
    "modalities": (2, "spec.modalities", lambda request, count: request.spec.modalities.extend(["text"] * count)),
}
DEPTHS: dict[str, Fill] = {
    "spec.extra_json": lambda request, count: setattr(request.spec, "extra_json", deep(count)),
    "spec.tools[0].parameters_json": lambda request, count: setattr(tool(request), "parameters_json", deep(count)),
    "spec.response_format.json_schema.schema_json": lambda request, count: request.spec.response_format.json_schema.MergeFrom(
        pb.JsonSchema(name="n", schema_json=deep(count))
    ),
    "spec.messages[1].tool_calls[0].arguments_json": lambda request, count: assistant(request).tool_calls.add(
        id="1", name="f", arguments_json=deep(count)
    ),
    "spec.messages[1].reasoning_details[0]": lambda request, count: assistant(request).reasoning_details.add(
        detail_json=deep(count)
    ),
}
TEXTS: dict[str, Fill] = {
    "spec.messages[0].parts[0].text": lambda request, count: setattr(
        request.spec.messages[0].parts[0].text, "text", text(count)
    ),
    "spec.messages[0].parts[0].image.url": lambda request, count: setattr(
        request.spec.messages[0].parts[0].image, "url", "https://" + text(count - 8)
    ),
    "spec.messages[1].reasoning": lambda request, count: setattr(assistant(request), "reasoning", text(count)),
    "spec.messages[1].refusal": lambda request, count: setattr(assistant(request), "refusal", text(count)),
    "spec.tools[0].description": lambda request, count: setattr(tool(request), "description", text(count)),
    "spec.response_format.json_schema.description": lambda request, count: request.spec.response_format.json_schema.MergeFrom(
        pb.JsonSchema(name="n", description=text(count))
    ),
    "spec.response_format.grammar": lambda request, count: setattr(
        request.spec.response_format.grammar, "grammar", text(count)
    ),
    "spec.stop.sequences[0]": lambda request, count: request.spec.stop.sequences.append(text(count)),
    "spec.prediction": lambda request, count: setattr(request.spec.prediction, "content", text(count)),
    "spec.metadata[k]": lambda request, count: request.spec.metadata.update({"k": text(count)}),
    "spec.extra_json": lambda request, count: setattr(request.spec, "extra_json", '{"a":"' + text(count - 8) + '"}'),
    **{
        f"spec.{field}": lambda request, count, field=field: setattr(request.spec, field, text(count))  # type: ignore[misc]
        for field in ("verbosity", "user", "service_tier", "prompt_cache_key")
    },
}
NAMES: dict[str, Fill] = {
    "spec.messages[0].name": lambda request, count: setattr(request.spec.messages[0], "name", "ä" * count),
    "spec.reasoning.effort": lambda request, count: setattr(request.spec.reasoning, "effort", "x" * count),
    "spec.metadata": lambda request, count: request.spec.metadata.update({"x" * count: "v"}),
    "spec.messages[1].tool_calls[0].name": lambda request, count: assistant(request).tool_calls.add(id="1", name="x" * count),
    "spec.messages[1].tool_calls[0].id": lambda request, count: assistant(request).tool_calls.add(id="x" * count, name="f"),
    "spec.messages[1].tool_call_id": lambda request, count: (
        request.spec.messages.add(role=pb.ROLE_TOOL, tool_call_id="x" * count).parts.add().text.SetInParent()
    ),
    "spec.messages[0].parts[0].cache_control.type": lambda request, count: setattr(
        request.spec.messages[0].parts[0].cache_control, "type", "x" * count
    ),
    "spec.messages[0].parts[0].cache_control.ttl": lambda request, count: (
        request.spec.messages[0].parts[0].cache_control.MergeFrom(pb.CacheControl(type="t", ttl="x" * count))
    ),
    "spec.messages[0].parts[0].image.detail": lambda request, count: (
        request.spec.messages[0].parts[0].image.MergeFrom(pb.ImagePart(url="https://a", detail="x" * count))
    ),
}
CASES = [
    *((place, most, fill) for most, place, fill in COUNTS.values()),
    *((place, 3, fill) for place, fill in DEPTHS.items()),
    *((place, 40, fill) for place, fill in TEXTS.items()),
    *((place, 10, fill) for place, fill in NAMES.items()),
    ("spec.model", 12, lambda request, count: setattr(request.spec, "model", text(count))),
    ("spec.tools[0].name", 6, lambda request, count: request.spec.tools.add(name="x" * count)),
]


@pytest.mark.parametrize(("place", "most", "fill"), CASES, ids=[f"{place}-{most}" for place, most, _ in CASES])
def test_a_limit_allows_its_last_value_and_refuses_the_next(place: str, most: int, fill: Fill) -> None:
    """A request could be larger than what we can bear, or one that is within the limits be refused."""
    request = minimal()
    fill(request, most)
    assert violations(request, SMALL) == {}
    request = minimal()
    fill(request, most + 1)
    assert list(violations(request, SMALL)) == [place]


def test_the_limits_are_those_of_the_api() -> None:
    """A default that drifts from what is promised would refuse callers who rely on it."""
    assert Limits() == Limits(
        messages_max=4096,
        parts_max=4096,
        tools_max=512,
        stop_max=4,
        metadata_max=16,
        logit_bias_max=1024,
        modalities_max=8,
        json_depth_max=64,
        string_bytes_max=16 * 1024 * 1024,
        name_chars_max=256,
        identifier_chars_max=64,
        model_bytes_max=128,
    )


@pytest.mark.parametrize(("name", "most"), [("messages", 4096), ("parts", 4096), ("tools", 512)])
def test_the_large_limits_hold_as_they_are(name: str, most: int) -> None:
    """A list cut at another size than the one promised would lose its end."""
    _, place, fill = COUNTS[name]
    request = minimal()
    fill(request, most)
    assert violations(request) == {}
    request = minimal()
    fill(request, most + 1)
    assert list(violations(request)) == [place]


def test_names_are_printable() -> None:
    """A line break in a name could split a header or a log line."""
    for bad in ("a\nb", "a\x00", "a\u202eb", "a\u200b"):
        request = minimal()
        request.spec.model = bad
        assert list(violations(request)) == ["spec.model"]
