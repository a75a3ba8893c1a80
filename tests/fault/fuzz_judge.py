"""Did a fuzzed request end as errors.md says? A judge that shares no code with the server's own checks.

It decodes the request by itself and knows some things that must never be taken; what it cannot know, such as which model an
endpoint serves, it leaves to the server, as long as the status is one that a bad request may have.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Iterator
from typing import NoReturn
from urllib.parse import quote

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from msgspec import Struct

from junctor.v1.completion_pb2 import CompletionSpec
from junctor.v1.router_service_pb2 import CompleteRequest, StreamRequest
from tests.fault.fuzz_cases import Case
from tests.support.fuzz_messages import messages_in

TRAILERS_MAX_BYTES = 6 * 1024
MESSAGE_MAX_BYTES = 256 << 10
STRING_MAX_BYTES = 64 << 10
JSON_DEPTH_MAX = 32
MESSAGES_MAX, PARTS_MAX, TOOLS_MAX, STOP_MAX, METADATA_MAX = 64, 128, 16, 4, 16
SETTINGS = {
    "JUNCTOR_MESSAGE_IN_MAX_BYTES": str(MESSAGE_MAX_BYTES),
    "JUNCTOR_STRING_MAX_BYTES": str(STRING_MAX_BYTES),
    "JUNCTOR_JSON_DEPTH_MAX": str(JSON_DEPTH_MAX),
    "JUNCTOR_MESSAGES_MAX": str(MESSAGES_MAX),
    "JUNCTOR_PARTS_MAX": str(PARTS_MAX),
    "JUNCTOR_TOOLS_MAX": str(TOOLS_MAX),
}
"""Limits low enough for a fuzzer to pass them often and cheaply."""

OK, TOO_LARGE, NO_KEY = ("OK", ""), ("RESOURCE_EXHAUSTED", ""), ("UNAUTHENTICATED", "API_KEY_INVALID")
BAD_FIELD = ("INVALID_ARGUMENT", "INVALID_FIELD")
_METADATA_MAX_BYTES = 8 << 10
_ANSWERS = frozenset(
    {
        OK,
        BAD_FIELD,
        ("INVALID_ARGUMENT", "CONTEXT_LENGTH_EXCEEDED"),
        ("NOT_FOUND", "MODEL_NOT_FOUND"),
        ("FAILED_PRECONDITION", "NO_ELIGIBLE_ENDPOINT"),
        ("FAILED_PRECONDITION", "INSUFFICIENT_CREDITS"),
    }
)
_NAMED_ANSWERS = _ANSWERS | {
    ("INVALID_ARGUMENT", "REQUEST_ID_REUSED"),
    ("ABORTED", "REQUEST_IN_PROGRESS"),
    ("ALREADY_EXISTS", "REQUEST_COMPLETED"),
}
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Ending(Struct, frozen=True):
    """How a call ended: status, the reason in ErrorInfo (empty if there is none), and what else came.

    `whole`: an answer came that is complete by its own account. `trailers` are the bytes of all trailing metadata.
    """

    code: str
    reason: str = ""
    message: str = ""
    whole: bool = False
    trailers: int = 0


def wrong(case: Case, ending: Ending) -> str | None:
    """Say what is wrong with the way in which a request ended, None if nothing is."""
    return misfit(ending, _allowed(case))


def misfit(ending: Ending, allowed: Collection[tuple[str, str]]) -> str | None:
    """Say why an ending is none of those that are allowed, by status and reason, None if it is one."""
    met = ending.code, ending.reason
    if met not in allowed:
        expected = ", ".join(sorted("/".join(filter(None, pair)) for pair in allowed))
        return f"ended with {'/'.join(filter(None, met))} ({ending.message[:200]}); allowed: {expected}"
    if met == OK and not ending.whole:
        return "ended with OK and without a whole answer"
    size = ending.trailers + len(quote(ending.message, safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}"))
    if size > TRAILERS_MAX_BYTES:
        return f"ended with {size} bytes of trailing metadata"
    return None


def faults(request: Message) -> Iterator[str]:
    """Name what a request has that may never be taken."""
    for message in messages_in(request):
        if len(UnknownFieldSet(message)):
            yield f"unknown fields in {message.DESCRIPTOR.name}"
        for field, held in message.ListFields():  # the default of one that is not set is no fault
            for value in held if field.is_repeated else (held,):
                yield from _value_faults(field, value)
        match message:
            case CompletionSpec():
                yield from _spec_faults(message)
            case CompleteRequest() | StreamRequest() if message.HasField("request_id"):
                if not _UUID.fullmatch(message.request_id.lower()):
                    yield "a malformed request_id"


def read_json(text: str | bytes, pairs: Callable[[list[tuple[str, object]]], object] = dict) -> object:
    """Read JSON by its grammar: numbers of any length, and neither NaN nor infinities. Raises ValueError, RecursionError.

    `pairs` makes the objects, the outermost last.
    """
    return json.loads(text, parse_constant=_refuse, parse_int=str, object_pairs_hook=pairs)


def _allowed(case: Case) -> frozenset[tuple[str, str]]:
    if case.credentials:
        # Between the soft and the hard bound grpc refuses by chance, and without details.
        long = sum(len(key) + len(value) for key, value in case.metadata) > _METADATA_MAX_BYTES // 2
        return frozenset({NO_KEY, TOO_LARGE} if long or len(case.body) > MESSAGE_MAX_BYTES else {NO_KEY})
    if len(case.body) > MESSAGE_MAX_BYTES:
        return frozenset({TOO_LARGE})
    request = case.decoded()
    if request is None:
        return frozenset({BAD_FIELD})
    answers = _NAMED_ANSWERS if request.HasField("request_id") else _ANSWERS
    return answers - {OK} if any(faults(request)) else answers


def _value_faults(field: FieldDescriptor, value: object) -> Iterator[str]:
    if field.enum_type is not None and value not in field.enum_type.values_by_number:
        yield f"an unknown value in {field.full_name}"
    if isinstance(value, float) and not math.isfinite(value):
        yield f"no number in {field.full_name}"
    if isinstance(value, str) and len(value.encode()) > STRING_MAX_BYTES:
        yield f"too long a text in {field.full_name}"
    if isinstance(value, str) and value and field.name.endswith("_json"):
        try:
            if _depth(read_json(value)) > JSON_DEPTH_MAX:
                yield f"too deep JSON in {field.full_name}"
        except (ValueError, RecursionError):
            yield f"no JSON in {field.full_name}"


def _spec_faults(spec: CompletionSpec) -> Iterator[str]:
    lengths = {
        "messages": (len(spec.messages), MESSAGES_MAX),
        "parts": (sum(len(message.parts) for message in spec.messages), PARTS_MAX),
        "tools": (len(spec.tools), TOOLS_MAX),
        "stop": (len(spec.stop.sequences), STOP_MAX),
        "metadata": (len(spec.metadata), METADATA_MAX),
    }
    yield from (f"{length} {name}" for name, (length, most) in lengths.items() if length > most)
    yield from (f"no number for token {token}" for token, bias in spec.logit_bias.items() if not math.isfinite(bias))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level:
        inner: list[object] = []
        for entry in level:
            if isinstance(entry, dict | list):
                inner += entry.values() if isinstance(entry, dict) else entry
        deepest += any(isinstance(entry, dict | list) for entry in level)
        level = inner
    return deepest
