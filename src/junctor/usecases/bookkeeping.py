"""The books kept in every account, by every instance, as it is safe anywhere and twice.

Recurring grants are paid, also where no call asks for them; grants whose time is up expire, and what a purse owes is collected
of money that came back from leases since; and the leases of past months are summed into statements.
"""

import asyncio

from msgspec import Struct

from junctor.ledger import grants, trying
from junctor.ledger.credits import tend
from junctor.ledger.listing import read_accounts
from junctor.ledger.statements import summarise
from junctor.ports.ambient import Clock, Dice
from junctor.ports.table import StoreError, Table
from junctor.ports.telemetry import Counter, Telemetry
from junctor.records import accounts, keys

EVERY_S = 3600.0
JITTER = 0.2


class Kept(Struct, frozen=True):
    """What one run did.

    `failed` counts accounts that the store did not let it finish, which are for the next run. `broken` are leases (account, id)
    that cannot be summed because their books are wrong, the id empty where a statement itself is; they are for people.
    """

    leases: int = 0
    failed: int = 0
    broken: tuple[tuple[str, str], ...] = ()


class Bookkeeper:
    """Sums what is due. What a run could not do is for the next one."""

    def __init__(self, table: Table, clock: Clock, dice: Dice, telemetry: Telemetry) -> None:
        self._table = table
        self._clock = clock
        self._dice = dice
        self._telemetry = telemetry

    async def once(self) -> Kept:
        """Sum the leases of all accounts, and tell of it. Raises StoreError if the accounts cannot be listed."""
        summed = failed = 0
        broken: list[tuple[str, str]] = []
        async for account in read_accounts(self._table, self._dice):
            try:
                await self._tend(account)
                done = await summarise(self._table, self._dice, account, self._clock.now_ms())
            except StoreError:
                failed += 1
            except ValueError:
                broken.append((account, ""))
            else:
                summed += done.leases
                broken += [(account, lease) for lease in done.broken]
        self._tell(summed, failed, broken)
        return Kept(summed, failed, tuple(broken))

    async def forever(self) -> None:
        """Run once an hour, give or take a fifth, so that instances do not march in step. A bug ends one run, not all."""
        while True:
            await asyncio.sleep(EVERY_S * (1 + JITTER * (2 * self._dice.uniform() - 1)))
            try:
                with trying.unhurried():
                    await self.once()
            except StoreError:
                self._telemetry.event("bookkeeping failed", {})
            except Exception as error:  # noqa: BLE001 - told to the log; the next run may do better
                self._telemetry.count(Counter.INCIDENT)
                self._telemetry.incident("bookkeeper", error)

    async def _tend(self, account: str) -> None:
        """Pay what an account is due by itself, and bring its purses in order, also where no call asks. Raises StoreError."""
        now_ms = self._clock.now_ms()
        found = await trying.get(self._table, self._dice, keys.account(account))
        if found is not None:
            await grants.ensure(self._table, self._dice, accounts.account_of(found), now_ms)
        await tend(self._table, self._dice, account, now_ms)

    def _tell(self, summed: int, failed: int, broken: list[tuple[str, str]]) -> None:
        if summed:
            self._telemetry.event("leases summed", {"number": summed})
        if failed:
            self._telemetry.event("bookkeeping failed", {"accounts": failed})
        for account, lease in broken:
            self._telemetry.count(Counter.LEASE_BROKEN)
            self._telemetry.event("lease broken", {"account": account, "lease": lease})
