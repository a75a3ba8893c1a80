"""The seam through which a call meets the rates of its API key: `take` before anything is held, `give_back` at every end.

It decides about traffic, never about money, and never fails a call because of the store: where that is down, what an instance
was granted before goes on. A key without rates costs nothing. What is remembered of a key is forgotten when it is idle.
"""

import asyncio
from collections import OrderedDict
from functools import partial

from junctor.domain.rates import Need, RateLimit, Rates
from junctor.ledger.allowance.claims import Claims
from junctor.ledger.allowance.minutes import Minute, Minutes
from junctor.ledger.allowance.place import Place
from junctor.policy import rates as policy
from junctor.ports.ambient import Clock, Dice
from junctor.ports.table import Table
from junctor.ports.telemetry import Telemetry

KEYS_MAX = 10_000
IDLE_S = 300.0
FORGOTTEN_AT_ONCE = 4


class _Entry:
    """What is known of one API key."""

    def __init__(self, place: Place) -> None:
        self.minutes = Minutes(place)
        self.claims = Claims(place)
        self.used_s = 0.0

    @property
    def idle(self) -> bool:
        """Whether it may be forgotten."""
        return self.claims.idle and not self.minutes.flight.under_way


class Permit:
    """Leave for one call, to be given back at its end whatever that is."""

    __slots__ = ("_claims", "_minute", "_minutes", "_tokens")

    def __init__(self, minutes: Minutes | None, minute: Minute | None, tokens: Need | None, claims: Claims | None) -> None:
        self._minutes = minutes
        self._minute = minute
        self._tokens = tokens
        self._claims = claims

    def end(self, tokens_used: int) -> None:
        """Correct the tokens and free the place, the first time."""
        minutes, claims = self._minutes, self._claims
        self._minutes = self._claims = None
        if minutes is not None and self._minute is not None and self._tokens is not None:
            minutes.correct(self._minute, self._tokens, max(tokens_used, 0))
        if claims is not None:
            claims.give_back()


UNLIMITED = Permit(None, None, None, None)
"""The permit of every call whose API key has no rates."""


class Allowance:
    """The rates of all API keys as one instance applies them. `instance` is a name that no other running instance has."""

    def __init__(self, table: Table, clock: Clock, dice: Dice, telemetry: Telemetry, *, instance: str) -> None:
        self._clock = clock
        self._place = partial(Place, table, clock, dice, telemetry, instance)
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    async def take(self, account: str, key: str, rates: Rates, tokens: int) -> Permit:
        """Let in one call of an API key that needs so many tokens by estimate.

        Nothing is awaited where this instance has a share. Raises RateLimitedError if a limit is reached.
        """
        if rates.unlimited:
            return UNLIMITED
        entry = self._entry(account, key)
        needs = policy.needs(rates, tokens)
        minute = await entry.minutes.take(needs)
        if rates.concurrency is not None:
            try:
                await entry.claims.take(rates.concurrency)
            except BaseException:
                entry.minutes.put_back(minute, needs)
                raise
        tokens_need = next((need for need in needs if need.limit is RateLimit.TOKENS_PER_MIN), None)
        return Permit(entry.minutes, minute, tokens_need, entry.claims if rates.concurrency is not None else None)

    def give_back(self, permit: Permit, tokens_used: int) -> None:
        """End a call that used so many tokens, at once and for good: a second time does nothing."""
        permit.end(tokens_used)

    async def close(self) -> None:
        """Give back every claim, when no more calls come in; it waits a few seconds for the store at most."""
        await asyncio.gather(*(self._close(entry) for entry in self._entries.values() if not entry.idle))

    async def _close(self, entry: _Entry) -> None:
        await entry.minutes.flight.stop()
        await entry.claims.close()

    def _entry(self, account: str, key: str) -> _Entry:
        now_s, name = self._clock.monotonic_s(), (account, key)
        entry = self._entries.get(name)
        if entry is None:
            self._forget(now_s)
            entry = self._entries[name] = _Entry(self._place(account, key))
        else:
            self._entries.move_to_end(name)
        entry.used_s = now_s
        return entry

    def _forget(self, now_s: float) -> None:
        """Forget some of the keys that were not used for long, or for longest where there are too many; none in use."""
        for _ in range(min(FORGOTTEN_AT_ONCE, len(self._entries))):
            name, entry = next(iter(self._entries.items()))
            if not entry.idle:
                self._entries.move_to_end(name)
            elif now_s - entry.used_s > IDLE_S or len(self._entries) >= KEYS_MAX:
                del self._entries[name]
            else:
                return
