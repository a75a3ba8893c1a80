"""The beginning of a call's money: room is booked in a lease, then the generation's slot is written there.

A call whose lease is closed by someone else, or comes to its end before the slot is numbered, books anew: its caller does not
notice. Whatever fails, what was booked goes back, except where a slot may have been written: then the lease is closed by a look
at all its slots, and what they do not cost goes back with it.

A whole answer of which nobody said how long it may get cannot have more held as it grows. It has as much set aside as it can
cost where that leaves most of the money to the holds of other calls (sizing.py); else its provider is asked for no more than is
held. So its lease covers what it costs, and its windows do, however many are under way at however many instances. Two kinds are
not covered for certain: the answer of a provider that gives more than it was asked for; and a call that was sent while its slot
was being written, whose lease somebody closes just then, where the next one has no more than its hold. Each can be undercharged
by what lies between its hold and the longest answer; that is counted. The price is money that lies in leases while such calls
last: where little is left, other calls may be refused for it, and are told that it is leased.
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
from junctor.ledger.holding import Holding
from junctor.ledger.scope import Scope, Shortfall
from junctor.ledger.scopes import Scopes
from junctor.ledger.slots import Answered, InProgress, Opening
from junctor.ledger.tools import Terms, Tools
from junctor.policy import ceilings, naming
from junctor.ports.table import Done, Refused, StoreError
from junctor.ports.telemetry import Counter
from junctor.records import generations, ids, keys

LEASES_TRIED = 3
SHORT_RETRY_S = 3.0
"""When to try again where money is leased: an idle lease is closed by then."""
IN_PROGRESS_RETRY_S = 2.0


class Bookings:
    """Books room for calls and writes their slots."""

    def __init__(self, tools: Tools, terms: Terms, scopes: Scopes) -> None:
        self._tools = tools
        self._terms = terms
        self._scopes = scopes

    def begin(self, call: Call, plan: Plan) -> Holding:
        """Work out what a call may cost, and set it aside if a lease with room is held; if not, that is left to `book`."""
        clock = self._tools.clock
        at_ms, now_s = clock.now_ms(), clock.monotonic_s()
        ceiling = ceilings.of(call.spec, plan.candidates, at_ms, self._terms.output_hold_tokens)
        amount = ceiling.hold_nanousd
        holding = Holding(call, plan, ceiling, at_ms)
        scope = self._scopes.known(call.caller, now_s, free_of_charge=amount == 0)
        if scope is not None:
            holding.scope = scope
            unbounded = ceiling.open_nanousd > amount
            if unbounded and not call.streamed:
                self._bound(holding, at_ms, now_s)
            holding.held = scope.room_at_hand(holding.amount_nanousd, at_ms, now_s)
            if unbounded and holding.held is not None:
                scope.beyond_nanousd += holding.beyond_nanousd
                if call.streamed:
                    holding.output_cap = self._output_cap(holding, at_ms, now_s)
        return holding

    async def book(self, holding: Holding) -> None:
        """Set aside what a call may cost, in a lease that may have to be taken for it.

        Raises:
            TimeoutError: the call's deadline came; nothing was done.
            InsufficientCreditsError, KeyBudgetExceededError: there is too little; nothing was done.
            RequestIdReusedError, RequestInProgressError, RequestCompletedError: so too, but the request is known.
            LedgerUnavailableError: the store does not answer.
        """
        call, clock = holding.call, self._tools.clock
        async with asyncio.timeout_at(call.deadline_at):
            free_of_charge = holding.ceiling.hold_nanousd == 0
            scope = self._scopes.known(call.caller, clock.monotonic_s(), free_of_charge=free_of_charge)
            holding.scope = scope or await self._read(call)
            if not call.streamed:
                self._bound(holding, clock.now_ms(), clock.monotonic_s())
            await self._with_room(holding)
        if call.streamed:
            holding.output_cap = self._output_cap(holding, clock.now_ms(), clock.monotonic_s())

    async def _read(self, call: Call) -> Scope:
        try:
            return await self._scopes.read(call.caller)
        except StoreError as error:
            raise LedgerUnavailableError("The ledger cannot be read at present.", 1.0) from error

    async def _with_room(self, holding: Holding) -> None:
        call = holding.call
        try:
            await self._room(holding)
        except (InsufficientCreditsError, KeyBudgetExceededError):
            if call.request_id is not None:
                await self._raise_if_known(call, call.request_id)
            raise

    async def _room(self, holding: Holding) -> HeldLease:
        """Find room for what a call may cost, or for its hold if there is not so much. Raises JunctorError."""
        found = await self._reserve(holding)
        if isinstance(found, Shortfall) and holding.beyond_nanousd:
            holding.narrow()
            found = await self._reserve(holding)
        if isinstance(found, Shortfall):
            raise _refusal(holding, found)
        holding.held = found
        return found

    async def _reserve(self, holding: Holding) -> HeldLease | Shortfall:
        """Reserve room. What is beyond a hold counts before it is there: calls that come together would each be alone."""
        scope, beyond = holding.scope, holding.beyond_nanousd
        scope.beyond_nanousd += beyond
        found: HeldLease | Shortfall | None = None
        try:
            found = await scope.room(holding.amount_nanousd, holding.ceiling.hold_nanousd)
        finally:
            if not isinstance(found, HeldLease):
                scope.beyond_nanousd -= beyond
        return found

    def _bound(self, holding: Holding, now_ms: int, now_s: float) -> None:
        """Decide how long a whole answer may get that nobody bounded, and so how much to set aside for it."""
        ceiling, scope = holding.ceiling, holding.scope
        more = ceiling.open_nanousd - ceiling.hold_nanousd
        if more <= 0:
            return
        left = self._scopes.left(scope, holding.call.caller, now_ms, now_s) - ceiling.hold_nanousd
        if scope.spares(more, left, now_s):
            holding.widen()
        else:
            holding.narrow()

    def _output_cap(self, holding: Holding, now_ms: int, now_s: float) -> int | None:
        """Return the most output tokens of a stream to ask a provider for, None if the money covers what an endpoint allows.

        It has more held as it grows, or ends: nothing is set aside for that.
        """
        more = holding.ceiling.open_nanousd - holding.ceiling.hold_nanousd
        if more <= 0:
            return None
        free = holding.held.free_nanousd if holding.held else 0
        if self._scopes.available(holding.call.caller.account, now_ms, now_s) + free >= more:
            return None
        return holding.ceiling.output_tokens

    def write(self, holding: Holding, slot: Slot) -> "asyncio.Future[Done | Refused]":
        """Begin to write a call's slot. What is booked stays with its lease if that cannot even begin."""
        try:
            return self._tools.table.begin_put_new(generations.item(_number(holding, slot), holding.key))
        except BaseException:
            self.lose(holding)
            raise

    async def open(self, holding: Holding, begun: "asyncio.Future[Done | Refused] | None" = None) -> Hold:
        """Write a call's slot, in another lease if the one that it has room in was closed; what is booked goes back on failure.

        `begun`: what `write` began, if that did not come to a good end.

        Raises:
            JunctorError: as `book`, or what is known of a request that its caller named.
        """
        try:
            for _ in range(LEASES_TRIED):
                if begun is None:
                    slot = holding.held.slot_at_hand(self._tools.clock.now_ms()) if holding.held else None
                    _number(holding, slot or await self._numbered(holding))
                hold = await self._open_once(holding, holding.generation, begun)
                if hold is not None:
                    return hold
                begun = None
        except BaseException as error:
            self.give_back(holding)
            if isinstance(error, StoreError):
                raise LedgerUnavailableError("The ledger cannot be written at present.", 1.0) from error
            raise
        raise LedgerUnavailableError("The ledger closed this instance's leases.", 1.0)

    def give_back(self, holding: Holding, cost: NanoUsd = 0) -> "asyncio.Task[None] | None":
        """Give back what is set aside for a call that has ended, less what it cost; return the closing of its lease, if any."""
        held, holding.held = holding.held, None
        if held is None:
            return None
        holding.scope.beyond_nanousd -= holding.beyond_nanousd
        held.release(holding.amount_nanousd, cost)
        return None if held.calls else self._scopes.ended(holding.scope, held)

    def lose(self, holding: Holding) -> None:
        """Count a call as ended of whose slot it is not known how it is: what is set aside for it stays with the lease."""
        held, holding.held = holding.held, None
        if held is not None:
            holding.scope.beyond_nanousd -= holding.beyond_nanousd
            held.lose()
            self._scopes.ended(holding.scope, held)

    async def _numbered(self, holding: Holding) -> Slot:
        """Return the next slot of a lease that the call has room in, which may have to be another one by now."""
        while True:
            held = holding.held or await self._room(holding)
            slot = await held.take(self._tools.clock)
            if slot is not None:
                return slot
            self.give_back(holding)

    async def _open_once(
        self, holding: Holding, generation: Generation, begun: "asyncio.Future[Done | Refused] | None"
    ) -> Hold | None:
        """Write a slot. None: somebody closed the lease, and what was booked in it is given back."""
        held, slot = holding.held, generation.slot
        assert held is not None  # noqa: S101 - the slot is in it
        try:
            if holding.call.request_id is None:
                opening: Opening | InProgress | Answered
                opening = await slots.open_slot(self._tools.table, self._tools.dice, generation, begun)
            else:
                opening = await self._open_named(holding.call, holding.call.request_id, generation)
        except BaseException:
            self.lose(holding)
            raise
        if opening is Opening.OPEN:
            held.acknowledge(slot)
            return Hold(generation)
        if opening is Opening.FENCED:
            self._tools.telemetry.count(Counter.LEASE_FENCED)
            held.doubt()
            self.give_back(holding)
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


def _number(holding: Holding, slot: Slot) -> Generation:
    """Give a call its place: return the generation that is to be written there."""
    call, at_ms = holding.call, holding.at_ms
    remaining_s = call.deadline_at - asyncio.get_running_loop().time()
    holding.key = keys.slot(slot)
    holding.generation = generation = Generation(
        id=ids.generation_id(slot),
        slot=slot,
        state=SlotState.OPEN,
        api_key=call.caller.key,
        requested_model=call.spec.model,
        started_at_ms=at_ms,
        deadline_at_ms=at_ms + int(remaining_s * 1000) if remaining_s > 0 else at_ms,
        streamed=call.streamed,
        hold_nanousd=holding.amount_nanousd,
    )
    return generation


def _refusal(holding: Holding, short: Shortfall) -> JunctorError:
    needed, available, leased = holding.amount_nanousd, short.available_nanousd, short.leased_nanousd
    retry_after_s = SHORT_RETRY_S if leased > 0 else None
    if short.limit:
        return KeyBudgetExceededError(
            limit=short.limit, needed=needed, available=available, leased=leased, retry_after_s=retry_after_s
        )
    tokens = ceilings.affordable_output_tokens(holding.call.spec, holding.plan.candidates, holding.at_ms, available)
    return InsufficientCreditsError(
        needed=needed, available=available, leased=leased, affordable_max_tokens=tokens, retry_after_s=retry_after_s
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
