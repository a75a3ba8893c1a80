"""What an instance believes of an account's money: its purses and its limits, as they were read a few seconds ago.

It decides how much to lease and under which limits, never whether money is there: that is for the store to say in the
transaction itself. So a belief may be old by seconds; one that would refuse a call is read anew first.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec
from msgspec import Struct

from junctor.domain.account import Account, Caller
from junctor.domain.credits import Interval, Limit, LimitSubject, Purse, Window
from junctor.domain.lease import Leg
from junctor.domain.money import NanoUsd
from junctor.ledger import trying
from junctor.ledger.credits import read_purses
from junctor.ledger.tools import Spawn, Tools
from junctor.policy.legs import has_lapsed, is_usable
from junctor.records import accounts, keys, windows

FRESH_S, STALE_S = 5.0, 10.0
"""From which age a belief is read anew beside the calls, and from which age before them."""
REFUSAL_FRESH_S = 0.25
"""How old what is known may be, by which a call is refused."""
ENTRIES_MAX = 20_000

_BREADTH = {Interval.ALL: 0, Interval.MONTH: 1, Interval.WEEK: 2, Interval.DAY: 3}


class Standing(Struct, frozen=True):
    """An account as it was read at `read_at_s` of the monotonic clock. `account` is None if nobody made it.

    `limits` are by what they are of: kind and id. `lasting_nanousd` is what may be leased of purses that do not expire, worked
    out once as most calls ask for it; `lapsing` are those that do, with money in them.
    """

    account: Account | None
    purses: tuple[Purse, ...]
    limits: Mapping[tuple[LimitSubject, str], tuple[Limit, ...]]
    read_at_s: float
    lasting_nanousd: NanoUsd
    lapsing: tuple[Purse, ...]

    def limits_of(self, caller: Caller) -> tuple[Limit, ...]:
        """Return the limits that a caller is under, the broadest first."""
        found = self.limits.get((LimitSubject.ORGANISATION, ""), ())
        if caller.workspace is not None:
            found += self.limits.get((LimitSubject.WORKSPACE, caller.workspace), ())
        if caller.member is not None:
            found += self.limits.get((LimitSubject.MEMBER, caller.member), ())
        return found + self.limits.get((LimitSubject.API_KEY, caller.key), ())

    def in_force(self, limits: Iterable[Limit]) -> tuple[Limit, ...]:
        """Return those limits that are still there."""
        return tuple(
            limit
            for limit in limits
            if any(limit.id == found.id for found in self.limits.get((limit.subject, limit.subject_id), ()))
        )

    def usable(self, now_ms: int) -> tuple[Purse, ...]:
        """Return the purses that may be leased from, as far as is known."""
        return tuple(purse for purse in self.purses if _has_money(purse) and not has_lapsed(purse, now_ms))

    def available(self, now_ms: int) -> NanoUsd:
        """Return how much may be leased in all, as far as is known."""
        if not self.lapsing:
            return self.lasting_nanousd
        return self.lasting_nanousd + sum(purse.avail_nanousd for purse in self.lapsing if not has_lapsed(purse, now_ms))

    def leased(self) -> NanoUsd:
        """Return how much is leased, by this instance and others."""
        return sum(purse.leased_nanousd for purse in self.purses)


def standing_of(
    account: Account | None,
    purses: tuple[Purse, ...],
    limits: Mapping[tuple[LimitSubject, str], tuple[Limit, ...]],
    read_at_s: float,
) -> Standing:
    """Return what was read of an account at an instant of the monotonic clock."""
    usable = [purse for purse in purses if _has_money(purse)]
    lasting = sum(purse.avail_nanousd for purse in usable if purse.expires_at_ms is None)
    lapsing = tuple(purse for purse in usable if purse.expires_at_ms is not None)
    return Standing(account, purses, limits, read_at_s, lasting, lapsing)


def _has_money(purse: Purse) -> bool:
    return is_usable(purse) and purse.avail_nanousd > 0


Prepare = Callable[[Account, tuple[Purse, ...]], Awaitable[bool]]
"""Bring in what an account is due by itself; whether anything changed. Raises StoreError."""


class Standings:
    """The beliefs about all accounts that this instance has to do with."""

    def __init__(self, tools: Tools, prepare: Prepare, spawn: Spawn) -> None:
        self._table = tools.table
        self._clock = tools.clock
        self._dice = tools.dice
        self._prepare = prepare
        self._spawn = spawn
        self._read: OrderedDict[str, Standing] = OrderedDict()
        self._reading: dict[str, asyncio.Task[Standing]] = {}
        self._returned: dict[str, float] = {}

    def known(self, account: str, younger_than_s: float = STALE_S, now_s: float | None = None) -> Standing | None:
        """Return what is known, None if it is older than that, now or at an instant of the monotonic clock."""
        standing = self._read.get(account)
        if standing is None:
            return None
        if (self._clock.monotonic_s() if now_s is None else now_s) - standing.read_at_s >= younger_than_s:
            return None
        return standing

    def refuses(self, account: str, read_at_s: float) -> bool:
        """Tell whether what was read at an instant is new enough to refuse a call by it: nothing has come back since."""
        fresh = self._clock.monotonic_s() - read_at_s <= REFUSAL_FRESH_S
        return fresh and read_at_s > self._returned.get(account, -1.0)

    def took(self, account: str, legs: Iterable[Leg]) -> None:
        """Take what this instance has leased out of what is known."""
        standing = self._read.get(account)
        if standing is None:
            return
        taken = {leg.purse: leg.amount_nanousd for leg in legs}
        purses = tuple(
            msgspec.structs.replace(
                purse,
                avail_nanousd=purse.avail_nanousd - taken.get(purse.id, 0),
                leased_nanousd=purse.leased_nanousd + taken.get(purse.id, 0),
            )
            for purse in standing.purses
        )
        self._read[account] = standing_of(standing.account, purses, standing.limits, standing.read_at_s)

    def returned(self, account: str) -> None:
        """Note that this instance gave money of an account back."""
        now_s = self._clock.monotonic_s()
        while self._returned and self._returned[oldest := next(iter(self._returned))] < now_s - REFUSAL_FRESH_S:
            del self._returned[oldest]
        self._returned.pop(account, None)
        self._returned[account] = now_s

    async def read(self, account: str) -> Standing:
        """Read an account anew, once for all who ask meanwhile. Raises StoreError."""
        task = self._reading.get(account)
        if task is None:
            task = self._spawn(self._anew(account))
            self._reading[account] = task
            task.add_done_callback(lambda _: self._reading.pop(account, None))
        return await asyncio.shield(task)

    async def windows(self, account: str, names: Iterable[str]) -> Mapping[str, Window]:
        """Read windows by their names; those that are not open yet are left out. Raises StoreError."""
        wanted = [keys.window(account, name) for name in names]
        if not wanted:
            return {}
        page = await trying.repeat(self._dice, lambda: self._table.batch_get(wanted))
        found = map(windows.window_of, page.items)
        return {window.key: window for window in found}

    async def _anew(self, account: str) -> Standing:
        read_at_s = self._clock.monotonic_s()
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(trying.get(self._table, self._dice, keys.account(account)))
                reading_purses = group.create_task(read_purses(self._table, self._dice, account))
                reading_limits = group.create_task(self._limits(account))
        except ExceptionGroup as failed:  # whoever asked waits for one answer
            raise failed.exceptions[0] from None
        item, purses, limits = reading.result(), reading_purses.result(), reading_limits.result()
        found = accounts.account_of(item) if item else None
        if found is not None and await self._prepare(found, purses):
            purses = await read_purses(self._table, self._dice, account)
        standing = standing_of(found, purses, limits, read_at_s)
        self._read[account] = standing
        self._read.move_to_end(account)
        if len(self._read) > ENTRIES_MAX:
            self._read.popitem(last=False)
        return standing

    async def _limits(self, account: str) -> Mapping[tuple[LimitSubject, str], tuple[Limit, ...]]:
        found: defaultdict[tuple[LimitSubject, str], tuple[Limit, ...]] = defaultdict(tuple)
        async for item in trying.read_all(self._table, self._dice, lambda after: windows.limits_of(account, after)):
            limit = windows.limit_of(item)
            found[limit.subject, limit.subject_id] += (limit,)
        return {subject: tuple(sorted(limits, key=lambda limit: _BREADTH[limit.interval])) for subject, limits in found.items()}
