"""What errors of providers mean, and when they may be asked again."""

import json

import pytest

from junctor.adapters.providers.dialects.openai_chat import OpenAIChat
from junctor.domain.routing import Failure, FailureKind

DATE = "Tue, 03 Nov 2026 10:00:00 GMT"
DATE_EPOCH_S = 1_793_700_000


def refusal(status: int, body: object = None, **headers: str) -> Failure:
    """Read an error; underscores in header names stand for hyphens."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return OpenAIChat().refusal(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (204, FailureKind.MALFORMED),
        (302, FailureKind.REDIRECT),
        (400, FailureKind.REQUEST),
        (401, FailureKind.CREDENTIAL),
        (402, FailureKind.CREDENTIAL),
        (403, FailureKind.CREDENTIAL),
        (404, FailureKind.MODEL_GONE),
        (405, FailureKind.SERVER),
        (408, FailureKind.SERVER),
        (409, FailureKind.SERVER),
        (410, FailureKind.MODEL_GONE),
        (413, FailureKind.REQUEST),
        (422, FailureKind.REQUEST),
        (429, FailureKind.THROTTLED),
        (500, FailureKind.SERVER),
        (503, FailureKind.SERVER),
        (529, FailureKind.SERVER),
    ],
)
def test_kind_by_status(status: int, kind: FailureKind) -> None:
    """A fallback would be tried where it cannot help, or not where it can."""
    assert refusal(status, b"") == Failure(kind=kind, http_status=status)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"code": "context_length_exceeded"}, FailureKind.CONTEXT_LENGTH),
        (400, {"code": 400, "type": "exceed_context_size_error"}, FailureKind.CONTEXT_LENGTH),
        (400, {"code": 400, "metadata": {"error_type": "context_length_exceeded"}}, FailureKind.CONTEXT_LENGTH),
        (400, {"code": "content_policy_violation"}, FailureKind.CONTENT_POLICY),
        (400, {"code": "content_filter"}, FailureKind.CONTENT_POLICY),
        (403, {"code": 403, "metadata": {"reasons": ["x"], "flagged_input": "y"}}, FailureKind.CONTENT_POLICY),
        (403, {"code": "forbidden"}, FailureKind.CREDENTIAL),
        (429, {"code": "insufficient_quota", "type": "insufficient_quota"}, FailureKind.CREDENTIAL),
        (413, {"code": "rate_limit_exceeded", "type": "tokens"}, FailureKind.THROTTLED),
        (400, {"code": "model_decommissioned"}, FailureKind.MODEL_GONE),
        (400, {"code": "tool_use_failed"}, FailureKind.REQUEST),
        (500, {"code": "unheard_of"}, FailureKind.SERVER),
    ],
)
def test_kind_by_code(status: int, error: object, kind: FailureKind) -> None:
    """An exact code would be ignored for a vague status."""
    assert refusal(status, {"error": error}).kind is kind


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ({"error": {"message": "m", "code": "c", "type": "t"}}, "m", "c"),
        ({"error": {"message": "m", "code": None, "type": "t"}}, "m", "t"),
        ({"error": {"message": "m", "code": 1301}}, "m", "1301"),
        ({"error": "m"}, "m", None),
        ({"message": "Unauthorized", "request_id": "r"}, "Unauthorized", None),
        ({"object": "error", "message": {"detail": [{"loc": ["a"], "msg": "m"}]}, "type": "t"}, "m", "t"),
        ({"detail": "m"}, "m", None),
        ({"detail": [{"loc": ["a"], "msg": "m", "type": "x"}]}, "m", None),
        ([{"error": {"message": "m", "code": 400}}], "m", "400"),
        ({"error": {"code": 400, "message": "a", "metadata": {"raw": "b", "provider_name": "P"}}}, "a: b", "400"),
        ({"error": {}}, "", None),
        (b"upstream\r\n\x00\x1b[31mdown\xff", "upstream [31mdown\ufffd", None),
        (b'{"error": {"message": "cut', '{"error": {"message": "cut', None),
        (b"", "", None),
        ([], "[]", None),
        (7, "7", None),
    ],
)
def test_every_shape_of_an_error(body: object, message: str, code: str | None) -> None:
    """The one sentence that helps the caller would be lost."""
    failure = refusal(400, body)
    assert (failure.message, failure.code) == (message, code)


def test_messages_are_cut_and_clean() -> None:
    """A provider's page of text, or its control characters, would reach logs and terminals."""
    failure = refusal(400, {"error": {"message": "é\n\u202e" * 5000, "code": "c" * 5000}})
    assert len(failure.message) == 500
    assert failure.message.isprintable()
    assert failure.code is not None
    assert len(failure.code) == 100
    assert len(refusal(502, b"\xff" * 100_000).message) == 500
    assert refusal(500, b"[" * 100_000).kind is FailureKind.SERVER


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after_ms": "1500", "retry_after": "9"}, 1.5),
        ({"retry_after": " 9 ", "x_ratelimit_reset_requests": "1s"}, 9.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "Tue, 03 Nov 2026 10:00:07 GMT", "date": DATE}, 7.0),
        ({"retry_after": "Tue, 03 Nov 2026 09:00:00 GMT", "date": DATE}, 0.0),
        ({"retry_after": "Tue, 03 Nov 2026 10:00:07 GMT"}, None),
        ({"x_ratelimit_reset_requests": "1m2.3s"}, 62.3),
        ({"x_ratelimit_reset_tokens": "20ms"}, 0.02),
        ({"x_ratelimit_reset": "12"}, 12.0),
        ({"x_ratelimit_reset": str(DATE_EPOCH_S + 5), "date": DATE}, 5.0),
        ({"x_ratelimit_reset": str((DATE_EPOCH_S + 5) * 1000), "date": DATE}, 5.0),
        ({"x_ratelimit_reset": str(DATE_EPOCH_S + 5)}, None),
        ({"x_ratelimit_reset_tokens": "2026-11-03T10:00:03Z", "date": DATE}, 3.0),
        ({"x_ratelimit_reset_tokens": "2026-11-03T10:00:03", "date": DATE}, 3.0),
        ({"x_ratelimit_reset_requests": "8m", "x_ratelimit_reset_tokens": "3s"}, 3.0),
        ({"x_ratelimit_reset_requests": "8m", "x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_tokens": "3s"}, 480.0),
        ({"retry_after": "-1"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "9" * 400}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "Tue, 0222222222222222222223 Nov 026 10:00:07 GMT", "date": DATE}, None),
        ({"x_ratelimit_reset": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_hints_of_headers(headers: dict[str, str], seconds: float | None) -> None:
    """A throttled host would be asked again too early, or left alone for hours."""
    assert refusal(429, **headers).retry_after_s == (None if seconds is None else pytest.approx(seconds))


def test_retry_hint_of_the_text() -> None:
    """Groq says when to come back in its text alone."""
    text = {"error": {"message": "Rate limit reached. Please try again in 5.289s. Visit us", "code": "rate_limit_exceeded"}}
    assert refusal(429, text).retry_after_s == pytest.approx(5.289)
    assert refusal(429, {"error": {"message": "Please try again in 1m2.5s."}}).retry_after_s == pytest.approx(62.5)
    assert refusal(429, text, retry_after="2").retry_after_s == pytest.approx(2.0)


def test_only_throttling_reads_vague_hints() -> None:
    """Limits that stand in every answer would pass for a wish to be left alone."""
    assert refusal(500, {"error": {"message": "try again in 5s"}}, x_ratelimit_reset="7").retry_after_s is None
    assert refusal(503, None, retry_after="7").retry_after_s == pytest.approx(7.0)
