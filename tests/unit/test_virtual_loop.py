"""The loop on which simulations run: its time must jump, keep order, and never hang."""

import asyncio
import time

import pytest

from tests.support.virtual_loop import StalledError, run_virtual


def test_hours_cost_no_time() -> None:
    """Simulated days would take days."""

    async def main() -> float:
        await asyncio.sleep(36_000)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert run_virtual(main()) == pytest.approx(36_000)
    assert time.monotonic() - began < 30


def test_timers_fire_in_order_of_their_instants() -> None:
    """A simulated reply could overtake the request that it answers."""
    seen: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, asyncio.get_running_loop().time()))

    async def main() -> None:
        await asyncio.gather(sleeper("late", 3600), sleeper("soon", 1), sleeper("middle", 60))

    run_virtual(main())
    assert [name for name, _ in seen] == ["soon", "middle", "late"]
    assert [instant for _, instant in seen] == pytest.approx([1, 60, 3600])


def test_timeouts_use_virtual_time() -> None:
    """A deadline in a simulation would be waited for in real time, or never come."""

    async def main() -> float:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 600)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(600)


def test_a_deadlock_is_an_error() -> None:
    """A simulation that waits for what never comes would hang the suite instead of naming the fault."""

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(StalledError):
        run_virtual(main())
