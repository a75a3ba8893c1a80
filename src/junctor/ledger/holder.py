"""A lease that one instance holds: what of its amount is free, and the next free slot in it.

Money is reserved for a call before anything else is done for it, and without waiting; its slot is numbered when it is written.
A slot number may be sent only when every number up to `width` below it is acknowledged: whoever closes the lease seals the
first unused numbers and stops after `width` of them in a row, so a wider gap could hide a slot from him (ledger.md). Numbers
are handed out in order and never twice.

Invariant: what slots have cost and what is reserved are together never more than the lease's amount.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from junctor.domain.lease import Lease, Slot
from junctor.domain.money import NanoUsd
from junctor.ports.ambient import Clock
from junctor.records.ids import SLOT_NUMBER_MAX


class HeldLease:
    """A lease of this instance's, its money, and the window of its slots that are under way.

    `lease` is replaced when it grows. `spent_nanousd` is what its ended slots cost. `calls` counts those that have reserved and
    not yet ended. `certain` tells whether it is known how every slot of it ended; if not, only a look at all of them tells its
    total. `headroom_nanousd` is what the tightest of its windows had left a few seconds ago, None if nobody has looked yet.
    """

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.fenced = False
        self.certain = True
        self.spent_nanousd: NanoUsd = 0
        self.calls = 0
        self.headroom_nanousd: NanoUsd | None = None
        self._reserved_nanousd: NanoUsd = 0
        self._next = 0
        self._unacknowledged: dict[int, None] = {}
        self._waiting: deque[Callable[[], None]] = deque()
        self._promised = 0

    def usable(self, now_ms: int) -> bool:
        """Tell whether a new slot may be opened in it."""
        return not self.fenced and now_ms <= self.lease.until_ms and self._next <= SLOT_NUMBER_MAX

    def lose(self) -> None:
        """Count a call as ended of which it is not known whether its slot is there: its money stays set aside."""
        self.calls -= 1
        self.doubt()

    @property
    def free_nanousd(self) -> NanoUsd:
        """What may still be reserved."""
        return self.lease.amount_nanousd - self.spent_nanousd - self._reserved_nanousd

    @property
    def reserved_nanousd(self) -> NanoUsd:
        """What is set aside for the calls under way."""
        return self._reserved_nanousd

    @property
    def total_nanousd(self) -> NanoUsd | None:
        """What all its slots cost, if every one has ended as this instance knows, with no write to any under way; else None."""
        return self.spent_nanousd if self.certain and not self.calls and not self._unacknowledged else None

    def reserve(self, amount: NanoUsd) -> bool:
        """Set an amount aside for one more call, if there is so much."""
        if amount > self.lease.amount_nanousd - self.spent_nanousd - self._reserved_nanousd:
            return False
        self._reserved_nanousd += amount
        self.calls += 1
        return True

    def reserve_at_hand(self, amount: NanoUsd, now_ms: int) -> bool:
        """Do as `reserve`, if a new slot may be opened: as nearly every call begins."""
        lease = self.lease
        if self.fenced or now_ms > lease.until_ms or self._next > SLOT_NUMBER_MAX:
            return False
        if amount > lease.amount_nanousd - self.spent_nanousd - self._reserved_nanousd:
            return False
        self._reserved_nanousd += amount
        self.calls += 1
        return True

    def reserve_more(self, amount: NanoUsd) -> bool:
        """Set more aside for a call that has reserved, if there is so much."""
        if amount > self.free_nanousd:
            return False
        self._reserved_nanousd += amount
        return True

    def release(self, reserved: NanoUsd, cost: NanoUsd = 0) -> None:
        """Give back what a call has reserved, less what it cost; the call has ended."""
        self._reserved_nanousd -= reserved
        self.spent_nanousd += cost
        self.calls -= 1

    def release_part(self, reserved: NanoUsd) -> None:
        """Give back more that a call has reserved; the call goes on."""
        self._reserved_nanousd -= reserved

    def slot_at_hand(self, now_ms: int) -> Slot | None:
        """Hand out the next slot, if one may be opened and the window has room for it without waiting."""
        lease, number, on_their_way = self.lease, self._next, self._unacknowledged
        if self.fenced or now_ms > lease.until_ms or number > SLOT_NUMBER_MAX:
            return None
        oldest = next(iter(on_their_way)) if on_their_way else number
        if number - oldest + self._promised >= lease.width:
            return None
        self._next = number + 1
        on_their_way[number] = None
        return Slot(lease.account, lease.id, number)

    def wait(self, tell: Callable[[], None]) -> None:
        """Have it called, once and in turn, when a slot may be at hand, or none ever will be."""
        self._waiting.append(tell)

    async def take(self, clock: Clock) -> Slot | None:
        """Hand out the next slot once the window has room for it; None if the lease cannot be used any more."""
        while self.usable(now_ms := clock.now_ms()):
            slot = self.slot_at_hand(now_ms)
            if slot is not None:
                return slot
            await self._wait()
        self.fence()
        return None

    def acknowledge(self, slot: Slot) -> None:
        """Note that a slot is durable, whatever became of it."""
        self._unacknowledged.pop(slot.number, None)
        if self._waiting:
            self._wake()

    def fence(self) -> None:
        """Open no further slot in it, and let nobody wait for one."""
        self.fenced = True
        self._wake()

    def doubt(self) -> None:
        """Fence it, as somebody else closed it, or as the fate of one of its slots is not known."""
        self.certain = False
        self.fence()

    def _room(self) -> int:
        oldest = next(iter(self._unacknowledged), self._next)
        return self.lease.width - (self._next - oldest) - self._promised

    async def _wait(self) -> None:
        """Wait in the queue. A task goes on a little after it is told: until then its room is promised, and nobody else's."""
        future = asyncio.get_running_loop().create_future()

        def tell() -> None:
            if not future.done():
                future.set_result(None)
                self._promised += 1

        self.wait(tell)
        try:
            await future
        except asyncio.CancelledError:
            if tell in self._waiting:
                self._waiting.remove(tell)
                raise
            if not future.cancelled():
                self._promised -= 1
            self._wake()  # it was told, and tells the next one
            raise
        self._promised -= 1

    def _wake(self) -> None:
        room = len(self._waiting) if self.fenced else self._room()
        while self._waiting and room > 0:
            self._waiting.popleft()()
            room -= 1
