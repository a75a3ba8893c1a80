"""What a provider's error means for the call: one classification for every dialect whose errors are JSON.

Status and code decide, and a code that is known says more than the status it came with. Prose is never matched; what is
unknown stays as the status has it. Texts of providers are kept short and free of control characters.
The kinds and what follows from them: the table "Failures" of the routing design.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from junctor.adapters.providers.retry_hints import retry_after_s
from junctor.domain.routing import Failure, FailureKind

MESSAGE_CHARS_MAX: Final = 500
_CODE_CHARS_MAX: Final = 100

_KIND_OF_CODE: Final[Mapping[str, FailureKind]] = {
    "context_length_exceeded": FailureKind.CONTEXT_LENGTH,
    "exceed_context_size_error": FailureKind.CONTEXT_LENGTH,  # llama.cpp
    "content_policy_violation": FailureKind.CONTENT_POLICY,
    "content_filter": FailureKind.CONTENT_POLICY,  # Azure
    "insufficient_quota": FailureKind.CREDENTIAL,  # OpenAI says it with 429, and no waiting helps
    "invalid_api_key": FailureKind.CREDENTIAL,
    "rate_limit_exceeded": FailureKind.THROTTLED,  # Groq says it with 413 too
    "model_not_found": FailureKind.MODEL_GONE,
    "model_decommissioned": FailureKind.MODEL_GONE,  # Groq says it with 400
}
_KIND_OF_STATUS: Final[Mapping[int, FailureKind]] = {
    400: FailureKind.REQUEST,
    401: FailureKind.CREDENTIAL,
    402: FailureKind.CREDENTIAL,
    403: FailureKind.CREDENTIAL,
    404: FailureKind.MODEL_GONE,
    410: FailureKind.MODEL_GONE,
    413: FailureKind.REQUEST,
    422: FailureKind.REQUEST,
    429: FailureKind.THROTTLED,
}
_SUCCESS: Final = range(200, 300)
_REDIRECT: Final = range(300, 400)


class _Facts(msgspec.Struct, frozen=True):
    """What an error says of itself. `words` are all its codes and types, the most exact first; `status` if it names one."""

    message: str
    words: tuple[str, ...] = ()
    status: int | None = None


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Read an answer of a status other than 200. Header names are lower-case; the body may be cut, empty or not JSON."""
    try:
        facts = _facts(msgspec.json.decode(body))
    except (ValueError, RecursionError):
        # Cut to size before decoding: a character has four bytes at most.
        facts = _Facts(message=_clean(body[: 4 * MESSAGE_CHARS_MAX].decode(errors="replace"), MESSAGE_CHARS_MAX))
    kind = _kind_of_words(facts) or _kind_of_status(status)
    return Failure(
        kind=kind,
        http_status=status,
        code=_code(facts),
        message=facts.message,
        retry_after_s=retry_after_s(headers, facts.message, throttled=kind is FailureKind.THROTTLED),
    )


def error_inside(error: object, *, committed: bool) -> Failure:
    """Read an error object, as decoded JSON, that came inside an answer of status 200.

    The provider had taken the request when it began to answer, so an error that only says 400 is not the request's: it is the
    provider's, and another endpoint may do better. Nor can a redirect or a success stand here.
    """
    facts = _facts({"error": error})
    kind = _kind_of_words(facts)
    if kind is None:
        kind = FailureKind.SERVER if facts.status is None else _kind_of_status(facts.status)
        if kind in {FailureKind.REQUEST, FailureKind.REDIRECT, FailureKind.MALFORMED}:
            kind = FailureKind.SERVER
    return Failure(
        kind=kind,
        http_status=200,
        code=_code(facts),
        message=facts.message,
        retry_after_s=retry_after_s({}, facts.message, throttled=kind is FailureKind.THROTTLED),
        committed=committed,
    )


def malformed(message: str, *, committed: bool = False) -> Failure:
    """Return the failure of an answer of status 200 that cannot be read; `message` is ours."""
    return Failure(kind=FailureKind.MALFORMED, http_status=200, message=message, committed=committed)


def _facts(body: object) -> _Facts:
    """Read any of the shapes in which providers put an error.

    {"error": {...}}, {"error": "text"}, [{"error": ...}], {"message": ...} (Mistral), {"detail": ...} (FastAPI hosts).
    """
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return _Facts(message=_clean(_text(body), MESSAGE_CHARS_MAX))
    error = body.get("error") or body
    if not isinstance(error, dict):
        return _Facts(message=_clean(_text(error), MESSAGE_CHARS_MAX), words=_words(body))
    message = _text(error.get("message") or error.get("detail") or "")
    metadata = error.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    raw = metadata.get("raw")
    if isinstance(raw, str) and raw:  # OpenRouter hides the text that helps behind "Provider returned error"
        message = f"{message}: {raw}"
    words = (*_words(error), *_words(metadata))
    if "flagged_input" in metadata:  # OpenRouter's moderation, which has no code of its own
        words = (*words, "content_policy_violation")
    status = next((value for key in ("code", "status_code") if isinstance(value := error.get(key), int)), None)
    return _Facts(message=_clean(message, MESSAGE_CHARS_MAX), words=words, status=status)


def _words(error: Mapping[str, object]) -> tuple[str, ...]:
    """Return the codes of an error that are words."""
    keys = ("code", "type", "error_type", "provider_code")
    return tuple(value for key in keys if isinstance(value := error.get(key), str) and value)


def _text(value: object) -> str:
    """Return a message as text: FastAPI's list of {"msg"} by its first, anything else as JSON."""
    if isinstance(value, dict):
        value = value.get("detail") or value.get("message") or value
    if isinstance(value, list) and value and isinstance(value[0], dict) and isinstance(value[0].get("msg"), str):
        value = value[0]["msg"]
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:  # it was decoded nearer to the stack's beginning than it is here
        return ""


def _clean(text: str, chars_max: int) -> str:
    """Return text in one line without control characters, cut to length."""
    printable = "".join(char if char.isprintable() else " " for char in text[: 4 * chars_max])
    return " ".join(printable.split())[:chars_max]


def _code(facts: _Facts) -> str | None:
    """Return the most exact code that the error names."""
    if facts.words:
        return _clean(facts.words[0], _CODE_CHARS_MAX)
    return None if facts.status is None else str(facts.status)[:_CODE_CHARS_MAX]


def _kind_of_words(facts: _Facts) -> FailureKind | None:
    """Return what the first known code means."""
    return next((kind for word in facts.words if (kind := _KIND_OF_CODE.get(word))), None)


def _kind_of_status(status: int) -> FailureKind:
    """Return what a status means: whatever is not the caller's to mend is the server's."""
    if status in _REDIRECT:
        return FailureKind.REDIRECT
    if status in _SUCCESS:
        return FailureKind.MALFORMED
    return _KIND_OF_STATUS.get(status, FailureKind.SERVER)
