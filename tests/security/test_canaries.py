"""No secret leaves by an error or a log; `python -m tests.security.canaries` plants 10,000 where this plants a thousand."""

from pathlib import Path

import pytest

from junctor.adapters.providers.auth import Authorization
from tests.security.canaries import hunt

PLANTED = 1_000
ENDINGS = {
    *("ABORTED STREAM_INTERRUPTED", "ALREADY_EXISTS REQUEST_COMPLETED", "CANCELLED", "DEADLINE_EXCEEDED DEADLINE_EXCEEDED"),
    *("FAILED_PRECONDITION INSUFFICIENT_CREDITS", "FAILED_PRECONDITION NO_ELIGIBLE_ENDPOINT", "INTERNAL INTERNAL"),
    *("INVALID_ARGUMENT CONTENT_POLICY", "INVALID_ARGUMENT CONTEXT_LENGTH_EXCEEDED", "INVALID_ARGUMENT INVALID_FIELD"),
    *("INVALID_ARGUMENT REQUEST_ID_REUSED", "NOT_FOUND MODEL_NOT_FOUND", "PERMISSION_DENIED SCOPE_MISSING"),
    *("UNAUTHENTICATED API_KEY_INVALID", "UNAVAILABLE LEDGER_UNAVAILABLE", "UNAVAILABLE UPSTREAM_CAPACITY"),
    *("UNAVAILABLE UPSTREAM_UNAVAILABLE", "UNIMPLEMENTED UNIMPLEMENTED"),
}


async def test_no_canary_comes_out(tmp_path: Path) -> None:
    """Else a provider's key, or a caller's prompt, lies in a log that many read, or in another's error."""
    found = await hunt(tmp_path, PLANTED)
    assert found.leaks == []
    assert found.planted >= PLANTED
    # Else most of the paths ended at the same door, and nothing was tried behind it.
    assert found.endings.keys() >= ENDINGS


async def test_a_leak_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the hunt is blind, and says so to nobody."""
    monkeypatch.setattr(Authorization, "scrub", lambda _, failure: failure)
    assert (await hunt(tmp_path, 1)).leaks
