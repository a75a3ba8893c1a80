"""An error as google.rpc.Status: the message, ErrorInfo with every dynamic part, and what else the error's kind calls for.

All trailing metadata together stays under 6 KiB, as grpc turns larger errors into others at random past 8 KiB (errors.md):
lists are cut to counts and their first entries, and say so with `truncated`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from junctor.domain.errors import (
    AttemptsFailedError,
    InsufficientCreditsError,
    InvalidFieldError,
    JunctorError,
    KeyBudgetExceededError,
    ModelNotFoundError,
    NoEligibleEndpointError,
    RateLimitedError,
    RequestRefusedError,
    ResourceNotFoundError,
    RetryableError,
)
from junctor.doors import status

DOMAIN = "junctor"
STATUS_BYTES_MAX = 4096
MESSAGE_BYTES_MAX = 480
TEXT_BYTES_MAX = 512
ENTRY_BYTES_MAX = 160
RETRY_S_MAX = 86_400.0
ELLIPSIS = "…".encode()
ENTRIES_MAX = 16


def rich_status(error: JunctorError) -> status_pb2.Status:
    """Write an error whole, or with shorter lists until it fits."""
    entries = ENTRIES_MAX
    while True:
        written = _status(error, entries)
        if written.ByteSize() <= STATUS_BYTES_MAX or entries == 0:
            return written
        entries //= 2


def _status(error: JunctorError, entries: int) -> status_pb2.Status:
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    for key, value in error.metadata.items():
        info.metadata[key] = _cut(value)
    for key, value in _lists(error, entries):
        info.metadata[key] = value
    written = status_pb2.Status(code=status.row(error).code, message=_message(error.message))
    for detail in (info, *_further(error, entries)):
        written.details.add().Pack(detail)
    return written


def _lists(error: JunctorError, entries: int) -> Iterable[tuple[str, str]]:
    if isinstance(error, NoEligibleEndpointError):
        reasons = Counter(exclusion.reason for exclusion in error.excluded)
        yield "excluded_by", _cut(", ".join(f"{reason}: {number}" for reason, number in sorted(reasons.items())))
        named = [f"{exclusion.endpoint.id}: {exclusion.reason}" for exclusion in error.excluded]
        yield from _first("excluded", named, entries)
    if isinstance(error, AttemptsFailedError):
        tried = [f"{attempt.endpoint}: {attempt.outcome.value} ({attempt.latency_ms} ms)" for attempt in error.attempts]
        yield from _first("attempts", tried, entries)
    if isinstance(error, InvalidFieldError) and len(error.violations) > entries:
        yield "truncated", "true"


def _first(name: str, lines: Sequence[str], entries: int) -> Iterable[tuple[str, str]]:
    yield name, "; ".join(_cut(line, ENTRY_BYTES_MAX) for line in lines[:entries])
    if len(lines) > entries:
        yield "truncated", "true"


def _further(error: JunctorError, entries: int) -> Iterable[Message]:
    if isinstance(error, InvalidFieldError):
        bad = error_details_pb2.BadRequest()
        for field, wrong in error.violations[:entries]:
            bad.field_violations.add(field=_cut(field, ENTRY_BYTES_MAX), description=_cut(wrong, ENTRY_BYTES_MAX))
        yield bad
    if isinstance(error, RequestRefusedError):
        refused = error_details_pb2.BadRequest()
        refused.field_violations.add(field="spec", description=_cut(error.metadata.get("provider_message", "")))
        yield refused
    if isinstance(error, ResourceNotFoundError):
        yield error_details_pb2.ResourceInfo(resource_type=_cut(error.kind), resource_name=_cut(error.name))
    if isinstance(error, InsufficientCreditsError):
        short = error_details_pb2.PreconditionFailure()
        short.violations.add(type="CREDITS", subject="organisation", description=error.message)
        yield short
    if isinstance(error, KeyBudgetExceededError):
        spent = error_details_pb2.QuotaFailure()
        spent.violations.add(subject=_cut(error.limit), description="The limit is used up.")
        yield spent
    if isinstance(error, RateLimitedError):
        reached = error_details_pb2.QuotaFailure()
        subject = _cut(f"api_key:{error.api_key}", ENTRY_BYTES_MAX)
        reached.violations.add(subject=subject, description=_cut(error.message, ENTRY_BYTES_MAX))
        yield reached
    if isinstance(error, ModelNotFoundError):
        yield error_details_pb2.ResourceInfo(resource_type="model", resource_name=_cut(error.model))
    if isinstance(error, RetryableError) and error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(min(error.retry_after_s, RETRY_S_MAX) * 1000))
        yield retry


def _message(text: str) -> str:
    """Bound a message as it travels beside its details: percent-encoded, three bytes for each that is not plain ASCII."""
    cut = _cut(text, MESSAGE_BYTES_MAX - 2 * len(ELLIPSIS))
    written = cut.encode()
    encoded_bytes = len(written) + 2 * sum(byte > ord("~") or byte == ord("%") for byte in written)
    return cut if encoded_bytes <= MESSAGE_BYTES_MAX else _cut(text, MESSAGE_BYTES_MAX // 3)


def _cut(text: str, most: int = TEXT_BYTES_MAX) -> str:
    """Return printable text of at most so many bytes of UTF-8, with an ellipsis where it was cut."""
    written = "".join(character if character.isprintable() else " " for character in text[: most + 1]).encode()
    if len(written) <= most:
        return written.decode()
    return written[: most - len(ELLIPSIS)].decode(errors="ignore") + ELLIPSIS.decode()
