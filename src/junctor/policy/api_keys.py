"""What an API key looks like, and how it is recognised without being stored.

`jk-` + lookup id (12) + `-` + secret (52, 32 bytes) + `-` + CRC-32 (7), each part in lower-case Crockford base32. The lookup id
finds the record; the digest, an HMAC-SHA-256 under a pepper that is not in the table, proves the secret. The CRC only tells a
mistyped key from a wrong one before anything is looked up; it protects nothing.
"""

import hashlib
import hmac
import re
import zlib
from functools import lru_cache

from msgspec import Struct

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LOOKUP_CHARS, SECRET_CHARS, CRC_CHARS = 12, 52, 7
LOOKUP_BYTES, SECRET_BYTES = 8, 32
PREFIX = "jk-"
LOOKUP = slice(len(PREFIX), len(PREFIX) + LOOKUP_CHARS)
"""Where a key has its lookup id, if it is well formed."""
_SHAPE = re.compile(f"{PREFIX}([{ALPHABET}]{{{LOOKUP_CHARS}}})-([{ALPHABET}]{{{SECRET_CHARS}}})-([{ALPHABET}]{{{CRC_CHARS}}})")
_PEPPERS_KEPT = 8


class ParsedKey(Struct, frozen=True):
    """A well-formed key: its public lookup id, the checksum that it ends with, and what the digest is taken of."""

    lookup_id: str
    tag: str
    material: bytes


def base32(value: int, chars: int) -> str:
    """Write the lowest 5 x `chars` bits of a number in lower-case Crockford base32, highest digit first."""
    return "".join([ALPHABET[(value >> shift) & 31] for shift in range(5 * (chars - 1), -1, -5)])


def mint(lookup: bytes, secret: bytes) -> str:
    """Write a key from LOOKUP_BYTES and SECRET_BYTES unpredictable bytes."""
    return remint(base32(int.from_bytes(lookup), LOOKUP_CHARS), secret)


def remint(lookup_id: str, secret: bytes) -> str:
    """Write a key of a known lookup id from SECRET_BYTES unpredictable bytes."""
    body = f"{lookup_id}-{base32(int.from_bytes(secret), SECRET_CHARS)}"
    return f"{PREFIX}{body}-{_crc(body)}"


def parse(text: str) -> ParsedKey | None:
    """Take a key apart; None if it is not well formed."""
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        return None
    lookup_id, secret, crc = shape.groups()
    if _crc(f"{lookup_id}-{secret}") != crc:
        return None
    return ParsedKey(lookup_id, crc, text.encode())


def digest(pepper: bytes, material: bytes) -> bytes:
    """Return what is stored in place of a key."""
    keyed = _keyed(pepper).copy()
    keyed.update(material)
    return keyed.digest()


def fingerprint(text: str) -> bytes:
    """Return what tells a text from all others within this process: never stored, as without a pepper it proves nothing.

    Any text has one, also what no caller could send as UTF-8.
    """
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass")).digest()


def same(one: bytes, other: bytes) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(one, other)


@lru_cache(_PEPPERS_KEPT)
def _keyed(pepper: bytes) -> hmac.HMAC:
    """Return the beginning of each HMAC under a pepper: to set one up takes ten times as long as to go on from there."""
    return hmac.new(pepper, digestmod="sha256")


def _crc(body: str) -> str:
    return base32(zlib.crc32(body.encode()), CRC_CHARS)
