"""All that one instance holds: its scopes, the leases it is done with, and the looks it takes at the accounts meanwhile.

A lease that no call may reserve from any more is closed when the last call in it has ended. Every second idle leases are
retired, and every few seconds the accounts in use are read anew: a window whose limit was lowered below what is leased retires
its leases, so new calls see the new limit within seconds; and whoever listens is told where the account stands.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from junctor.domain.account import Account, Caller
from junctor.domain.credits import Limit, Purse, Window
from junctor.domain.money import NanoUsd
from junctor.ledger import closing, grants
from junctor.ledger.holder import HeldLease
from junctor.ledger.scope import Scope, World
from junctor.ledger.standing import FRESH_S, Standings
from junctor.ledger.tools import Terms, Tools
from junctor.ports.table import StoreError
from junctor.ports.telemetry import Counter
from junctor.records import ids

TIDY_S = 1.0
IDLE_S = 3.0
FORGET_S = 60.0

Watch = Callable[[Account | None, Sequence[Purse], Sequence[Window]], None]
"""Is told where an account stands, each few seconds while it is used: the account, its purses, the windows in use."""
Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Scopes:
    """The scopes of one instance. `spawn` starts work that must outlive its caller."""

    def __init__(self, tools: Tools, terms: Terms, spawn: Spawn, watch: Watch) -> None:
        self._tools = tools
        self._clock = tools.clock
        self._spawn = spawn
        self._watch = watch
        self._standings = Standings(tools, self._due)
        self._scopes: dict[tuple[str, tuple[str, ...] | None], Scope] = {}
        self._retired: dict[HeldLease, Scope] = {}
        self._tidying: asyncio.Task[None] | None = None
        self._world = World(
            tools=tools, terms=terms, standings=self._standings, owner=self.ulid(), lease_id=self.ulid, retire=self._retire
        )

    def ulid(self) -> str:
        """Return a fresh id."""
        return ids.ulid(self._clock.now_ms(), self._tools.dice.draw(ids.ULID_RANDOM_BYTES))

    async def of(self, caller: Caller, *, free_of_charge: bool) -> Scope:
        """Return the scope that a caller's calls are in. Raises StoreError."""
        if free_of_charge:
            return self._scope(caller.account, None)
        standing = self._standings.known(caller.account) or await self._standings.read(caller.account)
        return self._scope(caller.account, standing.limits_of(caller))

    def available(self, account: str) -> NanoUsd:
        """Return how much of an account's money may be leased, as far as is known."""
        standing = self._standings.known(account)
        return standing.available(self._clock.now_ms()) if standing else 0

    def ended(self, scope: Scope, held: HeldLease) -> None:
        """Take note that a call in a lease has ended, and close the lease if it was the last of one that is not kept."""
        if held.calls:
            return
        quiet = scope.scarce or scope.traffic.quiet(self._clock.monotonic_s())
        if held is scope.current and not scope.free_of_charge and not scope.busy and (quiet or not held.certain):
            scope.retire()
        elif held in self._retired:
            self._close_soon(held)

    async def stop(self) -> None:
        """Retire every lease; those in which no call is under way begin to be closed."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)
        for scope in tuple(self._scopes.values()):
            scope.retire()

    def _scope(self, account: str, limits: tuple[Limit, ...] | None) -> Scope:
        key = account, None if limits is None else tuple([limit.id for limit in limits])
        scope = self._scopes.get(key)
        if scope is None:
            scope = self._scopes[key] = Scope(self._world, account, limits)
            if self._tidying is None or self._tidying.done():
                self._tidying = asyncio.create_task(self._tidy())
        return scope

    def _retire(self, scope: Scope, held: HeldLease) -> None:
        held.fence()
        self._retired[held] = scope
        if not held.calls:
            self._close_soon(held)

    def _close_soon(self, held: HeldLease) -> None:
        self._spawn(self._close(held))

    async def _close(self, held: HeldLease) -> None:
        """Close a lease; what the store does not let it do is for a reclaimer."""
        if self._retired.pop(held, None) is None:
            return
        try:
            await closing.close(self._tools.table, self._tools.dice, held.lease, self._clock.now_ms(), held.total_nanousd)
        except StoreError:
            self._tools.telemetry.count(Counter.CLOSE_FAILED)
        except ValueError as error:
            self._tools.telemetry.count(Counter.LEASE_BROKEN)
            self._tools.telemetry.incident("ledger", error)

    async def _tidy(self) -> None:
        """Look after what is held, as long as anything is."""
        while self._scopes:
            await asyncio.sleep(TIDY_S)
            now_s = self._clock.monotonic_s()
            for key, scope in tuple(self._scopes.items()):
                idle_s = now_s - scope.traffic.used_at_s
                held = scope.current
                if held is not None and not held.calls and (scope.over or (idle_s > IDLE_S and not scope.free_of_charge)):
                    scope.retire()
                if scope.current is None and not scope.busy and idle_s > FORGET_S:
                    del self._scopes[key]
            for account in {scope.account for scope in self._scopes.values() if scope.current and not scope.free_of_charge}:
                if self._standings.known(account, FRESH_S) is None:
                    try:
                        await self._look(account)
                    except StoreError:
                        self._tools.telemetry.count(Counter.LOOK_FAILED)

    async def _look(self, account: str) -> None:
        """Read an account anew, and retire the leases of its windows that have less than nothing left. Raises StoreError."""
        standing = await self._standings.read(account)
        leased = [scope for scope in self._scopes.values() if scope.account == account and scope.current]
        names = {name for scope in leased if scope.current for name in scope.current.lease.windows}
        windows = await self._standings.windows(account, sorted(names))
        for scope in leased:
            held = scope.current
            if held and any(name in windows and windows[name].headroom_nanousd < 0 for name in held.lease.windows):
                scope.retire()
        self._watch(standing.account, standing.purses, tuple(windows.values()))

    async def _due(self, account: Account, purses: tuple[Purse, ...]) -> bool:
        return await grants.ensure(self._tools.table, self._tools.dice, account, self._clock.now_ms(), purses)
