"""Walk a plan: try its endpoints in order until one answers, and note every try.

The one loop of the pipeline. A stream is good only once its first content has come (the commit point): until then the next
endpoint may take over and the caller never knows. Failures are values; what is raised is the answer to the caller.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from msgspec import Struct

from junctor.domain.call import Call
from junctor.domain.completion import Completion
from junctor.domain.errors import DeadlineError
from junctor.domain.routing import Attempt, AttemptOutcome, Candidate, Failure, Plan, Timers
from junctor.policy import fallback, visible
from junctor.policy.fallback import Decision
from junctor.ports.upstream import Batch
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail

T = TypeVar("T", bound="Completion | Flow")
Try = Callable[[Candidate, Timers], Awaitable["T | Failure"]]


class Flow(Struct, frozen=True):
    """A stream that has begun: its first batch with content, and the rest. Whoever holds it closes `batches`."""

    first: Batch
    batches: AsyncGenerator[Batch, None]


async def whole(services: Services, call: Call, plan: Plan, trail: Trail) -> tuple[Candidate, Completion]:
    """Get a whole answer from the first endpoint that gives one. Raises JunctorError."""

    async def attempt(candidate: Candidate, timers: Timers) -> Completion | Failure:
        return await services.upstream.complete(candidate, call.spec, timers)

    candidate, completion = await _walk(services, call, plan, trail, attempt)
    trail.time_to_first_token_ms = int(completion.time_to_first_token_s * 1000)
    return candidate, completion


async def begin(services: Services, call: Call, plan: Plan, trail: Trail) -> tuple[Candidate, Flow]:
    """Get a stream from the first endpoint whose first content comes. Raises JunctorError."""

    async def attempt(candidate: Candidate, timers: Timers) -> Flow | Failure:
        batches = services.upstream.stream(candidate, call.spec, timers)
        first: Batch = ()
        try:
            while not first:
                first = visible.seen(await anext(batches), call.spec)
        except BaseException:
            await batches.aclose()
            raise
        if isinstance(first[-1], Failure):
            await batches.aclose()
            return first[-1]
        return Flow(first, batches)

    candidate, flow = await _walk(services, call, plan, trail, attempt)
    trail.time_to_first_token_ms = trail.attempts[-1].latency_ms
    return candidate, flow


async def _walk(services: Services, call: Call, plan: Plan, trail: Trail, attempt: "Try[T]") -> tuple[Candidate, T]:
    loop = asyncio.get_running_loop()
    failures: list[Failure] = []
    refused: set[str] = set()
    for candidate in plan.candidates:
        if candidate.endpoint.model in refused:
            continue
        decision, tries = Decision.SAME, 0
        while decision is Decision.SAME:
            remaining_s = call.deadline_at - loop.time()
            if remaining_s <= 0:
                raise DeadlineError("upstream")
            timers = fallback.timers(
                remaining_s,
                reasoning="reasoning" in candidate.endpoint.parameters,
                streamed=call.streamed,
                last=candidate is plan.candidates[-1],
            )
            started_s = services.clock.monotonic_s()
            result = await attempt(candidate, timers)
            latency_ms = int((services.clock.monotonic_s() - started_s) * 1000)
            trail.attempts.append(_noted(candidate, result, latency_ms))
            if not isinstance(result, Failure):
                trail.served = candidate
                return candidate, result
            tries += 1
            failures.append(result)
            decision = fallback.decide(result, tries)
        if decision is Decision.STOP:
            refused.add(candidate.endpoint.model)  # the caller's other models may still take what this one does not
    if loop.time() >= call.deadline_at:
        raise DeadlineError("upstream")
    raise fallback.final_error(failures, tuple(trail.attempts))


def _noted(candidate: Candidate, result: Completion | Flow | Failure, latency_ms: int) -> Attempt:
    endpoint = candidate.endpoint
    if isinstance(result, Failure):
        outcome = fallback.OUTCOMES[result.kind]
        return Attempt(endpoint.provider, endpoint.id, outcome, latency_ms, result.http_status)
    return Attempt(endpoint.provider, endpoint.id, AttemptOutcome.SERVED, latency_ms)
