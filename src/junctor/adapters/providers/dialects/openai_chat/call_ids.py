"""Ids of tool calls for hosts that take nine letters and digits and nothing else (Mistral).

The mapping depends on the ids of the request alone: equal ids stay equal, different ones differ, and a conversation that grows
keeps the ids it had, so that the provider's prompt cache still fits.
"""

import hashlib
import string
from collections.abc import Iterable
from typing import Final

_LENGTH: Final = 9
_ALPHABET: Final = string.digits + string.ascii_letters
_FITS: Final = frozenset(_ALPHABET)


def nine_alphanumeric(ids: Iterable[str]) -> dict[str, str]:
    """Map each id to one that fits; an id that fits already stays."""
    distinct = dict.fromkeys(ids)
    taken = {given for given in distinct if len(given) == _LENGTH and _FITS.issuperset(given)}
    mapped = {given: given for given in taken}
    for given in distinct:
        if given in mapped:
            continue
        attempt = 0
        while (short := _digest(given, attempt)) in taken:
            attempt += 1
        taken.add(short)
        mapped[given] = short
    return mapped


def _digest(given: str, attempt: int) -> str:
    """Return nine characters that depend on an id and, after a collision, on the attempt."""
    number = int.from_bytes(hashlib.sha256(f"{attempt}:{given}".encode()).digest())
    digits = []
    for _ in range(_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)
