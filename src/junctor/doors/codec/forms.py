"""The forms of what the control plane is asked: ids, names, sums, instants, pages. `checks` has what all services share."""

import re

from junctor.doors.codec.checks import Checks

PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX = 100, 1_000
PAGE_TOKEN_CHARS_MAX = 4_096
NAME_CHARS_MAX = 200
SUM_MAX = 10**15
"""The most of one sum: a million dollars. So no few of them reach what 64 bits hold."""
INSTANT_MAX_MS = 2**48 - 1
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}", re.ASCII)
_ORGANISATION = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)
_API_KEY = re.compile(r"[0-9a-z]{12}", re.ASCII)


def page_size(value: int, checks: Checks) -> int:
    """Read how many a page may have."""
    checks.number(value, 0, PAGE_SIZE_MAX, "page_size")
    return value or PAGE_SIZE_DEFAULT


def page_token(value: str, checks: Checks) -> str:
    """Read where a page begins. What it says is for who wrote it to judge."""
    if len(value) > PAGE_TOKEN_CHARS_MAX or not value.isascii():
        checks.wrong("page_token", "is not a next_page_token of this list")
    return value


def organisation(value: str, checks: Checks) -> str:
    """Read which organisation is meant, empty for the caller's own."""
    if value and not _ORGANISATION.fullmatch(value):
        checks.wrong("organisation", "is not an organisation's id")
    return value


def identifier(value: str, path: str, checks: Checks) -> str:
    """Read the id of a member or workspace."""
    if not _ID.fullmatch(value):
        checks.wrong(path, "is not 1 to 40 of a-z, 0-9, hyphen and underscore, with a letter or digit first")
    return value


def api_key(value: str, checks: Checks) -> str:
    """Read the id of an API key, and never echo what it is: it may be a whole key, sent by mistake."""
    if not _API_KEY.fullmatch(value):
        checks.wrong("api_key", "is not an API key's id: the 12 characters after jk-")
    return value


def name(value: str, checks: Checks, *, least: int = 0) -> str:
    """Read what people call something."""
    if not least <= len(value) <= NAME_CHARS_MAX or not value.isprintable():
        checks.wrong("name", f"is not {least} to {NAME_CHARS_MAX} printable characters")
    return value


def amount(value: int, path: str, checks: Checks, *, least: int = 0) -> int:
    """Read a sum of nano-USD."""
    if not least <= value <= SUM_MAX:
        checks.wrong(path, f"is not between {least} and {SUM_MAX}")
    return value


def instant(value: int, path: str, checks: Checks) -> int:
    """Read an instant of Unix milliseconds."""
    if not 0 < value <= INSTANT_MAX_MS:
        checks.wrong(path, "is not an instant in Unix milliseconds")
    return value
