"""For how long an answer waits for the store: as asyncio.timeout has it, with one timer for all waits."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from junctor.ledger.patience import Patience
from tests.support.virtual_loop import run_virtual

LONG_S = 2.0


async def waiting(patience: Patience, takes_s: float, *, after_s: float = 0.0) -> str:
    """Wait for something that takes so long, and tell how it went and when that was known."""
    await asyncio.sleep(after_s)
    loop = asyncio.get_running_loop()
    began_s, how, task = loop.time(), "came", patience.begin()
    try:
        await asyncio.sleep(takes_s)
    except asyncio.CancelledError:
        if not patience.ran_out(task):
            raise
        how = "ran out"
    finally:
        until_s = patience.end(task)
    assert until_s == (began_s + LONG_S if how == "came" else 0)
    assert task is asyncio.current_task()
    assert task.cancelling() == 0
    return f"{how} at {loop.time():.1f}"


def play(scenario: Coroutine[Any, Any, None]) -> None:
    """Play a scenario; nothing may be left running at its end."""

    async def main() -> None:
        await scenario
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


def test_each_wait_ends_at_its_own_time() -> None:
    """An answer would be held back by a slow store for longer than it should, or be given up too early."""

    async def scenario() -> None:
        patience = Patience(LONG_S)
        told = await asyncio.gather(
            waiting(patience, 100.0),
            waiting(patience, 0.5, after_s=0.5),
            waiting(patience, 100.0, after_s=0.7),
            waiting(patience, 1.9, after_s=1.0),
            waiting(patience, 100.0, after_s=1.5),
        )
        assert list(told) == ["ran out at 2.0", "came at 1.0", "ran out at 2.7", "came at 2.9", "ran out at 3.5"]
        await asyncio.sleep(10)
        assert await waiting(patience, 100.0) == "ran out at 15.5"

    play(scenario())


def test_many_waits_keep_one_timer_and_are_forgotten() -> None:
    """A busy server would keep every settlement of its life in memory, or set a timer for each."""

    async def scenario() -> None:
        patience, timers = Patience(LONG_S), set[object]()
        for _ in range(1_000):
            assert (await waiting(patience, 0.001)).startswith("came")
            timers.add(patience._timer)
            assert not patience._waits
        assert len(timers) == 1
        await asyncio.sleep(LONG_S)
        assert patience._timer is None

    play(scenario())


@pytest.mark.parametrize("left_s", [0.5, LONG_S])
def test_a_caller_who_leaves_is_not_taken_for_a_wait_that_ran_out(left_s: float) -> None:
    """A caller who hangs up would be answered, and his task go on without him."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(waiting(Patience(LONG_S), 100.0))
        await asyncio.sleep(0)
        loop.call_at(left_s, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert loop.time() == left_s

    play(scenario())


def test_a_wait_within_a_shorter_timeout_leaves_that_its_own() -> None:
    """A deadline that comes first would be told as a slow store."""

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiting(Patience(LONG_S), 100.0), 1.0)
        told: list[str] = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                told.append(await waiting(Patience(LONG_S), 100.0))
        assert told == []  # it did not take the deadline for its own end
        assert asyncio.get_running_loop().time() == 2.0

    play(scenario())


def test_what_came_as_the_wait_ran_out_is_no_cancellation() -> None:
    """A task would stay marked as cancelled, and its next timeout be taken for somebody's cancellation."""

    async def scenario() -> None:
        async def deaf() -> None:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                return

        task = asyncio.current_task()
        assert task is not None
        patience = Patience(LONG_S)
        waiting = patience.begin()
        await deaf()
        assert patience.end(waiting) == 0
        assert task.cancelling() == 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.sleep(100)

    play(scenario())


class Looked(dict[Any, Any]):
    """Waits that count how many of them are looked at."""

    count = 0

    def items(self) -> Any:
        """Count what is taken."""
        for item in super().items():
            self.count += 1
            yield item


def test_a_crowd_that_runs_out_is_looked_at_once_each() -> None:
    """A store that hangs would hold up the loop as well: each end would cost a look at everybody who waits."""

    async def scenario() -> None:
        patience, crowd = Patience(LONG_S), 300
        patience._waits = looked = Looked()
        told = await asyncio.gather(*(waiting(patience, 100.0, after_s=0.005 * number) for number in range(crowd)))
        assert all(how.startswith("ran out") for how in told)
        assert looked.count < 3 * crowd

    play(scenario())


def test_a_timer_that_rings_early_is_believed() -> None:
    """The loop would turn as fast as it can until the clock has come to the instant, at the end of each wait."""

    async def scenario() -> None:
        loop, patience = asyncio.get_running_loop(), Patience(LONG_S)
        task = loop.create_task(waiting(patience, 100.0))
        await asyncio.sleep(LONG_S - 0.0005)
        timer = patience._timer
        assert timer is not None
        timer.cancel()
        patience._ring(LONG_S, loop)
        assert await task == "ran out at 2.0"
        assert loop.time() < LONG_S
        assert patience._timer is None

    play(scenario())
