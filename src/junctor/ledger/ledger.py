"""The two seams through which a call meets its money: `hold` before any output, `settle` before the last.

A hold is a durable OPEN slot in a lease that this instance holds; settling ends it. Leases have amount 0 here: generations are
recorded exactly, and not yet charged. Work that must outlive its caller (a settlement after a cancel, or one that the store
does not answer) runs in tasks of the ledger's own, which `drain` waits for.
"""

import asyncio
from collections import Counter as Tally
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from junctor.domain.call import Call, Hold, Outcome, Receipt
from junctor.domain.errors import LedgerUnavailableError
from junctor.domain.generation import Generation
from junctor.domain.lease import Lease, Slot, SlotState
from junctor.domain.routing import Plan
from junctor.ledger import closing, slots, trying
from junctor.ledger.holder import HeldLease
from junctor.ledger.slots import Ending, Opening
from junctor.ports.ambient import Clock, Dice
from junctor.ports.table import StoreError, Table
from junctor.ports.telemetry import Counter, Telemetry
from junctor.records import generations, ids, leases

WIDTH = 16
LEASE_LIFE_MS = 300_000
CLOSE_MARGIN_MS = 120_000
SETTLE_INLINE_S = 2.0
SETTLE_BACKOFF_MAX_S = 5.0
LEASES_TRIED = 3

T = TypeVar("T")


class Holding:
    """A hold under way beside the upstream call."""

    def __init__(self, task: "asyncio.Task[Hold]") -> None:
        self.task = task

    async def ready(self) -> Hold:
        """Wait until the hold is durable. Raises LedgerUnavailableError."""
        return await asyncio.shield(self.task)

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
    """The ledger as one instance sees it. `deadline_max_ms` is the longest that a call may last."""

    def __init__(self, table: Table, clock: Clock, dice: Dice, telemetry: Telemetry, *, deadline_max_ms: int) -> None:
        self._table = table
        self._clock = clock
        self._dice = dice
        self._telemetry = telemetry
        self._owner = self._ulid()
        self._exp_after_ms = deadline_max_ms + CLOSE_MARGIN_MS
        self._held: dict[str, asyncio.Task[HeldLease]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._open_slots: Tally[str] = Tally()

    def begin(self, call: Call, plan: Plan) -> Holding:
        """Start a hold that goes on even if the caller leaves."""
        return Holding(self._spawn(self.hold(call, plan)))

    async def hold(self, call: Call, _plan: Plan) -> Hold:
        """Make a call's generation durable as an OPEN slot.

        Raises:
            LedgerUnavailableError: the store does not answer; nothing was charged.
        """
        try:
            tried = 0
            while tried < LEASES_TRIED:
                held = await self._lease(call.caller.account)
                slot = await held.take(self._clock)
                if slot is None:
                    continue  # nothing was sent, and another call's trouble is not one of our tries
                hold = await self._open(call, held, slot)
                if hold is not None:
                    return hold
                tried += 1
        except StoreError as error:
            raise LedgerUnavailableError("The ledger cannot be written at present.", 1.0) from error
        raise LedgerUnavailableError("The ledger closed this instance's leases.", 1.0)

    async def settle(self, hold: Hold, outcome: Outcome) -> Receipt:
        """End a generation's slot. The settlement goes on if the caller leaves, and past this answer if the store is slow."""
        ended = _ended(hold.generation, outcome, self._clock.now_ms())
        task = self._spawn(self._end(hold.generation, ended))
        done, _ = await asyncio.wait({task}, timeout=SETTLE_INLINE_S)
        if done:
            task.result()
        else:
            self._telemetry.count(Counter.SETTLE_PENDING)
            task.add_done_callback(self._report)
        return Receipt(ended.id, pending=not done)

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
        """Close the leases that this instance holds, each of whose slots has ended as it knows; the rest is for a reclaimer.

        What they cost is nothing in all, as their amount is 0.
        """
        held = [task.result() for task in self._held.values() if task.done() and _usable(task, self._clock.now_ms())]
        self._held.clear()
        for lease in held:
            if lease.quiet and not self._open_slots[lease.lease.id]:
                lease.fence()
                with suppress(StoreError):
                    await closing.close(self._table, self._dice, lease.lease, self._clock.now_ms(), total=0)

    async def _lease(self, account: str) -> HeldLease:
        task = self._held.get(account)
        if task is None or (task.done() and not _usable(task, self._clock.now_ms())):
            task = self._spawn(self._acquire(account))
            self._held[account] = task
        return task.result() if task.done() else await asyncio.shield(task)

    async def _acquire(self, account: str) -> HeldLease:
        now_ms = self._clock.now_ms()
        until_ms = now_ms + LEASE_LIFE_MS
        lease = Lease(
            id=self._ulid(),
            account=account,
            scope=account,
            owner=self._owner,
            until_ms=until_ms,
            exp_ms=until_ms + self._exp_after_ms,
            width=WIDTH,
        )
        # Of amount 0, as nothing is charged yet: its entry alone. A fresh id, so one found there is an earlier try of ours.
        await trying.put_new(self._table, self._dice, leases.item(lease))
        return HeldLease(lease)

    def _ulid(self) -> str:
        return ids.ulid(self._clock.now_ms(), self._dice.draw(ids.ULID_RANDOM_BYTES))

    async def _open(self, call: Call, held: HeldLease, slot: Slot) -> Hold | None:
        generation = self._generation(call, slot)
        try:
            opening = await slots.open_slot(self._table, self._dice, generation)
        except BaseException:
            held.fence()
            raise
        if opening is Opening.FENCED:
            self._telemetry.count(Counter.LEASE_FENCED)
            held.fence()
            return None
        held.acknowledge(slot)
        self._open_slots[slot.lease] += 1
        return Hold(generation)

    def _generation(self, call: Call, slot: Slot) -> Generation:
        now_ms = self._clock.now_ms()
        remaining_s = max(call.deadline_at - asyncio.get_running_loop().time(), 0.0)
        return Generation(
            id=ids.generation_id(slot),
            slot=slot,
            state=SlotState.OPEN,
            api_key=call.caller.key,
            requested_model=call.spec.model,
            started_at_ms=now_ms,
            deadline_at_ms=now_ms + int(remaining_s * 1000),
            streamed=call.streamed,
        )

    async def _end(self, opened: Generation, ended: Generation) -> None:
        """Try until the slot has ended, or until any closer may have expired it."""
        loop = asyncio.get_running_loop()
        remaining_ms = max(opened.deadline_at_ms - self._clock.now_ms(), 0)
        give_up_at_s = loop.time() + (remaining_ms + CLOSE_MARGIN_MS) / 1000
        tried = 0
        while True:
            try:
                ending = await slots.end_slot(self._table, opened, ended)
                break
            except StoreError:
                if loop.time() > give_up_at_s:
                    self._telemetry.count(Counter.SETTLE_LOST)
                    return
                await asyncio.sleep(trying.backoff_s(self._dice, tried, SETTLE_BACKOFF_MAX_S))
                tried += 1
        self._open_slots[opened.slot.lease] -= 1
        if not self._open_slots[opened.slot.lease]:
            del self._open_slots[opened.slot.lease]
        if ending is Ending.OURS_NOT:
            self._telemetry.count(Counter.SETTLE_LOST)

    async def _abandon(self, holding: Holding, outcome: Outcome) -> None:
        try:
            hold = await holding.ready()
        except LedgerUnavailableError:
            return
        await self.settle(hold, outcome)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
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


def _usable(task: "asyncio.Task[HeldLease]", now_ms: int) -> bool:
    return not task.cancelled() and task.exception() is None and task.result().usable(now_ms)


def _ended(opened: Generation, outcome: Outcome, now_ms: int) -> Generation:
    endpoint = outcome.candidate.endpoint if outcome.candidate else None
    usage = outcome.usage
    return msgspec.structs.replace(
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
