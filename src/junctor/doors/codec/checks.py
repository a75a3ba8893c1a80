"""Everything that can be wrong with a request, gathered so that the caller can mend it all at once.

Protobuf keeps unknown enum values silently, as it does unknown fields (see parsing): both are refused.
"""

import math
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import TypeVar

import msgspec
from msgspec import Struct

from junctor.domain.errors import InvalidFieldError

VIOLATIONS_MAX = 50
MODELS_MAX = 32
"""The most models that one request may name besides the first."""
T = TypeVar("T")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]*")
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""Brackets as signed bytes: one level down, or up again."""
_NO_BRACKETS = bytes(set(range(256)).difference(b"[]{}"))


class Limits(Struct, frozen=True, kw_only=True):
    """The most that a request may hold (api.md, Limits). Bytes are of UTF-8."""

    messages_max: int = 4096
    parts_max: int = 4096
    tools_max: int = 512
    stop_max: int = 4
    metadata_max: int = 16
    logit_bias_max: int = 1024
    modalities_max: int = 8
    json_depth_max: int = 64
    string_bytes_max: int = 16 << 20
    name_chars_max: int = 256
    identifier_chars_max: int = 64
    model_bytes_max: int = 128


class Checks:
    """Gathers violations: (field path, what is wrong). `done` raises if there are any."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._violations: list[tuple[str, str]] = []

    def wrong(self, path: str, text: str) -> None:
        """Note what is wrong with a field."""
        if len(self._violations) < VIOLATIONS_MAX:
            self._violations.append((path, text))

    def done(self) -> None:
        """Raise InvalidFieldError if anything was wrong."""
        if self._violations:
            raise InvalidFieldError(*self._violations)

    def text(self, value: str, path: str) -> str:
        """Bound a text's length."""
        most = self.limits.string_bytes_max
        if len(value) * 4 > most and len(value.encode()) > most:
            self.wrong(path, f"is longer than {most} bytes")
        return value

    def name(self, value: str, path: str) -> str:
        """Ask for a short text that is not empty."""
        if not value:
            self.wrong(path, "is missing")
        elif len(value) > self.limits.name_chars_max or not value.isprintable():
            self.wrong(path, f"is longer than {self.limits.name_chars_max} characters, or not printable")
        return value

    def identifier(self, value: str, path: str) -> str:
        """Ask for the name of something that a provider's own code refers to, in the letters that all of them take."""
        most = self.limits.identifier_chars_max
        if len(value) > most or not _IDENTIFIER.fullmatch(value):
            self.wrong(path, f"is longer than {most} characters, or has others than letters, digits, underscore and hyphen")
            return value
        return self.name(value, path)

    def model(self, value: str, path: str) -> str:
        """Ask for the name of a model; it stands in each generation's record, whose size is bounded."""
        if len(value.encode()) > self.limits.model_bytes_max:
            self.wrong(path, f"is longer than {self.limits.model_bytes_max} bytes")
        return self.name(value, path)

    def count(self, number: int, most: int, path: str) -> bool:
        """Bound the length of a list, and tell whether it is within the bound."""
        if number > most:
            self.wrong(path, f"has {number} entries; at most {most} are allowed")
        return number <= most

    def number(self, value: float, least: float, most: float, path: str) -> float:
        """Ask for a finite number between two bounds, both included."""
        if math.isnan(value) or not least <= value <= most:
            self.wrong(path, f"is not a number from {least:.16g} to {most:.16g}")
        return value

    def member(self, value: int, known: Mapping[int, T], path: str) -> T | None:
        """Ask for a known value of an enum."""
        found = known.get(value)
        if found is None:
            self.wrong(path, "is missing" if value == 0 else f"has the unknown value {value}")
        return found

    def json(self, value: str, path: str, *, an_object: bool = False) -> str:
        """Ask for well-formed JSON text of bounded depth, an object if said so."""
        self.text(value, path)
        try:
            msgspec.json.decode(value, type=msgspec.Raw)
        except RecursionError:
            self.wrong(path, f"is JSON deeper than {self.limits.json_depth_max}")
            return value
        except (msgspec.DecodeError, UnicodeError):
            self.wrong(path, "is not JSON")
            return value
        if _deeper(value, self.limits.json_depth_max):
            self.wrong(path, f"is JSON deeper than {self.limits.json_depth_max}")
        if an_object and not value.lstrip(" \t\r\n").startswith("{"):
            self.wrong(path, "is not a JSON object")
        return value


def _deeper(text: str, most: int) -> bool:
    """Tell whether brackets nest deeper in well-formed JSON, in time that grows with its length only."""
    if text.count("[") + text.count("{") <= most:
        return False
    outside_strings = text.replace("\\\\", "").replace('\\"', "").split('"')[::2]
    steps = "".join(outside_strings).encode().translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > most
