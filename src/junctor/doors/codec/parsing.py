"""From a request's bytes to its message, refusing what this version does not know.

Protobuf keeps unknown fields silently, and an ignored limit or request id costs money. Whether there are any is told by the
size of the message without them, in native code; where they are is looked up only then, and only within bounds.
"""

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from junctor.domain.errors import InvalidFieldError

LOCATED_BYTES_MAX = 64 << 10
LOCATED_MESSAGES_MAX = 10_000
NAMED_MAX = 5

Request = TypeVar("Request", bound=Message)


def parse(kind: type[Request], body: bytes) -> Request:
    """Read a message. Raises InvalidFieldError if it is malformed, or has unknown fields at any depth."""
    try:
        message = kind.FromString(body)
    except DecodeError:
        raise InvalidFieldError(("request", f"is not a {kind.DESCRIPTOR.full_name}")) from None
    size = message.ByteSize()
    message.DiscardUnknownFields()
    unknown_bytes = size - message.ByteSize()
    if unknown_bytes > LOCATED_BYTES_MAX:
        raise InvalidFieldError(("request", "has a great many fields unknown to this version"))
    if unknown_bytes:
        raise InvalidFieldError(*_unknown(kind.FromString(body)))
    return message


def _unknown(message: Message) -> list[tuple[str, str]]:
    found = []
    for path, held in islice(_walk(message, ""), LOCATED_MESSAGES_MAX):
        unknown = UnknownFieldSet(held)
        if len(unknown):
            numbers = sorted({unknown[place].field_number for place in range(len(unknown))})
            named = ", ".join(map(str, numbers[:NAMED_MAX]))
            found.append((path or "request", f"has fields unknown to this version: numbers {named}"))
            if len(found) == NAMED_MAX:
                break
    return found or [("request", "has fields unknown to this version")]


def _walk(message: Message, path: str) -> Iterator[tuple[str, Message]]:
    """Yield a message and all messages in it, with their paths. Maps hold no messages here."""
    yield path, message
    for field, value in message.ListFields():
        inner = f"{path}.{field.name}" if path else field.name
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        if field.is_repeated:
            for place, entry in enumerate(value):
                yield from _walk(entry, f"{inner}[{place}]")
        else:
            yield from _walk(value, inner)
