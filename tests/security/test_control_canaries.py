"""No secret of managers leaves by an error or a log; `python -m tests.security.control_canaries` plants five times as many."""

from collections.abc import Callable
from pathlib import Path

import pytest

from junctor.usecases.trail import Trail
from tests.security.control_canaries import ASKED, hunt

PLANTED = 1_000
OF_EACH = ("INTERNAL INTERNAL", "UNAVAILABLE LEDGER_UNAVAILABLE", "DEADLINE_EXCEEDED DEADLINE_EXCEEDED")
"""What each method ends with where our code fails, the store does not answer, or it is stuck."""
CHANGING = frozenset(name for name in ASKED if not name.startswith(("Get", "List")))
OVER_OTHERS = frozenset(
    {
        *("UpdateOrganisation", "UpdateMember", "UpdateWorkspace", "UpdateApiKey", "RotateApiKey"),
        *("SetPriceOverride", "DeletePriceOverride", "SetDiscount", "DeleteDiscount"),
        *("SetPrivateEndpoint", "DeletePrivateEndpoint"),
    }
)
"""The methods that change what others may change at the same time."""
ENDINGS = {
    *("ABORTED CHANGED_MEANWHILE", "ALREADY_EXISTS RESOURCE_EXISTS", "FAILED_PRECONDITION BOOKING_REFUSED"),
    *("INVALID_ARGUMENT INVALID_FIELD", "NOT_FOUND RESOURCE_NOT_FOUND", "PERMISSION_DENIED SCOPE_MISSING"),
    *("UNAUTHENTICATED API_KEY_INVALID", "UNAVAILABLE OUTCOME_UNKNOWN", "OK", *OF_EACH),
}


async def test_no_canary_comes_out(tmp_path: Path) -> None:
    """Else a customer's name, a payment or a whole API key lies in a log that many read, or in another's error."""
    found = await hunt(tmp_path, PLANTED)
    assert found.leaks == []
    assert found.planted >= PLANTED
    # Else a path ended at another door than the one that was meant, and nothing was tried behind it.
    ended = {how: {method for method, ending in found.endings if ending == how} for _, how in found.endings}
    assert ended.keys() == ENDINGS
    for how in OF_EACH:
        assert ended[how] == {*ASKED}
    assert ended["UNAVAILABLE OUTCOME_UNKNOWN"] == CHANGING
    assert ended["ABORTED CHANGED_MEANWHILE"] == OVER_OTHERS
    assert ended["PERMISSION_DENIED SCOPE_MISSING"] == ended["UNAUTHENTICATED API_KEY_INVALID"] == {*ASKED}
    assert ended["INVALID_ARGUMENT INVALID_FIELD"] == {*ASKED} - {"ListCatalogRecords"}


def _to_the_caller(_: Trail, error: BaseException) -> str:
    return str(error)


def _to_the_log(trail: Trail, error: BaseException) -> str:
    trail._services.telemetry.event(str(error), {})
    return ""


@pytest.mark.parametrize(("leak", "told"), [(_to_the_caller, "INTERNAL INTERNAL:"), (_to_the_log, "log:")])
async def test_a_leak_would_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leak: Callable[[Trail, BaseException], str], told: str
) -> None:
    """Else the hunt is blind, and says so to nobody."""
    monkeypatch.setattr(Trail, "incident", leak)
    assert any(told in found for found in (await hunt(tmp_path, 1)).leaks)
