"""Requests for tests of the codec: the smallest valid one, how a door reads one, and every place that a message type has."""

from collections.abc import Callable, Iterator
from typing import cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from junctor.domain.account import Caller
from junctor.domain.completion import CompletionSpec
from junctor.domain.errors import InvalidFieldError
from junctor.doors.codec.checks import Limits
from junctor.doors.codec.parsing import parse
from junctor.doors.rpc.router import RouterRpc, Terms
from junctor.usecases.services import Services
from junctor.v1 import completion_pb2 as pb
from junctor.v1.router_service_pb2 import CompleteRequest

CALLER = Caller("account", "key")
UNKNOWN_FIELD = b"\xc2\x3e\x03abc"
"""Field 1000 with three bytes, as protobuf writes it: no message has one."""

Path = tuple[FieldDescriptor, ...]


def minimal() -> CompleteRequest:
    """Return the smallest request that is accepted."""
    request = CompleteRequest()
    request.spec.model = "lab/model"
    request.spec.messages.add(role=pb.ROLE_USER).parts.add().text.text = "Hello"
    return request


def read(request: CompleteRequest, limits: Limits | None = None) -> CompletionSpec:
    """Read a request as a door does. Raises InvalidFieldError."""
    rpc = RouterRpc(cast("Services", None), Terms(limits=limits or Limits()))
    parsed = parse(CompleteRequest, request.SerializeToString())
    return rpc._call(parsed, CALLER, 0.0, streamed=False).spec


def violations(request: CompleteRequest, limits: Limits | None = None) -> dict[str, str]:
    """Return what is wrong with a request, by field path; empty if it is accepted."""
    try:
        read(request, limits)
    except InvalidFieldError as error:
        places = dict.fromkeys(place for place, _ in error.violations)
        return {place: "; ".join(text for at, text in error.violations if at == place) for place in places}
    return {}


def changed(change: Callable[[CompleteRequest], object]) -> CompleteRequest:
    """Return the minimal request with one change."""
    request = minimal()
    change(request)
    return request


def message_paths(descriptor: Descriptor | None, above: Path = ()) -> Iterator[Path]:
    """Yield the way to every message that can stand in a message of this type; entries of maps have no life of their own."""
    for field in fields_of(descriptor):
        inner = field.message_type
        if inner is not None and not inner.GetOptions().map_entry:
            yield (*above, field)
            yield from message_paths(inner, (*above, field))


def fields_of(descriptor: Descriptor | None) -> list[FieldDescriptor]:
    """Return the fields of a message type."""
    return list(descriptor.fields) if descriptor is not None else []


def step_into(message: Message, path: Path) -> Message:
    """Return the message at the end of a path, made where it is missing."""
    for field in path:
        held = getattr(message, field.name)
        if field.is_repeated:
            message = held[0] if held else held.add()
        else:
            message = held
            message.SetInParent()
    return message


def written(path: Path) -> str:
    """Write a path as violations do, each list at its first entry."""
    return ".".join(f"{field.name}[0]" if field.is_repeated else field.name for field in path)


def give_any_value(message: Message, field: FieldDescriptor) -> None:
    """Set a field to something that is not its default."""
    held = getattr(message, field.name)
    if field.message_type is not None:
        if field.is_repeated:
            held.add()
        else:
            held.SetInParent()
        return
    values: dict[int, object] = {FieldDescriptor.CPPTYPE_STRING: "x", FieldDescriptor.CPPTYPE_BOOL: True}
    value = values.get(field.cpp_type, 1)
    if field.is_repeated:
        held.append(value)
    else:
        setattr(message, field.name, value)
