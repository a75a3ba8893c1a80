"""What a call costs: the price card's charge of what was used, told, recorded and taken from the balance once."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from junctor.client import JunctorRpcError
from junctor.domain.lease import SlotState
from tests.support.harness import DOLLAR
from tests.support.money import ask, cost, items_of, spent, sums
from tests.support.pipeline import MODEL, ended, one_endpoint, until
from tests.support.scripted_upstream import (
    STREAM_HEAD,
    Request,
    Script,
    Send,
    Step,
    WaitClosed,
    chat_answer,
    chat_body,
    chat_chunk,
    chat_events,
    chat_stream,
    chunk,
    sse,
    status,
    usage_json,
)

BOTH = pytest.mark.parametrize("streamed", [False, True])
PROMPT = "y" * 80


def cached(input_tokens: int, output_tokens: int, cached_tokens: int) -> Script:
    """Answer in either way, with a usage of which a part was cached."""
    usage = {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }

    def script(request: Request) -> Iterator[Step]:
        if request.json["stream"]:
            return sse([*chat_events([{"content": "Hi."}], None)[:-1], chat_chunk(usage=usage), b"data: [DONE]\n\n"])
        return iter(status(200, json.dumps({**json.loads(chat_body({"content": "Hi."})), "usage": usage}).encode()))

    return script


@BOTH
@pytest.mark.parametrize(("input_tokens", "output_tokens", "cached_tokens"), [(7, 3, 0), (1_235, 57, 1_001), (0, 1, 0)])
async def test_the_charge_is_the_cards(
    tmp_path: Path, streamed: bool, input_tokens: int, output_tokens: int, cached_tokens: int
) -> None:
    """Else a caller is told one sum, his record says another, and his balance loses a third."""
    async with one_endpoint(tmp_path, cached(input_tokens, output_tokens, cached_tokens)) as (router, _):
        told = await ask(router, streamed=streamed)
        async with router.client() as client:
            found = await client.get_generation(told.generation_id)
        total = await spent(router)
    expected = cost(input_tokens, output_tokens, cached_tokens)
    assert (told.cost_nanousd, told.pending, told.usage.estimated) == (expected, False, False)
    assert found.cost_nanousd == expected
    assert total == expected


@BOTH
async def test_many_calls_cost_their_sum(tmp_path: Path, streamed: bool) -> None:
    """Else calls at once share a charge, or are charged twice, where their leases meet."""
    serial = iter(range(1, 1000))

    def script(request: Request) -> Iterator[Step]:
        usage = (next(serial), 11)
        return chat_stream(["Hi."], usage=usage)(request) if request.json["stream"] else iter(chat_answer("Hi.", usage=usage))

    async with one_endpoint(tmp_path, script) as (router, _):
        told = await asyncio.gather(*(ask(router, streamed=streamed) for _ in range(40)))
        told += [await ask(router, streamed=streamed) for _ in range(5)]
        total = await spent(router)
    assert sorted(one.cost_nanousd or 0 for one in told) == [cost(number, 11) for number in range(1, 46)]
    assert total == sum(cost(number, 11) for number in range(1, 46))


@BOTH
async def test_usage_that_is_not_reported_is_charged_as_counted(tmp_path: Path, streamed: bool) -> None:
    """Else a provider that reports no usage is free."""
    script = chat_stream(["x" * 40], usage=None) if streamed else chat_answer("x" * 40, usage=None)
    async with one_endpoint(tmp_path, script) as (router, _):
        told = await ask(router, streamed=streamed, prompt=PROMPT)
        total = await spent(router)
    assert told.usage.estimated
    assert told.cost_nanousd == total == cost(20, 10)


@BOTH
@pytest.mark.parametrize("finish", [None, "error", ""])
async def test_what_failed_before_the_first_token_is_free(tmp_path: Path, streamed: bool, finish: str | None) -> None:
    """Else a caller pays for a provider's outage, or for the prompt of an answer that is an error or empty."""
    script: Script = status(500)
    if finish is not None:
        events = [chat_chunk({"role": "assistant"}), chat_chunk(finish=finish), chat_chunk(usage=usage_json(50, 0))]
        script = (lambda _: sse(events)) if streamed else chat_answer("", usage=(50, 0), finish=finish)
    async with one_endpoint(tmp_path, script) as (router, _):
        with pytest.raises(JunctorRpcError, match="UPSTREAM_UNAVAILABLE"):
            await ask(router, streamed=streamed)
        assert (await ended(router)).state is SlotState.VOID
        assert await spent(router) == 0


@BOTH
async def test_an_answer_of_no_words_costs_its_prompt(tmp_path: Path, streamed: bool) -> None:
    """Else a model that has nothing to say works for nothing."""
    script = chat_stream([], usage=(50, 0)) if streamed else chat_answer("", usage=(50, 0))
    async with one_endpoint(tmp_path, script) as (router, _):
        told = await ask(router, streamed=streamed)
        assert told.cost_nanousd == await spent(router) == cost(50, 0)


async def test_a_caller_who_leaves_pays_for_what_he_got(tmp_path: Path) -> None:
    """Else leaving in the middle makes half an answer free, or costs the whole of what was held."""
    script: list[Step] = [Send(STREAM_HEAD + chunk(chat_chunk({"content": "x" * 40}))), WaitClosed()]
    async with one_endpoint(tmp_path, script) as (router, _):
        async with router.client() as client, client.stream(PROMPT, model=MODEL) as stream:
            await anext(stream)
            await anext(stream)
        record = await ended(router)
        assert (record.state, record.estimated, record.cost_nanousd) == (SlotState.SETTLED, True, cost(20, 10))
        assert await spent(router) == cost(20, 10)


async def test_a_caller_who_leaves_pays_at_most_what_was_held(tmp_path: Path) -> None:
    """Else a provider that sends more than was asked for runs up a bill that nobody agreed to."""
    script: list[Step] = [Send(STREAM_HEAD + chunk(chat_chunk({"content": "x" * 40_000}))), WaitClosed()]
    async with one_endpoint(tmp_path, script) as (router, _):
        async with router.client() as client, client.stream(PROMPT, model=MODEL, max_tokens=1) as stream:
            await anext(stream)
            await anext(stream)
        record = await ended(router)
        assert record.state is SlotState.SETTLED
        assert record.cost_nanousd == record.hold_nanousd < cost(20, 10_000)
        assert await spent(router) == record.hold_nanousd


async def test_a_record_is_found_at_once(tmp_path: Path) -> None:
    """Else a caller who looks up what he has just been told of is told that there is no such thing."""
    async with one_endpoint(tmp_path, chat_answer("Hi.")) as (router, _), router.client() as client:
        for _ in range(10):
            answer = await client.complete("Hi", model=MODEL)
            found = await client.get_generation(answer.generation_id)
            assert found.cost_nanousd == answer.cost.cost_nanousd


async def test_the_balance_is_whole_once_nothing_is_under_way(tmp_path: Path) -> None:
    """Else money that was set aside for a call stays set aside, and an organisation runs dry with credits in the bank."""
    async with one_endpoint(tmp_path, chat_answer("Hi.", usage=(7, 3))) as (router, _):
        await ask(router, streamed=False)

        async def given_back() -> int | None:
            total = sums(await items_of(router.core.table, router.account))
            return None if total["leased"] else total["avail"]

        assert await until(given_back) == 1_000 * DOLLAR - cost(7, 3)
