"""The conversation from proto to domain: roles, parts, tool calls.

Media come within the request or, where providers fetch them, from an https address. A file that lies at a provider is refused:
it lies there under a credential that all accounts share, and so could be another account's.
"""

from collections.abc import Sequence

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
_PLAIN = {"role", "parts"}
"""All that most turns have."""
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_WHOLE_MAX = 2**53


def conversation(turns: Sequence[pb.Message], checks: Checks, path: str) -> tuple[Message, ...]:
    """Read all messages; lists that are too long are not read, as that would cost far more than to refuse them."""
    if not turns:
        checks.wrong(path, "is empty")
    if not checks.count(len(turns), checks.limits.messages_max, path):
        return ()
    turns, most = turns[:], checks.limits.parts_max  # as lists they are walked in half the time
    if sum(map(_entries, turns)) > most:  # only then may one kind of them be too many
        within = (
            checks.count(sum(len(turn.parts) for turn in turns), most, f"{path}.parts"),
            checks.count(sum(len(turn.tool_calls) for turn in turns), most, f"{path}.tool_calls"),
            checks.count(sum(len(turn.reasoning_details) for turn in turns), most, f"{path}.reasoning_details"),
            checks.count(sum(len(turn.annotations) for turn in turns), most, f"{path}.annotations"),
        )
        if not all(within):
            return ()
    return tuple([_message(turn, checks, f"{path}[{index}]") for index, turn in enumerate(turns)])


def cache_control(holder: pb.Part | pb.Tool, checks: Checks, path: str) -> CacheControl:
    """Read the mark of a cached prefix."""
    control = holder.cache_control
    ttl = checks.name(control.ttl, f"{path}.ttl") if control.HasField("ttl") else None
    return CacheControl(checks.name(control.type, f"{path}.type"), ttl)


def _entries(turn: pb.Message) -> int:
    """Count all that a turn lists."""
    return len(turn.parts) + len(turn.tool_calls) + len(turn.reasoning_details) + len(turn.annotations)


def _message(turn: pb.Message, checks: Checks, path: str) -> Message:
    present = {field.name for field, _ in turn.ListFields()}
    role = checks.member(turn.role, ROLES, f"{path}.role") or Role.USER
    if role is not Role.ASSISTANT:
        if not present.isdisjoint(_ASSISTANT_ONLY):
            checks.wrong(path, f"only an assistant has {', '.join(_ASSISTANT_ONLY)}")
        if "parts" not in present:
            checks.wrong(f"{path}.parts", "is empty")
    if (role is Role.TOOL) is not ("tool_call_id" in present):
        checks.wrong(f"{path}.tool_call_id", "goes with ROLE_TOOL, and only with it")
    parts = _parts(turn.parts, checks, f"{path}.parts")
    if present <= _PLAIN:
        return Message(role, parts)
    return Message(
        role=role,
        parts=parts,
        name=checks.name(turn.name, f"{path}.name") if "name" in present else None,
        tool_calls=_tool_calls(turn.tool_calls, checks, f"{path}.tool_calls"),
        tool_call_id=checks.name(turn.tool_call_id, f"{path}.tool_call_id") if "tool_call_id" in present else None,
        reasoning=checks.text(turn.reasoning, f"{path}.reasoning") if "reasoning" in present else None,
        reasoning_details=_details(turn.reasoning_details, checks, f"{path}.reasoning_details"),
        refusal=checks.text(turn.refusal, f"{path}.refusal") if "refusal" in present else None,
        annotations=_annotations(turn.annotations, checks, f"{path}.annotations"),
        speech=_speech(turn.speech, checks, f"{path}.speech") if "speech" in present else None,
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
