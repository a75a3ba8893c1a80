"""Providers that mean harm: whatever they send, a call ends typed and in time, in bounded memory, and costs what it may."""

from pathlib import Path

import pytest

from junctor.adapters.providers.gateway import Gateway
from junctor.client import JunctorRpcError
from tests.security.hostile_upstreams import play
from tests.support.hostile import BEHAVIOURS, LIES
from tests.support.pipeline import MODEL, PATIENCE_S, one_endpoint
from tests.support.scripted_upstream import Send, chat_answer, chat_body, status
from tests.support.transports import MAKERS

BEHAVIOURS_LEAST = 20


@pytest.mark.parametrize("transport", MAKERS)
async def test_every_call_ends_as_it_may(tmp_path: Path, transport: str) -> None:
    """Else one broken provider hangs or starves a router that serves a hundred others, or tells callers what it likes."""
    rows, problems = await play(tmp_path, transport)
    assert [row.line() for row in rows if row.problems] == []
    assert problems == []
    assert len({row.name for row in rows}) > len(BEHAVIOURS) > BEHAVIOURS_LEAST
    # Else the endings would be those of one early refusal, and nothing was tried behind it.
    assert {row.heard.how.partition(" ")[0] for row in rows} == {"OK", "UNAVAILABLE", "ABORTED", "DEADLINE_EXCEEDED"}


async def test_no_lie_costs_more_than_a_call_may(tmp_path: Path) -> None:
    """Else one answer of a provider that lies about its tokens empties an organisation's purse."""
    rows, problems = await play(tmp_path, "aiohttp", LIES)
    assert [row.heard.how for row in rows] == ["OK"] * 2 * len(LIES)
    assert problems == []


@pytest.mark.parametrize("transport", MAKERS)
async def test_what_follows_an_answer_is_nobody_s(tmp_path: Path, transport: str) -> None:
    """Else a provider, or a proxy of its, that answers one request twice has the second answer delivered to the next caller."""
    good, another = (status(200, chat_body({"content": text}))[0] for text in ("good", "another's"))
    assert isinstance(good, Send)
    assert isinstance(another, Send)
    twice = [Send(good.data + another.data)]
    async with one_endpoint(tmp_path, twice, chat_answer("mine")) as (router, _), router.client() as client:
        gateway = router.core.services.upstream
        assert isinstance(gateway, Gateway)
        gateway._transport = made = MAKERS[transport](None, None)

        async def told() -> str:
            try:
                answer = await client.complete("Hi", model=MODEL, timeout_s=PATIENCE_S)
            except JunctorRpcError as error:
                return error.reason
            return answer.choices[0].message.parts[0].text.text

        try:
            answers = [await told() for _ in "123"]
        finally:
            await made.close()
    # httpx has no look at what came behind an answer before it has asked again on that connection.
    between = "UPSTREAM_UNAVAILABLE" if transport == "httpx" else "mine"
    assert answers == ["good", between, "mine"]
