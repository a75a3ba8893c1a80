"""Calls at a time: never more than the limit over all instances, and no place lost to one that died, slept or left."""

import asyncio

import pytest

from junctor.adapters.tables.faults import Fault, FaultPlan
from junctor.domain.errors import RateLimitedError
from junctor.domain.rates import Rates
from junctor.ledger.allowance.claims import CLAIM_LIFE_MS, MARGIN_MS
from junctor.ports.table import UnavailableError
from tests.support.fleet import KEY, Fleet, play

ONE = Rates(concurrency=1)
THREE = Rates(concurrency=3)
MANY = Rates(concurrency=100)
SLOW = FaultPlan(latency_s=(0.001, 0.004))


def test_all_instances_together_let_in_the_limit() -> None:
    """A key would have its limit once for each instance."""

    async def scenario(fleet: Fleet) -> None:
        taken = await asyncio.gather(*(instance.taken(THREE, 3) for instance in fleet.instances))
        assert sum(map(len, taken)) == 3
        assert sum(fleet.claimed().values()) == 3

    play(scenario, size=4, plan=SLOW)


def test_a_place_given_back_is_there_for_everybody_at_once() -> None:
    """One caller who calls again and again would be refused as soon as another instance answers him."""

    async def scenario(fleet: Fleet) -> None:
        for turn in range(40):
            instance = fleet.instances[turn % 3]
            permit = await instance.take(ONE)
            assert await fleet.instances[(turn + 1) % 3].refusal(ONE) is not None
            await asyncio.sleep(1)
            instance.give_back(permit)
            instance.give_back(permit)

    play(scenario, size=3, plan=SLOW)


def test_long_calls_keep_their_places() -> None:
    """A call that lasts longer than a claim would be forgotten, and another let in beside it."""

    async def scenario(fleet: Fleet) -> None:
        one, other = fleet.instances
        permits = await one.taken(THREE, 3)
        for _ in range(100):
            await asyncio.sleep(7)
            assert await other.refusal(THREE) is not None
        one.give_back(*permits)
        await asyncio.sleep(1)
        assert len(await other.taken(THREE, 9)) == 3

    play(scenario, size=2)


def test_the_places_of_a_dead_instance_are_free_again_in_time() -> None:
    """A crash would take a part of a key's limit for ever, or give it back while its calls may still be under way."""

    async def scenario(fleet: Fleet) -> None:
        dead, other = fleet.instances
        await dead.taken(THREE, 2)
        claimed_s = asyncio.get_running_loop().time()
        for method in ("get", "update"):
            dead.table.always(method, UnavailableError("it died"))
        assert len(await other.taken(THREE, 9)) == 1
        for _ in range(100):
            if await other.refusal(THREE) is None:
                break
            await asyncio.sleep(1)
        lasted_s = asyncio.get_running_loop().time() - claimed_s
        assert CLAIM_LIFE_MS / 1000 <= lasted_s < CLAIM_LIFE_MS / 1000 + 10
        assert len(await other.taken(THREE, 9)) == 1
        assert list(fleet.claimed()) == ["instance-1"]

    play(scenario, size=2)


@pytest.mark.parametrize("ahead_ms", [-MARGIN_MS, MARGIN_MS])
def test_clocks_may_differ_by_seconds(ahead_ms: int) -> None:
    """A claim would be dropped by a clock that is a little ahead, and its places given twice."""

    async def scenario(fleet: Fleet) -> None:
        one, other = fleet.instances
        other.clock.ahead_ms = ahead_ms
        await one.taken(THREE, 3)
        for _ in range(100):
            await asyncio.sleep(3)
            assert await other.refusal(THREE) is not None

    play(scenario, size=2)


def test_an_instance_that_slept_asks_again() -> None:
    """A function that was frozen would use a claim that others have dropped meanwhile."""

    async def scenario(fleet: Fleet) -> None:
        slept, other = fleet.instances
        eight = Rates(concurrency=8)
        await slept.take(eight)
        assert fleet.claimed() == {"instance-0": 2}
        for instance in fleet.instances:
            instance.clock.ahead_ms = CLAIM_LIFE_MS
        assert len(await other.taken(eight, 9)) == 8
        assert await slept.refusal(eight) is not None

    play(scenario, size=2)


def test_what_is_claimed_to_spare_goes_back_when_it_is_not_used() -> None:
    """Instances that were busy once would keep places from those that are busy now."""

    async def scenario(fleet: Fleet) -> None:
        one, other = fleet.instances
        permits = await one.taken(MANY, 10)
        assert 10 < fleet.claimed()["instance-0"] <= 32
        one.give_back(*permits[1:])
        await asyncio.sleep(30)
        assert fleet.claimed() == {"instance-0": 1}
        assert len(await other.taken(MANY, 200)) == 99
        one.give_back(permits[0])
        await asyncio.sleep(30)
        assert list(fleet.claimed()) == ["instance-1"]

    play(scenario, size=2)


def test_a_busy_key_does_not_ask_for_each_call() -> None:
    """Every call of a key with a limit on concurrency would wait for the store, twice."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        for _ in range(1000):
            permits = await one.taken(MANY, 5)
            await asyncio.sleep(0.05)
            one.give_back(*permits)
        assert one.calls < 100

    play(scenario)


def test_a_refusal_says_what_is_used_up_and_costs_little() -> None:
    """A caller would not know why, or cost two reads with every try."""

    async def scenario(fleet: Fleet) -> None:
        one, other = fleet.instances
        await one.taken(THREE, 3)
        before = one.calls
        error = await one.refusal(THREE)
        assert error is not None
        assert error.metadata == {"limit": "concurrency", "allowed": "3", "needed": "1", "api_key": KEY}
        assert error.message == "The API key's limit of 3 calls at a time is reached."
        assert error.retry_after_s is not None
        assert 1 <= error.retry_after_s <= 2
        assert one.calls == before
        for _ in range(100):
            assert await other.refusal(THREE) is not None
            await asyncio.sleep(0.01)
        assert other.calls < 20

    play(scenario, size=2)


def test_a_call_refused_for_concurrency_does_not_count() -> None:
    """Refused calls would use up the minute's requests and tokens."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        both = Rates(requests_per_min=2, tokens_per_min=20, concurrency=1)
        permit = await one.take(both, 10)
        for _ in range(10):
            error = await one.refusal(both, 10)
            assert error is not None
            assert error.metadata["limit"] == "concurrency"
        one.give_back(permit, used=10)
        await one.take(both, 10)

    play(scenario)


def test_a_lowered_limit_lets_no_further_call_in() -> None:
    """Places claimed under the old limit would go on to be used."""

    async def scenario(fleet: Fleet) -> None:
        one, other = fleet.instances
        permits = await one.taken(MANY, 8)
        lower = Rates(concurrency=5)
        assert await one.refusal(lower) is not None
        assert await other.refusal(lower) is not None
        one.give_back(*permits[:4])
        assert len(await one.taken(lower, 9)) == 1

    play(scenario, size=2)


def test_the_end_of_an_instance_frees_its_places() -> None:
    """Each deployment would stop busy keys for a minute."""

    async def scenario(fleet: Fleet) -> None:
        one, other = fleet.instances
        permits = await one.taken(THREE, 3)
        await one.allowance.close()
        assert len(await other.taken(THREE, 9)) == 3
        one.give_back(*permits)
        assert await one.refusal(THREE) is None

    play(scenario, size=2, plan=SLOW)


@pytest.mark.parametrize("ends_after_ms", range(0, 42, 2))
def test_an_instance_may_end_at_any_moment(ends_after_ms: int) -> None:
    """A claim that is being written when the instance ends would stay."""

    async def scenario(fleet: Fleet) -> None:
        one, other = fleet.instances
        await other.take(THREE)
        callers = [asyncio.create_task(one.refusal(THREE)) for _ in range(2)]
        await asyncio.sleep(ends_after_ms / 1000)
        await one.allowance.close()
        await asyncio.gather(*callers)
        assert list(fleet.claimed()) == ["instance-1"]

    play(scenario, size=2, plan=FaultPlan(latency_s=(0.005, 0.005)))


def test_a_caller_who_leaves_as_his_claim_comes_frees_it() -> None:
    """The claim would be nobody's until it is looked at again, and other instances would refuse calls."""

    async def scenario(fleet: Fleet) -> None:
        one, other = fleet.instances
        caller = asyncio.create_task(one.take(ONE))
        await asyncio.sleep(0.001)
        ((_, entry),) = one.allowance._entries.items()
        claiming = entry.claims._flight._task
        assert claiming is not None
        claiming.add_done_callback(lambda _: caller.cancel())
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.sleep(0.1)
        assert fleet.claimed() == {}
        await other.take(ONE)

    play(scenario, size=2, plan=FaultPlan(latency_s=(0.005, 0.005)))


def test_a_caller_who_leaves_frees_his_place() -> None:
    """Callers who left while they waited would hold places until the claim is looked at again."""

    async def scenario(fleet: Fleet) -> None:
        one, other = fleet.instances
        for left_after_ms in range(0, 40, 2):
            caller = asyncio.create_task(one.take(ONE))
            await asyncio.sleep(left_after_ms / 1000)
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
            if not caller.cancelled():
                one.give_back(caller.result())
            await asyncio.sleep(0.1)
            other.give_back(await other.take(ONE))
            await asyncio.sleep(0.1)

    play(scenario, size=2, plan=FaultPlan(latency_s=(0.005, 0.005)))


@pytest.mark.parametrize("fault", [Fault.REPLY_LOST, Fault.DROPPED, Fault.DELAYED, Fault.DUPLICATED])
def test_a_write_of_unknown_fate_moves_no_later_claim(fault: Fault) -> None:
    """A write that comes late would shrink a claim in use, and others would be let in beside it."""

    async def scenario(fleet: Fleet) -> None:
        one, other = fleet.instances
        permits = await one.taken(THREE, 2)
        fleet.store.dice.inject(fault)
        one.give_back(permits.pop())
        await asyncio.sleep(1.5)
        permits += await one.taken(THREE, 9)
        assert len(permits) == 3
        for _ in range(80):
            await asyncio.sleep(1)
            assert await other.refusal(THREE) is not None

    play(scenario, size=2)


def test_the_store_is_not_kept_busy_by_others_writes() -> None:
    """Instances that meet on one item would let in more than the limit, or none."""

    async def scenario(fleet: Fleet) -> None:
        under_way = most = 0

        async def call(number: int) -> None:
            nonlocal under_way, most
            instance = fleet.instances[number % 6]
            await asyncio.sleep(number * 0.003)
            try:
                permit = await instance.take(THREE)
            except RateLimitedError:
                return
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.02)
            under_way -= 1
            instance.give_back(permit)

        await asyncio.gather(*(call(number) for number in range(600)))
        assert most == 3
        assert sum(sum(instance.granted.values()) for instance in fleet.instances) > 60

    play(scenario, size=6, plan=SLOW)
