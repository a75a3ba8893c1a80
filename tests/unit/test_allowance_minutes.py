"""Requests and tokens by the minute: never more than the limit in all, no store call for each, and what a refusal says."""

import asyncio

import pytest

from junctor.adapters.tables.faults import FaultPlan
from junctor.domain.errors import RateLimitedError
from junctor.domain.rates import Rates
from junctor.ledger.allowance.allowance import KEYS_MAX, UNLIMITED
from tests.support.fleet import ACCOUNT, KEY, Fleet, next_minute, play

REQUESTS = Rates(requests_per_min=100)
TOKENS = Rates(tokens_per_min=1000)


def test_a_key_without_rates_asks_nobody() -> None:
    """Every call of every deployment without rates would pay for them."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        assert await one.take(Rates(), 10**9) is UNLIMITED
        one.give_back(UNLIMITED, UNLIMITED)
        assert one.calls == 0

    play(scenario)


def test_all_instances_together_let_in_exactly_the_limit() -> None:
    """A key would get its limit once for each instance, or less than it has a right to."""

    async def scenario(fleet: Fleet) -> None:
        for _ in range(3):
            taken = await asyncio.gather(*(instance.taken(REQUESTS, 1000) for instance in fleet.instances))
            assert sum(map(len, taken)) == 100
            await next_minute(fleet.instances[0])

    play(scenario, size=5)


def test_calls_at_once_are_let_in_up_to_the_limit() -> None:
    """A burst would pass the limit, or be refused below it, while the first share is on its way."""

    async def scenario(fleet: Fleet) -> None:
        calls = [instance.refusal(REQUESTS) for instance in fleet.instances for _ in range(70)]
        refused = await asyncio.gather(*calls)
        assert sum(error is None for error in refused) == 100
        assert sum(instance.calls for instance in fleet.instances) < 20

    play(scenario, size=3)


def test_a_share_is_used_without_waiting_and_lasts_about_a_second() -> None:
    """Each request would wait for the store, or wait at all."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        limit = Rates(requests_per_min=6000, tokens_per_min=6_000_000)
        at_once = 0
        for _ in range(50 * 20):
            before = one.calls
            coroutine = one.allowance.take(ACCOUNT, KEY, limit, 100)
            try:
                coroutine.send(None)
            except StopIteration:
                at_once += 1
                assert one.calls == before
            else:
                coroutine.close()
                await one.take(limit, 100)
            await asyncio.sleep(0.02)
        assert one.calls < 60
        assert at_once > 900

    play(scenario)


def test_a_quiet_instance_takes_one_at_a_time() -> None:
    """Instances with few calls would keep a key's limit from those with many."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        for number in range(1, 6):
            await one.take(REQUESTS)
            assert [item["requests"] for item in fleet.items("RATE#")] == [100 - number]
            await asyncio.sleep(5)

    play(scenario)


def test_a_refusal_says_which_limit_and_when_to_come_back() -> None:
    """A caller would try again at once, or never, and not know what to change."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        await asyncio.sleep(7)
        await one.taken(Rates(requests_per_min=3), 3)
        error = await one.refusal(Rates(requests_per_min=3))
        assert error is not None
        assert error.reason == "RATE_LIMITED"
        assert error.metadata == {"limit": "requests_per_min", "allowed": "3", "needed": "1", "api_key": KEY}
        assert error.message == "The API key's limit of 3 requests per minute is reached."
        assert error.retry_after_s is not None
        assert 52.9 <= error.retry_after_s < 60
        await asyncio.sleep(error.retry_after_s)
        await one.take(Rates(requests_per_min=3))

    play(scenario)


def test_retry_is_always_within_the_minute_that_callers_may_be_told_of() -> None:
    """RetryInfo of 60 s or more would be against what the API promises."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        await one.take(Rates(requests_per_min=1))
        for _ in range(30):
            error = await one.refusal(Rates(requests_per_min=1))
            assert error is not None
            assert 59 < (error.retry_after_s or 0) < 60

    play(scenario)


def test_refusals_do_not_ask_the_store() -> None:
    """A caller who tries without end would cost a write each time."""

    async def scenario(fleet: Fleet) -> None:
        one, other = fleet.instances
        await one.taken(REQUESTS, 1000)
        assert await other.refusal(REQUESTS) is not None
        before = one.calls + other.calls
        for _ in range(50):
            assert await one.refusal(REQUESTS) is not None
            assert await other.refusal(REQUESTS) is not None
        assert one.calls + other.calls == before

    play(scenario, size=2)


def test_a_share_lapses_with_its_minute() -> None:
    """What was saved in one minute would pass the limit of the next."""

    async def scenario(fleet: Fleet) -> None:
        one, other = fleet.instances
        for _ in range(30):
            await one.take(REQUESTS)
        await next_minute(one)
        assert len(await other.taken(REQUESTS, 1000)) == 100
        assert await one.refusal(REQUESTS) is not None

    play(scenario, size=2)


def test_a_minute_s_item_is_swept_some_minutes_later() -> None:
    """The table would grow by an item for each key and minute for ever, or lose one that still counts."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        await one.take(REQUESTS)
        (item,) = fleet.items("RATE#")
        ends_s = (one.clock.now_ms() // 60_000 + 1) * 60
        assert isinstance(item["ttl"], int)
        assert 60 <= item["ttl"] - ends_s <= 600
        assert item["pk"] == "A#ACCOUNT#K#KEY"

    play(scenario)


def test_unused_tokens_come_back() -> None:
    """A key whose calls are estimated high would get a part of its tokens only."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        permit = await one.take(TOKENS, 300)
        one.give_back(permit, used=100)
        one.give_back(permit, used=0)
        assert await one.refusal(TOKENS, 901) is not None
        await one.take(TOKENS, 900)
        error = await one.refusal(TOKENS, 1)
        assert error is not None
        assert error.metadata["limit"] == "tokens_per_min"

    play(scenario)


def test_tokens_beyond_the_estimate_are_charged() -> None:
    """A caller could say little and use much."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        one.give_back(await one.take(TOKENS, 100), used=600)
        assert await one.refusal(TOKENS, 401) is not None
        one.give_back(await one.take(TOKENS, 400), used=400)
        assert [item["tokens"] for item in fleet.items("RATE#")] == [0]

    play(scenario)


def test_tokens_are_corrected_in_their_own_minute_only() -> None:
    """A long answer of the last minute would enlarge this one's limit; what it used beyond its estimate is used now."""

    async def scenario(fleet: Fleet) -> None:
        one, other = fleet.instances
        early = await one.take(TOKENS, 600)
        late = await other.take(TOKENS, 400)
        await next_minute(one)
        one.give_back(early, used=0)
        other.give_back(late, used=700)
        assert await other.refusal(TOKENS, 701) is not None
        await other.take(TOKENS, 700)
        assert await one.refusal(TOKENS, 1) is not None

    play(scenario, size=2)


def test_a_call_larger_than_the_limit_is_told_so() -> None:
    """It would be told to come back, and refused again for ever."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        error = await one.refusal(TOKENS, 1001)
        assert error is not None
        assert error.retry_after_s is None
        assert error.message == "The call needs 1001 tokens per minute, more than the API key's limit of 1000."
        assert one.calls == 0

    play(scenario)


def test_what_is_too_little_for_one_call_is_left_for_others() -> None:
    """A large call that is refused would take away what smaller ones could use, here or at another instance."""

    async def scenario(fleet: Fleet) -> None:
        one, other = fleet.instances
        await one.take(TOKENS, 800)
        assert await other.refusal(TOKENS, 300) is not None
        assert [item["tokens"] for item in fleet.items("RATE#")] == [200]
        await one.take(TOKENS, 100)
        await other.take(TOKENS, 100)

    play(scenario, size=2)


def test_requests_are_not_taken_where_tokens_are_missing() -> None:
    """Refused calls would use up the requests of a key."""

    async def scenario(fleet: Fleet) -> None:
        one, other = fleet.instances
        both = Rates(requests_per_min=2, tokens_per_min=1000)
        one.give_back(await one.take(both, 900), used=900)
        for _ in range(5):
            assert await one.refusal(both, 200) is not None
            assert await other.refusal(both, 200) is not None
        assert [(item["requests"], item["tokens"]) for item in fleet.items("RATE#")] == [(1, 100)]
        await one.take(both, 100)

    play(scenario, size=2)


def test_a_changed_limit_holds_from_the_next_minute() -> None:
    """A limit that was lowered or set anew would never hold."""

    async def scenario(fleet: Fleet) -> None:
        one, other = fleet.instances
        await one.taken(REQUESTS, 10)
        await other.take(Rates(requests_per_min=5, tokens_per_min=50), 20)
        assert await one.refusal(Rates(requests_per_min=100, tokens_per_min=50), 31) is not None
        await next_minute(one)
        taken = await asyncio.gather(*(instance.taken(Rates(requests_per_min=5), 100) for instance in fleet.instances))
        assert sum(map(len, taken)) == 5

    play(scenario, size=2)


@pytest.mark.parametrize("left_after_ms", range(0, 100, 5))
def test_a_caller_who_leaves_harms_nobody(left_after_ms: int) -> None:
    """Cancelled callers would stop the others' share, or keep what they never used."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        limit = Rates(requests_per_min=4, tokens_per_min=40, concurrency=4)
        callers = [asyncio.create_task(one.refusal(limit, 10)) for _ in range(4)]
        await asyncio.sleep(left_after_ms / 1000)
        for caller in callers[:3]:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        assert callers[3].result() is None
        gone = sum(caller.cancelled() for caller in callers)
        assert len(await one.taken(limit, 10, 10)) == gone

    play(scenario, plan=FaultPlan(latency_s=(0.01, 0.01)))


def test_idle_keys_are_forgotten_and_busy_ones_are_not() -> None:
    """Memory would grow with every key ever seen, or a call under way would be forgotten and its place given twice."""

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        known = one.allowance._entries
        await one.take(Rates(concurrency=1), key="busy")
        for number in range(50):
            await one.take(REQUESTS, key=f"key-{number}")
        assert len(known) == 51
        await asyncio.sleep(400)
        for number in range(50):
            await one.take(REQUESTS, key=f"late-{number}")
        assert len(known) == 51
        assert (ACCOUNT, "busy") in known
        with pytest.raises(RateLimitedError):
            await one.take(Rates(concurrency=1), key="busy")

    play(scenario)


def test_there_are_never_too_many_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of keys would fill the memory before any is idle for long."""
    assert KEYS_MAX > 1000
    monkeypatch.setattr("junctor.ledger.allowance.allowance.KEYS_MAX", 20)

    async def scenario(fleet: Fleet) -> None:
        (one,) = fleet.instances
        for number in range(100):
            await one.take(REQUESTS, key=f"key-{number}")
        assert len(one.allowance._entries) == 20

    play(scenario)
