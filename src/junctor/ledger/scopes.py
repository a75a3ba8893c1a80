"""All that one instance holds: its scopes, the leases it is done with, and the looks it takes at the accounts meanwhile.

A lease that no call may reserve from any more is closed when the last call in it has ended. Every second idle leases are
retired, and every few seconds the accounts in use are looked at. A lease is retired under a window whose limit was lowered
below what is leased, and when a limit came or went, so that new calls see the new limit within seconds; and where it has much
to spare and its account little else. Whoever listens is told where the account stands. A bug in this is told, and does not end
it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from junctor.domain.account import Account, Caller
from junctor.domain.credits import Limit, Purse, Window
from junctor.domain.money import NanoUsd
from junctor.ledger import closing, grants, trying
from junctor.ledger.credits import tend, wants_tending
from junctor.ledger.holder import HeldLease
from junctor.ledger.scope import Scope, World
from junctor.ledger.standing import FRESH_S, Standings
from junctor.ledger.tools import Spawn, Terms, Tools
from junctor.ports.table import StoreError
from junctor.ports.telemetry import Counter
from junctor.records import ids

TIDY_S = 1.0
IDLE_S = 3.0
FORGET_S = 60.0
LOOKS_AT_ONCE = 16
PATIENT_AT_ONCE = 4
"""How many leases of one scope are closed without hurry at one time: where leases cannot be taken, each try may leave one."""

Watch = Callable[[Account | None, Sequence[Purse], Sequence[Window]], None]
"""Is told where an account stands, each few seconds while it is used: the account, its purses, the windows in use."""


class Scopes:
    """The scopes of one instance."""

    def __init__(self, tools: Tools, terms: Terms, spawn: Spawn, watch: Watch) -> None:
        self._tools = tools
        self._clock = tools.clock
        self._spawn = spawn
        self._watch = watch
        self._standings = Standings(tools, self._due, spawn)
        self._scopes: dict[tuple[str, tuple[str, ...] | None], Scope] = {}
        self._retired: set[HeldLease] = set()
        self._patient: defaultdict[str, int] = defaultdict(int)
        self._looked_at_s: dict[str, float] = {}
        self._tidying: asyncio.Task[None] | None = None
        self._world = World(
            tools=tools,
            terms=terms,
            standings=self._standings,
            owner=ids.fresh(tools.clock, tools.dice),
            retire=self._retire,
            ended=self.ended,
            spawn=spawn,
        )

    def known(self, caller: Caller, now_s: float, *, free_of_charge: bool) -> Scope | None:
        """Return the scope that a caller's calls are in, None if his account has to be read for that."""
        if free_of_charge:
            return self._scope(caller.account, None)
        account = caller.account
        standing = self._standings.known(account, now_s=now_s)
        if standing is None:
            return None
        if standing.limits:
            return self._scope(account, standing.limits_of(caller))
        return self._scopes.get((account, ())) or self._scope(account, ())

    async def read(self, caller: Caller) -> Scope:
        """Read a caller's account for the scope that his calls are in. Raises StoreError."""
        standing = await self._standings.read(caller.account)
        return self._scope(caller.account, standing.limits_of(caller))

    def available(self, account: str, now_ms: int, now_s: float) -> NanoUsd:
        """Return how much of an account's money may be leased, as far as is known; now is so by both clocks."""
        standing = self._standings.known(account, now_s=now_s)
        return standing.available(now_ms) if standing else 0

    def left(self, scope: Scope, caller: Caller, now_ms: int, now_s: float) -> NanoUsd:
        """Return how much a caller's calls may still hold by his account and the limits that he is under, as far as is known.

        What a window has left is known once somebody has looked at the lease; until then its limit is all that binds.
        """
        standing, current = self._standings.known(caller.account, now_s=now_s), scope.current
        if standing is None:
            return 0
        free = current.free_nanousd if current else 0
        left = standing.available(now_ms) + free
        if standing.limits:
            left = min([left, *(limit.limit_nanousd for limit in standing.limits_of(caller))])
            if current is not None and current.headroom_nanousd is not None:
                left = min(left, current.headroom_nanousd + free)
        return left

    def ended(self, scope: Scope, held: HeldLease) -> "asyncio.Task[None] | None":
        """Take note that a call in a lease has ended; if the lease is closed for that, return the task that closes it."""
        if held.calls:
            return None
        if held is scope.current and not scope.busy and not (scope.keeps and held.certain):
            scope.current = None
            held.fence()
            self._retired.add(held)
        return self._close_soon(held) if held in self._retired else None

    async def stop(self) -> None:
        """Retire every lease; those in which no call is under way begin to be closed."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)
        for scope in self._scopes.values():
            scope.retire()
        self._scopes.clear()

    def _scope(self, account: str, limits: tuple[Limit, ...] | None) -> Scope:
        key = account, None if limits is None else tuple([limit.id for limit in limits]) if limits else ()
        scope = self._scopes.get(key)
        if scope is None:
            scope = self._scopes[key] = Scope(self._world, account, limits)
            if self._tidying is None or self._tidying.done():
                self._tidying = asyncio.create_task(self._tidy())
        return scope

    def _retire(self, held: HeldLease) -> None:
        held.fence()
        self._retired.add(held)
        if not held.calls:
            self._close_soon(held)

    def _close_soon(self, held: HeldLease) -> "asyncio.Task[None]":
        return self._spawn(self._close(held))

    async def _close(self, held: HeldLease) -> None:
        """Close a lease; what the store does not let it do is for a reclaimer."""
        if held not in self._retired:
            return
        self._retired.discard(held)
        scope = held.lease.scope
        patient = self._patient[scope] < PATIENT_AT_ONCE
        self._patient[scope] += patient
        try:
            with trying.unhurried() if patient else nullcontext():
                await closing.close(self._tools.table, self._tools.dice, held.lease, self._clock.now_ms(), held.total_nanousd)
        except StoreError:
            self._tools.telemetry.count(Counter.CLOSE_FAILED)
        except Exception as error:  # noqa: BLE001 - nobody waits for it who could be told
            broken = isinstance(error, ValueError)  # the books are wrong
            self._tools.telemetry.count(Counter.LEASE_BROKEN if broken else Counter.INCIDENT)
            self._tools.telemetry.incident("ledger", error)
        else:
            self._standings.returned(held.lease.account)
        finally:
            self._patient[scope] -= patient
            if not self._patient[scope]:
                del self._patient[scope]

    async def _tidy(self) -> None:
        """Look after what is held, as long as anything is."""
        while self._scopes:
            await asyncio.sleep(TIDY_S)
            try:
                self._retire_idle()
                await self._look_around()
            except Exception as error:  # noqa: BLE001 - a bug must not leave everything held, unseen, for ever
                self._tools.telemetry.count(Counter.INCIDENT)
                self._tools.telemetry.incident("ledger", error)

    def _retire_idle(self) -> None:
        now_s = self._clock.monotonic_s()
        for key, scope in tuple(self._scopes.items()):
            idle_s = now_s - scope.traffic.used_at_s
            held = scope.current
            idle = idle_s > IDLE_S and not scope.free_of_charge
            if held is not None and not held.calls and not scope.busy and (scope.over or idle):
                scope.retire()
            if scope.current is None and not scope.busy and idle_s > FORGET_S:
                del self._scopes[key]

    async def _look_around(self) -> None:
        """Look at the accounts with leases at which nobody looked of late, many at a time."""
        now_s = self._clock.monotonic_s()
        used = {scope.account for scope in self._scopes.values() if scope.current and not scope.free_of_charge}
        for account in self._looked_at_s.keys() - used:
            del self._looked_at_s[account]
        due = [account for account in used if now_s - self._looked_at_s.get(account, -FRESH_S) >= FRESH_S]
        self._looked_at_s.update(dict.fromkeys(due, now_s))
        for first in range(0, len(due), LOOKS_AT_ONCE):
            await asyncio.gather(*map(self._look, due[first : first + LOOKS_AT_ONCE]))

    async def _look(self, account: str) -> None:
        """Look at an account, and retire leases that are not under its limits as they are now."""
        try:
            standing = self._standings.known(account, TIDY_S) or await self._standings.read(account)
            leased = [scope for scope in self._scopes.values() if scope.account == account and scope.current]
            names = {name for scope in leased if scope.current for name in scope.current.lease.windows}
            windows = await self._standings.windows(account, sorted(names))
        except StoreError:
            self._tools.telemetry.count(Counter.LOOK_FAILED)
            return
        overdrawn = {name for name, window in windows.items() if window.headroom_nanousd < 0}
        for scope in leased:
            held = scope.current
            if held is None:
                continue
            left = [windows[name].headroom_nanousd for name in held.lease.windows if name in windows]
            held.headroom_nanousd = min(left, default=None)
            if scope.bound_otherwise(standing) or scope.hoards(standing) or not overdrawn.isdisjoint(held.lease.windows):
                scope.retire()
        self._watch(standing.account, standing.purses, tuple(windows.values()))

    async def _due(self, account: Account, purses: tuple[Purse, ...]) -> bool:
        """Pay in what an account is due, collect what it owes, sweep what lapsed; tell whether anything was."""
        table, dice, now_ms = self._tools.table, self._tools.dice, self._clock.now_ms()
        tended = any(wants_tending(purse, now_ms) for purse in purses)
        if tended:
            await tend(table, dice, account.id, now_ms)
        return await grants.ensure(table, dice, account, now_ms, purses) or tended
