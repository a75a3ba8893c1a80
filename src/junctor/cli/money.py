"""Sums as people type and read them: dollars, exactly, to the ninth decimal."""

import argparse

NANO, NANO_DIGITS = 1_000_000_000, 9
INT64_MAX = 2**63 - 1


def usd(text: str) -> int:
    """Read a sum of USD, such as 12.50, as nano-USD, exactly."""
    whole, _, part = text.partition(".")
    digits = f"{whole}{part:0<9}"
    if not whole or not (digits.isascii() and digits.isdecimal()) or len(part) > NANO_DIGITS or int(digits) > INT64_MAX:
        raise argparse.ArgumentTypeError(f"{text} is not a sum of USD, such as 12.50")
    return int(digits)


def in_usd(nanousd: int) -> str:
    """Write a sum of nano-USD in USD, exactly, with two decimals or as many as it takes."""
    whole, part = divmod(abs(nanousd), NANO)
    decimals = f"{part:09d}".rstrip("0")
    return f"{'-' if nanousd < 0 else ''}${whole:,}.{decimals:0<2}"
