"""What the API names and this version does not do yet: refused, as an ignored preference costs money.

Each entry goes when its feature comes.
"""

from google.protobuf.message import Message

from junctor.doors.codec.checks import Checks
from junctor.v1 import completion_pb2 as pb
from junctor.v1 import router_service_pb2

_NOT_YET = "cannot be used yet"
_SPEC_FIELDS = ("models", "preset", "session_id", "logprobs", "top_logprobs")


def refuse(request: "router_service_pb2.CompleteRequest | router_service_pb2.StreamRequest", checks: Checks) -> None:
    """Note every part of a request whose feature does not exist yet."""
    _spec(request.spec, checks)
    preferences = request.preferences
    for field in _set_fields(preferences):
        checks.wrong(f"preferences.{field}", _NOT_YET)


def _spec(spec: pb.CompletionSpec, checks: Checks) -> None:
    present = _set_fields(spec)
    for field in _SPEC_FIELDS:
        if field in present:
            checks.wrong(f"spec.{field}", _NOT_YET)
    if spec.n > 1:
        checks.wrong("spec.n", "more than one answer cannot be asked for yet")
    if any(modality != "text" for modality in spec.modalities):
        checks.wrong("spec.modalities", "only text can be produced yet")
    if ":" in spec.model:
        checks.wrong("spec.model", "variants (a colon and a word after the name) cannot be used yet")
    elif spec.model.startswith("~") or spec.model == "junctor/auto":
        checks.wrong("spec.model", "a model that Junctor chooses cannot be asked for yet")


def _set_fields(message: Message) -> frozenset[str]:
    return frozenset(field.name for field, _ in message.ListFields())
