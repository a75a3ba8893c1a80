"""One Stream, from an admitted call to its last event.

As a Complete until the commit point; then deltas leave as they come, those of one read together, and are counted as they pass.
Whatever ends it (finish, a broken upstream, a caller who left, the deadline) ends its slot: the provider's usage is settled, or
our own count of what was delivered.
"""

from collections.abc import AsyncGenerator

from junctor.domain.call import Call, Finished, Hold, Opened, Outcome, Receipt, StreamEvent
from junctor.domain.completion import CompletionSpec, Delta, FinishReason, StreamEnd, Usage
from junctor.domain.errors import DeadlineError, JunctorError, StreamInterruptedError
from junctor.domain.routing import Attempt, AttemptOutcome, Candidate, Failure, FailureKind
from junctor.policy import counting, visible
from junctor.ports.upstream import Batch
from junctor.usecases import attempt, settle
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail


async def stream(services: Services, call: Call, trail: Trail) -> AsyncGenerator[tuple[StreamEvent, ...], None]:
    """Answer a call step by step: what became known together comes together, a Finished last. Raises JunctorError."""
    plan = settle.plan(services, call, trail)
    holding = services.ledger.begin(call, plan)
    async with settle.void_on_error(services, holding, call, trail):
        work = attempt.begin(services, call, plan, trail)
        candidate, flow = await settle.beside(services, holding, call, work)
        try:
            hold = await settle.held(services, holding, call)
        except BaseException:
            await flow.batches.aclose()
            raise

    trail.generation_id = hold.generation.id
    count = _Count(call.spec)
    try:
        yield (Opened(hold.generation.id, candidate), *count.deltas(flow.first))
        while count.ending is None:
            deltas = count.deltas(visible.seen(await anext(flow.batches), call.spec))
            if deltas:
                yield deltas
    except BaseException:
        trail.receipt = Receipt(hold.generation.id, pending=True)
        services.ledger.settle_later(hold, _outcome(trail, candidate, count))
        raise
    finally:
        await flow.batches.aclose()

    trail.receipt = await services.ledger.settle(hold, _outcome(trail, candidate, count))
    if isinstance(count.ending, Failure):
        raise _interrupted(trail, hold, count.ending)
    yield (_finished(trail, candidate, count.ending),)


class _Count:
    """What passed: the bytes of output and, once it came, the end."""

    def __init__(self, spec: CompletionSpec) -> None:
        self._spec = spec
        self._output_bytes = 0
        self.ending: StreamEnd | Failure | None = None

    def deltas(self, batch: Batch) -> tuple[Delta, ...]:
        """Take a batch and return its deltas."""
        last = batch[-1] if batch else None
        if last is not None and not isinstance(last, Delta):
            self.ending = last
        deltas = tuple(item for item in batch if isinstance(item, Delta))
        self._output_bytes += sum(map(counting.delta_bytes, deltas))
        return deltas

    def usage(self) -> Usage:
        """Return the provider's usage, else our own count."""
        if isinstance(self.ending, StreamEnd) and self.ending.usage is not None:
            return self.ending.usage
        return counting.estimate(self._spec, self._output_bytes)


def _outcome(trail: Trail, candidate: Candidate, count: _Count) -> Outcome:
    end = count.ending if isinstance(count.ending, StreamEnd) else None
    trail.usage = count.usage()
    trail.finish_reason = end.choices[0].finish_reason if end else FinishReason.ERROR
    return trail.outcome(candidate, end.upstream_id if end else None)


def _interrupted(trail: Trail, hold: Hold, failure: Failure) -> JunctorError:
    served = trail.attempts[-1]
    trail.attempts[-1] = Attempt(served.provider, served.endpoint, AttemptOutcome.INTERRUPTED, served.latency_ms)
    if failure.kind is FailureKind.DEADLINE:
        return DeadlineError("stream")
    return StreamInterruptedError(
        "The provider broke off after the answer had begun.",
        generation_id=hold.generation.id,
        delivered_tokens=str(trail.usage.output_tokens),
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
