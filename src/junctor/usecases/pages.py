"""Pages of a list that is in memory as a whole: sorted by a key that no two entries share, continued after the last key shown.

As a page begins after a key and not at a number, entries that come or go between two pages neither repeat nor hide others. A
token is a key with a digest of what was asked, so that it continues no other list; it is no secret, and means nothing else.
"""

import base64
import hashlib
import math
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import msgspec

from junctor.domain.errors import InvalidFieldError

DIGEST_BYTES = 12

Entry = TypeVar("Entry")


class SortKey(NamedTuple):
    """The place of an entry in its list. What has no value comes last; the name tells apart what has the same value."""

    valueless: bool
    value: float
    name: str

    @classmethod
    def at(cls, value: float | None, name: str) -> "SortKey":
        """Return the key of an entry with a value, None if it has none."""
        return cls(value is None, value or 0.0, name)


class _Token(msgspec.Struct, frozen=True, array_like=True):
    asked: bytes
    after: SortKey


_DECODER = msgspec.msgpack.Decoder(_Token)


def page(
    entries: Iterable[tuple[SortKey, Entry]], size: int, token: str, asked: tuple[object, ...]
) -> tuple[tuple[Entry, ...], str]:
    """Return the entries of one page and the token of the next, empty at the end; `asked` is all that decides what the list is.

    Raises:
        InvalidFieldError: the token is none of this list.
    """
    digest = hashlib.sha256(msgspec.msgpack.encode(asked)).digest()[:DIGEST_BYTES]
    after = _after(token, digest) if token else None
    left = sorted((entry for entry in entries if after is None or entry[0] > after), key=lambda entry: entry[0])
    shown = left[:size]
    following = _written(_Token(digest, shown[-1][0])) if len(left) > size else ""
    return tuple(entry for _, entry in shown), following


def _written(token: _Token) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(token)).decode()


def _after(text: str, digest: bytes) -> SortKey:
    try:
        token = _DECODER.decode(base64.urlsafe_b64decode(text))
    except (ValueError, msgspec.DecodeError, RecursionError):
        token = None
    # Many texts decode to the same bytes; only the one that was written is a token.
    if token is None or token.asked != digest or not math.isfinite(token.after.value) or _written(token) != text:
        raise InvalidFieldError(("page_token", "is not a next_page_token of this list, or the catalogue has changed since"))
    return token.after
