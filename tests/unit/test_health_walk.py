"""The walk over a plan, with a health that remembers: spare credentials, budgets, waits, probes, blame. In virtual time."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import cast

import msgspec
import pytest

from junctor.domain.call import Call
from junctor.domain.completion import Choice, Completion, CompletionSpec, Delta, FinishReason, Message, Role, StreamEnd, Usage
from junctor.domain.errors import JunctorError, RequestRefusedError, UpstreamCapacityError, UpstreamUnavailableError
from junctor.domain.health import EndpointHealth, Percentiles
from junctor.domain.routing import AttemptOutcome, Candidate, Failure, FailureKind, Plan, Timers
from junctor.ports.upstream import Batch
from junctor.usecases import attempt
from junctor.usecases.instance_health import InstanceHealth
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail
from tests.support.health import ACCOUNT, EventTelemetry, candidate, failure
from tests.support.virtual_loop import run_virtual
from tests.support.world import LoopClock, SeededDice, call

DONE = Completion(
    choices=(Choice(0, Message(Role.ASSISTANT, ()), FinishReason.STOP, "stop"),),
    usage=Usage(10, 20),
    time_to_first_token_s=0.0,
)
THROTTLED, REFUSED, BROKEN, DEAD = (
    FailureKind.THROTTLED,
    FailureKind.CREDENTIAL,
    FailureKind.SERVER,
    FailureKind.CONNECT,
)
Reply = Callable[[Candidate, Timers], Awaitable[Completion | Failure]]


class Rig:
    """A walk's surroundings: `replies` says what each provider answers, `asked` notes provider and credential of each try."""

    def __init__(self, **replies: Reply) -> None:
        self.replies = replies
        self.asked: list[tuple[str, str | None]] = []
        self.timers: list[Timers] = []
        self.clock = LoopClock()
        self.telemetry = EventTelemetry()
        self.dice = SeededDice()
        self.health = InstanceHealth(self.clock, self.dice, self.telemetry)
        self.upstream = self
        self.trails: list[Trail] = []

    async def complete(self, tried: Candidate, spec: CompletionSpec, timers: Timers) -> Completion | Failure:
        """Answer as a whole."""
        self.asked.append((tried.endpoint.provider, tried.credential))
        self.timers.append(timers)
        return await self.replies[tried.endpoint.provider](tried, timers)

    async def stream(self, tried: Candidate, spec: CompletionSpec, timers: Timers) -> AsyncGenerator[Batch, None]:
        """Answer in three batches."""
        answer = await self.complete(tried, spec, timers)
        if isinstance(answer, Failure):
            yield (answer,)
            return
        yield (Delta(content="a"),)
        yield (Delta(content="b"),)
        yield (StreamEnd(choices=()),)

    async def walk(self, *plan: Candidate, deadline_s: float = 100.0, account: str = ACCOUNT) -> str:
        """Return who answered a call."""
        served, _ = await attempt.whole(self._services, self._call(deadline_s, account), Plan(plan), self._trail())
        return served.endpoint.provider

    async def begin(self, *plan: Candidate, deadline_s: float = 100.0) -> attempt.Flow:
        """Return a stream that has begun."""
        asked = msgspec.structs.replace(self._call(deadline_s, ACCOUNT), streamed=True)
        return (await attempt.begin(self._services, asked, Plan(plan), self._trail()))[1]

    def seen(self, provider: str = "p") -> EndpointHealth:
        """Return the health of a provider's endpoint."""
        return self.health.snapshot().endpoints.get(candidate(provider).endpoint.id, EndpointHealth(success_probability=0.9))

    def planned(self, provider: str = "p") -> Candidate:
        """Return a provider's endpoint as it would be planned now."""
        return candidate(provider, health=self.seen(provider))

    @property
    def outcomes(self) -> list[AttemptOutcome]:
        """How the tries of the last call ended."""
        return [tried.outcome for tried in self.trails[-1].attempts]

    @property
    def _services(self) -> Services:
        return cast("Services", self)

    def _call(self, deadline_s: float, account: str) -> Call:
        return call(account, remaining_s=deadline_s)

    def _trail(self) -> Trail:
        self.trails.append(Trail(self._services, "Complete"))
        return self.trails[-1]


def always(*answers: Completion | FailureKind, after_s: float = 0.0, **fields: object) -> Reply:
    """Return a provider that gives these answers in turn, the last one for ever."""
    left = list(answers)

    async def reply(_: Candidate, timers: Timers) -> Completion | Failure:
        answer = left.pop(0) if len(left) > 1 else left[0]
        await asyncio.sleep(after_s)
        return answer if isinstance(answer, Completion) else Failure(kind=answer, **fields)  # type: ignore[arg-type]

    return reply


def by_credential(**kinds: FailureKind) -> Reply:
    """Return a provider that fails like this with these credentials and answers with all others."""

    async def reply(tried: Candidate, timers: Timers) -> Completion | Failure:
        kind = kinds.get(tried.credential or "")
        return DONE if kind is None else failure(kind, http_status=401)

    return reply


async def silent(_: Candidate, timers: Timers) -> Failure:
    """Say nothing until the attempt's time is up."""
    await asyncio.sleep(timers.total_s)
    return failure(FailureKind.DEADLINE)


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    """Play a scenario in virtual time."""

    async def main() -> None:
        async with asyncio.timeout(100_000):
            await scenario()

    run_virtual(main())


async def refused(work: Awaitable[object]) -> JunctorError:
    """Return the error of a call that must fail."""
    with pytest.raises(JunctorError) as caught:
        await work
    return caught.value


@pytest.mark.parametrize("kind", [THROTTLED, REFUSED])
def test_a_spare_credential_stands_in_at_the_same_endpoint(kind: FailureKind) -> None:
    """A key that is refused or throttled would cost the endpoint that its caller wants, though another key works there."""

    async def scenario() -> None:
        rig = Rig(p=by_credential(KEY=kind, SECOND=kind), q=always(DONE))
        tried = candidate(spare=("SECOND", "THIRD", "FOURTH"))
        assert await rig.walk(tried, candidate("q")) == "p"
        assert rig.asked == [("p", "KEY"), ("p", "SECOND"), ("p", "THIRD")]
        assert rig.trails[-1].served is not None
        assert rig.trails[-1].served.credential == "THIRD"
        assert rig.seen().cooling == {"KEY", "SECOND"}
        rig.asked.clear()
        assert await rig.walk(tried, candidate("q")) == "p"
        assert rig.asked == [("p", "KEY"), ("p", "THIRD")]

    play(scenario)


def test_when_no_credential_is_left_the_next_endpoint_takes_over() -> None:
    """A provider that refuses all our keys would end the call."""

    async def scenario() -> None:
        rig = Rig(p=by_credential(KEY=REFUSED, SECOND=THROTTLED), q=always(DONE))
        assert await rig.walk(candidate(spare=("SECOND",)), candidate("q")) == "q"
        assert rig.asked == [("p", "KEY"), ("p", "SECOND"), ("q", "KEY")]

    play(scenario)


def test_further_attempts_end_with_their_budget() -> None:
    """A storm of refusals would multiply what providers are asked, just when they cannot bear it."""

    async def scenario() -> None:
        rig = Rig(p=always(THROTTLED), q=always(THROTTLED))
        for _ in range(1_000):
            assert isinstance(await refused(rig.walk(candidate("p"), candidate("q"))), UpstreamCapacityError)
        asked = [provider for provider, _ in rig.asked]
        assert asked.count("p") == 1_000
        assert 390 <= asked.count("q") <= 401
        assert rig.outcomes == [AttemptOutcome.THROTTLED]
        await asyncio.sleep(1)
        rig.asked.clear()
        for _ in range(20):
            await refused(rig.walk(candidate("p"), candidate("q")))
        assert 10 <= [provider for provider, _ in rig.asked].count("q") <= 17

    play(scenario)


def test_where_all_endpoints_are_dead_few_attempts_are_further_ones() -> None:
    """An outage of everything would be answered by asking everybody for every call, at every quiet second anew."""

    async def scenario() -> None:
        rig = Rig(**dict.fromkeys("pqrs", always(BROKEN)))
        for _ in range(1_000):
            await refused(rig.walk(*map(candidate, "pqrs")))
            await asyncio.sleep(0.1)
        assert [provider for provider, _ in rig.asked].count("p") == 1_000
        assert len(rig.asked) <= 1_000 + 4 * 5 + 5 + 200

    play(scenario)


def test_a_dead_endpoint_that_is_asked_too_often_is_passed_by() -> None:
    """A call would end at an endpoint that it may not ask, before one that would have answered."""

    async def scenario() -> None:
        rig = Rig(p=always(BROKEN), q=always(BROKEN), r=always(DONE))
        for _ in range(5):
            await rig.walk(candidate("q"), candidate("r"))
        while rig.health.grants(candidate("q")):
            pass
        rig.asked.clear()
        assert await rig.walk(candidate("p"), candidate("q"), candidate("r")) == "r"
        assert [provider for provider, _ in rig.asked] == ["p", "r"]

    play(scenario)


@pytest.mark.parametrize(("first", "spare"), [(DEAD, ()), (THROTTLED, ("SECOND",))])
def test_every_attempt_after_the_first_needs_the_budget(first: FailureKind, spare: tuple[str, ...]) -> None:
    """Retries and spare credentials would go round the one thing that bounds what an outage costs."""

    async def scenario() -> None:
        rig = Rig(p=always(first))
        while rig.health.grants(candidate("p")):
            pass
        await refused(rig.walk(candidate("p", spare=spare)))
        assert len(rig.asked) == 1

    play(scenario)


def test_a_call_waits_for_the_soonest_when_all_are_throttled() -> None:
    """A call would fail that one second of patience had answered."""

    async def scenario() -> None:
        rig = Rig(p=always(THROTTLED, retry_after_s=5.0), q=always(THROTTLED, DONE, retry_after_s=1.5))
        assert await rig.walk(candidate("p"), candidate("q")) == "q"
        assert asyncio.get_running_loop().time() == pytest.approx(1.5)
        assert [provider for provider, _ in rig.asked] == ["p", "q", "q"]
        assert rig.outcomes == [AttemptOutcome.THROTTLED, AttemptOutcome.THROTTLED, AttemptOutcome.SERVED]

    play(scenario)


@pytest.mark.parametrize(("hint_s", "deadline_s"), [(2.5, 100.0), (1.0, 3.0), (None, 100.0)])
def test_a_call_does_not_wait_for_long(hint_s: float | None, deadline_s: float) -> None:
    """A caller would spend his deadline in a queue of which nobody told him."""

    async def scenario() -> None:
        rig = Rig(p=always(THROTTLED, retry_after_s=hint_s), q=always(THROTTLED, retry_after_s=9.0 if hint_s else None))
        error = await refused(rig.walk(candidate("p"), candidate("q"), deadline_s=deadline_s))
        assert isinstance(error, UpstreamCapacityError)
        assert error.retry_after_s == (hint_s or 1.0)
        assert len(rig.asked) == 2
        assert asyncio.get_running_loop().time() == 0

    play(scenario)


def test_a_call_waits_once() -> None:
    """A call would ask an endpoint that throttles again and again until its deadline."""

    async def scenario() -> None:
        hints = iter([1.0, 3.0])

        async def busy(_: Candidate, timers: Timers) -> Failure:
            return failure(THROTTLED, retry_after_s=next(hints))

        rig = Rig(p=busy, q=always(THROTTLED, retry_after_s=7.0))
        error = await refused(rig.walk(candidate("p"), candidate("q")))
        assert isinstance(error, UpstreamCapacityError)
        assert error.retry_after_s == 3.0
        assert [provider for provider, _ in rig.asked] == ["p", "q", "p"]

    play(scenario)


def test_waiting_does_not_help_where_one_is_broken() -> None:
    """A call would be held up for nothing, and then be told to slow down."""

    async def scenario() -> None:
        rig = Rig(p=always(THROTTLED, retry_after_s=1.0), q=always(BROKEN))
        assert isinstance(await refused(rig.walk(candidate("p"), candidate("q"))), UpstreamUnavailableError)
        assert asyncio.get_running_loop().time() == 0

    play(scenario)


def test_a_wait_needs_the_budget() -> None:
    """A storm of 429 would be answered by as many calls once more."""

    async def scenario() -> None:
        rig = Rig(p=always(THROTTLED, retry_after_s=1.0))
        while rig.health.grants(candidate("p")):
            pass
        assert isinstance(await refused(rig.walk(candidate("p"))), UpstreamCapacityError)
        assert (len(rig.asked), asyncio.get_running_loop().time()) == (1, 0)

    play(scenario)


def test_a_refused_request_is_not_sent_to_the_same_model_elsewhere() -> None:
    """A caller's mistake would be shown to every provider, while a model that would take the request is not asked."""

    async def scenario() -> None:
        rig = Rig(p=always(FailureKind.REQUEST), q=always(DONE), r=always(DONE))
        assert await rig.walk(candidate("p"), candidate("q"), candidate("r", model="lab/other")) == "r"
        assert [provider for provider, _ in rig.asked] == ["p", "r"]
        assert isinstance(await refused(rig.walk(candidate("p"), candidate("q"))), RequestRefusedError)

    play(scenario)


async def _opened(rig: Rig) -> Candidate:
    """Open p's breaker, wait until it is due for a probe, and return it as it is planned then."""
    for _ in range(5):
        await rig.walk(candidate("p"), candidate("q"))
    assert rig.seen().open
    await asyncio.sleep(30)
    probe = rig.planned()
    assert probe.health is not None
    assert probe.health.probe
    return probe


def test_a_probe_under_way_is_passed_by() -> None:
    """Every call at the moment of a probe would wait for an endpoint that is likely dead."""

    async def scenario() -> None:
        rig = Rig(p=always(BROKEN), q=always(DONE))
        probe = await _opened(rig)
        rig.replies["p"] = always(DONE, after_s=1)
        rig.asked.clear()
        first = asyncio.create_task(rig.walk(probe, candidate("q")))
        await asyncio.sleep(0.1)
        assert await rig.walk(probe, candidate("q")) == "q"
        assert rig.asked == [("p", "KEY"), ("q", "KEY")]
        assert await first == "p"
        assert (rig.seen().open, rig.seen().ramp) == (False, 0.1)

    play(scenario)


def test_a_probe_under_way_is_still_tried_when_nothing_else_is_left() -> None:
    """A call would be refused on a guess."""

    async def scenario() -> None:
        rig = Rig(p=always(BROKEN), q=always(DONE))
        probe = await _opened(rig)
        rig.replies |= {"p": always(DONE, after_s=1), "q": always(BROKEN)}
        rig.asked.clear()
        first = asyncio.create_task(rig.walk(probe, candidate("q")))
        await asyncio.sleep(0.1)
        assert await rig.walk(probe, candidate("q")) == "p"
        assert [provider for provider, _ in rig.asked] == ["p", "q", "p"]
        assert await first == "p"
        assert rig.timers[-1].total_s == pytest.approx(100.0, abs=0.2)

    play(scenario)


def test_a_probe_that_fails_falls_over() -> None:
    """Finding out whether an endpoint is back would cost a caller his answer."""

    async def scenario() -> None:
        rig = Rig(p=always(BROKEN), q=always(DONE))
        probe = await _opened(rig)
        assert await rig.walk(probe, candidate("q")) == "q"
        assert rig.outcomes == [AttemptOutcome.FAILED, AttemptOutcome.SERVED]
        assert (rig.seen().open, rig.seen().probe) == (True, False)

    play(scenario)


def test_a_probe_is_one_try() -> None:
    """A host that refuses connections would be asked twice by every probe, at its caller's cost."""

    async def scenario() -> None:
        rig = Rig(p=always(BROKEN), q=always(DONE))
        probe = await _opened(rig)
        rig.replies["p"] = always(DEAD)
        rig.asked.clear()
        assert await rig.walk(probe, candidate("q")) == "q"
        assert [provider for provider, _ in rig.asked] == ["p", "q"]

    play(scenario)


def test_an_account_s_own_credential_in_trouble_is_tried_last() -> None:
    """Every call of an account would first be sent with the key that is refused."""

    async def scenario() -> None:
        rig = Rig(p=always(REFUSED, http_status=401), q=always(DONE))
        own = candidate("p", is_byok=True)
        assert await rig.walk(own, candidate("q")) == "q"
        rig.asked.clear()
        assert await rig.walk(own, candidate("q")) == "q"
        assert [provider for provider, _ in rig.asked] == ["q"]
        rig.asked.clear()
        assert await rig.walk(own, candidate("q"), account="OTHER") == "q"
        assert [provider for provider, _ in rig.asked] == ["p", "q"]

    play(scenario)


def test_a_share_of_a_deadline_that_passed_in_silence_counts_against_the_endpoint() -> None:
    """An endpoint that never answers would never be found out, as every failure looks like a short deadline."""

    async def scenario() -> None:
        rig = Rig(p=silent, q=always(DONE))
        for _ in range(5):
            assert await rig.walk(candidate("p"), candidate("q"), deadline_s=10.0) == "q"
        assert rig.seen().open

    play(scenario)


@pytest.mark.parametrize(("deadline_s", "plan"), [(1.5, ("p", "q")), (10.0, ("p",))])
def test_a_deadline_that_was_too_short_does_not(deadline_s: float, plan: Sequence[str]) -> None:
    """Callers in a hurry would shut sound endpoints for all others."""

    async def scenario() -> None:
        rig = Rig(p=silent, q=always(DONE))
        for _ in range(20):
            work = rig.walk(*map(candidate, plan), deadline_s=deadline_s)
            if len(plan) > 1:
                assert await work == "q"
            else:
                await refused(work)
        assert (rig.seen().open, rig.seen().success_probability) == (False, 0.9)

    play(scenario)


def test_what_an_endpoint_takes_at_its_worst_sets_how_long_it_is_waited_for() -> None:
    """A stream would wait half a minute for an endpoint that always begins within a second."""

    async def scenario() -> None:
        rig = Rig(p=always(DONE), q=always(DONE))
        health = EndpointHealth(success_probability=0.9, time_to_first_token_percentiles_ms=Percentiles(p99=2_000.0))
        flow = await rig.begin(candidate("p", health=health), candidate("q"))
        await flow.batches.aclose()
        assert rig.timers[0].first_token_s == 4.0

    play(scenario)


def test_a_stream_is_under_way_until_it_ends() -> None:
    """An endpoint that is busy with long answers would look idle."""

    async def scenario() -> None:
        rig = Rig(p=always(DONE, after_s=0.3))
        flow = await rig.begin(candidate("p"))
        assert (rig.seen().in_flight, rig.seen().time_to_first_token_ms) == (1, 300)
        flow.watch.left()
        await flow.batches.aclose()
        assert rig.seen().in_flight == 0

    play(scenario)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_caller_who_leaves_frees_his_place(streamed: bool) -> None:
    """Each caller who leaves would make an endpoint look busier, for ever."""

    async def scenario() -> None:
        rig = Rig(p=always(DONE, after_s=9.0))
        work = rig.begin(candidate("p")) if streamed else rig.walk(candidate("p"))
        task: asyncio.Task[object] = asyncio.ensure_future(work)
        await asyncio.sleep(1)
        assert rig.seen().in_flight == 1
        task.cancel()
        await asyncio.wait([task])
        assert (rig.seen().in_flight, rig.seen().success_probability) == (0, 0.9)

    play(scenario)


def test_a_bug_of_ours_frees_the_place_too() -> None:
    """Each bug would make an endpoint look busier, for ever."""

    async def broken(tried: Candidate, timers: Timers) -> Completion:
        raise ZeroDivisionError

    async def scenario() -> None:
        rig = Rig(p=broken)
        with pytest.raises(ZeroDivisionError):
            await rig.walk(candidate("p"))
        assert (rig.seen().in_flight, rig.seen().success_probability) == (0, 0.9)

    play(scenario)
