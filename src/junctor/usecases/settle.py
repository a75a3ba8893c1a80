"""The two seams to the ledger as the stories use them: a hold beside the upstream call, a settlement at every end.

Whatever happens to a call, its slot ends: SETTLED if an answer began, VOID if none did. A caller who waits for an error is told
after that, unless the store is slow; for one who has left, the ledger goes on by itself.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from types import TracebackType
from typing import Any, TypeVar

from junctor.domain.call import Call, Hold, Outcome
from junctor.domain.completion import FinishReason
from junctor.domain.errors import DeadlineError, JunctorError, NoEligibleEndpointError
from junctor.domain.lease import SlotState
from junctor.domain.routing import Plan
from junctor.ledger.holding import Holding
from junctor.ledger.ledger import VOID
from junctor.policy import ceilings, counting, routing
from junctor.ports.telemetry import Counter
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail

VOID_WAIT_S, VOID_WAIT_LEAST_S = 2.0, 0.1
"""How long an error waits for its slot to end: at most, and where the deadline has passed."""

T = TypeVar("T")


def plan(services: Services, call: Call, trail: Trail) -> Plan:
    """Plan a call, and refuse it before anything is held if nothing can take it. Raises JunctorError."""
    trail.caller = call.caller
    trail.requested_model = call.spec.model
    planned = routing.plan(call, services.snapshots())
    if not planned.candidates:
        raise NoEligibleEndpointError(call.spec.model, planned.excluded)
    return planned


def allowed(services: Services, call: Call, trail: Trail) -> AbstractAsyncContextManager[None]:
    """Let a call in by its key's rates, and correct its tokens at the end.

    Raises:
        RateLimitedError: the key's minute, or its calls at one time, are used up.
        DeadlineError: the caller's time is up.
    """
    # Most keys have no rates: their prompts are not counted for them.
    return nullcontext() if call.caller.rates.unlimited else _permitted(services, call, trail)


@asynccontextmanager
async def _permitted(services: Services, call: Call, trail: Trail) -> AsyncGenerator[None, None]:
    caller = call.caller
    try:
        async with asyncio.timeout_at(call.deadline_at):
            permit = await services.allowance.take(
                caller.account, caller.key, caller.rates, counting.expected_tokens(call.spec)
            )
    except TimeoutError:
        raise DeadlineError("rates") from None
    try:
        yield
    finally:
        services.allowance.give_back(permit, trail.usage.input_tokens + trail.usage.output_tokens)


async def begin(services: Services, call: Call, plan: Plan, trail: Trail) -> Holding:
    """Set aside what a call may cost, and note the bound of its answers if the money asks for one.

    Raises:
        JunctorError: as Ledger.begin; nothing was asked of any provider.
    """
    try:
        holding = await services.ledger.begin(call, plan)
    except TimeoutError:
        raise DeadlineError("ledger") from None
    trail.output_cap = holding.output_cap
    return holding


def outcome(trail: Trail, hold: Hold, call: Call, *, upstream_id: str | None, whole: bool) -> Outcome:
    """Return what became of a call that was answered, and what it costs: nothing if an error came and no output.

    `whole`: whether the answer came to its own end; if not, the caller pays at most what is held. No answer costs more than the
    longest that the endpoint could have given, whatever tokens it reports.
    """
    served = trail.served
    assert served is not None  # noqa: S101 - the call was answered
    empty = trail.usage.output_tokens == 0 and trail.finish_reason in (None, FinishReason.ERROR)
    cost = 0 if empty else ceilings.charge(call.spec, served, trail.usage, hold.generation.started_at_ms)
    if cost > hold.generation.hold_nanousd:
        most = ceilings.of(call.spec, (served,), hold.generation.started_at_ms).open_nanousd
        if cost > most:
            trail.disbelieve(served)
            cost = most
    return Outcome(
        state=SlotState.SETTLED,
        cost_nanousd=cost,
        within_hold=not whole,
        candidate=served,
        usage=trail.usage,
        finish_reason=trail.finish_reason,
        upstream_id=upstream_id,
        time_to_first_token_ms=trail.time_to_first_token_ms,
    )


class VoidOnError:
    """Ends a hold as VOID if the body fails: before the error goes on to a caller who waits, else by itself.

    A class and no generator: it surrounds every call there is.
    """

    __slots__ = ("_call", "_holding", "_services", "_trail")

    def __init__(self, services: Services, holding: Holding, call: Call, trail: Trail) -> None:
        self._services = services
        self._holding = holding
        self._call = call
        self._trail = trail

    async def __aenter__(self) -> None:
        """Begin."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the hold if there is an error, which goes on."""
        if error is None:
            return
        if not isinstance(error, JunctorError):
            self._services.ledger.abandon_later(self._holding, VOID)
            return
        remaining_s = self._call.deadline_at - asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(remaining_s, VOID_WAIT_LEAST_S), VOID_WAIT_S)):
                await self._services.ledger.abandon(self._holding, VOID)
        self._trail.generation_id = self._holding.generation_id


async def held(services: Services, holding: Holding, call: Call) -> Hold:
    """Wait for the hold of an answer that has come; without it, the answer is thrown away.

    Raises:
        LedgerUnavailableError: there will be no hold.
        DeadlineError: the caller's time is up.
    """
    if holding.hold is not None:
        return holding.hold
    try:
        with services.deadlines.until(call.deadline_at):
            return await holding.ready()
    except JunctorError:
        services.telemetry.count(Counter.WASTED_UPSTREAM)
        raise
    except TimeoutError:
        # What came in the turn of the loop in which the time was up has come: an answer that was paid for is not thrown away.
        if holding.hold is not None:
            return holding.hold
        services.telemetry.count(Counter.WASTED_UPSTREAM)
        raise holding.error or DeadlineError("ledger") from None


async def beside(services: Services, holding: Holding, call: Call, work: Coroutine[Any, Any, T]) -> T:
    """Do upstream work beside a hold: give it up when the hold fails or the deadline comes.

    Raises:
        LedgerUnavailableError: there will be no hold.
        DeadlineError: the caller's time is up.
    """
    deadline = services.deadlines.until(call.deadline_at)
    try:
        with deadline:
            holding.on_failure = deadline.run_out
            if holding.error is not None:
                asyncio.get_running_loop().call_soon(deadline.run_out)
            return await work
    except TimeoutError:
        if holding.error is not None:
            await held(services, holding, call)
        raise DeadlineError("upstream") from None
    finally:
        holding.on_failure = None
