"""Walk a plan: try its endpoints in order until one answers, and note every try.

The one loop of the pipeline. A stream is good only once its first content has come (the commit point): until then the next
endpoint may take over and the caller never knows. Failures are values; what is raised is the answer to the caller.

Every try is told to health, and each after a call's first needs leave of its model's budgets: where that is refused, as it
sooner is for an endpoint that is open, the next candidate is, and after the last one the failures so far are the answer.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from itertools import chain
from typing import Generic, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from junctor.domain.call import Call
from junctor.domain.completion import Completion, CompletionSpec, Role, Usage
from junctor.domain.errors import DeadlineError, JunctorError
from junctor.domain.routing import Adjustment, Attempt, AttemptOutcome, Candidate, Failure, FailureKind, Plan, Timers
from junctor.policy import bounds, counting, fallback, visible
from junctor.policy.fallback import Decision, TimeUp
from junctor.ports.upstream import Batch
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail
from junctor.usecases.watch import Watch


class Flow(Struct, frozen=True):
    """A stream that has begun: its first batch with content, and the rest. Whoever holds it closes `batches`, ends `watch`."""

    first: Batch
    batches: AsyncGenerator[Batch, None]
    watch: Watch


T = TypeVar("T", bound=Completion | Flow)
Try: TypeAlias = Callable[[Candidate, Timers, Watch], Awaitable[T | Failure]]
_UNTOLD = Usage(estimated=True)
UNSURE_SHARE = 8
"""By which part of a context our estimate of a request's tokens may be too high."""


async def whole(services: Services, call: Call, plan: Plan, trail: Trail) -> tuple[Candidate, Completion]:
    """Get a whole answer from the first endpoint that gives one. Raises JunctorError."""

    async def attempt(candidate: Candidate, timers: Timers, watch: Watch) -> Completion | Failure:
        result = await services.upstream.complete(candidate, _as_taken(call.spec, candidate, trail), timers)
        if not isinstance(result, Failure):
            watch.served(result.usage or _UNTOLD)
        return result

    candidate, completion = await _Walk(services, call, trail, attempt).over(plan)
    trail.time_to_first_token_ms = int(completion.time_to_first_token_s * 1000)
    return candidate, completion


async def begin(services: Services, call: Call, plan: Plan, trail: Trail) -> tuple[Candidate, Flow]:
    """Get a stream from the first endpoint whose first content comes. Raises JunctorError."""

    async def attempt(candidate: Candidate, timers: Timers, watch: Watch) -> Flow | Failure:
        batches = services.upstream.stream(candidate, _as_taken(call.spec, candidate, trail), timers)
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
        return Flow(first, batches, watch)

    candidate, flow = await _Walk(services, call, trail, attempt).over(plan)
    trail.time_to_first_token_ms = trail.attempts[-1].latency_ms
    flow.watch.first(trail.attempts[-1].latency_ms)
    return candidate, flow


class _Walk(Generic[T]):
    """One call on its way over the candidates of its plan."""

    def __init__(self, services: Services, call: Call, trail: Trail, attempt: Try[T]) -> None:
        self._services = services
        self._call = call
        self._trail = trail
        self._attempt: Try[T] = attempt
        self._failed: list[tuple[Candidate, Failure]] = []
        self._refused: set[str] = set()

    @property
    def _prefilled(self) -> bool:
        """Whether the request has the beginning of its answer."""
        return any(message.role is Role.ASSISTANT for message in self._call.spec.messages[-1:])

    async def over(self, plan: Plan) -> tuple[Candidate, T]:
        """Return the first answer and who gave it. Raises JunctorError."""
        health, account, planned = self._services.health, self._call.caller.account, plan.candidates
        health.asked(planned[0].endpoint.model)
        later: list[Candidate] = []
        for place, candidate in enumerate(chain(planned, later), 1):
            if candidate.endpoint.model in self._refused:
                continue
            if place <= len(planned) and health.puts_off(candidate, account):
                later.append(candidate)
                continue
            answer = await self._at(candidate, last=place == len(planned) + len(later))
            if answer is not None:
                return answer
        return await self._after_a_wait()

    async def _at(self, candidate: Candidate, *, last: bool) -> tuple[Candidate, T] | None:
        """Try one endpoint, again or with its spare credentials where that makes sense; None if it gives no answer."""
        tries = 0
        while True:
            if self._failed and not self._services.health.grants(candidate):
                return None
            result = await self._try(candidate, last=last)
            if not isinstance(result, Failure):
                return candidate, result
            tries += 1
            decision = fallback.decide(result, tries, prefilled=self._prefilled)
            if decision is Decision.STOP:
                # The caller's other models may still take what this one does not.
                self._refused.add(candidate.endpoint.model)
            elif decision is Decision.SPARE and (other := self._with_spare(candidate)) is not None:
                candidate = other
                continue
            # Once is enough where that is no surprise, as at a probe, or was the last that its breaker waited for.
            if decision is not Decision.SAME or self._services.health.is_open(candidate):
                return None

    async def _try(self, candidate: Candidate, *, last: bool) -> T | Failure:
        """Make one attempt and note it."""
        services, call, endpoint = self._services, self._call, candidate.endpoint
        remaining_s = call.deadline_at - asyncio.get_running_loop().time()
        if remaining_s <= 0:
            raise DeadlineError("upstream")
        timers = fallback.timers(
            remaining_s,
            reasoning="reasoning" in endpoint.parameters,
            streamed=call.streamed,
            last=last,
            p99_ms=_p99_ms(candidate),
        )
        watch = services.health.begun(candidate, call.caller.account)
        started_s = services.clock.monotonic_s()
        try:
            result = await self._attempt(candidate, timers, watch)
        except BaseException:
            watch.left()
            raise
        took_s = services.clock.monotonic_s() - started_s
        self._trail.attempts.append(_noted(candidate, result, int(took_s * 1000)))
        if isinstance(result, Failure):
            self._failed.append((candidate, result))
            up = fallback.time_up(result, timers, remaining_s, took_s)
            excused = up is TimeUp.CALLERS or (up is TimeUp.SHARE and watch.excuses(streamed=call.streamed))
            watch.failed(result, excused=excused)
        else:
            self._trail.served = candidate
        return result

    def _with_spare(self, candidate: Candidate) -> Candidate | None:
        """Return the same endpoint with the next credential that is not known to be in trouble there."""
        for place, name in enumerate(candidate.spare, 1):
            if not self._services.health.cools(candidate, name):
                return msgspec.structs.replace(candidate, credential=name, spare=candidate.spare[place:])
        return None

    async def _after_a_wait(self) -> tuple[Candidate, T]:
        """Ask once more whoever said that he soon has time again, if all said so; else raise the answer."""
        hints = [
            (failure.retry_after_s, place)
            for place, (_, failure) in enumerate(self._failed)
            if failure.retry_after_s is not None
        ]
        loop = asyncio.get_running_loop()
        if not hints or any(failure.kind is not FailureKind.THROTTLED for _, failure in self._failed):
            raise self._answer()
        hint_s, place = min(hints)
        candidate, _ = self._failed[place]
        if not fallback.is_worth_waiting(hint_s, self._call.deadline_at - loop.time()):
            raise self._answer()
        if not self._services.health.grants(candidate):
            raise self._answer()
        await asyncio.sleep(hint_s)
        del self._failed[place]
        result = await self._try(candidate, last=True)
        if isinstance(result, Failure):
            raise self._answer()
        return candidate, result

    def _answer(self) -> JunctorError:
        """Return what the caller is told of all failures."""
        if asyncio.get_running_loop().time() >= self._call.deadline_at:
            return DeadlineError("upstream")
        failures = [failure for _, failure in self._failed]
        return fallback.final_error(failures, tuple(self._trail.attempts), prefilled=self._prefilled)


def _as_taken(spec: CompletionSpec, candidate: Candidate, trail: Trail) -> CompletionSpec:
    """Return a request as an endpoint takes it: where our cap bounds the answer, with no more than there is room for.

    One cap is for all endpoints of a plan, and many refuse a request for more than they can give as its caller's mistake.
    """
    if trail.output_cap is None:
        return spec
    endpoint = candidate.endpoint
    most = min(trail.output_cap, bounds.longest(endpoint))
    if endpoint.context_tokens is not None:
        # The input is estimated: where that leaves hardly anything, there may be more, and the caller pays for his input.
        least = max(min(counting.OUTPUT_TOKENS, endpoint.context_tokens // UNSURE_SHARE), 1)
        room = endpoint.context_tokens - counting.tokens(counting.input_bytes(spec))
        most = min(most, max(room, least))
    trail.adjustments = (Adjustment("max_tokens", str(most)),)
    return msgspec.structs.replace(spec, max_tokens=most)


def _p99_ms(candidate: Candidate) -> float | None:
    health = candidate.health
    found = None if health is None else health.time_to_first_token_percentiles_ms
    return None if found is None else found.p99


def _noted(candidate: Candidate, result: Completion | Flow | Failure, latency_ms: int) -> Attempt:
    endpoint = candidate.endpoint
    if isinstance(result, Failure):
        outcome = fallback.OUTCOMES[result.kind]
        return Attempt(endpoint.provider, endpoint.id, outcome, latency_ms, result.http_status)
    return Attempt(endpoint.provider, endpoint.id, AttemptOutcome.SERVED, latency_ms)
