"""When a call's time is up: as asyncio.timeout_at has it, with one timer for all calls; and work that is given up before."""

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from junctor.domain.call import Call, Hold
from junctor.domain.errors import DeadlineError, JunctorError, LedgerUnavailableError
from junctor.domain.generation import Generation
from junctor.domain.lease import Slot, SlotState
from junctor.ledger.holding import Holding
from junctor.ports.telemetry import Counter
from junctor.usecases import settle
from junctor.usecases.deadlines import GRAIN_S, Deadlines
from junctor.usecases.services import Services
from tests.support.virtual_loop import run_virtual

FOREVER_S = 1_000.0
HOLD = Hold(
    Generation(
        id="gen",
        slot=Slot("A", "L", 0),
        state=SlotState.OPEN,
        api_key="",
        requested_model="",
        started_at_ms=0,
        deadline_at_ms=0,
    )
)


async def working(deadlines: Deadlines, at_s: float, takes_s: float, *, after_s: float = 0.0) -> str:
    """Work for so long under a deadline, and tell how it went and when that was known."""
    await asyncio.sleep(after_s)
    try:
        with deadlines.until(at_s):
            await asyncio.sleep(takes_s)
    except TimeoutError:
        how = "ran out"
    else:
        how = "came"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    return f"{how} at {asyncio.get_running_loop().time():.1f}"


def play(scenario: Coroutine[Any, Any, None]) -> None:
    """Play a scenario; nothing may be left running at its end."""

    async def main() -> None:
        await scenario
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


def test_each_call_ends_at_its_own_deadline() -> None:
    """A call with little time would be held as long as the others', or one with much time be cut."""

    async def scenario() -> None:
        deadlines = Deadlines()
        told = await asyncio.gather(
            working(deadlines, 9.0, FOREVER_S),
            working(deadlines, 2.0, 1.0),
            working(deadlines, 5.0, FOREVER_S, after_s=1.5),
            working(deadlines, 3.0, FOREVER_S, after_s=2.5),
            working(deadlines, 9.5, 6.5, after_s=2.5),
            working(deadlines, 1.0, FOREVER_S, after_s=4.0),
        )
        expected = ["ran out at 9.0", "came at 1.0", "ran out at 5.0", "ran out at 3.0", "came at 9.0", "ran out at 4.0"]
        assert list(told) == expected
        assert await working(deadlines, 20.0, FOREVER_S) == "ran out at 20.0"

    play(scenario())


def test_many_calls_keep_one_timer_and_are_forgotten() -> None:
    """A busy server would keep every call of its life in memory, or set a timer for each."""

    async def scenario() -> None:
        loop, deadlines, timers = asyncio.get_running_loop(), Deadlines(), set[object]()
        for _ in range(1_000):
            assert (await working(deadlines, loop.time() + 60, 0.001)).startswith("came")
            timers.add(deadlines._timer)
            assert not deadlines._under_way
        assert len(timers) == 1
        await asyncio.sleep(60)
        assert deadlines._timer is None

    play(scenario())


@pytest.mark.parametrize("left_s", [0.5, 2.0])
def test_a_caller_who_leaves_is_not_taken_for_one_whose_time_is_up(left_s: float) -> None:
    """A caller who hangs up would be answered, and his task go on without him."""

    async def scenario() -> None:
        loop, deadlines = asyncio.get_running_loop(), Deadlines()
        task = loop.create_task(working(deadlines, 2.0, FOREVER_S))
        await asyncio.sleep(0)
        loop.call_at(left_s, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert loop.time() == left_s
        assert not deadlines._under_way

    play(scenario())


def test_work_ends_once_whoever_ends_it() -> None:
    """A second end would reach whatever the task does next, as if its caller had left."""

    async def scenario() -> None:
        loop, deadlines = asyncio.get_running_loop(), Deadlines()
        deadline = deadlines.until(1.0)
        for _ in range(2):
            loop.call_at(1.0, deadline.run_out)
        with pytest.raises(TimeoutError), deadline:
            await asyncio.sleep(FOREVER_S)
        deadline.run_out()
        await asyncio.sleep(1)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    play(scenario())


def test_a_crowd_of_deadlines_costs_a_hundred_looks_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that hangs would hold up the loop as well: each call's end would cost a look at all calls."""

    async def scenario() -> None:
        deadlines, crowd, seconds = Deadlines(), 1_000, 2.0
        rings, ring = 0, deadlines._ring

        def counted(loop: asyncio.AbstractEventLoop) -> None:
            nonlocal rings
            rings += 1
            ring(loop)

        monkeypatch.setattr(deadlines, "_ring", counted)
        began = [working(deadlines, 1.0 + seconds * number / crowd, FOREVER_S) for number in range(crowd)]
        told = await asyncio.gather(*began)
        assert all(how.startswith("ran out") for how in told)
        assert rings < 1.1 * seconds / GRAIN_S
        late = [float(how.rpartition(" ")[2]) - 1.0 - seconds * number / crowd for number, how in enumerate(told)]
        assert max(late) < 0.05 + 2 * GRAIN_S

    play(scenario())


def test_a_timer_that_rings_early_is_believed() -> None:
    """The loop would turn as fast as it can until the clock has come to the instant, at each deadline."""

    async def scenario() -> None:
        loop, deadlines = asyncio.get_running_loop(), Deadlines()
        task = loop.create_task(working(deadlines, 2.0, FOREVER_S))
        await asyncio.sleep(2.0 - 0.0005)
        timer = deadlines._timer
        assert timer is not None
        timer.cancel()
        deadlines._ring(loop)
        assert await task == "ran out at 2.0"
        assert loop.time() < 2.0
        assert deadlines._timer is None

    play(scenario())


class Held(Holding):
    """A hold whose fate a test decides."""

    def __init__(self) -> None:
        self.hold = self.error = self.on_failure = None
        self._waiting = []


def _beside(
    holding: Holding, deadline_at: float, work: Coroutine[Any, Any, str]
) -> tuple[Coroutine[Any, Any, str], list[Counter]]:
    counted: list[Counter] = []
    services = SimpleNamespace(deadlines=Deadlines(), telemetry=SimpleNamespace(count=counted.append))
    call = cast("Call", SimpleNamespace(deadline_at=deadline_at))
    return settle.beside(cast("Services", services), holding, call, work), counted


@pytest.mark.parametrize("fails_s", [0.0, 3.0])
def test_work_is_given_up_once_its_hold_fails(fails_s: float) -> None:
    """A provider would go on with an answer that nobody can be charged for."""

    async def scenario() -> None:
        loop, holding = asyncio.get_running_loop(), Held()
        beside, counted = _beside(holding, 60.0, asyncio.sleep(FOREVER_S, "never"))
        fail: Callable[[], None] = lambda: holding.fail(LedgerUnavailableError("gone", 1.0))  # noqa: E731 - for call_at
        loop.call_at(fails_s, fail)
        with pytest.raises(LedgerUnavailableError):
            await beside
        assert loop.time() == fails_s
        assert counted == [Counter.WASTED_UPSTREAM]
        assert holding.on_failure is None

    play(scenario())


@pytest.mark.parametrize(("takes_s", "told"), [(0.0, "done"), (FOREVER_S, LedgerUnavailableError)])
def test_a_hold_that_has_failed_already_leaves_no_mark(takes_s: float, told: str | type[JunctorError]) -> None:
    """What the task does after an answer that needed no wait would be cut as if its caller had left."""

    async def quick() -> str:
        if takes_s:
            await asyncio.sleep(takes_s)
        return "done"

    async def scenario() -> None:
        holding = Held()
        holding.fail(LedgerUnavailableError("gone", 1.0))
        beside, _ = _beside(holding, 60.0, quick())
        if isinstance(told, str):
            assert await beside == told
        else:
            with pytest.raises(told):
                await beside
        await asyncio.sleep(1)
        assert asyncio.get_running_loop().time() == 1.0

    play(scenario())


def test_work_beside_a_hold_ends_at_its_deadline() -> None:
    """A call whose provider and store are both silent would never end."""

    async def scenario() -> None:
        beside, counted = _beside(Held(), 7.0, asyncio.sleep(FOREVER_S, "never"))
        with pytest.raises(DeadlineError):
            await beside
        assert asyncio.get_running_loop().time() == 7.0
        assert counted == []

    play(scenario())


def test_a_hold_that_is_late_ends_the_wait_for_it_at_the_deadline() -> None:
    """A caller whose answer is there would wait for a silent store for ever, or the next wait be cut by his deadline."""

    async def scenario() -> None:
        loop, counted, holding = asyncio.get_running_loop(), list[Counter](), Held()
        services = cast("Services", SimpleNamespace(deadlines=Deadlines(), telemetry=SimpleNamespace(count=counted.append)))
        with pytest.raises(DeadlineError):
            await settle.held(services, holding, cast("Call", SimpleNamespace(deadline_at=7.0)))
        assert (loop.time(), counted, holding._waiting) == (7.0, [Counter.WASTED_UPSTREAM], [])
        waiting = loop.create_task(settle.held(services, holding, cast("Call", SimpleNamespace(deadline_at=60.0))))
        await asyncio.sleep(1)
        holding.opened(HOLD)
        assert await waiting is HOLD
        assert loop.time() == 8.0

    play(scenario())


@pytest.mark.parametrize("there_is_one", [True, False])
def test_a_hold_that_comes_with_the_deadline_has_come(there_is_one: bool) -> None:
    """An answer that was paid for would be thrown away, or a broken store be told as the caller's lack of time."""

    async def scenario() -> None:
        loop, holding = asyncio.get_running_loop(), Held()
        services = cast("Services", SimpleNamespace(deadlines=Deadlines(), telemetry=SimpleNamespace(count=lambda _: None)))
        waiting = loop.create_task(settle.held(services, holding, cast("Call", SimpleNamespace(deadline_at=7.0))))
        gone = LedgerUnavailableError("gone", 1.0)
        loop.call_at(7.0, holding.opened, HOLD) if there_is_one else loop.call_at(7.0, holding.fail, gone)
        if there_is_one:
            assert await waiting is HOLD
        else:
            with pytest.raises(LedgerUnavailableError):
                await waiting

    play(scenario())
