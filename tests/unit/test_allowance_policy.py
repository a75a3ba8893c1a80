"""The sums that shares are measured by, and the refusal as a caller gets it."""

import pytest
from google.rpc import error_details_pb2

from junctor.domain.errors import RateLimitedError
from junctor.domain.rates import Need, RateLimit
from junctor.doors import status
from junctor.doors.rpc.details import rich_status
from junctor.policy import rates


@pytest.mark.parametrize(
    ("missing", "left", "pace", "last", "expected"),
    [
        (1, 1000, (0, 60.0), 0, 1),
        (1, 1000, (10, 1.0), 10, 10),
        (1, 1000, (10, 0.5), 10, 20),
        (1, 1000, (10, 0.01), 10, 20),
        (1, 1000, (10, 0.0), 10, 20),
        (1, 1000, (10, 20.0), 10, 1),
        (1, 40, (10, 0.5), 10, 10),
        (1, 3, (10, 0.5), 10, 1),
        (50, 60, (10, 1.0), 10, 50),
        (50, 20, (10, 1.0), 10, 20),
        (50, 0, (10, 1.0), 10, 0),
    ],
)
def test_a_share_is_a_second_of_use(missing: int, left: int, pace: tuple[int, float], last: int, expected: int) -> None:
    """Shares would run away after one burst, strand what is scarce, or be one call each for ever."""
    assert rates.share_size(missing, left, pace, last) == expected


@pytest.mark.parametrize(
    ("limit", "others", "in_use", "wanted", "expected"),
    [
        (1, 0, 0, 1, 1),
        (1, 1, 0, 1, 0),
        (3, 0, 1, 2, 2),
        (100, 0, 0, 1, 2),
        (100, 0, 10, 10, 20),
        (100, 70, 10, 10, 15),
        (100, 95, 0, 10, 5),
        (5, 0, 8, 8, 8),
        (5, 9, 0, 1, 0),
        (8, 0, 0, 0, 1),
    ],
)
def test_a_claim_fits_beside_the_others(limit: int, others: int, in_use: int, wanted: int, expected: int) -> None:
    """Claims would pass the limit, or hide calls that are under way."""
    size = rates.claim_size(limit, others, in_use, wanted, busy=True)
    assert size == max(expected, 0)
    assert not rates.surplus(limit, others, size, wanted)


def test_the_next_minute_is_at_most_a_minute_away() -> None:
    """A caller would come back too early, or wait for two."""
    assert rates.rest_of_minute_s(120_000) == 60
    assert rates.rest_of_minute_s(179_999) == 0.001
    assert (rates.minute(119_999), rates.minute(120_000)) == (1, 2)


def test_a_refusal_travels_with_the_key_and_the_limit() -> None:
    """A caller's library would not know whom the quota belongs to, nor when to come back."""
    written = rich_status(RateLimitedError("K1", Need(RateLimit.REQUESTS_PER_MIN, 1, 60), 2.5))
    assert written.code == status.RESOURCE_EXHAUSTED
    info, quota, retry = error_details_pb2.ErrorInfo(), error_details_pb2.QuotaFailure(), error_details_pb2.RetryInfo()
    for packed, detail in zip(written.details, (info, quota, retry), strict=True):
        assert packed.Unpack(detail)
    assert info.reason == "RATE_LIMITED"
    assert [(one.subject, one.description) for one in quota.violations] == [
        ("api_key:K1", "The API key's limit of 60 requests per minute is reached.")
    ]
    assert retry.retry_delay.ToMilliseconds() == 2500
