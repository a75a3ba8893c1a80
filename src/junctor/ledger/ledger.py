"""The two seams through which a call meets its money: a hold before any output, a settlement before the last.

A hold sets money aside in a lease that this instance holds, and writes the generation's slot: durable before any output.
Settling ends the slot at what the call cost, and gives the rest back to the lease. While a lease with room is held, nothing
here is waited for before the provider is called. Work that must outlive its caller (a settlement after a cancel, or one that
the store does not answer) runs in tasks of the ledger's own, which `drain` waits for.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from junctor.domain.call import Call, Hold, Outcome, Receipt
from junctor.domain.errors import JunctorError, LedgerUnavailableError
from junctor.domain.generation import Generation
from junctor.domain.lease import SlotState
from junctor.domain.money import NanoUsd
from junctor.domain.routing import Plan
from junctor.ledger import slots, trying
from junctor.ledger.booking import Booked, Bookings
from junctor.ledger.scopes import Scopes, Watch
from junctor.ledger.slots import Ending
from junctor.ledger.tools import CLOSE_MARGIN_MS, Terms, Tools
from junctor.ports.table import StoreError
from junctor.ports.telemetry import Counter
from junctor.records import generations

SETTLE_INLINE_S, CLOSE_INLINE_S = 2.0, 0.25
"""For how long an answer waits for its settlement, and then for a lease that is closed after it."""
SETTLE_BACKOFF_MAX_S = 5.0
VOID = Outcome(state=SlotState.VOID)

T = TypeVar("T")


class Holding:
    """A hold under way beside the upstream call.

    `output_cap`: the most output tokens of each answer to ask a provider for, as the organisation's money might not cover more;
    None where it covers all that may come.
    """

    def __init__(self, task: "asyncio.Task[Hold]", booked: Booked, output_cap: int | None) -> None:
        self.task = task
        self.output_cap = output_cap
        self._ceiling = booked.ceiling

    @property
    def output_tokens(self) -> int:
        """The output tokens of each answer for which money is held."""
        return self._ceiling.output_tokens

    @property
    def may_outgrow(self) -> bool:
        """Whether an answer may come to cost more than is held for it."""
        return self.output_cap is None and self._ceiling.open_nanousd > self._ceiling.hold_nanousd

    async def ready(self, deadline_at: float | None = None) -> Hold:
        """Wait until the hold is durable. Raises JunctorError; TimeoutError if it is not by an instant of the loop's clock."""
        if not self.task.done() and not await _ended_by(self.task, deadline_at):
            raise TimeoutError
        return self.task.result()

    @property
    def generation_id(self) -> str:
        """The generation that is held, empty while there is none."""
        held = self.task.done() and not self.task.cancelled() and self.task.exception() is None
        return self.task.result().generation.id if held else ""

    @property
    def failed(self) -> bool:
        """Whether it is known that there will be no hold."""
        return self.task.done() and not self.task.cancelled() and self.task.exception() is not None


class Ledger:
    """The ledger as one instance sees it. `watch` is told where the accounts in use stand."""

    def __init__(self, tools: Tools, terms: Terms, watch: Watch) -> None:
        self._table = tools.table
        self._clock = tools.clock
        self._dice = tools.dice
        self._telemetry = tools.telemetry
        self._tasks: set[asyncio.Task[Any]] = set()
        self._scopes = Scopes(tools, terms, self._spawn, watch)
        self._bookings = Bookings(tools, terms, self._scopes)
        self._booked: dict[str, Booked] = {}

    async def begin(self, call: Call, plan: Plan) -> Holding:
        """Set aside what a call may cost, and start to write its slot, which goes on even if the caller leaves.

        A call that its caller named waits until the slot is there, as another may be answering the same.

        Raises:
            InsufficientCreditsError, KeyBudgetExceededError: there is too little; nothing was done.
            RequestIdReusedError, RequestInProgressError, RequestCompletedError: what is known of a named call.
            LedgerUnavailableError: the store does not answer; nothing was charged.
            TimeoutError: the call's deadline came first; nothing was charged.
        """
        booked = await self._bookings.book(call, plan)
        cap = self._bookings.output_cap(booked)
        holding = Holding(self._spawn(self._open(booked)), booked, cap)
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

    async def settle(self, hold: Hold, outcome: Outcome) -> Receipt:
        """End a generation's slot. The settlement goes on if the caller leaves, and past this answer if the store is slow."""
        task = self._spawn(self._settle(hold.generation, outcome, self._clock.now_ms()))
        if not await _ended_by(task, asyncio.get_running_loop().time() + SETTLE_INLINE_S):
            self._telemetry.count(Counter.SETTLE_PENDING)
            task.add_done_callback(self._report)
            return Receipt(hold.generation.id, pending=True)
        receipt, closing = task.result()
        if closing is not None:  # so that who looks at his credits now sees what the call cost, and nothing leased
            await asyncio.wait((closing,), timeout=CLOSE_INLINE_S)
        return receipt

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
        unfinished = tuple(self._tasks)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        return len(unfinished)

    async def close(self) -> None:
        """Close the leases that this instance holds; those with calls under way are for a reclaimer."""
        await self._scopes.stop()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _open(self, booked: Booked) -> Hold:
        hold = await self._bookings.open(booked)
        self._booked[hold.generation.id] = booked
        return hold

    async def _settle(self, opened: Generation, outcome: Outcome, now_ms: int) -> "tuple[Receipt, asyncio.Task[None] | None]":
        """End a slot, and return the closing of its lease, if it is closed for that.

        A receipt without a cost, and not pending, is of a slot that somebody else had ended: it costs nothing.
        """
        booked = self._booked.pop(opened.id, None)
        if booked is None:  # it has ended, and does so once
            self._telemetry.count(Counter.SETTLE_LOST)
            return Receipt(opened.id), None
        try:
            cost = outcome.cost_nanousd
            if cost > booked.amount_nanousd:
                cost = await self._covered(booked, outcome)
            ending = await self._end(opened, _ended(opened, outcome, cost, now_ms))
        except BaseException:
            self._bookings.lose(booked)
            raise
        if ending is not Ending.ENDED:
            self._telemetry.count(Counter.SETTLE_LOST)
            self._telemetry.count(Counter.REVENUE_LOST, cost)
            self._bookings.lose(booked)
            return Receipt(opened.id, pending=ending is None), None
        booked.scope.traffic.spent(cost, self._clock.monotonic_s())
        closing = self._bookings.give_back(booked, cost)
        return Receipt(opened.id, cost_nanousd=cost, upstream_cost_nanousd=cost, fee_nanousd=0), closing

    async def _covered(self, booked: Booked, outcome: Outcome) -> NanoUsd:
        """Return how much of a cost beyond what is set aside for a call is covered: what is, and what can be now."""
        missing = outcome.cost_nanousd - booked.amount_nanousd
        if outcome.within_hold:
            return booked.amount_nanousd
        with suppress(LedgerUnavailableError):  # the slot can be settled at what is set aside for it, the rest is ours
            if await booked.more(missing):
                return outcome.cost_nanousd
        self._telemetry.count(Counter.UNDERCHARGED, missing)
        return booked.amount_nanousd

    async def _end(self, opened: Generation, ended: Generation) -> Ending | None:
        """Try until the slot has ended, or until any closer may have expired it: None then."""
        give_up_at_s = 0.0
        tried = 0
        while True:
            try:
                return await slots.end_slot(self._table, opened, ended)
            except StoreError:
                now_s = asyncio.get_running_loop().time()
                if tried == 0:
                    remaining_ms = max(opened.deadline_at_ms - self._clock.now_ms(), 0)
                    give_up_at_s = now_s + (remaining_ms + CLOSE_MARGIN_MS) / 1000
                if now_s > give_up_at_s:
                    return None
                await asyncio.sleep(trying.backoff_s(self._dice, tried, SETTLE_BACKOFF_MAX_S))
                tried += 1

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

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for the task is told; where nobody does, _report is

    def _report(self, task: "asyncio.Task[Any]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._telemetry.count(Counter.INCIDENT)
            self._telemetry.incident("ledger", error)


def _ended(opened: Generation, outcome: Outcome, cost: NanoUsd, now_ms: int) -> Generation:
    endpoint = outcome.candidate.endpoint if outcome.candidate else None
    usage = outcome.usage
    ended = msgspec.structs.replace(
        opened,
        state=outcome.state,
        model=endpoint.model if endpoint else "",
        provider=endpoint.provider if endpoint else "",
        endpoint=endpoint.id if endpoint else "",
        price_version=outcome.candidate.price.version if outcome.candidate else "",
        upstream_id=(outcome.upstream_id or "").encode()[: generations.UPSTREAM_ID_MAX].decode(errors="ignore"),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        estimated=usage.estimated,
        finish_reason=outcome.finish_reason.value if outcome.finish_reason else "",
        time_to_first_token_ms=outcome.time_to_first_token_ms,
        ended_at_ms=now_ms,
    )
    return slots.charged(ended, cost)


async def _ended_by(task: "asyncio.Task[Any]", at_s: float | None) -> bool:
    """Wait for a task until an instant of the loop's clock, and tell whether it has ended. It goes on if the caller leaves.

    It does for one task what asyncio.wait does for many, at a third of its price.
    """
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()

    def wake(_: object = None) -> None:
        if not woken.done():
            woken.set_result(None)

    task.add_done_callback(wake)
    timer = None if at_s is None else loop.call_at(at_s, wake)
    try:
        await woken
    finally:
        if timer is not None:
            timer.cancel()
        task.remove_done_callback(wake)
    return task.done()
