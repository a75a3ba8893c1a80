"""What this version does not know or does not do is refused, never ignored: an ignored limit or request id costs money."""

import pytest
from google.protobuf.descriptor import FieldDescriptor

from junctor.v1 import completion_pb2 as pb
from junctor.v1.router_service_pb2 import CompleteRequest
from tests.support.requests import (
    UNKNOWN_FIELD,
    Path,
    changed,
    fields_of,
    message_paths,
    minimal,
    read,
    step_into,
    violations,
    written,
)

PATHS = sorted(message_paths(CompleteRequest.DESCRIPTOR), key=written)
ENUMS = [
    (path, field)
    for path in ((), *PATHS)
    for field in fields_of(path[-1].message_type if path else CompleteRequest.DESCRIPTOR)
    if field.enum_type is not None
]
REFUSED_WHOLE = ("video",)


def refused_above(path: Path) -> str | None:
    """Return where a path is refused before its end, as the whole feature does not exist yet."""
    for length, field in enumerate(path, 1):
        if field.name in REFUSED_WHOLE:
            return written(path[: length - 1])
    return None


def test_the_walk_meets_the_whole_request() -> None:
    """The tests below would pass by looking at nothing."""
    found = {path[-1].message_type.name for path in PATHS if path[-1].message_type}
    assert {"CompletionSpec", "Message", "Part", "TextPart", "CacheControl", "ToolCall", "StopSequences"} <= found
    assert {"RoutingPreferences", "Sort", "MaxPrice", "Percentiles", "ProviderList", "JsonObjectFormat"} <= found
    assert len(PATHS) > 25
    assert len(ENUMS) >= 5


@pytest.mark.parametrize("path", [(), *PATHS], ids=lambda path: written(path) or "request")
def test_an_unknown_field_is_refused_in_every_message(path: Path) -> None:
    """A newer caller's field would be dropped silently, deep inside a request, and the call billed without it."""
    request = minimal()
    held = step_into(request, path)
    held.MergeFromString(UNKNOWN_FIELD)
    found = violations(CompleteRequest.FromString(request.SerializeToString()))
    place = written(path) or "request"
    assert found == {place: "has fields unknown to this version: numbers 1000"}


def test_a_flood_of_unknown_fields_is_refused_unread() -> None:
    """One caller could hold up all others while his fields are counted one by one."""
    request = minimal()
    request.spec.messages[0].MergeFromString(UNKNOWN_FIELD * (1 << 18))
    assert violations(request) == {"request": "has a great many fields unknown to this version"}


@pytest.mark.parametrize(("path", "field"), ENUMS, ids=lambda part: written(part) if isinstance(part, tuple) else part.name)
@pytest.mark.parametrize("value", [77, -1])
def test_an_unknown_enum_value_is_refused_in_every_field(path: Path, field: FieldDescriptor, value: int) -> None:
    """A newer caller's mode would be read as no mode at all."""
    request = minimal()
    held = step_into(request, path)
    if field.is_repeated:
        getattr(held, field.name).append(value)
    else:
        setattr(held, field.name, value)
    place = refused_above((*path, field)) or written((*path, field))
    assert place in violations(CompleteRequest.FromString(request.SerializeToString()))


def test_empty_preferences_are_no_preference() -> None:
    """A client that always sends the message could not call at all."""
    assert read(changed(lambda request: request.preferences.SetInParent())).model == "lab/model"


UNBUILT = {
    "spec.preset": lambda request: setattr(request.spec, "preset", ""),
    "spec.session_id": lambda request: setattr(request.spec, "session_id", "s"),
    "spec.modalities": lambda request: request.spec.modalities.extend(["text", "image"]),
    "request_id": lambda request: setattr(request, "request_id", ""),
}


@pytest.mark.parametrize("place", UNBUILT)
def test_a_feature_that_does_not_exist_yet_is_refused_by_its_name(place: str) -> None:
    """A caller would believe that his call is idempotent, or keeps to a session, when it does not."""
    assert list(violations(changed(UNBUILT[place]))) == [place]


@pytest.mark.parametrize("model", ["junctor/auto", "junctor/auto:floor", "@preset/mine", "lab/model@preset/mine"])
def test_a_form_of_model_that_does_not_exist_yet_is_refused(model: str) -> None:
    """A caller who asks for a preset would get the model without it."""
    assert list(violations(changed(lambda request: setattr(request.spec, "model", model)))) == ["spec.model"]
    assert list(violations(changed(lambda request: request.spec.models.append(model)))) == ["spec.models[0]"]


@pytest.mark.parametrize("kind", REFUSED_WHOLE)
def test_a_kind_of_part_that_cannot_be_sent_yet_is_refused(kind: str) -> None:
    """The model would answer without having seen the document."""
    request = changed(lambda request: getattr(request.spec.messages[0].parts.add(), kind).SetInParent())
    found = violations(request)
    assert list(found) == ["spec.messages[0].parts[1]"]
    assert kind in found["spec.messages[0].parts[1]"]


def test_known_enum_values_are_those_of_the_protos() -> None:
    """A role that the protos gain would be refused as unknown."""
    for number in pb.Role.values():
        request = minimal()
        request.spec.messages[0].role = number
        if number == pb.ROLE_TOOL:
            request.spec.messages[0].tool_call_id = "call"
        assert bool(violations(request)) is (number == pb.ROLE_UNSPECIFIED)


@pytest.mark.parametrize("place", ["messages", "tool_choice"])
def test_an_enum_that_was_not_set_is_missing(place: str) -> None:
    """A message without a speaker would be put into somebody's mouth."""
    request = minimal()
    if place == "messages":
        request.spec.messages[0].ClearField("role")
    else:
        request.spec.tool_choice.SetInParent()
    name = {"messages": "spec.messages[0].role", "tool_choice": "spec.tool_choice.mode"}[place]
    assert violations(request) == {name: "is missing"}


@pytest.mark.parametrize(
    "key", ["web_search_options", "plugins", "search_parameters", "mcp_servers", "best_of", "max_output_tokens", "provider"]
)
def test_what_no_hold_can_bound_is_refused(key: str) -> None:
    """A provider's own web search would be billed to us many times over what was set aside for the call."""
    found = violations(changed(lambda request: setattr(request.spec, "extra_json", f'{{"{key}":{{}}}}')))
    assert found == {"spec.extra_json": f"has keys that a provider may bill beyond any bound: {key}"}
