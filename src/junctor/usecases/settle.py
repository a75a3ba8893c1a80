"""The two seams to the ledger as the stories use them: a hold beside the upstream call, a settlement at every end.

Whatever happens to a call, its slot ends: SETTLED if an answer began, VOID if none did. A caller who waits for an error is told
after that, unless the store is slow; for one who has left, the ledger goes on by itself.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from junctor.domain.call import Call, Hold, Outcome
from junctor.domain.errors import DeadlineError, JunctorError, NoEligibleEndpointError
from junctor.domain.lease import SlotState
from junctor.domain.routing import Plan
from junctor.ledger.ledger import Holding
from junctor.policy import routing
from junctor.ports.telemetry import Counter
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail

VOID = Outcome(state=SlotState.VOID)
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


@asynccontextmanager
async def void_on_error(services: Services, holding: Holding, call: Call, trail: Trail) -> AsyncGenerator[None, None]:
    """End a hold as VOID if the body fails: before the error goes on to a caller who waits, else by itself."""
    try:
        yield
    except JunctorError:
        remaining_s = call.deadline_at - asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(remaining_s, VOID_WAIT_LEAST_S), VOID_WAIT_S)):
                await services.ledger.abandon(holding, VOID)
        trail.generation_id = holding.generation_id
        raise
    except BaseException:
        services.ledger.abandon_later(holding, VOID)
        raise


async def held(services: Services, holding: Holding, call: Call) -> Hold:
    """Wait for the hold of an answer that has come; without it, the answer is thrown away.

    Raises:
        LedgerUnavailableError: there will be no hold.
        DeadlineError: the caller's time is up.
    """
    try:
        async with asyncio.timeout_at(call.deadline_at):
            return await holding.ready()
    except JunctorError:
        services.telemetry.count(Counter.WASTED_UPSTREAM)
        raise
    except TimeoutError:
        services.telemetry.count(Counter.WASTED_UPSTREAM)
        raise DeadlineError("ledger") from None


async def beside(services: Services, holding: Holding, call: Call, work: Coroutine[Any, Any, T]) -> T:
    """Do upstream work beside a hold: give it up when the hold fails or the deadline comes.

    Raises:
        LedgerUnavailableError: there will be no hold.
        DeadlineError: the caller's time is up.
    """
    loop = asyncio.get_running_loop()
    scope = asyncio.timeout_at(call.deadline_at)

    def give_up(_: object) -> None:
        if holding.failed:
            with suppress(RuntimeError):
                scope.reschedule(loop.time())

    holding.task.add_done_callback(give_up)
    try:
        async with scope:
            return await work
    except TimeoutError:
        if holding.failed:
            await held(services, holding, call)
        raise DeadlineError("upstream") from None
    finally:
        holding.task.remove_done_callback(give_up)
