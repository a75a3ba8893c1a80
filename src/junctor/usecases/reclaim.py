"""Leases whose owner did not close them, closed for him: by every instance, each minute, as it is safe anywhere and twice.

A lease that a killed instance leaves OPEN keeps what it holds until then. Its OPEN slots were never answered, and cost nothing.
"""

import asyncio

from junctor.ledger.reclaim import Reclaimed, reclaim
from junctor.ports.ambient import Clock, Dice
from junctor.ports.table import Table
from junctor.ports.telemetry import Counter, Telemetry

EVERY_S = 60.0
JITTER = 0.2


class Reclaimer:
    """Looks for overdue leases. What a run could not do is for the next one."""

    def __init__(self, table: Table, clock: Clock, dice: Dice, telemetry: Telemetry) -> None:
        self._table = table
        self._clock = clock
        self._dice = dice
        self._telemetry = telemetry

    async def once(self) -> Reclaimed:
        """Close every lease that is overdue now, and tell of it."""
        done = await reclaim(self._table, self._dice, self._clock.now_ms())
        if done.closed:
            self._telemetry.count(Counter.LEASE_RECLAIMED, len(done.closed))
            self._telemetry.event("leases reclaimed", {"number": len(done.closed)})
        if done.failed:
            self._telemetry.count(Counter.RECLAIM_FAILED, done.failed)
        for account, lease in done.broken:
            self._telemetry.count(Counter.LEASE_BROKEN)
            self._telemetry.event("lease broken", {"account": account, "lease": lease})
        return done

    async def forever(self) -> None:
        """Run once a minute, give or take a fifth, so that instances do not march in step. A bug ends one run, not all."""
        while True:
            await asyncio.sleep(EVERY_S * (1 + JITTER * (2 * self._dice.uniform() - 1)))
            try:
                await self.once()
            except Exception as error:  # noqa: BLE001 - told to the log; the next run may do better
                self._telemetry.count(Counter.INCIDENT)
                self._telemetry.incident("reclaimer", error)
