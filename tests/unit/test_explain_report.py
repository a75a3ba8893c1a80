"""What Explain tells of an endpoint's health, from the plan to the words that a person reads."""

from typing import Any

import pytest

from junctor.cli.explain_report import HEADINGS, planned_cells, read_plan
from junctor.domain.health import Cause
from junctor.domain.routing import Candidate, Exclusion
from junctor.doors.codec.explain import explain_response
from junctor.usecases.explain import Explained, Explanation
from junctor.v1.router_service_pb2 import ExplainResponse
from tests.support.routes import CARD, endpoint, health

UNTIL_MS = 1_700_000_000_000
SAID_UNTIL = "22:13:20 UTC"


def told(*, measured: dict[str, Any] | None = None, chance: float = 0.99, **fields: Any) -> ExplainResponse:
    """Return what is told of one endpoint with this health, as it comes over the wire."""
    known = None if measured is None else health(chance, **measured)
    candidate = Candidate(endpoint("acme"), "CANARY_API_KEY", CARD, expected_nanousd=5_000, weight=0.25, health=known)
    explained = Explained(candidate=candidate, ceiling_nanousd=9_000, credential_count=3, **fields)
    made = explain_response(Explanation((explained,), (Exclusion(endpoint("other"), "ZDR"),)))
    return ExplainResponse.FromString(made.SerializeToString())


def cells(found: ExplainResponse) -> dict[str, str]:
    """Return the row that a person sees, by its heading."""
    (row,) = read_plan(found).candidates
    return dict(zip(HEADINGS, planned_cells(1, row), strict=True))


@pytest.mark.parametrize(
    ("measured", "fields", "word"),
    [
        (None, {}, "not measured"),
        ({}, {}, "sound, 99.0%"),
        ({"degraded": True}, {}, "degraded, 99.0%"),
        ({"ramp": 0.4}, {}, "coming back at 40%, 99.0%"),
        ({"full": True, "in_flight": 7}, {}, "sound, 99.0%, full with 7"),
        ({"open": True}, {}, "open"),
        ({"open": True, "cause": Cause.FAILURES, "open_until_ms": UNTIL_MS}, {}, f"open: failures until {SAID_UNTIL}"),
        ({"open": True, "cause": Cause.FLEET, "probe": True}, {}, "open: fleet, to be probed"),
        ({"open": True, "cause": Cause.MODEL_GONE}, {}, "open: model gone"),
        ({}, {"cooling_count": 2}, "sound, 99.0%, 2 of 3 credentials cooling"),
    ],
)
def test_health_is_told_in_words(measured: dict[str, Any] | None, fields: dict[str, Any], word: str) -> None:
    """Nobody could see why an endpoint is tried last, or until when."""
    assert cells(told(measured=measured, **fields))["health"] == word


def test_prices_and_times_are_told() -> None:
    """A caller could not see what a request costs where, or why the cheaper list comes second."""
    row = cells(told(measured={"time_to_first_token_ms": 249.6}, purchase_fee_ppm=55_000))
    expected = ("$0.000005 + 5.5 %", "$0.000009", "250 ms", "25.0%")
    assert (row["price expected"], row["at most"], row["first token"], row["weight"]) == expected
    assert cells(told())["price expected"] == "$0.000005"


def test_what_is_not_known_is_null_and_no_secret_is_named() -> None:
    """A script would take what nobody measured for a fast endpoint; or callers learn the names of secrets."""
    (row,) = read_plan(told()).candidates
    unknown = (row.success_probability, row.expected_time_to_first_token_ms, row.throughput_tokens_per_s, row.open_until_ms)
    assert unknown == (None, None, None, None)
    assert (row.open, row.open_cause, row.ramp, row.in_flight) == (False, "", None, 0)
    (whole,) = read_plan(told(measured={"throughput_tokens_per_s": 41.5, "in_flight": 2})).candidates
    assert (whole.throughput_tokens_per_s, whole.in_flight, whole.ramp, whole.success_probability) == (41.5, 2, 1.0, 0.99)
    assert "CANARY" not in str(told(measured={}))
    assert read_plan(told()).excluded[0].reason == "ZDR"
