"""What the API names and this version does not do yet: refused, as an ignored wish costs money.

Each entry goes when its feature comes.
"""

from typing import Final, Literal

from junctor.doors.codec.checks import Checks
from junctor.doors.codec.completion import MODELS_MAX
from junctor.v1 import completion_pb2 as pb

_NOT_YET = "cannot be used yet"
_SPEC_FIELDS: Final[tuple[Literal["preset", "session_id"], ...]] = ("preset", "session_id")
_MADE = frozenset({"text", "audio"})
AUTO = "junctor/auto"


def refuse(spec: pb.CompletionSpec, checks: Checks, path: str) -> None:
    """Note every part of a spec whose feature does not exist yet."""
    for field in _SPEC_FIELDS:
        if spec.HasField(field):
            checks.wrong(f"{path}.{field}", _NOT_YET)
    if not _MADE.issuperset(spec.modalities):
        checks.wrong(f"{path}.modalities", "only text and audio can be produced yet")
    _model(spec.model, checks, f"{path}.model")
    for place, name in enumerate(spec.models[:MODELS_MAX]):
        _model(name, checks, f"{path}.models[{place}]")


def _model(name: str, checks: Checks, path: str) -> None:
    if name.partition(":")[0] == AUTO:
        checks.wrong(path, "a model that Junctor chooses cannot be asked for yet")
    elif "@" in name:
        checks.wrong(path, "presets cannot be used yet")
