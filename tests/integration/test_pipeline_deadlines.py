"""A caller's deadline: we answer it before the gRPC core does, say at which stage time ran out, and let the provider go."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from junctor.client import JunctorRpcError, StreamEvent
from junctor.domain.lease import SlotState
from tests.support.faulty_table import Hang, break_admission, break_ledger
from tests.support.harness import Router
from tests.support.money import cost
from tests.support.pipeline import MODEL, PATIENCE_S, ended, events_of, kinds, line_of, one_endpoint, refusal, slots
from tests.support.scripted_upstream import (
    STREAM_HEAD,
    Request,
    Script,
    ScriptedUpstream,
    Send,
    Stall,
    Step,
    Wait,
    WaitClosed,
    chat_answer,
    chat_chunk,
    chunk,
    head,
)

DEADLINE_S = 2.0
BEGUN: list[Step] = [Send(STREAM_HEAD + chunk(chat_chunk({"content": "x" * 40}))), WaitClosed()]
SILENT: list[list[Step]] = [[WaitClosed()], [Send(head(200, {"content-length": "9"})), WaitClosed()]]


async def _time_is_up(router: Router, *, streamed: bool, timeout_s: float = DEADLINE_S) -> JunctorRpcError:
    async with router.client() as client:
        if streamed:
            return await refusal(events_of(client.stream("Hi", model=MODEL, timeout_s=timeout_s)))
        return await refusal(client.complete("Hi", model=MODEL, timeout_s=timeout_s))


async def _gone(upstream: ScriptedUpstream) -> None:
    await upstream.requests[0].gone()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("script", SILENT)
async def test_deadline_passes_upstream(tmp_path: Path, streamed: bool, script: list[Step]) -> None:
    """Else a caller who set a deadline learns nothing of why it passed, or the provider works on past it."""
    async with one_endpoint(tmp_path, script) as (router, upstream):
        error = await _time_is_up(router, streamed=streamed)
        await _gone(upstream)
        record = await ended(router)
        line = await line_of(router)
    assert (error.code, error.reason, error.metadata) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", {"stage": "upstream"})
    assert record.state is SlotState.VOID
    assert line["status"] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("streamed", [False, True])
async def test_deadline_over_the_maximum(tmp_path: Path, streamed: bool) -> None:
    """Else a caller without patience's bound holds a connection for as long as he likes."""
    settings = {"JUNCTOR_DEADLINE_MAX_S": "1", "JUNCTOR_DEADLINE_DEFAULT_S": "1"}
    async with one_endpoint(tmp_path, [Stall()], settings=settings) as (router, upstream):
        error = await _time_is_up(router, streamed=streamed, timeout_s=600.0)
        await _gone(upstream)
    assert (error.code, error.metadata) == ("DEADLINE_EXCEEDED", {"stage": "upstream"})


async def test_deadline_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    """Else a stream past its deadline ends without a word, and what was delivered is not settled."""
    events: list[StreamEvent] = []

    async def read(router: Router) -> None:
        async with router.client() as client:
            async for event in client.stream("y" * 80, model=MODEL, timeout_s=DEADLINE_S):
                events.append(event)  # noqa: PERF401 - what came before the error is wanted

    async with one_endpoint(tmp_path, BEGUN) as (router, upstream):
        error = await refusal(read(router))
        await _gone(upstream)
        (record,) = await slots(router)
    assert kinds(events) == ["opened", "delta"]
    assert (error.code, error.metadata) == ("DEADLINE_EXCEEDED", {"stage": "stream"})
    assert (record.state, record.input_tokens, record.output_tokens, record.estimated) == (SlotState.SETTLED, 20, 10, True)
    assert record.cost_nanousd == cost(20, 10)


async def test_busy_stream_past_its_deadline(tmp_path: Path) -> None:
    """Else a model that never falls silent outlives every deadline."""

    def endless(_: Request) -> Iterator[Step]:
        yield Send(STREAM_HEAD)
        while True:
            yield Send(chunk(chat_chunk({"content": "x"})))
            yield Wait(0.02)

    async with one_endpoint(tmp_path, endless) as (router, upstream):
        error = await _time_is_up(router, streamed=True)
        await _gone(upstream)
        assert (await ended(router)).state is SlotState.SETTLED
    assert error.metadata == {"stage": "stream"}


@pytest.mark.parametrize("streamed", [False, True])
async def test_deadline_while_the_ledger_is_silent(tmp_path: Path, streamed: bool) -> None:
    """Else an answer whose hold never becomes durable is waited for without end, or leaves unrecorded."""
    script: Script = BEGUN if streamed else chat_answer("a")
    async with one_endpoint(tmp_path, script) as (router, upstream):
        faulty = break_ledger(router)
        faulty.always("put_new", Hang())
        error = await _time_is_up(router, streamed=streamed)
        if streamed:
            await _gone(upstream)
        faulty.heal()
        assert (await ended(router)).state is SlotState.VOID
    assert (error.code, error.metadata) == ("DEADLINE_EXCEEDED", {"stage": "ledger"})


@pytest.mark.parametrize("streamed", [False, True])
async def test_ledger_silent_and_provider_broken(tmp_path: Path, streamed: bool) -> None:
    """Else a caller whose call has failed anyway waits for a ledger that does not answer."""
    async with one_endpoint(tmp_path, [Send(head(500, {"content-length": "0"}))]) as (router, _):
        faulty = break_ledger(router)
        faulty.always("put_new", Hang())
        error = await _time_is_up(router, streamed=streamed)
        faulty.heal()
        assert (await ended(router)).state is SlotState.VOID
    assert error.reason == "UPSTREAM_UNAVAILABLE"


@pytest.mark.parametrize("streamed", [False, True])
async def test_deadline_while_a_key_is_looked_up(tmp_path: Path, streamed: bool) -> None:
    """Else a store that hangs keeps callers at the door past their deadline, without a word."""
    async with one_endpoint(tmp_path, chat_answer("never")) as (router, upstream):
        faulty = break_admission(router)
        faulty.always("get", Hang())
        error = await _time_is_up(router, streamed=streamed)
        faulty.heal()
        assert upstream.requests == []
    assert (error.code, error.metadata) == ("DEADLINE_EXCEEDED", {"stage": "admission"})


async def test_deadline_that_is_over_at_once(tmp_path: Path) -> None:
    """Else a call that is too late to be answered is sent to a provider all the same."""
    async with one_endpoint(tmp_path, [Stall()]) as (router, _):
        error = await _time_is_up(router, streamed=False, timeout_s=0.001)
    assert error.code == "DEADLINE_EXCEEDED"


async def test_patience_is_enough(tmp_path: Path) -> None:
    """Else a short deadline cuts calls that had time."""
    async with one_endpoint(tmp_path, chat_answer("in time")) as (router, _), router.client() as client:
        answer = await client.complete("Hi", model=MODEL, timeout_s=PATIENCE_S)
    assert answer.choices[0].message.parts[0].text.text == "in time"
