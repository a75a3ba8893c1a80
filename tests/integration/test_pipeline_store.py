"""A store in trouble: nothing is told before its record is durable, and what was delivered is settled in the end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from junctor.adapters.telemetry.lines import LineTelemetry
from junctor.domain.generation import Generation
from junctor.domain.lease import SlotState
from junctor.ledger import ledger
from junctor.ports.table import StoreError, ThrottledError, UnavailableError, UnknownOutcomeError
from junctor.ports.telemetry import Counter, Telemetry
from tests.support.faulty_table import FaultyTable, Hang, Lost, break_ledger
from tests.support.harness import Router
from tests.support.money import ask, cost, spent
from tests.support.pipeline import MODEL, PATIENCE_S, ended, events_of, kinds, line_of, one_endpoint, refusal, slots, until
from tests.support.scripted_upstream import (
    STREAM_HEAD,
    Script,
    ScriptedUpstream,
    Send,
    Step,
    WaitClosed,
    chat_answer,
    chat_chunk,
    chat_stream,
    chunk,
)

ERRORS = [UnavailableError("canary-7f3a"), ThrottledError("canary-7f3a"), UnknownOutcomeError("canary-7f3a")]
BEGUN: list[Step] = [Send(STREAM_HEAD + chunk(chat_chunk({"content": "x" * 40}))), WaitClosed()]


@asynccontextmanager
async def _broken(folder: Path, script: Script) -> AsyncGenerator[tuple[Router, ScriptedUpstream, FaultyTable], None]:
    async with one_endpoint(folder, script) as (router, upstream):
        faulty = break_ledger(router)
        try:
            yield router, upstream, faulty
        finally:
            faulty.heal()


async def _answered(router: Router, *, streamed: bool) -> tuple[str, bool]:
    """Return the generation id of a call that must be answered, and whether its billing is pending."""
    async with router.client() as client:
        if not streamed:
            answer = await client.complete("Hi", model=MODEL)
            return answer.generation_id, answer.billing_pending
        events = await events_of(client.stream("Hi", model=MODEL))
        return events[0].opened.generation_id, events[-1].finished.billing_pending


async def _settled(router: Router, generation_id: str) -> Generation:
    async def look() -> Generation | None:
        record = await router.generation(generation_id)
        assert record is not None
        return record if record.state is not SlotState.OPEN else None

    return await until(look)


def _count(telemetry: Telemetry, counter: Counter) -> int:
    assert isinstance(telemetry, LineTelemetry)
    return telemetry.counts.get((counter, ()), 0)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("streamed", [False, True])
async def test_no_hold_no_output(tmp_path: Path, error: StoreError, streamed: bool) -> None:
    """Else an answer leaves without a record, or the provider works on for a caller who was refused."""
    script = BEGUN if streamed else [WaitClosed()]
    async with _broken(tmp_path, script) as (router, upstream, faulty), router.client() as client:
        faulty.always("put_new", error)
        call = events_of(client.stream("Hi", model=MODEL)) if streamed else client.complete("Hi", model=MODEL)
        refused = await refusal(call)
        await upstream.requests[0].gone()
        line = await line_of(router)
        assert _count(router.core.services.telemetry, Counter.WASTED_UPSTREAM) == 1
        assert await slots(router) == []
    assert (refused.code, refused.reason, refused.retry_after_s) == ("UNAVAILABLE", "LEDGER_UNAVAILABLE", 1.0)
    assert line["status"] == "LEDGER_UNAVAILABLE"
    assert "canary" not in str(refused) + router.log.read_text()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("method", ["transact", "query"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_no_money_no_provider(tmp_path: Path, error: StoreError, method: str, streamed: bool) -> None:
    """Else a provider works, at our cost, for calls of which nobody knows whether they can be paid."""
    async with _broken(tmp_path, chat_answer("never")) as (router, upstream, faulty):
        faulty.always(method, error)
        refused = await refusal(ask(router, streamed=streamed))
        faulty.heal()
        assert upstream.requests == []
        assert await spent(router) == 0
    assert (refused.code, refused.reason, refused.retry_after_s) == ("UNAVAILABLE", "LEDGER_UNAVAILABLE", 1.0)
    assert "canary" not in str(refused) + router.log.read_text()


async def test_no_wait_while_a_lease_is_held(tmp_path: Path) -> None:
    """Else every call waits for the store before its provider hears of it, though the money is there."""
    async with _broken(tmp_path, chat_answer("Hi.", usage=(7, 3))) as (router, upstream, faulty):
        for _ in range(4):
            await ask(router, streamed=False)
        await router.core.services.ledger.drain(PATIENCE_S)  # the first lease, of a scope that was quiet, is closed
        faulty.always("put_new", Hang())
        before = dict(faulty.calls)
        calling = asyncio.create_task(ask(router, streamed=False))

        async def called() -> bool | None:
            return True if len(upstream.requests) == 5 else None

        await until(called)
        assert {name for name, number in faulty.calls.items() if number > before.get(name, 0)} <= {"put_new"}
        faulty.heal()
        await calling
        assert await spent(router) == 5 * cost(7, 3)


async def test_answer_that_came_before_the_hold_failed(tmp_path: Path) -> None:
    """Else a quick provider's answer slips out while the store is down."""
    async with _broken(tmp_path, chat_answer("Hi.")) as (router, upstream, faulty), router.client() as client:
        faulty.always("put_new", UnavailableError())
        refused = await refusal(client.complete("Hi", model=MODEL))
        assert len(upstream.requests) == 1
        assert _count(router.core.services.telemetry, Counter.WASTED_UPSTREAM) == 1
    assert refused.reason == "LEDGER_UNAVAILABLE"


async def test_output_waits_for_the_hold(tmp_path: Path) -> None:
    """Else the first words of a stream reach a caller whose call is not on record yet."""
    async with _broken(tmp_path, chat_stream(["a", "b"])) as (router, upstream, faulty), router.client() as client:
        faulty.always("put_new", Hang())
        reading = asyncio.create_task(events_of(client.stream("Hi", model=MODEL)))
        await upstream.arrived()
        await asyncio.sleep(0.2)
        assert not reading.done()
        faulty.heal()
        assert kinds(await reading)[0] == "opened"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("streamed", [False, True])
async def test_passing_trouble_is_not_noticed(tmp_path: Path, error: StoreError, streamed: bool) -> None:
    """Else one throttled write is an outage."""
    script = chat_stream(["Hi."]) if streamed else chat_answer("Hi.")
    async with _broken(tmp_path, script) as (router, _, faulty):
        faulty.next("put_new", error, error)
        faulty.next("update", error, error)
        generation_id, pending = await _answered(router, streamed=streamed)
        record = await router.generation(generation_id)
    assert not pending
    assert record is not None
    assert record.state is SlotState.SETTLED


async def test_lost_replies_are_found_again(tmp_path: Path) -> None:
    """Else a write that was applied though its answer was lost makes two generations of one, or none."""
    lost = Lost(UnknownOutcomeError())
    async with _broken(tmp_path, chat_answer("Hi.")) as (router, _, faulty):
        faulty.next("put_new", lost, lost, lost)
        faulty.next("update", lost, lost)
        generation_id, pending = await _answered(router, streamed=False)
        (record,) = await slots(router)
    assert not pending
    assert (record.id, record.state) == (generation_id, SlotState.SETTLED)


@pytest.mark.parametrize("fault", [Hang(), UnavailableError()], ids=["hangs", "fails"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_settlement_that_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Hang | StoreError, streamed: bool
) -> None:
    """Else an answer waits for a slow store, or its settlement is forgotten once it has left."""
    monkeypatch.setattr(ledger, "SETTLE_INLINE_S", 0.2)
    script = chat_stream(["Hi."], usage=(7, 3)) if streamed else chat_answer("Hi.", usage=(7, 3))
    async with _broken(tmp_path, script) as (router, _, faulty):
        faulty.always("update", fault)
        generation_id, pending = await _answered(router, streamed=streamed)
        assert pending
        record = await router.generation(generation_id)
        assert record is not None
        assert record.state is SlotState.OPEN
        assert (await line_of(router))["billing_pending"] is True
        faulty.heal()
        record = await _settled(router, generation_id)
    assert (record.state, record.input_tokens, record.output_tokens) == (SlotState.SETTLED, 7, 3)


async def test_settlement_goes_on_after_the_caller_has_left(tmp_path: Path) -> None:
    """Else leaving at the right moment makes an answer free, or holds its money for ever."""
    async with _broken(tmp_path, chat_answer("Hi.", usage=(7, 3))) as (router, _, faulty), router.client() as client:
        faulty.always("update", Hang())
        call = asyncio.create_task(client.complete("Hi", model=MODEL))

        async def settling() -> bool | None:
            return True if faulty.calls.get("update") else None

        await until(settling)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert (await line_of(router))["status"] == "CANCELLED"
        faulty.heal()
        record = await ended(router)
    assert (record.state, record.input_tokens, record.output_tokens) == (SlotState.SETTLED, 7, 3)


async def test_caller_leaves_while_the_hold_is_written(tmp_path: Path) -> None:
    """Else a hold that becomes durable after its caller has left stays open for ever."""
    async with _broken(tmp_path, [WaitClosed()]) as (router, upstream, faulty), router.client() as client:
        faulty.always("put_new", Hang())
        call = asyncio.create_task(client.complete("Hi", model=MODEL))
        await upstream.arrived()
        call.cancel()
        await upstream.requests[0].gone()
        faulty.heal()
        assert (await ended(router)).state is SlotState.VOID


async def test_server_ends_only_after_its_settlements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every deployment loses the settlements that were on their way."""
    monkeypatch.setattr(ledger, "SETTLE_INLINE_S", 0.1)
    async with one_endpoint(tmp_path, chat_answer("Hi.")) as (router, _):
        faulty = break_ledger(router)
        faulty.always("update", Hang())
        await _answered(router, streamed=False)
        closing = asyncio.create_task(router.core.services.ledger.drain(PATIENCE_S))
        await asyncio.sleep(0.1)
        assert not closing.done()
        faulty.heal()
        assert await closing == 0
        (record,) = await slots(router)
    assert record.state is SlotState.SETTLED
