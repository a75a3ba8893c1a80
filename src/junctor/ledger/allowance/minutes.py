"""One API key's requests and tokens by the minute, as one instance has a share in them.

A share is taken from the minute's item before it is used, and lapses with the minute: so all instances together let in no more
than the limit in any minute while the store answers. What is left at the store only falls; a call that cannot be served from
here and from there is refused without asking. Minutes are those of the wall clock: where the clocks of two instances differ,
each counts against the minute it is in.

When the store is down an instance goes on by itself, up to what it was granted in the latest minutes (policy/rates.alone); what
it used beyond its share is taken from the store first when that answers again. A limit that was changed holds from the next
minute on. Tokens used beyond their estimate are a debt of this instance's share, which ends with the minute.
"""

from collections.abc import Sequence

from junctor.domain.errors import RateLimitedError
from junctor.domain.rates import Need, RateLimit, Share
from junctor.ledger import trying
from junctor.ledger.allowance.flight import Flight
from junctor.ledger.allowance.place import Place
from junctor.policy import rates as policy
from junctor.ports.table import Done, Item
from junctor.records import rates as records

DOWN_RETRY_S = 1.0
JITTER_S = 1.0
RETRY_MAX_S = 59.999


class Pace:
    """How fast one limit is used here: so much since the last share was taken, which was so large."""

    def __init__(self, now_s: float) -> None:
        self.used = 0
        self.since_s = now_s
        self.last = 0


class Pool:
    """One limit in one minute: what is here and what is left at the store, as last seen; both may only be less than that.

    `here` is below 0 where more was used than granted. `made` is False once it is known that nobody took of it yet.
    """

    def __init__(self, allowed: int, pace: Pace, usual: int) -> None:
        self.allowed = allowed
        self.pace = pace
        self.usual = usual
        self.here = 0
        self.granted = 0
        self.left = allowed
        self.made = True

    def may_go_alone(self, amount: int) -> bool:
        """Tell whether so much may be used without the store."""
        return self.granted - self.here + amount <= policy.alone(self.allowed, self.granted, self.usual)


class Minute:
    """A minute's pools, and from the minute before how fast each is used and how much of it is usual."""

    def __init__(self, number: int, before: "Minute | None" = None) -> None:
        self.number = number
        self.failed = False
        self.pools: dict[RateLimit, Pool] = {}
        self._known = before.legacy() if before is not None else {}

    def legacy(self) -> dict[RateLimit, tuple[Pace, int]]:
        """Return what the next minute should know."""
        seen = {
            limit: (pool.pace, policy.usual(pool.granted, pool.usual, failed=self.failed)) for limit, pool in self.pools.items()
        }
        return {**self._known, **seen}

    def pool(self, need: Need, now_s: float) -> Pool:
        """Return the pool of a limit."""
        pool = self.pools.get(need.limit)
        if pool is None:
            pace, usual = self._known.get(need.limit) or (Pace(now_s), 0)
            pool = self.pools[need.limit] = Pool(need.allowed, pace, usual)
        return pool


class Minutes:
    """The minutes of one API key."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._clock = place.clock
        self._minute = Minute(policy.minute(place.clock.now_ms()))
        self._waiting: dict[object, Sequence[Need]] = {}
        self.flight = Flight(self._fetch, place.clock, place.telemetry)

    async def take(self, needs: Sequence[Need]) -> Minute:
        """Take what a call needs out of the minute that is now, and return that minute.

        Raises:
            RateLimitedError: there is not so much left, or the call alone needs more than the limit.
        """
        for need in needs:
            if need.amount > need.allowed:
                raise RateLimitedError(self._place.api_key, need)
        while True:
            minute = self._current()
            short = [need for need in needs if self._pool(minute, need).here < need.amount]
            if not short:
                return self._use(minute, needs)
            for need in short:
                pool = self._pool(minute, need)
                if pool.here + pool.left < need.amount:
                    raise self._refused(need, policy.rest_of_minute_s(self._clock.now_ms()))
            if not await self._join(needs):
                return self._take_alone(needs)

    def put_back(self, minute: Minute, needs: Sequence[Need]) -> None:
        """Put back what a call took that was not let in, if it is still that minute."""
        for need in needs:
            self.correct(minute, need, 0)

    def correct(self, minute: Minute, need: Need, used: int) -> None:
        """Put back what was taken and not used, if it is still that minute; what was used beyond is owed by the minute now."""
        current = self._current()
        if used > need.amount or minute is current:
            self._pool(current, need).here += need.amount - used

    def _current(self) -> Minute:
        number = policy.minute(self._clock.now_ms())
        if number != self._minute.number:
            self._minute = Minute(number, self._minute)
        return self._minute

    def _pool(self, minute: Minute, need: Need) -> Pool:
        return minute.pool(need, self._clock.monotonic_s())

    def _use(self, minute: Minute, needs: Sequence[Need]) -> Minute:
        for need in needs:
            pool = self._pool(minute, need)
            pool.here -= need.amount
            pool.pace.used += need.amount
        return minute

    async def _join(self, needs: Sequence[Need]) -> bool:
        ticket = object()
        self._waiting[ticket] = needs
        try:
            return await self.flight.join()
        finally:
            del self._waiting[ticket]

    def _take_alone(self, needs: Sequence[Need]) -> Minute:
        minute = self._current()
        minute.failed = True
        for need in needs:
            if not self._pool(minute, need).may_go_alone(need.amount):
                raise self._refused(need, DOWN_RETRY_S)
        return self._use(minute, needs)

    def _refused(self, need: Need, wait_s: float) -> RateLimitedError:
        return RateLimitedError(self._place.api_key, need, min(wait_s + JITTER_S * self._place.dice.uniform(), RETRY_MAX_S))

    async def _fetch(self) -> None:
        minute = self._current()
        while shares := self._wanted(minute):
            taking = records.take(self._place.account, self._place.api_key, minute.number, shares)
            # A share that was granted under a lost reply is lost with it: taken again, it would be lost twice.
            answer = await trying.update(self._place.table, self._place.dice, taking, twice=False)
            if isinstance(answer, Done):
                self._receive(minute, shares, answer.item)
                return
            # Each refusal shows less than before, so this ends.
            self._learn(minute, shares, answer.old)

    def _wanted(self, minute: Minute) -> tuple[Share, ...]:
        """Return the shares that those who wait need, none if not even the least of them can be served."""
        by_limit: dict[RateLimit, list[Need]] = {}
        for needs in self._waiting.values():
            for need in needs:
                by_limit.setdefault(need.limit, []).append(need)
        now_s = self._clock.monotonic_s()
        shares = []
        for limit, needed in by_limit.items():
            pool = self._pool(minute, needed[0])
            missing = sum(need.amount for need in needed) - pool.here
            if pool.here + pool.left < min(need.amount for need in needed):
                return ()
            pace = (pool.pace.used, now_s - pool.pace.since_s)
            size = policy.share_size(missing, pool.left, pace, pool.pace.last)
            if missing > 0 and size > 0:
                shares.append(Share(limit, size, None if pool.made else pool.allowed))
        return tuple(shares)

    def _receive(self, minute: Minute, shares: Sequence[Share], found: Item | None) -> None:
        for share in shares:
            pool = minute.pools[share.limit]
            pool.here += share.amount
            pool.granted += share.amount
            pool.left = records.left(found, share.limit) or 0
            pool.made = True
            pool.pace.used, pool.pace.since_s, pool.pace.last = 0, self._clock.monotonic_s(), share.amount

    def _learn(self, minute: Minute, shares: Sequence[Share], found: Item | None) -> None:
        for share in shares:
            pool = minute.pools[share.limit]
            left = records.left(found, share.limit)
            pool.made = left is not None
            pool.left = pool.allowed if left is None else left
