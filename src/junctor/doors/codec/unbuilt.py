"""What the API names and this version does not do yet: refused, as an ignored wish costs money.

Each entry goes when its feature comes.
"""

from collections.abc import Mapping
from typing import Any

from junctor.doors.codec.checks import MODELS_MAX, Checks

_NOT_YET = "cannot be used yet"
_FIELDS = ("preset", "session_id")
_MADE = frozenset({"text", "audio"})
AUTO = "junctor/auto"


def refuse(model: str, fields: Mapping[str, Any], checks: Checks, path: str) -> None:
    """Note every part of a spec whose feature does not exist yet; `fields` are the others that are set, by name."""
    if fields:
        for field in _FIELDS:
            if field in fields:
                checks.wrong(f"{path}.{field}", _NOT_YET)
        if "modalities" in fields and not _MADE.issuperset(fields["modalities"]):
            checks.wrong(f"{path}.modalities", "only text and audio can be produced yet")
    _model(model, checks, f"{path}.model")
    if "models" in fields:
        for place, name in enumerate(fields["models"][:MODELS_MAX]):
            _model(name, checks, f"{path}.models[{place}]")


def _model(name: str, checks: Checks, path: str) -> None:
    if name.partition(":")[0] == AUTO:
        checks.wrong(path, "a model that Junctor chooses cannot be asked for yet")
    elif "@" in name:
        checks.wrong(path, "presets cannot be used yet")
