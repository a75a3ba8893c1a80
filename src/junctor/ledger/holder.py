"""What one instance holds: for each scope a lease, and the next free slot in it.

A slot number may be sent only when every number up to `width` below it is acknowledged: whoever closes the lease seals the
first unused numbers and stops after `width` of them in a row, so a wider gap could hide a slot from him (ledger.md). Numbers
are handed out in order and never twice.
"""

import asyncio
from collections import deque

from junctor.domain.lease import Lease, Slot
from junctor.ports.ambient import Clock
from junctor.records.ids import SLOT_NUMBER_MAX


class HeldLease:
    """A lease of this instance's and the window of its slots that are under way."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.fenced = False
        self._next = 0
        self._unacknowledged: dict[int, None] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()

    def usable(self, now_ms: int) -> bool:
        """Tell whether a new slot may be opened in it."""
        return not self.fenced and now_ms <= self.lease.until_ms and self._next <= SLOT_NUMBER_MAX

    @property
    def quiet(self) -> bool:
        """Whether it is known how each of its slots that was opened is: none is on its way, and nobody else closed it."""
        return not self.fenced and not self._unacknowledged

    async def take(self, clock: Clock) -> Slot | None:
        """Hand out the next slot once the window has room for it; None if the lease cannot be used any more."""
        while self.usable(clock.now_ms()):
            if self._room() > 0:
                number, self._next = self._next, self._next + 1
                self._unacknowledged[number] = None
                return Slot(self.lease.account, self.lease.id, number)
            await self._wait()
        self.fence()
        return None

    def acknowledge(self, slot: Slot) -> None:
        """Note that a slot is durable, whatever became of it."""
        self._unacknowledged.pop(slot.number, None)
        self._wake()

    def fence(self) -> None:
        """Open no further slot in it, and let nobody wait for one.

        Somebody closed it, the fate of one of its numbers is not known, or its time or its numbers are used up.
        """
        self.fenced = True
        self._wake()

    def _room(self) -> int:
        oldest = next(iter(self._unacknowledged), self._next)
        return self.lease.width - (self._next - oldest)

    async def _wait(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            self._wake()
            raise

    def _wake(self) -> None:
        room = len(self._waiting) if self.fenced else self._room()
        while self._waiting and room > 0:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                room -= 1
