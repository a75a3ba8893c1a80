"""Which values may leave in a header, and how do they look when they do? Headers are made ready once and sent many times.

A value with a line break would let whoever supplied it write headers of his own, so values are checked before they are sent:
printable ASCII and the upper half of latin-1, no control characters, no blank at either end (RFC 9110, section 5.5).
"""

import re
from collections.abc import Mapping

from msgspec import Struct

from junctor.adapters.net.errors import BadHeaderError

_VALUE = re.compile(r"[!-~\x80-\xff](?:[ -~\x80-\xff]*[!-~\x80-\xff])?")


class Headers(Struct, frozen=True):
    """Headers that may be sent. `lines` are the same as lines of a request's head, each with its end."""

    fields: tuple[tuple[bytes, bytes], ...]
    lines: bytes

    def __repr__(self) -> str:
        """Tell nothing: a secret may be among them."""
        return "Headers()"


def check_value(value: str) -> None:
    """Let a header value pass. Raises BadHeaderError."""
    if _VALUE.fullmatch(value) is None:
        raise BadHeaderError("the value may not stand in a header")


def prepared(headers: Mapping[str, str]) -> Headers:
    """Make headers ready to be sent. Raises BadHeaderError."""
    for value in headers.values():
        check_value(value)
    fields = tuple((name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items())
    return Headers(fields, b"".join(b"%b: %b\r\n" % field for field in fields))
