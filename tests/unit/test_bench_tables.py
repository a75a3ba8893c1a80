"""The bench of the senders runs, and measures what it says."""

import pytest

from tests.bench import tables
from tests.support.tables import fake_credentials


async def test_every_operation_is_measured_by_both_senders(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bench that does not run would be found out on the day on which its figures are wanted."""
    fake_credentials(monkeypatch)
    monkeypatch.setattr(tables, "CALLS", {"signed": 16, "boto3": 16})
    monkeypatch.setattr(tables, "IN_FLIGHT", (1, 16))
    costs = await tables.measure(rounds=1)
    assert [(cost.in_flight, cost.operation) for cost in costs] == [
        (in_flight, operation) for in_flight in (1, 16) for operation in ("get", "put_new", "update", "transact")
    ]
    assert all(cost.signed_us > 0 and cost.boto3_us > 0 for cost in costs)
