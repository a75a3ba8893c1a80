"""When a provider says that it may be asked again, read from the several places where providers say it.

The order is from exact to vague: retry-after-ms, retry-after, x-ratelimit-reset-*, then the error's text ("try again in
5.289s", as Groq and OpenAI write). There is no clock here: a hint that is an instant counts from the answer's own Date header,
and without one it is no hint.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{1,15})?")
_SPAN: Final = re.compile(r"(?:\d{1,15}(?:\.\d{1,15})?(?:ms|[smhd]))+")
_SPAN_PIECE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)(ms|[smhd])")
_IN_TEXT: Final = re.compile(r"try again in ((?:\d{1,15}(?:\.\d{1,15})?(?:ms|[smhd]))+)")
_EPOCH_S_MIN: Final = 1e9
_EPOCH_MS_MIN: Final = 1e12
_RESET: Final = "x-ratelimit-reset"


def retry_after_s(headers: Mapping[str, str], text: str, *, throttled: bool) -> float | None:
    """Return how long to wait, in seconds, or None where nothing says so.

    Rate-limit headers come with every answer of some providers and text can say anything, so both count only if `throttled`.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    now = _http_date(headers.get("date", ""))
    after = headers.get("retry-after", "").strip()
    seconds = _number(after)
    if seconds is None:
        seconds = _from(now, _http_date(after))
    if seconds is None and throttled:
        seconds = _reset(headers, now)
        if seconds is None and (found := _IN_TEXT.search(text)):
            seconds = _span(found[1])
    return seconds


def _reset(headers: Mapping[str, str], now: datetime | None) -> float | None:
    """Return when the limit that was hit opens again: the longest of the exhausted ones, else the shortest of all."""
    exhausted: list[float] = []
    others: list[float] = []
    for name, value in headers.items():
        if not name.startswith(_RESET):
            continue
        seconds = _moment(value.strip(), now)
        if seconds is not None:
            remaining = _number(headers.get(name.replace("reset", "remaining", 1), ""))
            (exhausted if remaining == 0 else others).append(seconds)
    if exhausted:
        return max(exhausted)
    return min(others, default=None)


def _moment(value: str, now: datetime | None) -> float | None:
    """Read "1m2.3s", "20ms", seconds, Unix seconds, Unix milliseconds or ISO 8601 as seconds from now."""
    if _SPAN.fullmatch(value):
        return _span(value)
    number = _number(value)
    if number is None:
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            return None
        return _from(now, instant if instant.tzinfo else instant.replace(tzinfo=UTC))
    if number < _EPOCH_S_MIN:
        return number
    if now is None:
        return None
    epoch_s = number / 1000 if number >= _EPOCH_MS_MIN else number
    return max(0.0, epoch_s - now.timestamp())


def _span(text: str) -> float:
    """Add up the pieces of a duration such as "1m2.3s", in seconds."""
    return math.fsum(float(number) * _UNIT_S[unit] for number, unit in _SPAN_PIECE.findall(text))


def _number(text: str) -> float | None:
    """Read a plain number that is not negative."""
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def _http_date(text: str) -> datetime | None:
    """Read an HTTP date."""
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _from(now: datetime | None, instant: datetime | None) -> float | None:
    """Return the seconds from now until an instant, 0 if it is past."""
    if now is None or instant is None:
        return None
    return max(0.0, (instant - now).total_seconds())
