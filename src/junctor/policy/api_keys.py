"""What an API key looks like, and how it is recognised without being stored.

`jk-` + lookup id (12) + `-` + secret (52, 32 bytes) + `-` + CRC-32 (7), each part in lower-case Crockford base32. The lookup id
finds the record; the digest, an HMAC-SHA-256 under a pepper that is not in the table, proves the secret. The CRC only tells a
mistyped key from a wrong one before anything is looked up; it protects nothing.
"""

import hmac
import zlib

from msgspec import Struct

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LOOKUP_CHARS, SECRET_CHARS, CRC_CHARS = 12, 52, 7
LOOKUP_BYTES, SECRET_BYTES = 8, 32
PREFIX = "jk-"
_LENGTH = len(PREFIX) + LOOKUP_CHARS + 1 + SECRET_CHARS + 1 + CRC_CHARS
_CHARACTERS = frozenset(ALPHABET)


class ParsedKey(Struct, frozen=True):
    """A well-formed key: its public lookup id, the checksum that it ends with, and what the digest is taken of."""

    lookup_id: str
    tag: str
    material: bytes


def base32(value: int, chars: int) -> str:
    """Write the lowest 5 x `chars` bits of a number in lower-case Crockford base32, highest digit first."""
    return "".join(ALPHABET[(value >> shift) & 31] for shift in range(5 * (chars - 1), -1, -5))


def mint(lookup: bytes, secret: bytes) -> str:
    """Write a key from LOOKUP_BYTES and SECRET_BYTES unpredictable bytes."""
    return remint(base32(int.from_bytes(lookup), LOOKUP_CHARS), secret)


def remint(lookup_id: str, secret: bytes) -> str:
    """Write a key of a known lookup id from SECRET_BYTES unpredictable bytes."""
    body = f"{lookup_id}-{base32(int.from_bytes(secret), SECRET_CHARS)}"
    return f"{PREFIX}{body}-{_crc(body)}"


def parse(text: str) -> ParsedKey | None:
    """Take a key apart; None if it is not well formed."""
    if len(text) != _LENGTH or not text.startswith(PREFIX):
        return None
    lookup_id, _, rest = text[len(PREFIX) :].partition("-")
    secret, _, crc = rest.partition("-")
    if len(lookup_id) != LOOKUP_CHARS or len(secret) != SECRET_CHARS or not _CHARACTERS.issuperset(lookup_id + secret + crc):
        return None
    if _crc(f"{lookup_id}-{secret}") != crc:
        return None
    return ParsedKey(lookup_id, crc, text.encode())


def digest(pepper: bytes, material: bytes) -> bytes:
    """Return what is stored in place of a key."""
    return hmac.digest(pepper, material, "sha256")


def same(one: bytes, other: bytes) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(one, other)


def _crc(body: str) -> str:
    return base32(zlib.crc32(body.encode()), CRC_CHARS)
