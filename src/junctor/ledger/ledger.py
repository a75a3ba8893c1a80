"""The two seams through which a call meets its money: a hold before any output, a settlement before the last.

A hold sets money aside in a lease that this instance holds, and writes the generation's slot: durable before any output.
Settling ends the slot at what the call cost, and gives the rest back to the lease. While a lease with room is held, nothing
here is waited for before the provider is called: the store writes the slot by itself, and only what it does not take at once
needs a task. Work that must outlive its caller (a slot that is being written, a settlement after a cancel, or one that the
store does not answer) is the ledger's own, and `drain` waits for it. Invariant: a hold that waits for its turn stands behind a
write that is the ledger's own.
"""

import asyncio
import itertools
import math
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias, TypeVar

import msgspec

from junctor.domain.call import Call, Hold, Outcome, Receipt
from junctor.domain.errors import JunctorError, LedgerUnavailableError
from junctor.domain.generation import Generation
from junctor.domain.lease import SlotState
from junctor.domain.money import NanoUsd
from junctor.domain.routing import Plan
from junctor.ledger import slots, trying
from junctor.ledger.booking import Bookings
from junctor.ledger.holding import Holding
from junctor.ledger.patience import Patience, ended_by
from junctor.ledger.scopes import Scopes, Watch
from junctor.ledger.slots import Ending
from junctor.ledger.tools import CLOSE_MARGIN_MS, Terms, Tools
from junctor.ports.table import Done, Refused, StoreError
from junctor.ports.telemetry import Counter
from junctor.records import generations

SETTLE_INLINE_S, CLOSE_INLINE_S = 2.0, 0.25
"""For how long an answer waits for its settlement, and then for a lease that is closed after it."""
SETTLE_LEAST_S = 0.1
"""How long it waits for that where its caller's time is up."""
SETTLE_BACKOFF_MAX_S = 5.0
VOID = Outcome(state=SlotState.VOID)

Ended: TypeAlias = "tuple[Receipt, asyncio.Task[None] | None]"
"""What became of a settlement: the receipt, and the closing of the lease, if it is closed for that."""

T = TypeVar("T")


class Ledger:
    """The ledger as one instance sees it. `watch` is told where the accounts in use stand."""

    def __init__(self, tools: Tools, terms: Terms, watch: Watch) -> None:
        self._table = tools.table
        self._clock = tools.clock
        self._dice = tools.dice
        self._telemetry = tools.telemetry
        self._tasks: set[asyncio.Future[Any]] = set()
        self._patience = Patience(SETTLE_INLINE_S)
        self._scopes = Scopes(tools, terms, self._spawn, watch)
        self._bookings = Bookings(tools, terms, self._scopes)
        self._booked: dict[str, Holding] = {}

    async def begin(self, call: Call, plan: Plan) -> Holding:
        """Set aside what a call may cost, and start to write its slot, which goes on even if the caller leaves.

        A call that its caller named waits until the slot is there, as another may be answering the same.

        Raises:
            InsufficientCreditsError, KeyBudgetExceededError: there is too little; nothing was done.
            RequestIdReusedError, RequestInProgressError, RequestCompletedError: what is known of a named call.
            LedgerUnavailableError: the store does not answer; nothing was charged.
            TimeoutError: the call's deadline came first; nothing was charged.
        """
        holding = self._bookings.begin(call, plan)
        now_ms = holding.at_ms
        if holding.held is None:
            await self._bookings.book(holding)
            now_ms = self._clock.now_ms()
        self._begin(holding, now_ms)
        if call.request_id is not None:
            try:
                await holding.ready(call.deadline_at)
            except JunctorError:
                raise
            except BaseException:
                self.abandon_later(holding, VOID)
                raise
        return holding

    async def hold(self, call: Call, plan: Plan) -> Hold:
        """Do as `begin`, and wait until the hold is durable."""
        return await (await self.begin(call, plan)).ready()

    async def extend(self, hold: Hold) -> bool:
        """Set half as much again aside for a call under way; False if there is no more. Raises LedgerUnavailableError."""
        booked = self._booked[hold.generation.id]
        return await booked.more(-(-booked.amount_nanousd // 2))

    async def settle(self, hold: Hold, outcome: Outcome, deadline_at: float = math.inf) -> Receipt:
        """End a generation's slot. The settlement goes on if the caller leaves, and past this answer if the store is slow.

        No answer is kept back until its caller's time is up (`deadline_at`, of the loop's clock): he would pay for nothing.
        """
        opened, now_ms = hold.generation, self._clock.now_ms()
        booked = self._booked.pop(opened.id, None)
        if booked is None:  # it has ended, and does so once
            self._telemetry.count(Counter.SETTLE_LOST)
            return Receipt(opened.id)
        cost = outcome.cost_nanousd
        now_s = asyncio.get_running_loop().time()
        tried = cost <= booked.amount_nanousd and deadline_at - now_s >= SETTLE_INLINE_S
        if tried:
            # Nearly every settlement is one write that the store takes, for which this task will do; any other has its own.
            settled: Ended | None = None
            waiting = self._patience.begin()
            try:
                conditions, changes = generations.ending(opened, outcome, now_ms)
                answer = await self._table.update(booked.key, conditions, changes, returning=False)
                settled = self._settled(booked, opened, cost, slots.ended(answer, outcome))
            except StoreError:
                pass
            except asyncio.CancelledError:
                if not self._patience.ran_out(waiting):
                    self._spawn(self._settle(booked, opened, outcome, now_ms)).add_done_callback(self._report)
                    raise
            except BaseException:
                self._bookings.lose(booked)
                raise
            finally:
                at_s = self._patience.end(waiting)
            if settled is not None:
                return settled[0] if settled[1] is None else await self._told(*settled, deadline_at)
        else:
            at_s = now_s + max(min(deadline_at - now_s, SETTLE_INLINE_S), SETTLE_LEAST_S)
        task = self._spawn(self._settle(booked, opened, outcome, now_ms, failed=tried))
        if not await ended_by(task, at_s):
            self._telemetry.count(Counter.SETTLE_PENDING)
            task.add_done_callback(self._report)
            return Receipt(opened.id, pending=True)
        return await self._told(*task.result(), deadline_at)

    def settle_later(self, hold: Hold, outcome: Outcome) -> None:
        """Do as `settle`, for a caller who has left."""
        self._spawn(self.settle(hold, outcome)).add_done_callback(self._report)

    async def abandon(self, holding: Holding, outcome: Outcome) -> None:
        """End a generation that gave no answer, once its hold is known; if there is none, there is nothing to end."""
        await asyncio.shield(self._spawn(self._abandon(holding, outcome)))

    def abandon_later(self, holding: Holding, outcome: Outcome) -> "asyncio.Task[None]":
        """Do as `abandon`, for a caller who does not wait."""
        task = self._spawn(self._abandon(holding, outcome))
        task.add_done_callback(self._report)
        return task

    async def drain(self, timeout_s: float) -> int:
        """Wait for everything under way, and what it begins, and return how many tasks had to be given up."""
        loop = asyncio.get_running_loop()
        give_up_at_s = loop.time() + timeout_s
        while self._tasks and loop.time() < give_up_at_s:
            await asyncio.wait(self._tasks, timeout=give_up_at_s - loop.time())
        given_up = len(self._tasks)
        while self._tasks:  # one that is given up may leave a settlement behind, which is to end as well
            unfinished = tuple(self._tasks)
            for task in unfinished:
                task.cancel()
            await self._end_of(unfinished)
        return given_up

    async def close(self) -> None:
        """Close the leases that this instance holds; those with calls under way are for a reclaimer."""
        await self._scopes.stop()
        while self._tasks:
            await self._end_of(tuple(self._tasks))

    def _begin(self, holding: Holding, now_ms: int) -> None:
        """Begin to write a hold's slot: at once, or when its lease has a number for it, or in a task of ours."""
        held, named = holding.held, holding.call.request_id is not None
        slot = None if held is None or named else held.slot_at_hand(now_ms)
        if slot is not None:
            writing = self._bookings.write(holding, slot)
            self._tasks.add(writing)
            writing.add_done_callback(partial(self._written, holding))
        elif held is None or named or not held.usable(now_ms):
            self._open(holding)
        else:
            held.wait(partial(self._begin_next, holding))

    def _begin_next(self, holding: Holding) -> None:
        """Do as `_begin`, for a hold whose turn has come."""
        try:
            self._begin(holding, self._clock.now_ms())
        except Exception as error:  # noqa: BLE001 - it is told to whoever waits for the hold
            holding.fail(error)

    def _written(self, holding: Holding, writing: "asyncio.Future[Done | Refused]") -> None:
        """Take note of a slot that the store has written; whatever else it answers is for a task of ours."""
        self._tasks.discard(writing)
        if writing.cancelled():
            self._given_up(holding)
        elif writing.exception() is None and isinstance(writing.result(), Done):
            generation, held = holding.generation, holding.held
            assert held is not None  # noqa: S101 - the slot is in it
            held.acknowledge(generation.slot)
            self._booked[generation.id] = holding
            holding.opened(Hold(generation))
        else:
            self._open(holding, writing)

    def _open(self, holding: Holding, begun: "asyncio.Future[Done | Refused] | None" = None) -> None:
        """Write a hold's slot in a task, however long it takes. `begun`: a first try that did not come to a good end."""
        self._spawn(self._bookings.open(holding, begun)).add_done_callback(partial(self._tried, holding))

    def _tried(self, holding: Holding, task: "asyncio.Task[Hold]") -> None:
        """Take note of what became of a hold's slot."""
        if task.cancelled():
            self._given_up(holding)
            return
        error = task.exception()
        if error is not None:
            holding.fail(error)
            named = holding.call.request_id is not None
            if named and hasattr(holding, "generation") and isinstance(error.__cause__, StoreError):
                self._free(holding)
            return
        hold = task.result()
        self._booked[hold.generation.id] = holding
        holding.opened(hold)

    def _free(self, holding: Holding) -> None:
        """End a slot that may be there though its caller was told that it is not.

        It stands for the request that he named, which he sends again: without this it would seem to be answered until the last
        call in the slot's lease ends, as the lease is not closed before.
        """
        work = self._end(holding.generation, VOID, self._clock.now_ms(), failed=True)
        self._spawn(work).add_done_callback(self._report)

    def _given_up(self, holding: Holding) -> None:
        """Take note that a slot may be there or not, as this instance ends."""
        self._bookings.lose(holding)
        holding.fail(LedgerUnavailableError("The ledger ends here.", 1.0))

    async def _settle(
        self, booked: Holding, opened: Generation, outcome: Outcome, now_ms: int, *, failed: bool = False
    ) -> Ended:
        """End a slot, however long it takes. `failed`: the store did not take it at once, which may have ended it even so."""
        try:
            cost = outcome.cost_nanousd
            if cost > booked.amount_nanousd:
                cost = await self._covered(booked, outcome)
                outcome = msgspec.structs.replace(outcome, cost_nanousd=cost)
            ending = await self._end(opened, outcome, now_ms, failed=failed)
        except BaseException:
            self._bookings.lose(booked)
            raise
        return self._settled(booked, opened, cost, ending)

    def _settled(self, booked: Holding, opened: Generation, cost: NanoUsd, ending: Ending | None) -> Ended:
        """Give back what was set aside for a slot that has ended.

        A receipt without a cost, and not pending, is of a slot that somebody else had ended: it costs nothing.
        """
        if ending is not Ending.ENDED:
            self._telemetry.count(Counter.SETTLE_LOST)
            self._telemetry.count(Counter.REVENUE_LOST, cost)
            self._bookings.lose(booked)
            return Receipt(opened.id, pending=ending is None), None
        booked.scope.traffic.spent(cost, self._clock.monotonic_s())
        closing = self._bookings.give_back(booked, cost)
        return Receipt(opened.id, False, cost, cost, 0), closing  # noqa: FBT003 - by name they cost twice as much

    async def _told(self, receipt: Receipt, closing: "asyncio.Task[None] | None", deadline_at: float) -> Receipt:
        """Return a receipt: after its lease is closed, so that who looks at his credits then sees nothing leased."""
        if closing is not None:
            left_s = deadline_at - asyncio.get_running_loop().time()
            await asyncio.wait((closing,), timeout=max(min(left_s, CLOSE_INLINE_S), 0))
        return receipt

    async def _covered(self, booked: Holding, outcome: Outcome) -> NanoUsd:
        """Return how much of a cost beyond what is set aside for a call is covered: what is, and what can be now."""
        missing = outcome.cost_nanousd - booked.amount_nanousd
        if outcome.within_hold:
            return booked.amount_nanousd
        with suppress(LedgerUnavailableError):  # the slot can be settled at what is set aside for it, the rest is ours
            if await booked.more(missing):
                return outcome.cost_nanousd
        self._telemetry.count(Counter.UNDERCHARGED, missing)
        return booked.amount_nanousd

    async def _end(self, opened: Generation, outcome: Outcome, now_ms: int, *, failed: bool) -> Ending | None:
        """Try until the slot has ended, or until any closer may have expired it: None then. `failed`: a try did."""
        loop = asyncio.get_running_loop()
        give_up_at_s = loop.time() + (max(opened.deadline_at_ms - self._clock.now_ms(), 0) + CLOSE_MARGIN_MS) / 1000
        for tried in itertools.count():
            if failed or tried:
                await asyncio.sleep(trying.backoff_s(self._dice, tried, SETTLE_BACKOFF_MAX_S))
            try:
                return await slots.end_slot(self._table, opened, outcome, now_ms)
            except StoreError:
                if loop.time() > give_up_at_s:
                    break
        return None

    async def _abandon(self, holding: Holding, outcome: Outcome) -> None:
        try:
            hold = await holding.ready()
        except JunctorError:
            return
        await self.settle(hold, outcome)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    async def _end_of(self, tasks: Sequence["asyncio.Future[Any]"]) -> None:
        """Wait for work under way, whatever becomes of it; what was cancelled before it began cannot take itself out."""
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.difference_update(tasks)

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for the task is told; where nobody does, _report is

    def _report(self, task: "asyncio.Task[Any]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._incident(error)

    def _incident(self, error: BaseException) -> None:
        self._telemetry.count(Counter.INCIDENT)
        self._telemetry.incident("ledger", error)
