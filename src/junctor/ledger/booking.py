"""The beginning of a call's money: room is booked in a lease, then the generation's slot is written there.

A call whose lease is closed by someone else, or comes to its end before the slot is numbered, books anew: its caller does not
notice. Whatever fails, what was booked goes back, except where a slot may have been written: then the lease is closed by a look
at all its slots, and what they do not cost goes back with it.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from junctor.domain.call import Call, Hold
from junctor.domain.errors import (
    InsufficientCreditsError,
    JunctorError,
    KeyBudgetExceededError,
    LedgerUnavailableError,
    RequestCompletedError,
    RequestIdReusedError,
    RequestInProgressError,
)
from junctor.domain.generation import Generation
from junctor.domain.idempotency import RequestRecord
from junctor.domain.lease import Slot, SlotState
from junctor.domain.money import NanoUsd
from junctor.domain.routing import Plan
from junctor.ledger import slots
from junctor.ledger.holder import HeldLease
from junctor.ledger.scope import Scope, Shortfall
from junctor.ledger.scopes import Scopes
from junctor.ledger.slots import Answered, InProgress, Opening
from junctor.ledger.tools import Terms, Tools
from junctor.policy import ceilings, naming
from junctor.policy.ceilings import Ceiling
from junctor.ports.table import StoreError
from junctor.ports.telemetry import Counter
from junctor.records import ids

LEASES_TRIED = 3
SHORT_RETRY_S = 3.0
"""When to try again where money is leased: an idle lease is closed by then."""
IN_PROGRESS_RETRY_S = 2.0


class Booked:
    """What is set aside for one call: how much, in which lease of which scope. The call began at `at_ms`."""

    __slots__ = ("amount_nanousd", "at_ms", "call", "ceiling", "held", "plan", "scope")

    def __init__(self, call: Call, plan: Plan, ceiling: Ceiling, at_ms: int, scope: Scope) -> None:
        self.call = call
        self.plan = plan
        self.ceiling = ceiling
        self.at_ms = at_ms
        self.scope = scope
        self.amount_nanousd = ceiling.hold_nanousd
        self.held: HeldLease | None = None

    async def room(self) -> HeldLease:
        """Find room. Raises JunctorError."""
        found = await self.scope.room(self.amount_nanousd)
        if isinstance(found, Shortfall):
            raise self._refusal(found)
        self.held = found
        return found

    async def more(self, amount: NanoUsd) -> bool:
        """Set more aside, if there is more. Raises LedgerUnavailableError."""
        if self.held is None or not await self.scope.more_room(self.held, amount):
            return False
        self.amount_nanousd += amount
        return True

    def give_back(self, cost: NanoUsd = 0) -> HeldLease | None:
        """Give back what is set aside, less what the call cost, and return the lease."""
        held, self.held = self.held, None
        if held is not None:
            held.release(self.amount_nanousd, cost)
        return held

    def _refusal(self, short: Shortfall) -> JunctorError:
        needed, available, leased = self.amount_nanousd, short.available_nanousd, short.leased_nanousd
        retry_after_s = SHORT_RETRY_S if leased > 0 else None
        if short.limit:
            return KeyBudgetExceededError(
                limit=short.limit, needed=needed, available=available, leased=leased, retry_after_s=retry_after_s
            )
        tokens = ceilings.affordable_output_tokens(self.call.spec, self.plan.candidates, self.at_ms, available)
        return InsufficientCreditsError(
            needed=needed, available=available, leased=leased, affordable_max_tokens=tokens, retry_after_s=retry_after_s
        )


class Bookings:
    """Books room for calls and writes their slots."""

    def __init__(self, tools: Tools, terms: Terms, scopes: Scopes) -> None:
        self._tools = tools
        self._terms = terms
        self._scopes = scopes

    async def book(self, call: Call, plan: Plan) -> Booked:
        """Set aside what a call may cost: without waiting, as long as a lease with room is held.

        Raises:
            TimeoutError: the call's deadline came; nothing was done.
            InsufficientCreditsError, KeyBudgetExceededError: there is too little; nothing was done.
            RequestIdReusedError, RequestInProgressError, RequestCompletedError: so too, but the request is known.
            LedgerUnavailableError: the store does not answer.
        """
        clock = self._tools.clock
        at_ms, now_s = clock.now_ms(), clock.monotonic_s()
        ceiling = ceilings.of(call.spec, plan.candidates, at_ms, self._terms.output_hold_tokens)
        amount = ceiling.hold_nanousd
        scope = self._scopes.known(call.caller, now_s, free_of_charge=amount == 0)
        held = scope.room_at_hand(amount, at_ms, now_s) if scope is not None else None
        if scope is not None and held is not None:
            booked = Booked(call, plan, ceiling, at_ms, scope)
            booked.held = held
            return booked
        async with asyncio.timeout_at(call.deadline_at):
            scope = scope or await self._read(call)
            return await self._with_room(Booked(call, plan, ceiling, at_ms, scope))

    async def _read(self, call: Call) -> Scope:
        try:
            return await self._scopes.read(call.caller)
        except StoreError as error:
            raise LedgerUnavailableError("The ledger cannot be read at present.", 1.0) from error

    async def _with_room(self, booked: Booked) -> Booked:
        call = booked.call
        try:
            await booked.room()
        except (InsufficientCreditsError, KeyBudgetExceededError):
            if call.request_id is not None:
                await self._raise_if_known(call, call.request_id)
            raise
        return booked

    def output_cap(self, booked: Booked) -> int | None:
        """Return the most output tokens to ask a provider for, None if the money covers as many as an endpoint allows."""
        more = booked.ceiling.open_nanousd - booked.ceiling.hold_nanousd
        if more <= 0:
            return None
        free = booked.held.free_nanousd if booked.held else 0
        if self._scopes.available(booked.call.caller.account) + free >= more:
            return None
        return booked.ceiling.output_tokens

    async def open(self, booked: Booked) -> Hold:
        """Write a call's slot, in another lease if the one that it has room in was closed; what is booked goes back on failure.

        Raises:
            JunctorError: as `book`, or what is known of a request that its caller named.
        """
        try:
            for _ in range(LEASES_TRIED):
                slot = booked.held.slot_at_hand(self._tools.clock.now_ms()) if booked.held else None
                hold = await self._open_once(booked, slot or await self._numbered(booked))
                if hold is not None:
                    return hold
        except BaseException as error:
            self.give_back(booked)
            if isinstance(error, StoreError):
                raise LedgerUnavailableError("The ledger cannot be written at present.", 1.0) from error
            raise
        raise LedgerUnavailableError("The ledger closed this instance's leases.", 1.0)

    def give_back(self, booked: Booked, cost: NanoUsd = 0) -> "asyncio.Task[None] | None":
        """Give back what is set aside for a call that has ended, less what it cost; return the closing of its lease, if any."""
        held = booked.give_back(cost)
        return self._scopes.ended(booked.scope, held) if held is not None else None

    def lose(self, booked: Booked) -> None:
        """Count a call as ended of whose slot it is not known how it is: what is set aside for it stays with the lease."""
        held, booked.held = booked.held, None
        if held is not None:
            held.lose()
            self._scopes.ended(booked.scope, held)

    async def _numbered(self, booked: Booked) -> Slot:
        """Return the next slot of a lease that the call has room in, which may have to be another one by now."""
        while True:
            held = booked.held or await booked.room()
            slot = await held.take(self._tools.clock)
            if slot is not None:
                return slot
            self.give_back(booked)

    async def _open_once(self, booked: Booked, slot: Slot) -> Hold | None:
        """Write a slot. None: somebody closed the lease, and what was booked in it is given back."""
        held, generation = booked.held, _generation(booked, slot)
        assert held is not None  # noqa: S101 - the slot is in it
        try:
            if booked.call.request_id is None:
                opening: Opening | InProgress | Answered
                opening = await slots.open_slot(self._tools.table, self._tools.dice, generation)
            else:
                opening = await self._open_named(booked.call, booked.call.request_id, generation)
        except BaseException:
            self.lose(booked)
            raise
        if opening is Opening.OPEN:
            held.acknowledge(slot)
            return Hold(generation)
        if opening is Opening.FENCED:
            self._tools.telemetry.count(Counter.LEASE_FENCED)
            held.doubt()
            self.give_back(booked)
            return None
        await self._put_void(held, slot)
        raise _known(opening)

    def _open_named(
        self, call: Call, request_id: str, generation: Generation
    ) -> Coroutine[Any, Any, Opening | InProgress | Answered]:
        """Write the slot of a call that its caller named."""
        record = _record(call, request_id, generation.id)
        return slots.open_named(self._tools.table, self._tools.dice, generation, record, self._tools.clock.now_ms())

    async def _raise_if_known(self, call: Call, request_id: str) -> None:
        """Raise what a caller is to be told of a request that he named before."""
        try:
            known = await slots.find_named(self._tools.table, self._tools.dice, _record(call, request_id, ""))
        except StoreError as error:
            raise LedgerUnavailableError("The ledger cannot be read at present.", 1.0) from error
        if known is not None:
            raise _known(known)

    async def _put_void(self, held: HeldLease, slot: Slot) -> None:
        """Write a number that was taken and is not used, so that a closer meets no gap; else the lease is in doubt."""
        try:
            ending = await slots.put_void(self._tools.table, self._tools.dice, slot)
        except BaseException:
            held.doubt()
            raise
        if ending is slots.Ending.OURS_NOT:
            held.doubt()
        held.acknowledge(slot)


def _generation(booked: Booked, slot: Slot) -> Generation:
    call = booked.call
    remaining_s = max(call.deadline_at - asyncio.get_running_loop().time(), 0.0)
    return Generation(
        id=ids.generation_id(slot),
        slot=slot,
        state=SlotState.OPEN,
        api_key=call.caller.key,
        requested_model=call.spec.model,
        started_at_ms=booked.at_ms,
        deadline_at_ms=booked.at_ms + int(remaining_s * 1000),
        streamed=call.streamed,
        hold_nanousd=booked.amount_nanousd,
    )


def _record(call: Call, request_id: str, generation: str) -> RequestRecord:
    return RequestRecord(
        account=call.caller.account,
        digest=naming.name_digest(request_id),
        request_hash=naming.request_hash(call.spec, call.preferences),
        generation=generation,
    )


def _known(opening: Opening | InProgress | Answered) -> JunctorError:
    """Return what a caller is told of a request that he named before."""
    if isinstance(opening, InProgress):
        return RequestInProgressError(
            "The same request is being answered.", IN_PROGRESS_RETRY_S, generation_id=opening.generation
        )
    if isinstance(opening, Answered):
        return RequestCompletedError(
            "The same request was answered.",
            generation_id=opening.generation.id,
            cost_nanousd=str(opening.generation.cost_nanousd or 0),
        )
    return RequestIdReusedError()
