"""What a key may do: its budget, its rates, its models and providers, each refused before any provider is called."""

import asyncio
from pathlib import Path

import pytest

from junctor.client import JunctorRpcError
from junctor.domain.credits import LimitSubject
from junctor.domain.rates import Rates
from junctor.policy import api_keys
from tests.support.money import ask, cost, limit, new_key, spent
from tests.support.pipeline import MODEL, SECOND, one_endpoint, refusal, two_endpoints, until
from tests.support.scripted_upstream import Wait, chat_answer, chat_stream, status

ANSWER = chat_answer("Hi.", usage=(7, 3))
GENEROUS, MEAN = cost(0, 1_000_000), cost(0, 100)


def _id_of(api_key: str) -> str:
    parsed = api_keys.parse(api_key)
    assert parsed is not None
    return parsed.lookup_id


@pytest.mark.parametrize("subject", [LimitSubject.API_KEY, LimitSubject.ORGANISATION])
async def test_a_limit_that_is_too_low_is_named(tmp_path: Path, subject: LimitSubject) -> None:
    """Else a key spends what its owner forbade, or nobody can tell which limit stands in the way."""
    async with one_endpoint(tmp_path, ANSWER) as (router, upstream):
        of = _id_of(router.api_key) if subject is LimitSubject.API_KEY else ""
        await limit(router, GENEROUS, LimitSubject.ORGANISATION)
        name = await limit(router, MEAN, subject, of)
        error = await refusal(ask(router, streamed=False))
        assert upstream.requests == []
        assert await spent(router) == 0
    assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "KEY_BUDGET_EXCEEDED")
    assert (error.metadata["limit"], error.metadata["available_nanousd"]) == (name, str(MEAN))
    assert int(error.metadata["needed_nanousd"]) > MEAN
    assert error.retry_after_s is None


async def test_a_limit_binds_its_key_alone(tmp_path: Path) -> None:
    """Else one key's limit stops a whole organisation."""
    async with one_endpoint(tmp_path, ANSWER) as (router, _):
        await limit(router, MEAN, LimitSubject.API_KEY, _id_of(router.api_key))
        other = await new_key(router)
        assert (await ask(router, streamed=False, api_key=other)).cost_nanousd == cost(7, 3)
        assert (await refusal(ask(router, streamed=False))).reason == "KEY_BUDGET_EXCEEDED"


async def test_a_limit_is_used_up_by_what_calls_cost(tmp_path: Path) -> None:
    """Else what was set aside counts as spent, and a key stops long before its limit."""
    async with one_endpoint(tmp_path, ANSWER) as (router, _):
        allowed = cost(2_000, 1_000)
        await limit(router, allowed, LimitSubject.API_KEY, _id_of(router.api_key))
        for _ in range(5):
            await ask(router, streamed=False, max_tokens=500)
            assert await spent(router) > 0
        error = await refusal(ask(router, streamed=False, max_tokens=4_000))
        assert error.metadata["available_nanousd"] == str(allowed - 5 * cost(7, 3))


async def test_requests_in_a_minute(tmp_path: Path) -> None:
    """Else a key that runs away is never stopped."""
    async with one_endpoint(tmp_path, ANSWER) as (router, upstream):
        key = await new_key(router, rates=Rates(requests_per_min=2))

        async def early_in_a_minute() -> bool | None:
            return True if router.core.services.clock.now_ms() % 60_000 < 55_000 else None

        await until(early_in_a_minute)
        for _ in range(2):
            await ask(router, streamed=False, api_key=key)
        error = await refusal(ask(router, streamed=False, api_key=key))
        assert len(upstream.requests) == 2
        assert await spent(router) == 2 * cost(7, 3)
    assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
    assert (error.metadata["limit"], error.metadata["allowed"], error.metadata["api_key"]) == (
        "requests_per_min",
        "2",
        _id_of(key),
    )
    assert error.retry_after_s is not None
    assert 0 < error.retry_after_s <= 60


async def test_tokens_in_a_minute(tmp_path: Path) -> None:
    """Else a key with few but huge requests is never stopped."""
    async with one_endpoint(tmp_path, ANSWER) as (router, upstream):
        key = await new_key(router, rates=Rates(tokens_per_min=100))
        await ask(router, streamed=False, api_key=key, max_tokens=50)
        error = await refusal(ask(router, streamed=False, api_key=key, max_tokens=5_000))
        assert len(upstream.requests) == 1
    assert (error.code, error.reason, error.metadata["limit"]) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED", "tokens_per_min")


async def test_calls_at_one_time(tmp_path: Path) -> None:
    """Else one key takes every place, or a place that was given back stays taken."""
    async with one_endpoint(tmp_path, [Wait(0.5), *status(500)], ANSWER) as (router, upstream):
        key = await new_key(router, rates=Rates(concurrency=1))
        first = asyncio.create_task(refusal(ask(router, streamed=False, api_key=key)))
        await upstream.arrived()
        error = await refusal(ask(router, streamed=False, api_key=key))
        assert (error.reason, error.metadata["limit"]) == ("RATE_LIMITED", "concurrency")
        await first
        assert (await ask(router, streamed=False, api_key=key)).cost_nanousd == cost(7, 3)


async def test_a_stream_that_is_left_gives_its_place_back(tmp_path: Path) -> None:
    """Else callers who leave lock a key out."""
    async with one_endpoint(tmp_path, chat_stream(["a"] * 200, per_chunk_delay=0.05), ANSWER) as (router, _):
        key = await new_key(router, rates=Rates(concurrency=1))
        async with router.client(key) as client, client.stream("Hi", model=MODEL) as stream:
            await anext(stream)

        async def answered() -> bool | None:
            try:
                await ask(router, streamed=False, api_key=key)
            except JunctorRpcError as error:
                if error.reason != "RATE_LIMITED":
                    raise
                return None
            return True

        assert await until(answered)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_model_that_is_not_allowed(tmp_path: Path, streamed: bool) -> None:
    """Else a key for a cheap model buys a dear one."""
    async with one_endpoint(tmp_path, ANSWER) as (router, upstream):
        key = await new_key(router, allowed_models=("junctor/local",))
        error = await refusal(ask(router, streamed=streamed, api_key=key))
        assert upstream.requests == []
        allowed = await new_key(router, allowed_models=("junctor/local", MODEL))
        assert (await ask(router, streamed=False, api_key=allowed)).cost_nanousd == cost(7, 3)
    assert (error.code, error.reason, error.metadata["model"]) == ("PERMISSION_DENIED", "MODEL_NOT_ALLOWED", MODEL)


async def test_a_provider_that_is_not_allowed(tmp_path: Path) -> None:
    """Else words go to a provider to whom they must not go."""
    async with two_endpoints(tmp_path, chat_answer("never"), ANSWER) as rig:
        key = await new_key(rig.router, allowed_providers=("openrouter",))
        async with rig.router.client(key) as client:
            answer = await client.complete("Hi", model=MODEL)
        nobody = await new_key(rig.router, allowed_providers=("mistral",))
        error = await refusal(ask(rig.router, streamed=False, api_key=nobody))
        assert rig.first.requests == []
        assert len(rig.second.requests) == 1
    assert answer.route.endpoint == SECOND
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "NO_ELIGIBLE_ENDPOINT")
    assert "PROVIDER_NOT_ALLOWED: " in error.metadata["excluded_by"]
