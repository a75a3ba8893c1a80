"""Whole numbers as people type them, within the bounds of the fields that they go to."""

import argparse
from collections.abc import Callable

INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1
_DIGITS_MAX = len(str(INT64_MAX))


def whole(most: int = INT32_MAX, least: int = 1) -> Callable[[str], int]:
    """Return what reads a whole number from the least, which is not below 0, to the most."""

    def read(text: str) -> int:
        # int() takes underscores and other alphabets' digits, and refuses very many in words of its own.
        value = int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX else -1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least:,} to {most:,}")
        return value

    return read
