"""Statements and the audit on the embedded store and by DynamoDB's expressions: not only where they are simulated."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from moto import mock_aws

from junctor.adapters.tables.sqlite import SqliteStore
from junctor.domain.credits import Interval, Limit
from junctor.ledger import closing
from junctor.ledger.auditing.audit import audit
from junctor.ledger.statements import Summed, summarise
from junctor.ports.table import Add, Store
from junctor.records import keys
from tests.support.auditing import NEXT_MONTH_MS, told
from tests.support.bank import ACCOUNT, NOW_MS, Bank
from tests.support.tables import fake_credentials, moto_store

LEASES = 5
LIMITS = [Limit(account=ACCOUNT, id=f"key-{number}", limit_nanousd=500, interval=Interval.DAY) for number in range(8)]


@pytest.fixture(params=["sqlite", "moto"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """Return each store in turn."""
    if request.param == "sqlite":
        store: Store = SqliteStore(tmp_path / "store.sqlite3")
        yield store
        await store.close()
        return
    fake_credentials(monkeypatch)
    with mock_aws():
        store = moto_store()
        yield store
        await store.close()


async def test_a_month_is_summed_and_audited(opened: Store) -> None:
    """On a real store no month would ever be summed, or no books be called right, or wrong."""
    bank = await Bank(opened).open()
    await bank.credit(10_000)
    for limit in LIMITS:
        await bank.limited(limit)
    for number in range(LEASES):
        lease = await bank.leased(20, *LIMITS, number=number)
        await bank.spent(lease, 0, 7)
        await closing.close(bank.table, bank.dice, lease, NOW_MS, total=7)
    await bank.leased(20, *LIMITS, number=LEASES)
    assert await summarise(bank.table, bank.dice, ACCOUNT, NEXT_MONTH_MS) == Summed(leases=LEASES)
    assert await summarise(bank.table, bank.dice, ACCOUNT, NEXT_MONTH_MS) == Summed()
    found = await audit(bank.table, bank.dice, ACCOUNT, NEXT_MONTH_MS)
    assert (told(found), found.moving) == ([], ())
    assert found.items["statements"] == 1
    assert (found.balance.spent_nanousd, found.balance.leased_nanousd) == (7 * LEASES, 20)
    await bank.table.update(keys.purse(ACCOUNT, "main"), (), (Add("spent_nanousd", 1), Add("avail_nanousd", -1)))
    found = await audit(bank.table, bank.dice, ACCOUNT, NEXT_MONTH_MS)
    assert [one.invariant for one in found.differences] == ["I12"]
