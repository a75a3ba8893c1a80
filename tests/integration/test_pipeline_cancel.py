"""A caller who leaves: the provider is let go at once, the slot ends, nothing lingers, and nothing is called a bug."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from junctor.client import AsyncClient
from junctor.domain.lease import SlotState
from junctor.domain.routing import Candidate
from junctor.ports.upstream import Batch
from junctor.usecases import attempt
from tests.support.harness import Router
from tests.support.money import cost
from tests.support.pipeline import (
    FIRST,
    MODEL,
    PATIENCE_S,
    ended,
    line_of,
    log_lines,
    one_endpoint,
    only_these_tasks,
    tasks,
    until,
)
from tests.support.scripted_upstream import (
    STREAM_HEAD,
    Request,
    Script,
    ScriptedUpstream,
    Send,
    Stall,
    Step,
    WaitClosed,
    chat_chunk,
    chat_stream,
    chunk,
    head,
)

PROMPT = "y" * 80
BEGUN: list[Step] = [Send(STREAM_HEAD + chunk(chat_chunk({"content": "x" * 40}))), WaitClosed()]
SILENT: list[Step] = [WaitClosed()]
HEADERS_ONLY: list[Step] = [Send(STREAM_HEAD), WaitClosed()]


@asynccontextmanager
async def _calm(
    folder: Path, caplog: pytest.LogCaptureFixture, script: Script
) -> AsyncGenerator[tuple[Router, ScriptedUpstream], None]:
    """Run a router in which nothing is left behind at the end: no task, no incident, no line of grpc's own logger."""
    async with one_endpoint(folder, script) as (router, upstream):
        async with router.client() as warm:
            stream = warm.stream(PROMPT, model="no/such")
            with pytest.raises(Exception, match="MODEL_NOT_FOUND"):
                await anext(stream)
        before = tasks()
        router.log.write_text("")
        yield router, upstream
        await only_these_tasks(before)
        assert log_lines(router, "incident") == []
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def _gone(upstream: ScriptedUpstream) -> None:
    await upstream.requests[0].gone()


@pytest.mark.parametrize("script", [SILENT, [Send(head(200, {"content-length": "9"})), WaitClosed()]])
async def test_complete_is_cancelled(tmp_path: Path, caplog: pytest.LogCaptureFixture, script: list[Step]) -> None:
    """Else a provider goes on making, and charging for, an answer that nobody waits for."""
    async with _calm(tmp_path, caplog, script) as (router, upstream):
        async with router.client() as client:
            call = asyncio.create_task(client.complete(PROMPT, model=MODEL))
            await upstream.arrived()
            call.cancel()
            await _gone(upstream)
        record = await ended(router)
        assert (record.state, record.output_tokens) == (SlotState.VOID, 0)
        assert (await line_of(router))["status"] == "CANCELLED"


@pytest.mark.parametrize("script", [SILENT, HEADERS_ONLY])
async def test_stream_is_cancelled_before_its_first_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, script: list[Step]
) -> None:
    """Else a caller who gave up waiting for the first word pays for it, or the provider goes on."""
    async with _calm(tmp_path, caplog, script) as (router, upstream):
        async with router.client() as client:
            stream = client.stream(PROMPT, model=MODEL)
            reading = asyncio.create_task(anext(stream))
            await upstream.arrived()
            await stream.aclose()
            await asyncio.gather(reading, return_exceptions=True)
            await _gone(upstream)
        assert (await ended(router)).state is SlotState.VOID
        assert (await line_of(router))["status"] == "CANCELLED"


async def _read_first(client: AsyncClient) -> None:
    """Read the opening and the first delta, and leave."""
    async with asyncio.timeout(PATIENCE_S), client.stream(PROMPT, model=MODEL) as stream:
        assert (await anext(stream)).HasField("opened")
        assert (await anext(stream)).HasField("delta")


async def test_stream_is_cancelled_after_its_first_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Else a caller who stops reading makes the provider go on, or gets for nothing what he has read."""
    async with _calm(tmp_path, caplog, BEGUN) as (router, upstream):
        async with router.client() as client:
            await _read_first(client)
            await _gone(upstream)
        record = await ended(router)
        line = await line_of(router)
        assert (record.state, record.endpoint, record.finish_reason) == (SlotState.SETTLED, FIRST, "error")
        assert (record.input_tokens, record.output_tokens, record.estimated) == (20, 10, True)
        assert (line["status"], line["generation_id"], line["output_tokens"]) == ("CANCELLED", record.id, 10)
        assert line["billing_pending"] is True


async def test_stream_is_cancelled_while_its_provider_is_let_go(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a caller who leaves at the right moment has the whole answer for nothing, and its money stays set aside."""
    closing = asyncio.Event()

    class Slow:
        """Takes for ever to close."""

        def __init__(self, batches: AsyncGenerator[Batch, None]) -> None:
            self._batches = batches

        async def __anext__(self) -> Batch:
            return await anext(self._batches)

        async def aclose(self) -> None:
            await self._batches.aclose()
            closing.set()
            await asyncio.Event().wait()

    async def begin(*arguments: Any) -> tuple[Candidate, attempt.Flow]:
        candidate, flow = await beginning(*arguments)
        return candidate, replace(flow, batches=cast("AsyncGenerator[Batch, None]", Slow(flow.batches)))

    beginning = attempt.begin
    monkeypatch.setattr(attempt, "begin", begin)
    async with _calm(tmp_path, caplog, chat_stream(["x"], usage=(7, 3))) as (router, _):
        async with router.client() as client, client.stream(PROMPT, model=MODEL):
            await asyncio.wait_for(closing.wait(), PATIENCE_S)
        record = await ended(router)
        assert (record.state, record.cost_nanousd) == (SlotState.SETTLED, cost(7, 3))


async def test_client_disconnects(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Else a caller whose machine dies keeps a provider busy and a generation open."""
    async with _calm(tmp_path, caplog, BEGUN) as (router, upstream):
        client = router.client()
        stream = client.stream(PROMPT, model=MODEL)
        await anext(stream)
        await client.close()
        await _gone(upstream)
        record = await ended(router)
        assert (record.state, record.output_tokens, record.estimated) == (SlotState.SETTLED, 10, True)


async def test_client_disconnects_while_much_is_sent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Else a caller who leaves while the router writes to him leaves a bug's trace in the log."""

    def endless(_: Request) -> Iterator[Step]:
        yield Send(STREAM_HEAD)
        while True:
            yield Send(chunk(chat_chunk({"content": "x" * 4000})))

    async with _calm(tmp_path, caplog, endless) as (router, upstream):
        client = router.client()
        stream = client.stream(PROMPT, model=MODEL)
        for _ in range(20):
            await anext(stream)
        await client.close()
        await _gone(upstream)
        assert (await ended(router)).state is SlotState.SETTLED


async def test_caller_reads_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Else a caller who asks and does not read makes the router hold an endless answer in memory."""
    sent = 0

    def endless(_: Request) -> Iterator[Step]:
        nonlocal sent
        yield Send(STREAM_HEAD)
        while True:
            sent += 4000
            yield Send(chunk(chat_chunk({"content": "x" * 4000})))

    async with _calm(tmp_path, caplog, endless) as (router, upstream), router.client() as client:
        stream = client.stream(PROMPT, model=MODEL)
        await anext(stream)
        before = -1
        async with asyncio.timeout(PATIENCE_S):
            while sent != before:
                before = sent
                await asyncio.sleep(0.3)
        assert sent < 64 << 20
        await stream.aclose()
        await _gone(upstream)
        assert (await ended(router)).state is SlotState.SETTLED


async def test_cancelled_calls_do_not_stop_the_next(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Else callers who leave use up slots or connections, until the router serves nobody."""
    async with _calm(tmp_path, caplog, [Stall()]) as (router, upstream), router.client() as client:
        calls = [asyncio.create_task(client.complete(PROMPT, model=MODEL)) for _ in range(60)]

        async def all_arrived() -> bool | None:
            return True if len(upstream.requests) == 60 else None

        await until(all_arrived)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        for request in upstream.requests:
            await request.gone()
