"""Requests that their callers named: sent again they cost nothing more, whenever and however often that happens."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from junctor.client import JunctorRpcError
from junctor.domain.lease import SlotState
from junctor.ports.table import UnknownOutcomeError
from tests.support.faulty_table import Lost, break_ledger
from tests.support.money import Told, ask, cost, spent
from tests.support.pipeline import MODEL, one_endpoint, refusal, slots
from tests.support.scripted_upstream import Request, Script, Step, Wait, chat_answer, chat_stream, status

BOTH = pytest.mark.parametrize("streamed", [False, True])
NAME = "6f1b0c9e-58aa-4c5e-9d5b-0123456789ab"
OTHER_NAME = "6f1b0c9e-58aa-4c5e-9d5b-0123456789ac"


def answering(wait_s: float = 0.0) -> Script:
    """Answer in the way that is asked for, after a while."""

    def script(request: Request) -> Iterator[Step]:
        yield Wait(wait_s)
        if request.json["stream"]:
            yield from chat_stream(["Hi."], usage=(7, 3))(request)
        else:
            yield from chat_answer("Hi.", usage=(7, 3))

    return script


@BOTH
async def test_a_request_that_was_answered_is_not_answered_again(tmp_path: Path, streamed: bool) -> None:
    """Else a caller whose connection broke pays twice for sending his request again."""
    async with one_endpoint(tmp_path, answering()) as (router, upstream):
        told = await ask(router, streamed=streamed, request_id=NAME)
        for name in (NAME, NAME.upper()):
            error = await refusal(ask(router, streamed=streamed, request_id=name))
            assert (error.code, error.reason) == ("ALREADY_EXISTS", "REQUEST_COMPLETED")
            assert error.metadata == {"generation_id": told.generation_id, "cost_nanousd": str(told.cost_nanousd)}
        assert len(upstream.requests) == 1
        assert told.cost_nanousd == await spent(router) == cost(7, 3)


@BOTH
async def test_a_request_that_is_being_answered_is_waited_for(tmp_path: Path, streamed: bool) -> None:
    """Else a caller who is impatient pays for every time that he asks."""
    async with one_endpoint(tmp_path, answering(0.5)) as (router, upstream):
        first = asyncio.create_task(ask(router, streamed=streamed, request_id=NAME))
        await upstream.arrived()
        error = await refusal(ask(router, streamed=streamed, request_id=NAME))
        told = await first
        assert len(upstream.requests) == 1
        assert await spent(router) == cost(7, 3)
    assert (error.code, error.reason, error.retry_after_s) == ("ABORTED", "REQUEST_IN_PROGRESS", 2.0)
    assert error.metadata == {"generation_id": told.generation_id}


@BOTH
async def test_a_hundred_at_once_are_one(tmp_path: Path, streamed: bool) -> None:
    """Else a client that repeats too eagerly multiplies its bill."""
    async with one_endpoint(tmp_path, answering(0.3)) as (router, upstream):
        calls = (ask(router, streamed=streamed, request_id=NAME) for _ in range(100))
        ends = await asyncio.gather(*calls, return_exceptions=True)
        told = [end for end in ends if isinstance(end, Told)]
        reasons = Counter(end.reason for end in ends if isinstance(end, JunctorRpcError))
        assert len(told) == 1
        assert sum(reasons.values()) == 99
        assert set(reasons) <= {"REQUEST_IN_PROGRESS", "REQUEST_COMPLETED"}
        assert len(upstream.requests) == 1
        assert [one.state for one in await slots(router)].count(SlotState.SETTLED) == 1
        assert await spent(router) == cost(7, 3)


@BOTH
async def test_a_name_is_of_one_request(tmp_path: Path, streamed: bool) -> None:
    """Else a caller who takes a name twice is told that his second request was answered, and it never was."""
    async with one_endpoint(tmp_path, answering()) as (router, upstream):
        await ask(router, streamed=streamed, request_id=NAME)
        error = await refusal(ask(router, streamed=streamed, request_id=NAME, temperature=0.5))
        other = await ask(router, streamed=streamed, request_id=OTHER_NAME, temperature=0.5)
        assert len(upstream.requests) == 2
        assert await spent(router) == 2 * cost(7, 3)
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
    assert other.cost_nanousd == cost(7, 3)


async def test_both_methods_share_a_name(tmp_path: Path) -> None:
    """Else a caller who repeats a Stream as a Complete pays for both."""
    async with one_endpoint(tmp_path, answering()) as (router, upstream):
        await ask(router, streamed=True, request_id=NAME)
        error = await refusal(ask(router, streamed=False, request_id=NAME))
        assert len(upstream.requests) == 1
    assert error.reason == "REQUEST_COMPLETED"


@BOTH
async def test_a_request_that_failed_is_tried_anew(tmp_path: Path, streamed: bool) -> None:
    """Else a name is burnt by a provider's outage, and repeating it never helps."""
    async with one_endpoint(tmp_path, status(400), answering()) as (router, upstream):
        failed = await refusal(ask(router, streamed=streamed, request_id=NAME))
        told = await ask(router, streamed=streamed, request_id=NAME)
        assert len(upstream.requests) == 2
        assert told.cost_nanousd == await spent(router) == cost(7, 3)
    assert failed.reason == "INVALID_FIELD"


async def test_a_request_whose_caller_left_is_tried_anew(tmp_path: Path) -> None:
    """Else a caller whose machine restarts in the middle can never have his answer under that name."""
    async with one_endpoint(tmp_path, answering(30), answering()) as (router, upstream):
        async with router.client() as client:
            call = asyncio.create_task(client.complete("Hi", model=MODEL, request_id=NAME))
            await upstream.arrived()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        await router.core.services.ledger.drain(5.0)
        assert (await ask(router, streamed=False, request_id=NAME)).cost_nanousd == cost(7, 3)


@BOTH
async def test_lost_replies_do_not_stand_in_the_way(tmp_path: Path, streamed: bool) -> None:
    """Else a caller is told that his own request is being answered by somebody else."""
    async with one_endpoint(tmp_path, answering()) as (router, upstream):
        await ask(router, streamed=streamed)
        faulty = break_ledger(router)
        lost = Lost(UnknownOutcomeError())
        faulty.next("transact", lost, lost, lost)
        faulty.next("update", lost, lost)
        assert (await ask(router, streamed=streamed, request_id=NAME)).cost_nanousd == cost(7, 3)
        faulty.heal()
        assert len(upstream.requests) == 2
        assert await spent(router) == 2 * cost(7, 3)


@BOTH
@pytest.mark.parametrize("name", ["", "x", NAME[:-1], NAME + "0", f"{{{NAME}}}", NAME.replace("-", ""), NAME.replace("0", "g")])
async def test_a_malformed_name_is_refused(tmp_path: Path, streamed: bool, name: str) -> None:
    """Else names that are cut or empty meet, and a caller is refused for another request of his."""
    async with one_endpoint(tmp_path, answering()) as (router, upstream):
        error = await refusal(ask(router, streamed=streamed, request_id=name))
        assert upstream.requests == []
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert [field for field, _ in error.field_violations] == ["request_id"]
