"""One Stream, from an admitted call to its last event.

As a Complete until the commit point; then deltas leave as they come, those of one read together, and are counted as they pass.
Whatever ends it (finish, a broken upstream, a caller who left, the deadline) ends its slot: the provider's usage is settled, or
our own count of what was delivered, up to what is held. An answer for which nobody set a bound has more held as it grows.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

import msgspec

from junctor.domain.call import Call, Finished, Hold, Opened, Outcome, Receipt, StreamEvent
from junctor.domain.completion import ChoiceEnd, CompletionSpec, Delta, FinishReason, StreamEnd, Usage
from junctor.domain.errors import DeadlineError, JunctorError, LedgerUnavailableError, StreamInterruptedError
from junctor.domain.routing import Attempt, AttemptOutcome, Candidate, Failure, FailureKind
from junctor.ledger.holding import Holding
from junctor.policy import ceilings, counting, visible
from junctor.ports.upstream import Batch
from junctor.usecases import attempt, settle
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail
from junctor.usecases.watch import Watch

EXTEND_AT = 0.8
"""By which share of what is held an answer has come when more is held."""
CREDITS = "credits"
"""Why an answer ended that the organisation's money, or a limit, did not cover any further."""


async def stream(services: Services, call: Call, trail: Trail) -> AsyncGenerator[tuple[StreamEvent, ...], None]:
    """Answer a call step by step: what became known together comes together, a Finished last. Raises JunctorError."""
    plan = settle.plan(services, call, trail)
    async with settle.allowed(services, call, trail):
        holding = await settle.begin(services, call, plan, trail)
        async with settle.VoidOnError(services, holding, call, trail):
            work = attempt.begin(services, call, plan, trail)
            candidate, flow = await settle.beside(services, holding, call, work)
            try:
                hold = await settle.held(services, holding, call)
            except BaseException:
                flow.watch.left()
                await flow.batches.aclose()
                raise

        trail.generation_id = hold.generation.id
        held_tokens = holding.output_tokens * (call.spec.n or 1)
        count = _Count(call.spec, held_tokens if holding.may_outgrow else None)
        hides = call.spec.excludes_reasoning
        try:
            async with aclosing(flow.batches) as batches:
                yield (Opened(hold.generation.id, candidate), *count.deltas(flow.first))
                while count.ending is None:
                    batch = await anext(batches)
                    deltas = count.deltas(visible.seen(batch, call.spec) if hides else batch)
                    if deltas:
                        yield deltas
                    while count.outgrows:  # one read may bring more than is held
                        if _covers(holding, candidate, count):
                            count.covered()
                        else:
                            await _extend(services, hold, count)
                _note(flow.watch, count)
        except BaseException:  # letting the provider go may be cut, too
            flow.watch.left()
            trail.receipt = Receipt(hold.generation.id, pending=True)
            services.ledger.settle_later(hold, _outcome(trail, hold, call, count))
            raise

        trail.receipt = await services.ledger.settle(hold, _outcome(trail, hold, call, count), call.deadline_at)
        if isinstance(count.ending, Failure):
            raise _interrupted(trail, hold, count.ending)
        yield (_finished(trail, candidate, count.ending),)


def _covers(holding: Holding, candidate: Candidate, count: "_Count") -> bool:
    """Tell whether what is held is for more of an answer of this endpoint's, as it is where a dearer one may have answered."""
    asked = msgspec.structs.replace(holding.call.spec, max_tokens=count.next_tokens)
    return ceilings.of(asked, (candidate,), holding.at_ms).hold_nanousd <= holding.amount_nanousd


async def _extend(services: Services, hold: Hold, count: "_Count") -> None:
    """Hold more for answers that grow beyond what is held; where the money does not allow it, all that began end here."""
    try:
        extended = await services.ledger.extend(hold)
    except LedgerUnavailableError:
        extended = False
    if extended:
        count.covered()
    else:
        count.ending = StreamEnd(choices=tuple(ChoiceEnd(place, FinishReason.LENGTH, CREDITS) for place in sorted(count.begun)))


def _note(watch: Watch, count: "_Count") -> None:
    """Tell health how an answer ended: well, broken off, or where its caller's time was up."""
    if not isinstance(count.ending, Failure):
        watch.served(count.usage(), count.tokens)
    elif count.ending.kind is FailureKind.DEADLINE:
        watch.left()
    else:
        watch.failed(count.ending)


class _Count:
    """What passed: the bytes of output and, once it came, the end.

    `held_tokens`: output of all answers for which money is held; None where no more will be needed. `begun`: the numbers of the
    answers of which something came.
    """

    def __init__(self, spec: CompletionSpec, held_tokens: int | None) -> None:
        self._spec = spec
        self._output_bytes = 0
        self._held_tokens = held_tokens
        self._answers = spec.n or 1
        self.begun: set[int] = set()
        self.ending: StreamEnd | Failure | None = None

    @property
    def outgrows(self) -> bool:
        """Whether more should be held, by our own count, as the answer goes on."""
        if self._held_tokens is None or self.ending is not None:
            return False
        return counting.tokens(self._output_bytes) >= EXTEND_AT * self._held_tokens

    @property
    def next_tokens(self) -> int:
        """How long each answer may be once half as much again is held."""
        held = self._held_tokens or 0
        return -(-(held + -(-held // 2)) // self._answers)

    @property
    def tokens(self) -> int:
        """How many tokens of output passed.

        The provider's count, but for an answer with thoughts: how many of them came by is known by our own count only.
        """
        usage = self.usage()
        return counting.tokens(self._output_bytes) if usage.reasoning_tokens else usage.output_tokens

    def covered(self) -> None:
        """Note that half as much again is held."""
        if self._held_tokens is not None:
            self._held_tokens += -(-self._held_tokens // 2)  # rounded up as the money is: it must grow

    def deltas(self, batch: Batch) -> tuple[Delta, ...]:
        """Take a batch and return its deltas."""
        last = batch[-1] if batch else None
        if last is not None and not isinstance(last, Delta):
            self.ending = last
            batch = batch[:-1]
        deltas = cast("tuple[Delta, ...]", batch)  # only the last is ever another thing
        for delta in deltas:
            self._output_bytes += counting.delta_bytes(delta)
            self.begun.add(delta.index)
        return deltas

    def usage(self) -> Usage:
        """Return the provider's usage, else our own count."""
        if isinstance(self.ending, StreamEnd) and self.ending.usage is not None:
            return self.ending.usage
        return counting.estimate(self._spec, self._output_bytes)


def _outcome(trail: Trail, hold: Hold, call: Call, count: _Count) -> Outcome:
    end = count.ending if isinstance(count.ending, StreamEnd) else None
    trail.usage = count.usage()
    trail.finish_reason = end.choices[0].finish_reason if end else FinishReason.ERROR
    whole = end is not None and end.choices[0].native_finish_reason != CREDITS
    return settle.outcome(trail, hold, call, upstream_id=end.upstream_id if end else None, whole=whole)


def _interrupted(trail: Trail, hold: Hold, failure: Failure) -> JunctorError:
    served = trail.attempts[-1]
    trail.attempts[-1] = Attempt(served.provider, served.endpoint, AttemptOutcome.INTERRUPTED, served.latency_ms)
    if failure.kind is FailureKind.DEADLINE:
        return DeadlineError("stream")
    return StreamInterruptedError(
        "The provider broke off after the answer had begun.",
        generation_id=hold.generation.id,
        delivered_tokens=str(trail.usage.output_tokens),
        cost_nanousd=_cost(trail),
    )


def _finished(trail: Trail, candidate: Candidate, end: StreamEnd) -> Finished:
    assert trail.receipt is not None  # noqa: S101 - settled just before
    return Finished(
        choices=end.choices,
        usage=trail.usage,
        receipt=trail.receipt,
        route=trail.route(candidate, end.dropped),
        time_to_first_token_ms=trail.time_to_first_token_ms or 0,
        latency_ms=trail.elapsed_ms(),
    )


def _cost(trail: Trail) -> str:
    """Return what was charged, as errors tell it; empty while the billing is pending."""
    cost = trail.receipt.cost_nanousd if trail.receipt else None
    return "" if cost is None else str(cost)
