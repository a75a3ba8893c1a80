"""The audit over items that a test has in hand, and the passing of a month and of what expired."""

from collections.abc import Sequence

from junctor.adapters.tables.simulated import SimulatedStore
from junctor.ledger.auditing.audit import audit
from junctor.ledger.auditing.findings import Audited
from junctor.ports.table import Item, Key
from junctor.records.tables import CORE
from tests.support.bank import ACCOUNT, NOW_MS
from tests.support.virtual_loop import run_virtual
from tests.support.world import SeededDice

DAY_MS = 24 * 3600 * 1000
NEXT_MONTH_MS = NOW_MS + 40 * DAY_MS
"""When the month of NOW_MS is over, and its margin."""


async def audited_here(items: Sequence[Item], account: str = ACCOUNT, now_ms: int = NOW_MS) -> Audited:
    """Audit a copy of these items, on the running loop."""
    store = SimulatedStore()
    await store.create([CORE])
    for item in items:
        store.put(CORE, Key(str(item["pk"]), str(item["sk"])), item)
    return await audit(store.table(CORE), SeededDice(), account, now_ms)


def audited(items: Sequence[Item], account: str = ACCOUNT, now_ms: int = NOW_MS) -> Audited:
    """Audit these items."""
    return run_virtual(audited_here(items, account, now_ms))


def told(found: Audited) -> list[str]:
    """Return the differences as lines."""
    return [f"{one.invariant} {one.where}: {one.text}" for one in found.differences]
