"""One API key's calls at a time, as one instance may let them in.

All instances write their claims into one item. An instance lets in no more calls than it claims, and writes only a claim that
fits beside the live ones of the others; so all together never exceed the limit while claims are renewed. A claim is live until
its instant by the wall clock of whoever looks, and its owner stops using it MARGIN_MS earlier: clocks may differ by so much. An
instance that died frees its claim with that instant; calls that outlive a claim which could not be renewed are not counted.

A claim is a state and not a change of one, and each write replaces the stamp of the one before: so a write that is repeated,
comes late or is lost does no harm, once a later one was acknowledged. A claim counts as raised when its write is acknowledged,
and as lowered before that is sent.

When the store is down an instance goes on with as many calls as it ever claimed while it knew the key, and at least one.
"""

import asyncio
from collections.abc import Mapping

from junctor.domain.errors import RateLimitedError
from junctor.domain.rates import Claim, Need, RateLimit
from junctor.ledger import trying
from junctor.ledger.allowance.flight import Flight
from junctor.ledger.allowance.place import Place
from junctor.policy import rates as policy
from junctor.ports.table import Done, Item
from junctor.records import keys
from junctor.records import rates as records

CLAIM_LIFE_MS, RENEW_MS, MARGIN_MS = 60_000, 20_000, 10_000
TICK_S = 5.0
"""How often an instance looks whether it claims what it needs."""
SECOND_LOOK_S = 0.05
"""A call that ended at another instance gives back its claim a moment after its caller was answered."""
FULL_S = 0.25
"""How long it is believed that there is no room."""
RETRY_S, JITTER_S = 1.0, 1.0
TRIES = 5
"""How often a claim is written where others write at the same time, so that all tries end before callers stop waiting."""


class Claims:
    """The claim of this instance on one API key's calls at a time, and the calls under way under it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._clock = place.clock
        self._where = keys.rate_claims(place.account, place.api_key)
        self._found: Item | None = None
        self._seen: Mapping[str, Claim] = {}
        self._limit = 0
        self._in_use = 0
        self._waiting = 0
        self._claim = Claim(0, 0)
        self._certain = True  # whether the store is known to hold `_claim`
        self._most = 1
        self._took = self._busy = False  # since the last tick, and in the one before
        self._full_until_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._flight = Flight(self._adjust, place.clock, place.telemetry)

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost by forgetting this."""
        return not (self._in_use or self._claim.count or self._flight.under_way) and self._certain

    async def take(self, limit: int) -> None:
        """Let in one call. Raises RateLimitedError if as many as may be are under way."""
        self._limit = limit
        self._took = self._busy = True
        while not self._room():
            if self._in_use >= limit or self._clock.monotonic_s() < self._full_until_s:
                raise self._refused()
            try:
                answered = await self._join()
            except asyncio.CancelledError:
                self._shed()
                raise
            if not answered:
                if self._in_use >= min(self._most, limit):
                    raise self._refused()
                break
        self._in_use += 1

    def give_back(self) -> None:
        """End one call, and give back what is claimed for too many."""
        self._in_use -= 1
        self._shed()

    async def close(self) -> None:
        """Give back the whole claim, whatever is under way; if the store does not answer, it ends by itself."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        await self._flight.join()
        if self._claim.count or not self._certain:
            await self._flight.join()
        await self._flight.stop()

    def _room(self) -> bool:
        live = self._clock.now_ms() < self._claim.until_ms - MARGIN_MS
        return live and self._in_use < min(self._claim.count, self._limit)

    async def _join(self) -> bool:
        self._waiting += 1
        try:
            return not self._closing and await self._flight.join()
        finally:
            self._waiting -= 1

    def _shed(self) -> None:
        if self._surplus():
            self._flight.start()

    def _surplus(self) -> bool:
        return policy.surplus(self._limit, self._others_count(), self._claim.count, self._in_use + self._waiting)

    def _refused(self) -> RateLimitedError:
        need = Need(RateLimit.CONCURRENCY, 1, self._limit)
        return RateLimitedError(self._place.api_key, need, RETRY_S + JITTER_S * self._place.dice.uniform())

    async def _adjust(self) -> None:
        """Claim what is needed now, and what is needed by then."""
        try:
            for tried in range(TRIES):
                size = await self._look()
                if self._as_it_should_be(size):
                    return
                if not await self._write(size):
                    await asyncio.sleep(trying.backoff_s(self._place.dice, tried))
                elif self._closing or not self._surplus():
                    return
            self._full_until_s = self._clock.monotonic_s() + FULL_S
        finally:
            self._arm()

    async def _look(self) -> int:
        """Return how much to claim: by what was seen last, but where there seems to be no room, by two fresh looks."""
        for pause_s in (0.0, SECOND_LOOK_S):
            if self._fits():
                return self._size()
            await asyncio.sleep(pause_s)
            self._see(await trying.get(self._place.table, self._place.dice, self._where))
        if not self._fits():
            self._full_until_s = self._clock.monotonic_s() + FULL_S
        return self._size()

    def _fits(self) -> bool:
        return self._closing or self._size() >= self._in_use + self._waiting

    def _see(self, found: Item | None) -> None:
        self._found, self._seen = found, records.claims_of(found)

    def _size(self) -> int:
        if self._closing:
            return 0
        wanted = self._in_use + self._waiting
        return policy.claim_size(self._limit, self._others_count(), self._in_use, wanted, busy=self._busy)

    def _as_it_should_be(self, size: int) -> bool:
        young = self._clock.now_ms() < self._claim.until_ms - CLAIM_LIFE_MS + RENEW_MS
        return self._certain and size == self._claim.count and (young or not size)

    async def _write(self, size: int) -> bool:
        """Write a claim of this size; False if somebody else wrote in between."""
        now_ms = self._clock.now_ms()
        wanted = Claim(size, now_ms + CLAIM_LIFE_MS)
        if size < self._claim.count:
            self._claim = Claim(size, self._claim.until_ms)
        claims = {**self._others(), self._place.instance: wanted} if size else self._others()
        stamp = self._place.dice.draw(records.STAMP_BYTES)
        writing = records.claim(self._where, self._found, claims, stamp, now_ms)
        self._certain = False
        answer = await trying.update(self._place.table, self._place.dice, writing)
        if not isinstance(answer, Done):
            self._see(answer.old)
            return False
        self._see(answer.item)
        self._claim, self._certain = wanted, True
        self._most = max(self._most, size)
        return True

    def _others(self) -> Mapping[str, Claim]:
        now_ms = self._clock.now_ms()
        return {name: claim for name, claim in self._seen.items() if name != self._place.instance and claim.until_ms > now_ms}

    def _others_count(self) -> int:
        return sum(claim.count for claim in self._others().values())

    def _arm(self) -> None:
        if self._timer is None and not self._closing and (self._claim.count or not self._certain):
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._busy, self._took = self._took, False
        self._flight.start()
        if not self._flight.under_way:
            self._arm()
