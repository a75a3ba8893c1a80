"""A store that is down, slow or wrong: what was granted before goes on, within bounds, and no caller sees a store's error."""

import asyncio

import pytest

from junctor.domain.rates import Rates
from junctor.ledger import trying
from junctor.ledger.allowance.flight import REST_S, WAIT_S
from junctor.ports.table import StoreError, ThrottledError, UnavailableError, UnknownOutcomeError
from junctor.ports.telemetry import Counter
from tests.support.faulty_table import Fault, Hang, Lost
from tests.support.fleet import Fleet, Instance, next_minute, play

LIMIT = Rates(requests_per_min=100)
BOTH = Rates(requests_per_min=120, tokens_per_min=6000)
DOWN = UnavailableError("down")
FAULTS: list[Fault] = [DOWN, ThrottledError("busy"), UnknownOutcomeError("who knows"), Hang()]


def cut_off(instance: Instance, fault: Fault) -> None:
    """Let no call of an instance reach the store."""
    for method in ("get", "update"):
        instance.table.always(method, fault)


async def spread(instance: Instance, rates: Rates, calls: int, tokens: int = 0) -> int:
    """Return how many of so many calls, one each 100 ms, are let in."""
    let_in = 0
    for _ in range(calls):
        let_in += await instance.refusal(rates, tokens) is None
        await asyncio.sleep(0.1)
    return let_in


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_what_was_granted_goes_on_minute_by_minute(fault: Fault) -> None:
    """A store that is down would stop every key with rates, or let it do what it wants."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        assert await spread(one, LIMIT, 40) == 40
        await next_minute(one)
        await one.take(LIMIT)
        cut_off(one, fault)
        for _ in range(4):
            assert 39 <= await spread(one, LIMIT, 100) <= 60
            error = await one.refusal(LIMIT)
            assert error is not None
            assert 1 <= (error.retry_after_s or 0) <= 2
            await next_minute(one)
        one.table.heal()

    play(scenario)


def test_it_never_goes_beyond_the_limit_alone() -> None:
    """A lowered limit would not be heeded while the store is down."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        assert await spread(one, LIMIT, 100) == 100
        await next_minute(one)
        cut_off(one, DOWN)
        assert await spread(one, Rates(requests_per_min=10), 300) == 10

    play(scenario)


def test_a_key_that_was_never_seen_gets_a_second_s_part() -> None:
    """A key would be refused that merely comes to an instance for the first time, or be let in without bound."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        cut_off(one, DOWN)
        assert len(await one.taken(BOTH, 10, 50)) == 2
        assert await one.refusal(BOTH, 1) is not None

    play(scenario)


def test_what_was_used_alone_is_taken_first_when_the_store_is_back() -> None:
    """An outage of a moment would add to the minute's limit."""

    async def scenario(fleet: Fleet) -> None:
        one = fleet.instances[0]
        assert await spread(one, LIMIT, 30) == 30
        await next_minute(one)
        cut_off(one, DOWN)
        assert await spread(one, LIMIT, 20) == 20
        one.table.heal()
        await asyncio.sleep(REST_S)
        assert len(await one.taken(LIMIT, 1)) == 1
        taken = await asyncio.gather(*(instance.taken(LIMIT, 1000) for instance in fleet.instances))
        assert sum(map(len, taken)) == 79

    play(scenario, size=2)


def test_a_slow_store_holds_nobody_up_for_long() -> None:
    """Every call of a key would wait for a store that does not answer."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        cut_off(one, Hang())
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        both = Rates(requests_per_min=600, concurrency=5)
        await asyncio.gather(*(one.refusal(both) for _ in range(10)))
        assert loop.time() - began_s == pytest.approx(2 * WAIT_S)
        for _ in range(100):
            await one.refusal(both)
        assert loop.time() - began_s == pytest.approx(2 * WAIT_S)
        assert one.calls == 2
        one.table.heal()

    play(scenario)


def test_an_instance_ends_though_the_store_hangs() -> None:
    """A deployment would wait for a store that does not answer, or leave work behind."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        both = Rates(requests_per_min=600, concurrency=5)
        await one.take(both)
        cut_off(one, Hang())
        callers = [asyncio.create_task(one.refusal(both)) for _ in range(8)]
        await asyncio.sleep(0.1)
        began_s = asyncio.get_running_loop().time()
        await one.allowance.close()
        assert asyncio.get_running_loop().time() - began_s <= 3 * WAIT_S
        await asyncio.gather(*callers)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(scenario)


def test_a_store_that_is_down_is_left_alone_for_a_while() -> None:
    """A store in trouble would be asked once for every call, and stay in trouble."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        cut_off(one, DOWN)
        began_s = asyncio.get_running_loop().time()
        await spread(one, LIMIT, 100)
        took_s = asyncio.get_running_loop().time() - began_s
        assert one.calls <= trying.TRIES * (took_s / (1.0 + REST_S) + 1)  # so many tries take more than a second, then it rests

    play(scenario)


def test_a_lost_answer_gives_nobody_more() -> None:
    """A share whose fate is not known would be used by him who took it, and by the next."""

    async def scenario(fleet: Fleet) -> None:
        one = fleet.instances[0]
        assert await spread(one, LIMIT, 20) == 20
        one.table.next("update", *(Lost(UnknownOutcomeError("lost")) for _ in range(3)))
        await spread(one, LIMIT, 70)
        await asyncio.gather(*(instance.taken(LIMIT, 1000) for instance in fleet.instances))
        assert 80 <= sum(sum(instance.granted.values()) for instance in fleet.instances) <= 100

    play(scenario, size=2)


@pytest.mark.parametrize("fault", FAULTS[:3], ids=lambda fault: type(fault).__name__)
def test_as_many_calls_as_were_claimed_go_on(fault: StoreError) -> None:
    """A key's calls would all be refused while the store is down, or all be let in."""

    async def scenario(fleet: Fleet) -> None:
        one, fresh = fleet.instances
        limit = Rates(concurrency=3)
        one.give_back(*await one.taken(limit, 3))
        await asyncio.sleep(1)
        for instance in fleet.instances:
            cut_off(instance, fault)
        for _ in range(3):
            permits = await one.taken(limit, 9)
            assert len(permits) == 3
            await asyncio.sleep(100)
            one.give_back(*permits)
        assert len(await fresh.taken(limit, 9)) == 1
        for instance in fleet.instances:
            instance.table.heal()
        await asyncio.sleep(30)

    play(scenario, size=2)


def test_a_bug_stops_no_calls_and_is_told() -> None:
    """A fault in counting would take the service down, or go on unseen."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances

        async def broken(*_: object) -> None:
            raise RuntimeError("a bug")

        one.table.update = broken  # type: ignore[method-assign, assignment]
        await one.take(Rates(requests_per_min=60, concurrency=1))
        assert one.telemetry.counts[Counter.INCIDENT] == 2
        assert [incident for incident, _ in one.telemetry.incidents] == ["allowance"] * 2
        one.telemetry.incidents.clear()

    play(scenario)
