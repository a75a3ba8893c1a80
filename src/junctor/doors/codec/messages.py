"""The conversation from proto to domain: roles, parts, tool calls."""

from collections.abc import Sequence

from junctor.domain.completion import CacheControl, ImagePart, Message, Part, Role, TextPart, ToolCall
from junctor.doors.codec.checks import Checks
from junctor.v1 import completion_pb2 as pb

ROLES: dict[int, Role] = {
    pb.ROLE_SYSTEM: Role.SYSTEM,
    pb.ROLE_DEVELOPER: Role.DEVELOPER,
    pb.ROLE_USER: Role.USER,
    pb.ROLE_ASSISTANT: Role.ASSISTANT,
    pb.ROLE_TOOL: Role.TOOL,
}
_ASSISTANT_ONLY = ("tool_calls", "reasoning", "reasoning_details", "refusal")
_NOT_YET = {"audio": "audio", "file": "files", "video": "video"}


def conversation(turns: Sequence[pb.Message], checks: Checks, path: str) -> tuple[Message, ...]:
    """Read all messages; lists that are too long are not read, as that would cost far more than to refuse them."""
    if not turns:
        checks.wrong(path, "is empty")
    if not checks.count(len(turns), checks.limits.messages_max, path):
        return ()
    within = (
        checks.count(sum(len(turn.parts) for turn in turns), checks.limits.parts_max, f"{path}.parts"),
        checks.count(sum(len(turn.tool_calls) for turn in turns), checks.limits.parts_max, f"{path}.tool_calls"),
        checks.count(sum(len(turn.reasoning_details) for turn in turns), checks.limits.parts_max, f"{path}.reasoning_details"),
    )
    if not all(within):
        return ()
    return tuple(_message(turn, checks, f"{path}[{index}]") for index, turn in enumerate(turns))


def cache_control(holder: pb.Part | pb.Tool, checks: Checks, path: str) -> CacheControl | None:
    """Read the mark of a cached prefix, if there is one."""
    if not holder.HasField("cache_control"):
        return None
    control = holder.cache_control
    ttl = checks.name(control.ttl, f"{path}.ttl") if control.HasField("ttl") else None
    return CacheControl(checks.name(control.type, f"{path}.type"), ttl)


def _message(turn: pb.Message, checks: Checks, path: str) -> Message:
    role = checks.member(turn.role, ROLES, f"{path}.role") or Role.USER
    if role is not Role.ASSISTANT and (
        turn.tool_calls or turn.reasoning_details or turn.HasField("reasoning") or turn.HasField("refusal")
    ):
        checks.wrong(path, f"only an assistant has {', '.join(_ASSISTANT_ONLY)}")
    if (role is Role.TOOL) is not turn.HasField("tool_call_id"):
        checks.wrong(f"{path}.tool_call_id", "goes with ROLE_TOOL, and only with it")
    if not turn.parts and role is not Role.ASSISTANT:
        checks.wrong(f"{path}.parts", "is empty")
    return Message(
        role=role,
        parts=_parts(turn.parts, checks, f"{path}.parts"),
        name=checks.name(turn.name, f"{path}.name") if turn.HasField("name") else None,
        tool_calls=tuple(_tool_call(call, checks, f"{path}.tool_calls[{index}]") for index, call in enumerate(turn.tool_calls)),
        tool_call_id=checks.name(turn.tool_call_id, f"{path}.tool_call_id") if turn.HasField("tool_call_id") else None,
        reasoning=checks.text(turn.reasoning, f"{path}.reasoning") if turn.HasField("reasoning") else None,
        reasoning_details=tuple(
            _detail(detail, checks, f"{path}.reasoning_details[{index}]") for index, detail in enumerate(turn.reasoning_details)
        ),
        refusal=checks.text(turn.refusal, f"{path}.refusal") if turn.HasField("refusal") else None,
    )


def _parts(parts: Sequence[pb.Part], checks: Checks, path: str) -> tuple[Part, ...]:
    read = (_part(part, checks, f"{path}[{index}]") for index, part in enumerate(parts))
    return tuple(part for part in read if part is not None)


def _part(part: pb.Part, checks: Checks, path: str) -> Part | None:
    control = cache_control(part, checks, f"{path}.cache_control")
    kind = part.WhichOneof("content")
    if kind == "text":
        return TextPart(checks.text(part.text.text, f"{path}.text"), control)
    if kind == "image":
        detail = checks.name(part.image.detail, f"{path}.image.detail") if part.image.HasField("detail") else None
        return ImagePart(_image_url(part.image.url, checks, f"{path}.image.url"), detail, control)
    checks.wrong(path, "has no content" if kind is None else f"{_NOT_YET[kind]} cannot be sent yet")
    return None


def _image_url(url: str, checks: Checks, path: str) -> str:
    checks.text(url, path)
    head = url[:64].lower()
    if not head.startswith("https://") and not (head.startswith("data:image/") and ";base64," in head):
        checks.wrong(path, "is neither an https address nor a data:image/...;base64 address")
    return url


def _tool_call(call: pb.ToolCall, checks: Checks, path: str) -> ToolCall:
    if call.arguments_json:
        checks.json(call.arguments_json, f"{path}.arguments_json")
    return ToolCall(checks.name(call.id, f"{path}.id"), checks.name(call.name, f"{path}.name"), call.arguments_json)


def _detail(detail: pb.ReasoningDetail, checks: Checks, path: str) -> str:
    return checks.json(detail.detail_json, path, an_object=True)
