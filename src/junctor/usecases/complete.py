"""One Complete, from an admitted call to its answer. Start reading here.

Plan, set money aside, write the hold beside the upstream call, attempt, settle, answer. No provider is called for a call that
cannot be paid. Nothing is told to the caller before the hold is durable, and no answer leaves before its settlement is, unless
the store is slow: then the answer says that its billing is pending.
"""

from junctor.domain.call import Answer, Call
from junctor.policy import counting, visible
from junctor.usecases import attempt, settle
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail


async def complete(services: Services, call: Call, trail: Trail) -> Answer:
    """Answer a call as a whole. Raises JunctorError."""
    plan = settle.plan(services, call, trail)
    async with settle.allowed(services, call, trail):
        holding = await settle.begin(services, call, plan, trail)
        async with settle.VoidOnError(services, holding, call, trail):
            work = attempt.whole(services, call, plan, trail)
            candidate, completion = await settle.beside(services, holding, call, work)
            hold = await settle.held(services, holding, call)

        trail.generation_id = hold.generation.id
        completion = visible.answer(completion, call.spec)
        trail.usage = completion.usage or counting.estimate(call.spec, counting.completion_bytes(completion))
        trail.finish_reason = completion.choices[0].finish_reason
        outcome = settle.outcome(trail, hold, call, upstream_id=completion.upstream_id, whole=True)
        trail.receipt = await services.ledger.settle(hold, outcome, call.deadline_at)
    return Answer(
        choices=completion.choices,
        usage=trail.usage,
        receipt=trail.receipt,
        route=trail.route(candidate, completion.dropped),
        time_to_first_token_ms=trail.time_to_first_token_ms or 0,
        latency_ms=trail.elapsed_ms(),
    )
