"""`junctor audit`: the store of the settings opened for reading, beside a server or without one, and its books audited."""

import asyncio
from collections.abc import Callable

from junctor.adapters.system.ambient import SystemClock, SystemDice
from junctor.bootstrap.core import open_store
from junctor.bootstrap.problems import as_problem
from junctor.records.tables import CORE
from junctor.settings import Settings
from junctor.usecases.audit import Auditor, Finding


def run_audit(settings: Settings, account: str | None, tell: Callable[[Finding], None]) -> None:
    """Audit one account, or all for None, and tell of each.

    Raises Problem if the store cannot be opened, or its accounts not be listed.
    """
    asyncio.run(_audit(settings, account, tell))


async def _audit(settings: Settings, account: str | None, tell: Callable[[Finding], None]) -> None:
    with as_problem():
        store = open_store(settings, read_only=True)
    try:
        auditor = Auditor(store.table(CORE), SystemClock(), SystemDice())
        with as_problem():
            accounts = (account,) if account is not None else await auditor.accounts()
        for each in accounts:
            tell(await auditor.audit(each))
    finally:
        await store.close()
