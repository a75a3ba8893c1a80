"""Which values may leave in a header.

A value with a line break would let whoever supplied it write headers of his own, so values are checked before they are sent:
printable ASCII and the upper half of latin-1, no control characters, no blank at either end (RFC 9110, section 5.5).
"""

import re
from collections.abc import Mapping

from junctor.adapters.net.errors import BadHeaderError

_VALUE = re.compile(r"[!-~\x80-\xff](?:[ -~\x80-\xff]*[!-~\x80-\xff])?")


def check_value(value: str) -> None:
    """Let a header value pass. Raises BadHeaderError."""
    if _VALUE.fullmatch(value) is None:
        raise BadHeaderError("the value may not stand in a header")


def encode_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return the headers as they go over the wire. Raises BadHeaderError."""
    for value in headers.values():
        check_value(value)
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Return the headers as lines of a request's head, each with its end. Raises BadHeaderError."""
    return b"".join([b"%b: %b\r\n" % field for field in encode_headers(headers)])
