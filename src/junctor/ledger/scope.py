"""What one instance holds of one scope (an account under one set of limits): the lease that calls reserve from, and its size.

Calls that find room take it without waiting. The others stand in a queue that one task serves in order: it takes a lease, or
makes the one there is larger, in as few transactions as the account's money allows. A call is refused only on a fresh reading
of the account's money, and at once: it does not wait for calls under way to cost less than was set aside for them.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from junctor.domain.credits import Limit
from junctor.domain.errors import LedgerUnavailableError
from junctor.domain.lease import Lease, Leg
from junctor.domain.money import NanoUsd
from junctor.ledger import leasing, trying
from junctor.ledger.holder import HeldLease
from junctor.ledger.leasing import LeaseClosed, Leased, PurseShort, WindowShort
from junctor.ledger.sizing import Sizing
from junctor.ledger.standing import FRESH_S, Standing, Standings
from junctor.ledger.tools import Spawn, Terms, Tools
from junctor.policy.legs import LEGS_MAX, merge_legs
from junctor.ports.table import ConflictError, StoreError, UnknownOutcomeError
from junctor.records import ids, keys, leases, windows

LEASE_LIFE_MS = 300_000
TRIES, DOUBT_S = 12, 2.0
"""How many steps are taken towards room for one call, and for how long after one that met others or has no known fate."""
NEVER_MS = 2**63

T = TypeVar("T")


class Shortfall(Struct, frozen=True):
    """There is no room for a call: what may be had at most, and what is leased at present.

    `limit` is what is short of headroom, empty for want of credits.
    """

    available_nanousd: NanoUsd
    leased_nanousd: NanoUsd
    limit: str = ""


class World(Struct, frozen=True):
    """What scopes share.

    `retire` is given each lease that no call may reserve from any more, `ended` each in which a call has ended. `spawn` starts
    work that must outlive its caller.
    """

    tools: Tools
    terms: Terms
    standings: Standings
    owner: str
    retire: Callable[[HeldLease], None]
    ended: "Callable[[Scope, HeldLease], object]"
    spawn: Spawn


class _Waiting(Struct, frozen=True):
    """A call in the queue: it needs an amount, in `held` if that is given, which it has a part of, else anywhere.

    `unit` is what such a call takes at least.
    """

    amount: NanoUsd
    unit: NanoUsd
    held: HeldLease | None
    future: "asyncio.Future[HeldLease | Shortfall]"


class Scope:
    """The lease of one scope at this instance. `current` is the one to reserve from, None while there is none.

    `traffic` is how much the scope is used of late. `beyond_nanousd` is what whole answers under way have set aside beyond
    their holds: kept by who books. `limits` None: the scope of what costs nothing, whose leases have no amount and no window.
    """

    def __init__(self, world: World, account: str, limits: tuple[Limit, ...] | None) -> None:
        self._world = world
        self._tools = world.tools
        self._clock = world.tools.clock
        self._limits = limits
        self.account = account
        self.name = " ".join((account, *(limit.id for limit in limits or ())))
        self.current: HeldLease | None = None
        self.beyond_nanousd: NanoUsd = 0
        self._sizing = Sizing(world.tools.clock, world.tools.dice)
        self.traffic = self._sizing.traffic
        self._refused: tuple[Shortfall, NanoUsd, float] | None = None
        self._queue: deque[_Waiting] = deque()
        self._serving: asyncio.Task[None] | None = None

    @property
    def free_of_charge(self) -> bool:
        """Whether this is the scope of what costs nothing."""
        return self._limits is None

    @property
    def over(self) -> bool:
        """Whether there is a lease that has come to its end."""
        return self.current is not None and self._usable() is None

    @property
    def busy(self) -> bool:
        """Whether anyone waits."""
        return bool(self._queue)

    @property
    def keeps(self) -> bool:
        """Whether a lease is worth keeping that no call is under way in: not for a call now and then, nor if others want it."""
        return self.free_of_charge or self._sizing.keeps

    def bound_otherwise(self, standing: Standing) -> bool:
        """Tell whether the current lease is not under those of this scope's limits that are in force."""
        if self.current is None or self._limits is None:
            return False
        bound = {keys.limit_of_window(name) for name in self.current.lease.windows}
        return bound != {limit.id for limit in standing.in_force(self._limits)}

    def hoards(self, standing: Standing) -> bool:
        """Tell whether much more is free in the current lease than its calls need, while the account has little else."""
        if self.current is None or self._limits is None:
            return False
        return self._sizing.hoards(self.current, standing.available(self._clock.now_ms()))

    def spares(self, more: NanoUsd, left: NanoUsd, now_s: float) -> bool:
        """Tell whether so much more than its hold is to be set aside for a whole answer, of what is left beside the hold."""
        return self._limits is not None and self._sizing.spares(more, self.beyond_nanousd, left, now_s)

    def room_at_hand(self, amount: NanoUsd, now_ms: int, now_s: float) -> HeldLease | None:
        """Reserve an amount for a new call if there is room without waiting; now is so by both clocks."""
        current = self.current
        if current is None or self._queue or not current.reserve_at_hand(amount, now_ms):
            return None
        self.traffic.called(now_s)
        return current

    async def room(self, amount: NanoUsd, unit: NanoUsd) -> HeldLease | Shortfall:
        """Reserve an amount for a new call that takes a unit at least. Raises LedgerUnavailableError."""
        now_s = self._clock.monotonic_s()
        found = self.room_at_hand(amount, self._clock.now_ms(), now_s)
        if found is not None:
            return found
        self.traffic.called(now_s)
        return await self._wait(amount, unit, None)

    async def more_room(self, held: HeldLease, amount: NanoUsd) -> bool:
        """Reserve more for a call that has reserved in a lease. Raises LedgerUnavailableError."""
        if held.reserve_more(amount):
            return True
        if self.free_of_charge or not held.certain:
            return False
        return isinstance(await self._wait(amount, amount, held), HeldLease)

    def retire(self) -> None:
        """Let no call reserve from the current lease any more."""
        held, self.current = self.current, None
        if held is not None:
            self._world.retire(held)

    async def _wait(self, amount: NanoUsd, unit: NanoUsd, held: HeldLease | None) -> HeldLease | Shortfall:
        waiting = _Waiting(amount, unit, held, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._serving is None:
            self._serving = self._world.spawn(self._serve())
        try:
            return await waiting.future
        except asyncio.CancelledError:
            future = waiting.future
            if future.done() and not future.cancelled() and future.exception() is None:
                self._undo(waiting, future.result())
            raise

    def _undo(self, waiting: _Waiting, answer: HeldLease | Shortfall) -> None:
        """Give back what was found for a call that has left meanwhile."""
        if not isinstance(answer, HeldLease):
            return
        if waiting.held is not None:
            answer.release_part(waiting.amount)
            return
        answer.release(waiting.amount)
        self._world.ended(self, answer)

    async def _serve(self) -> None:
        try:
            while self._queue:
                waiting = self._queue[0]
                if not waiting.future.done():
                    await self._answer(waiting)
                self._queue.popleft()
        finally:
            self._serving = None
            while self._queue:  # a bug, or the end of the instance: nobody may wait for ever
                self._queue.popleft().future.cancel()
        held = self.current
        if held is not None and not held.calls:  # who waited was refused, or has left
            self._world.ended(self, held)

    async def _answer(self, waiting: _Waiting) -> None:
        try:
            answer = await self._room_for(waiting)
        except StoreError:
            for other in self._queue:  # else each of them would wait for as many tries, one after the other
                _tell(other, LedgerUnavailableError("The ledger cannot be written at present.", 1.0))
        except Exception as error:  # noqa: BLE001 - it is the answer of the call that waits, and must not be that of the others
            _tell(waiting, error)
        else:
            if waiting.future.done():
                self._undo(waiting, answer)
            else:
                waiting.future.set_result(answer)

    async def _room_for(self, waiting: _Waiting) -> HeldLease | Shortfall:
        give_up_at_s = self._clock.monotonic_s() + DOUBT_S
        for tried in range(TRIES):
            held = self._usable() if waiting.held is None else waiting.held
            if held is not None and not held.certain:
                return Shortfall(0, 0)  # a stream's lease, which somebody closed
            if held is not None and (
                held.reserve(waiting.amount) if waiting.held is None else held.reserve_more(waiting.amount)
            ):
                return held
            needed = waiting.amount - (held.free_nanousd if held else 0)
            shortfall = self._known_short(needed)
            if shortfall is None:
                try:
                    shortfall = await self._provide(waiting, modest=tried > 0)
                except (UnknownOutcomeError, ConflictError):  # what may be taken is in a lease being closed, or found next time
                    if self._clock.monotonic_s() > give_up_at_s:
                        raise
            if shortfall is not None:
                self._sizing.pinch()
                return shortfall
        raise LedgerUnavailableError("The organisation's credits are too contended at present.", 1.0)

    def _known_short(self, needed: NanoUsd) -> Shortfall | None:
        """Return the refusal of a moment ago of no more than this, so that a crowd is not refused by the store one by one."""
        if self._refused is None:
            return None
        shortfall, amount, at_s = self._refused
        return shortfall if needed >= amount and self._world.standings.refuses(self.account, at_s) else None

    def _usable(self) -> HeldLease | None:
        """Return the current lease if new calls may reserve from it."""
        current = self.current
        return current if current is not None and current.usable(self._clock.now_ms()) else None

    def _renewable(self) -> HeldLease | None:
        """Return a current lease that has come to its end, with nothing under way in it, for the next one to take over from."""
        old = self.current
        if old is None or old.fenced or old.total_nanousd is None:
            self.retire()
            return None
        self.current = None
        return old

    async def _provide(self, waiting: _Waiting, *, modest: bool) -> Shortfall | None:
        """Take one step towards room for a call, for no more than it needs if `modest`. Raises StoreError."""
        if self._limits is None:
            self.retire()
            lease = self._lease((), (), ())
            await self._taken(lease, None, trying.put_new(self._tools.table, self._tools.dice, leases.item(lease)))
            self.current = HeldLease(lease)
            return None
        standing = self._world.standings.known(self.account, FRESH_S) or await self._world.standings.read(self.account)
        growing = self._usable() if waiting.held is None else waiting.held
        if growing is not None:
            return await self._grow(growing, waiting, standing, modest=modest)
        return await self._acquire(waiting, standing, standing.in_force(self._limits), modest=modest)

    async def _grow(self, held: HeldLease, waiting: _Waiting, standing: Standing, *, modest: bool) -> Shortfall | None:
        needed = waiting.amount - held.free_nanousd
        if needed <= 0:
            return None  # other calls in it ended while the account was read
        now_ms, until_ms = self._clock.now_ms(), held.lease.until_ms
        lasting = [purse for purse in standing.usable(now_ms) if purse.expires_at_ms is None or until_ms <= purse.expires_at_ms]
        modest = modest or held is not self.current
        crowd = max(self._queued(), held.reserved_nanousd - self.beyond_nanousd // 2)  # hardly any answer needs what is beyond
        legs = self._sizing.legs(lasting, needed, waiting.unit, crowd=crowd, modest=modest)
        if legs is None or len(merge_legs(held.lease.legs, legs)) > LEGS_MAX:
            short = await self._short_of_credits(standing, needed, held)
            if short is None and waiting.held is None:
                self.retire()  # there is enough, but not for this lease: in grants that lapse before it ends, or in many purses
            return short or (None if waiting.held is None else Shortfall(0, 0))
        answer = await leasing.grow(self._tools.table, self._tools.dice, held.lease, legs)
        if isinstance(answer, Leased):
            held.lease = answer.lease
            self._world.standings.took(self.account, legs)
            return None
        if isinstance(answer, LeaseClosed):
            held.doubt()
            return None
        return await self._short(answer, needed, held)

    async def _acquire(
        self, waiting: _Waiting, standing: Standing, limits: Sequence[Limit], *, modest: bool
    ) -> Shortfall | None:
        table, dice, now_ms, amount = self._tools.table, self._tools.dice, self._clock.now_ms(), waiting.amount
        purses, old = standing.usable(now_ms), self._renewable()
        legs = self._sizing.legs(purses, amount, waiting.unit, crowd=self._queued(), modest=modest)
        if legs is None:
            if old is not None:
                self._world.retire(old)
            short = await self._short_of_credits(standing, amount, None)
            # There is enough, but in more purses than a lease has: what such a call takes at least may be there.
            return short or (Shortfall(0, 0) if amount > waiting.unit else None)
        periods = [windows.period(limit.interval, now_ms).end_ms for limit in limits]
        taken = {leg.purse for leg in legs}
        ends = [*periods, *(purse.expires_at_ms for purse in purses if purse.id in taken)]
        lease = self._lease(legs, tuple(windows.name(limit, now_ms) for limit in limits), ends)
        if old is None:
            answer = await self._taken(lease, None, leasing.acquire(table, dice, lease))
        else:
            answer = await self._taken(lease, old, leasing.renew(table, dice, old.lease, old.spent_nanousd, lease))
        if isinstance(answer, Leased):
            self.current = HeldLease(answer.lease)
            self._world.standings.took(self.account, answer.lease.legs)
            return None
        if old is not None:
            self._world.retire(old)
        return await self._short(answer, amount, None) if isinstance(answer, PurseShort | WindowShort) else None

    async def _taken(self, lease: Lease, old: HeldLease | None, taking: Coroutine[Any, Any, T]) -> T:
        """Take a lease; where it is not known whether it is there, with money, it is closed, and the one before it too."""
        try:
            return await taking
        except BaseException:
            doubtful = HeldLease(lease)
            doubtful.doubt()
            self._world.retire(doubtful)
            if old is not None:
                self._world.retire(old)
            raise

    async def _short(self, answer: PurseShort | WindowShort, needed: NanoUsd, held: HeldLease | None) -> Shortfall | None:
        """Judge a refusal; None if there is enough, and it is worth another try. Raises StoreError."""
        if isinstance(answer, PurseShort):
            return await self._short_of_credits(await self._world.standings.read(self.account), needed, held)
        window = answer.found
        if window is None:  # its limit was removed meanwhile
            await self._world.standings.read(self.account)
            return None
        self._sizing.pinch()
        if window.headroom_nanousd >= needed:
            return None
        free = held.free_nanousd if held else 0
        available, limit = max(window.headroom_nanousd, 0) + free, keys.limit_of_window(window.key)
        return self._refuse(Shortfall(available, window.leased_nanousd, limit), needed)

    async def _short_of_credits(self, standing: Standing, needed: NanoUsd, held: HeldLease | None) -> Shortfall | None:
        """Tell whether an account really has too little, by a fresh reading. Raises StoreError."""
        if not self._world.standings.refuses(self.account, standing.read_at_s):
            standing = await self._world.standings.read(self.account)
        available = standing.available(self._clock.now_ms())
        if available >= needed:
            return None
        return self._refuse(Shortfall(available + (held.free_nanousd if held else 0), standing.leased()), needed)

    def _refuse(self, shortfall: Shortfall, needed: NanoUsd) -> Shortfall:
        self._refused = shortfall, needed, self._clock.monotonic_s()
        return shortfall

    def _queued(self) -> NanoUsd:
        return sum(waiting.amount for waiting in self._queue if waiting.held is None)

    def _lease(self, legs: tuple[Leg, ...], names: tuple[str, ...], ends_ms: Iterable[int | None]) -> Lease:
        world = self._world
        until_ms = min((end for end in ends_ms if end is not None), default=NEVER_MS)
        until_ms = min(until_ms, self._clock.now_ms() + LEASE_LIFE_MS)
        return Lease(
            id=ids.fresh(self._clock, self._tools.dice),
            account=self.account,
            scope=self.name,
            owner=world.owner,
            until_ms=until_ms,
            exp_ms=until_ms + world.terms.exp_after_ms,
            width=world.terms.width,
            amount_nanousd=sum(leg.amount_nanousd for leg in legs),
            legs=legs,
            windows=names,
        )


def _tell(waiting: _Waiting, error: Exception) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)
