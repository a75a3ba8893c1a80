"""The conversation from proto to domain: roles, parts, tool calls.

Media come within the request or, where providers fetch them, from an https address. A file that lies at a provider is refused:
it lies there under a credential that all accounts share, and so could be another account's.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from junctor.domain.completion import (
    Annotation,
    AudioPart,
    CacheControl,
    FilePart,
    ImagePart,
    Message,
    OtherAnnotation,
    Part,
    Role,
    Speech,
    TextPart,
    ToolCall,
    UrlCitation,
)
from junctor.doors.codec.checks import Checks
from junctor.v1 import completion_pb2 as pb

ROLES: dict[int, Role] = {
    pb.ROLE_SYSTEM: Role.SYSTEM,
    pb.ROLE_DEVELOPER: Role.DEVELOPER,
    pb.ROLE_USER: Role.USER,
    pb.ROLE_ASSISTANT: Role.ASSISTANT,
    pb.ROLE_TOOL: Role.TOOL,
}
_ASSISTANT_ONLY = ("tool_calls", "reasoning", "reasoning_details", "refusal", "annotations", "speech")
_LISTS = ("parts", "tool_calls", "reasoning_details", "annotations")
"""What of a turn is bounded in number, each over all turns."""
_PLAIN = {"role", "parts"}
"""All that most turns have."""
_PARTS = pb.Message.DESCRIPTOR.fields_by_name["parts"]
_PLAIN_ROLES = {number: role for number, role in ROLES.items() if role is not Role.TOOL}
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_WHOLE_MAX = 2**53


def conversation(turns: Sequence[pb.Message], checks: Checks, path: str) -> tuple[Message, ...]:
    """Read all messages; lists that are too long are not read, as that would cost far more than to refuse them."""
    if not turns:
        checks.wrong(path, "is empty")
    if not checks.count(len(turns), checks.limits.messages_max, path):
        return ()
    most, letters = checks.limits.parts_max, checks.limits.string_bytes_max // 4
    read: dict[int, Message] = {}
    others: dict[int, dict[str, Any]] = {}
    for place, turn in enumerate(turns[:]):
        # A turn's fields are listed once, and what is not listed is not there: to look at an empty one takes as long.
        fields = turn.ListFields()
        message = _one_text(fields, letters)
        if message is None:
            others[place] = {field.name: value for field, value in fields}
        else:
            read[place] = message
    if not others and len(read) <= most:
        return tuple(read.values())
    if not _within(len(read), others.values(), checks, path):
        return ()
    for place, named in others.items():
        read[place] = _message(named, checks, f"{path}[{place}]")
    return tuple([read[place] for place in range(len(read))])


def cache_control(holder: pb.Part | pb.Tool, checks: Checks, path: str) -> CacheControl:
    """Read the mark of a cached prefix."""
    control = holder.cache_control
    ttl = checks.name(control.ttl, f"{path}.ttl") if control.HasField("ttl") else None
    return CacheControl(checks.name(control.type, f"{path}.type"), ttl)


def _one_text(fields: Sequence[tuple[FieldDescriptor, Any]], letters: int) -> Message | None:
    """Read a turn of one text, of at most so many letters, as most are; None if it is another, or anything is wrong with it."""
    if len(fields) != len(_PLAIN):
        return None
    (_, number), (second, parts) = fields
    # Fields are listed by their numbers: only the role's is before the parts'.
    if second is not _PARTS or number not in _PLAIN_ROLES or len(parts) != 1:
        return None
    part = parts[0]
    text = part.text.text
    if not 0 < len(text) <= letters or part.HasField("cache_control"):
        return None
    return Message(_PLAIN_ROLES[number], (TextPart(text),))


def _within(texts: int, others: Collection[Mapping[str, Any]], checks: Checks, path: str) -> bool:
    """Bound the lists of so many turns of one text, and of others by their fields; tell whether they are within the bounds."""
    most = checks.limits.parts_max
    if texts + sum([len(value) for fields in others for name, value in fields.items() if name in _LISTS]) <= most:
        return True
    totals = {name: sum(len(fields.get(name, ())) for fields in others) for name in _LISTS}
    totals["parts"] += texts
    within = [checks.count(total, most, f"{path}.{name}") for name, total in totals.items()]
    return all(within)


def _message(fields: Mapping[str, Any], checks: Checks, path: str) -> Message:
    role = checks.member(fields.get("role", 0), ROLES, f"{path}.role") or Role.USER
    if fields.keys() == _PLAIN and role is not Role.TOOL:
        return Message(role, _parts(fields["parts"], checks, f"{path}.parts"))
    if role is not Role.ASSISTANT:
        if not fields.keys().isdisjoint(_ASSISTANT_ONLY):
            checks.wrong(path, f"only an assistant has {', '.join(_ASSISTANT_ONLY)}")
        if "parts" not in fields:
            checks.wrong(f"{path}.parts", "is empty")
    if (role is Role.TOOL) is not ("tool_call_id" in fields):
        checks.wrong(f"{path}.tool_call_id", "goes with ROLE_TOOL, and only with it")
    return Message(
        role=role,
        parts=_parts(fields.get("parts", ()), checks, f"{path}.parts"),
        name=checks.name(fields["name"], f"{path}.name") if "name" in fields else None,
        tool_calls=_tool_calls(fields.get("tool_calls", ()), checks, f"{path}.tool_calls"),
        tool_call_id=checks.name(fields["tool_call_id"], f"{path}.tool_call_id") if "tool_call_id" in fields else None,
        reasoning=checks.text(fields["reasoning"], f"{path}.reasoning") if "reasoning" in fields else None,
        reasoning_details=_details(fields.get("reasoning_details", ()), checks, f"{path}.reasoning_details"),
        refusal=checks.text(fields["refusal"], f"{path}.refusal") if "refusal" in fields else None,
        annotations=_annotations(fields.get("annotations", ()), checks, f"{path}.annotations"),
        speech=_speech(fields["speech"], checks, f"{path}.speech") if "speech" in fields else None,
    )


def _parts(parts: Sequence[pb.Part], checks: Checks, path: str) -> tuple[Part, ...]:
    read: list[Part] = []
    for index, part in enumerate(parts[:]):
        found = _part(part, checks, f"{path}[{index}]")
        if found is not None:
            read.append(found)
    return tuple(read)


def _part(part: pb.Part, checks: Checks, path: str) -> Part | None:
    control = cache_control(part, checks, f"{path}.cache_control") if part.HasField("cache_control") else None
    kind = part.WhichOneof("content")
    if kind == "text":
        return TextPart(checks.text(part.text.text, f"{path}.text"), control)
    if kind == "image":
        detail = checks.name(part.image.detail, f"{path}.image.detail") if part.image.HasField("detail") else None
        return ImagePart(_image_url(part.image.url, checks, f"{path}.image.url"), detail, control)
    if kind == "audio":
        data = _base64(part.audio.data, checks, f"{path}.audio.data")
        return AudioPart(data, checks.name(part.audio.format, f"{path}.audio.format"), control)
    if kind == "file":
        return _file(part.file, control, checks, f"{path}.file")
    checks.wrong(path, "has no content" if kind is None else f"{kind} cannot be sent yet")
    return None


def _file(file: pb.FilePart, control: CacheControl | None, checks: Checks, path: str) -> FilePart:
    if file.HasField("file_id"):
        checks.wrong(f"{path}.file_id", "cannot be used: files at a provider are not kept apart by account")
    head = checks.text(file.file_data, f"{path}.file_data")[:128].lower()
    if not head.startswith("https://") and not (head.startswith("data:") and ";base64," in head):
        checks.wrong(f"{path}.file_data", "is neither an https address nor a data:...;base64 address")
    filename = checks.name(file.filename, f"{path}.filename") if file.HasField("filename") else None
    return FilePart(filename=filename, file_data=file.file_data, cache_control=control)


def _base64(data: str, checks: Checks, path: str) -> str:
    bare = checks.text(data, path).rstrip("=")
    if not bare or bare.encode().translate(None, _BASE64):
        checks.wrong(path, "is not base64")
    return data


def _annotations(annotations: Sequence[pb.Annotation], checks: Checks, path: str) -> tuple[Annotation, ...]:
    return tuple(_annotation(annotation, checks, f"{path}[{index}]") for index, annotation in enumerate(annotations))


def _annotation(annotation: pb.Annotation, checks: Checks, path: str) -> Annotation:
    kind = annotation.WhichOneof("kind")
    if kind == "other_json":
        return OtherAnnotation(checks.json(annotation.other_json, f"{path}.other_json"))
    if kind is None:
        checks.wrong(path, "has no content")
    cited, path = annotation.url_citation, f"{path}.url_citation"
    return UrlCitation(
        url=checks.text(cited.url, f"{path}.url"),
        title=checks.text(cited.title, f"{path}.title") if cited.HasField("title") else None,
        content=checks.text(cited.content, f"{path}.content") if cited.HasField("content") else None,
        start=_whole(cited.start_index, checks, f"{path}.start_index") if cited.HasField("start_index") else None,
        end=_whole(cited.end_index, checks, f"{path}.end_index") if cited.HasField("end_index") else None,
    )


def _speech(speech: pb.Speech, checks: Checks, path: str) -> Speech:
    """Read what is sent on of a spoken turn: its words."""
    return Speech(transcript=checks.text(speech.transcript, f"{path}.transcript"))


def _whole(number: int, checks: Checks, path: str) -> int:
    checks.number(number, 0, _WHOLE_MAX, path)
    return number


def _image_url(url: str, checks: Checks, path: str) -> str:
    checks.text(url, path)
    head = url[:64].lower()
    if not head.startswith("https://") and not (head.startswith("data:image/") and ";base64," in head):
        checks.wrong(path, "is neither an https address nor a data:image/...;base64 address")
    return url


def _tool_calls(calls: Sequence[pb.ToolCall], checks: Checks, path: str) -> tuple[ToolCall, ...]:
    return tuple(_tool_call(call, checks, f"{path}[{index}]") for index, call in enumerate(calls))


def _tool_call(call: pb.ToolCall, checks: Checks, path: str) -> ToolCall:
    if call.arguments_json:
        checks.json(call.arguments_json, f"{path}.arguments_json")
    return ToolCall(checks.name(call.id, f"{path}.id"), checks.name(call.name, f"{path}.name"), call.arguments_json)


def _details(details: Sequence[pb.ReasoningDetail], checks: Checks, path: str) -> tuple[str, ...]:
    return tuple(checks.json(detail.detail_json, f"{path}[{index}]", an_object=True) for index, detail in enumerate(details))
