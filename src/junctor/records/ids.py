"""Ids: ULIDs that sort by time, and generation ids that name a slot.

A ULID is 48 bits of Unix milliseconds and 80 random bits as 26 characters of Crockford base32, upper-case (the ULID
specification). A generation id is `gen-` + lease + `-` + slot in six digits, so a generation is found without an index.
"""

import re
from functools import lru_cache

from junctor.domain.lease import Slot
from junctor.ports.ambient import Clock, Dice

ULID_RANDOM_BYTES = 10
SLOT_NUMBER_MAX = 999_999
THREE_DIGITS = tuple(f"{number:03d}" for number in range(1_000))
"""A slot's number is written in six digits, twice for each generation: two of these are found three times as fast."""
ULIDS_KEPT = 1_024
"""Ids whose time is remembered: all slots of a lease ask for the same."""
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TIME_CHARACTERS = 10
_TO_BASE_32 = str.maketrans(_ALPHABET + "ILOU", "0123456789ABCDEFGHIJKLMNOPQRSTUV" + "!!!!")
_GENERATION = re.compile(r"gen-([0-7][0-9A-HJKMNP-TV-Z]{25})-([0-9]{6})", re.ASCII)


def ulid(now_ms: int, random: bytes) -> str:
    """Write a ULID from Unix milliseconds and ULID_RANDOM_BYTES random bytes."""
    value = (now_ms << 80) | int.from_bytes(random)
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))


def fresh(clock: Clock, dice: Dice) -> str:
    """Return a ULID of now that nobody has."""
    return ulid(clock.now_ms(), dice.draw(ULID_RANDOM_BYTES))


@lru_cache(maxsize=ULIDS_KEPT)
def made_at_ms(ulid: str) -> int:
    """Return when a ULID was made, in Unix milliseconds. Raises ValueError if it is none."""
    return int(ulid[:_TIME_CHARACTERS].translate(_TO_BASE_32), 32)


def generation_id(place: Slot) -> str:
    """Name the generation in a slot."""
    number = place.number
    return f"gen-{place.lease}-{THREE_DIGITS[number // 1_000]}{THREE_DIGITS[number % 1_000]}"


def parse_generation_id(text: str, account: str) -> Slot | None:
    """Find the slot that an id names under an account; None if it is no generation id."""
    match = _GENERATION.fullmatch(text)
    return Slot(account, match[1], int(match[2])) if match else None
