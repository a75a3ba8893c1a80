"""An endpoint that fails before its first content: the next one takes over and the caller never knows; or all fail."""

from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from junctor.client import JunctorRpcError
from junctor.domain.errors import LedgerUnavailableError
from junctor.domain.lease import SlotState
from junctor.usecases import settle
from tests.support.harness import running_router
from tests.support.health import candidate
from tests.support.pipeline import (
    FIRST,
    MODEL,
    SECOND,
    Rig,
    ended,
    events_of,
    kinds,
    line_of,
    outcomes,
    refusal,
    slots,
    text_of,
    two_endpoints,
)
from tests.support.scripted_upstream import (
    STREAM_HEAD,
    Close,
    Request,
    Reset,
    Script,
    ScriptedUpstream,
    Send,
    Stall,
    Step,
    chat_answer,
    chat_chunk,
    chat_stream,
    chunk,
    event,
    refused_base_url,
    status,
)
from tests.support.upstream_faults import ERROR, STREAM_FAULTS, WHOLE_FAULTS

TIMEOUT_S = 2.5
"""The caller's deadline where an endpoint stalls: the next one is tried after less than half of it, or two thirds of it."""


@pytest.mark.parametrize("fault", WHOLE_FAULTS)
async def test_complete_goes_on_to_the_next_endpoint(tmp_path: Path, fault: str) -> None:
    """Else one provider's bad minute is every caller's."""
    script, outcome = WHOLE_FAULTS[fault]
    async with two_endpoints(tmp_path, script, chat_answer("good")) as rig, rig.router.client() as client:
        answer = await client.complete("Hi", model=MODEL, timeout_s=TIMEOUT_S)
        record = await rig.router.generation(answer.generation_id)
    assert answer.choices[0].message.parts[0].text.text == "good"
    assert outcomes(answer.route.attempts) == [(FIRST, outcome), (SECOND, "SERVED")]
    assert answer.route.provider == "openrouter"
    assert record is not None
    assert (record.state, record.endpoint) == (SlotState.SETTLED, SECOND)


@pytest.mark.parametrize("fault", STREAM_FAULTS)
async def test_stream_goes_on_to_the_next_endpoint(tmp_path: Path, fault: str) -> None:
    """Else a caller sees pieces of an answer that failed, or two openings."""
    script, outcome = STREAM_FAULTS[fault]
    async with two_endpoints(tmp_path, script, chat_stream(["go", "od"])) as rig, rig.router.client() as client:
        events = await events_of(client.stream("Hi", model=MODEL, timeout_s=TIMEOUT_S))
        record = await rig.router.generation(events[0].opened.generation_id)
    assert kinds(events).count("opened") == 1
    assert text_of(events) == "good"
    assert events[0].opened.endpoint == SECOND
    assert outcomes(events[-1].finished.route.attempts) == [(FIRST, outcome), (SECOND, "SERVED")]
    assert record is not None
    assert (record.state, record.endpoint) == (SlotState.SETTLED, SECOND)


@pytest.mark.parametrize("streamed", [False, True])
async def test_refused_connection_is_tried_twice(tmp_path: Path, streamed: bool) -> None:
    """Else one lost packet sends a call to a dearer endpoint, or a dead host is asked for ever."""
    good = chat_stream(["good"]) if streamed else chat_answer("good")
    async with two_endpoints(tmp_path, [Stall()], good) as rig, rig.router.client() as client:
        with refused_base_url() as nowhere:
            rig.router.core.catalog.locate(FIRST, nowhere)
            if streamed:
                attempts = (await events_of(client.stream("Hi", model=MODEL)))[-1].finished.route.attempts
            else:
                attempts = (await client.complete("Hi", model=MODEL)).route.attempts
    assert outcomes(attempts) == [(FIRST, "UNREACHABLE"), (FIRST, "UNREACHABLE"), (SECOND, "SERVED")]


async def _both_ways(rig: Rig) -> Iterator[JunctorRpcError]:
    """Return the errors of a Complete and of a Stream, each of which must have ended its slot as VOID before."""
    errors = []
    async with rig.router.client() as client:
        errors.append(await refusal(client.complete("Hi", model=MODEL)))
        assert [record.state for record in await slots(rig.router)] == [SlotState.VOID]
        errors.append(await refusal(events_of(client.stream("Hi", model=MODEL))))
        assert [record.state for record in await slots(rig.router)] == [SlotState.VOID] * 2
    return iter(errors)


async def test_all_fail(tmp_path: Path) -> None:
    """Else a caller cannot tell an outage from his own mistake, or learns what the provider said to us."""
    body = b'{"error": {"message": "canary-7f3a"}}'
    async with two_endpoints(tmp_path, status(500, body), status(503, body)) as rig:
        for error in await _both_ways(rig):
            assert (error.code, error.reason) == ("UNAVAILABLE", "UPSTREAM_UNAVAILABLE")
            assert error.metadata["attempt_count"] == "2"
            assert FIRST in error.metadata["attempts"]
            assert SECOND in error.metadata["attempts"]
            assert "canary" not in repr((error.message, error.metadata))


async def test_all_throttled(tmp_path: Path) -> None:
    """Else callers hammer providers that asked them to wait, or wait longer than the soonest of them asked."""
    slow = status(429, ERROR, {"retry-after": "20"})
    slower = status(429, ERROR, {"retry-after": "35"})
    async with two_endpoints(tmp_path, slower, slow) as rig:
        for error in await _both_ways(rig):
            assert (error.code, error.reason, error.retry_after_s) == ("UNAVAILABLE", "UPSTREAM_CAPACITY", 20.0)


async def test_throttled_and_failed_is_not_a_matter_of_waiting(tmp_path: Path) -> None:
    """Else a caller waits for an endpoint that is broken."""
    async with two_endpoints(tmp_path, status(429, ERROR, {"retry-after": "20"}), status(500)) as rig:
        for error in await _both_ways(rig):
            assert (error.reason, error.retry_after_s) == ("UPSTREAM_UNAVAILABLE", None)


REFUSALS = {
    "request": (400, {"message": "temperature is too high", "type": "invalid_request_error"}, "INVALID_FIELD"),
    "form": (422, {"message": "temperature is too high"}, "INVALID_FIELD"),
    "context": (400, {"message": "too long", "code": "context_length_exceeded"}, "CONTEXT_LENGTH_EXCEEDED"),
    "policy": (400, {"message": "not this", "code": "content_policy_violation"}, "CONTENT_POLICY"),
}


@pytest.mark.parametrize("refused", REFUSALS)
async def test_what_the_caller_could_mend_stops_at_once(tmp_path: Path, refused: str) -> None:
    """Else a wrong request is sent to every provider in turn, and the caller is told of an outage."""
    code, said, reason = REFUSALS[refused]
    body = event({"error": said})[len(b"data: ") :]
    async with two_endpoints(tmp_path, status(code, body), chat_answer("never")) as rig:
        for error in await _both_ways(rig):
            assert (error.code, error.reason) == ("INVALID_ARGUMENT", reason)
            assert error.metadata["provider_message"] == said["message"]
        assert len(rig.first.requests) == 2
        assert rig.second.requests == []


async def test_attempts_are_logged(tmp_path: Path) -> None:
    """Else an operator cannot see which provider makes calls slow."""
    async with two_endpoints(tmp_path, status(503), chat_answer("good")) as rig, rig.router.client() as client:
        await client.complete("Hi", model=MODEL)
        line = await line_of(rig.router)
    tried = [(attempt["endpoint"], attempt["outcome"], attempt["http_status"]) for attempt in line["attempts"]]
    assert tried[0] == (FIRST, "failed", 503)
    assert tried[1][:2] == (SECOND, "served")


async def test_log_line_of_a_failed_call_names_its_record(tmp_path: Path) -> None:
    """Else nobody finds the record of a call that a caller complains about."""
    async with two_endpoints(tmp_path, status(503), status(503)) as rig, rig.router.client() as client:
        await refusal(client.complete("Hi", model=MODEL))
        record = await ended(rig.router)
        line = await line_of(rig.router)
    assert (record.state, line["generation_id"]) == (SlotState.VOID, record.id)


async def test_failed_endpoint_is_let_go(tmp_path: Path) -> None:
    """Else every failed attempt leaves a connection open to a provider that is in trouble."""
    beginning: list[Step] = [Send(STREAM_HEAD + chunk(b": here\n\n")), Stall()]
    async with two_endpoints(tmp_path, beginning, chat_stream(["good"])) as rig, rig.router.client() as client:
        await events_of(client.stream("Hi", model=MODEL, timeout_s=TIMEOUT_S))
        assert rig.first.requests[0].closed.is_set()


async def test_kept_connection_that_died_is_not_an_attempt_lost(tmp_path: Path) -> None:
    """Else a provider that closes idle connections costs every first call after a pause its best endpoint."""
    once: list[Step] = [*chat_answer("good")]
    async with two_endpoints(tmp_path, once, status(500)) as rig, rig.router.client() as client:
        await client.complete("Hi", model=MODEL)
        (kept,) = rig.first._connections
        kept._transport.abort()
        answer = await client.complete("Hi", model=MODEL)
    assert answer.route.endpoint == FIRST


async def test_record_of_a_failed_call(tmp_path: Path) -> None:
    """Else a call that was not answered looks in the ledger as if it had been, or stays open for ever."""
    async with two_endpoints(tmp_path, status(500), status(500)) as rig, rig.router.client() as client:
        await refusal(client.complete("Hi", model=MODEL))
        record = await ended(rig.router)
    assert (record.state, record.endpoint, record.input_tokens, record.output_tokens) == (SlotState.VOID, "", 0, 0)
    assert record.ended_at_ms is not None


async def _served(rig: Rig, *, streamed: bool = False) -> list[tuple[str, str]]:
    """Return the attempts of one call."""
    async with rig.router.client() as client:
        if streamed:
            return outcomes((await events_of(client.stream("Hi", model=MODEL)))[-1].finished.route.attempts)
        return outcomes((await client.complete("Hi", model=MODEL)).route.attempts)


DEATHS: dict[str, Script] = {
    "503": status(503),
    "reset": [Reset()],
    "cut": [Close()],
    "no HTTP": [Send(b"no\r\n\r\n"), Close()],
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("death", DEATHS)
async def test_a_dead_endpoint_is_asked_five_times(tmp_path: Path, death: str, streamed: bool) -> None:
    """Else every call pays for finding out anew that its first provider is dead."""
    good = chat_stream(["good"]) if streamed else chat_answer("good")
    async with two_endpoints(tmp_path, DEATHS[death], good) as rig:
        tried = [await _served(rig, streamed=streamed) for _ in range(8)]
        health = rig.router.core.services.health.snapshot().endpoints
    assert [len(attempts) for attempts in tried] == [2] * 5 + [1] * 3
    assert all(attempts[-1] == (SECOND, "SERVED") for attempts in tried)
    assert (health[FIRST].open, health[SECOND].open) == (True, False)
    assert (health[FIRST].in_flight, health[SECOND].in_flight) == (0, 0)


async def test_a_host_that_refuses_connections_is_asked_five_times(tmp_path: Path) -> None:
    """Else trying again at once doubles what a dead host costs."""
    async with two_endpoints(tmp_path, [Stall()], chat_answer("good")) as rig:
        with refused_base_url() as nowhere:
            rig.router.core.catalog.locate(FIRST, nowhere)
            tried = [await _served(rig) for _ in range(4)]
    assert [len(attempts) - 1 for attempts in tried] == [2, 2, 1, 0]


async def test_an_endpoint_that_breaks_off_is_not_asked_for_ever(tmp_path: Path) -> None:
    """Else a provider whose answers all end in the middle keeps its callers, as each of them begins so well."""
    broken: list[Step] = [Send(STREAM_HEAD + chunk(chat_chunk({"content": "x"}))), Reset()]
    async with two_endpoints(tmp_path, broken, chat_stream(["good"])) as rig:
        async with rig.router.client() as client:
            for _ in range(5):
                await refusal(events_of(client.stream("Hi", model=MODEL)))
        assert await _served(rig, streamed=True) == [(SECOND, "SERVED")]


async def test_refused_requests_leave_an_endpoint_where_it_was(tmp_path: Path) -> None:
    """Else one caller's bad requests send all others to a dearer endpoint."""

    def answer(request: Request) -> Iterable[Step]:
        return status(400, ERROR) if "bad" in request.body.decode() else [*chat_answer("good")]

    async with two_endpoints(tmp_path, answer, chat_answer("never")) as rig:
        async with rig.router.client() as client:
            for _ in range(12):
                await refusal(client.complete("bad", model=MODEL))
        assert await _served(rig) == [(FIRST, "SERVED")]


@pytest.mark.parametrize("headers", [{"retry-after": "20"}, {}])
async def test_a_throttled_endpoint_is_left_alone_for_as_long_as_it_asks(tmp_path: Path, headers: dict[str, str]) -> None:
    """Else every call is first sent where it is sure to be turned away."""
    async with two_endpoints(tmp_path, status(429, ERROR, headers), chat_answer("good")) as rig:
        assert await _served(rig) == [(FIRST, "THROTTLED"), (SECOND, "SERVED")]
        (cooling,) = rig.router.core.services.health.snapshot().endpoints[FIRST].cooling
        if headers:
            assert await _served(rig) == [(SECOND, "SERVED")]
            assert len(rig.first.requests) == 1
    assert cooling == "GROQ_API_KEY"


async def test_a_call_waits_for_an_endpoint_that_is_soon_free(tmp_path: Path) -> None:
    """Else a call fails although a moment's patience would have been enough."""
    said: list[Iterable[Step]] = [status(429, ERROR, {"retry-after-ms": "50"}), chat_answer("good")]
    slow = status(429, ERROR, {"retry-after": "20"})
    async with two_endpoints(tmp_path, lambda _: said.pop(0), slow) as rig:
        assert await _served(rig) == [(FIRST, "THROTTLED"), (SECOND, "THROTTLED"), (FIRST, "SERVED")]


async def test_a_spare_credential_is_used(tmp_path: Path) -> None:
    """Else one key without money makes a provider unreachable, though another key has some."""

    def answer(request: Request) -> Iterable[Step]:
        return status(402, ERROR) if request.headers["authorization"] == "Bearer empty" else chat_answer("good")

    credentials = {"GROQ_API_KEY": "empty", "GROQ_API_KEY_2": "full"}
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(ScriptedUpstream(answer))
        running = running_router(tmp_path, {FIRST: upstream.base_url}, credentials=credentials)
        client = (await stack.enter_async_context(running)).client()
        await stack.enter_async_context(client)
        tried = [outcomes((await client.complete("Hi", model=MODEL)).route.attempts) for _ in range(20)]
    assert all(attempts[-1] == (FIRST, "SERVED") for attempts in tried)
    assert [request.headers["authorization"] for request in upstream.requests].count("Bearer empty") == 1


async def test_further_attempts_end_with_their_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an outage of one provider becomes as many calls more for the others, until they are down too."""
    monkeypatch.setattr("junctor.policy.health.retries.PER_S", 0.0)
    async with two_endpoints(tmp_path, status(503), chat_answer("good")) as rig, rig.router.client() as client:
        while rig.router.core.services.health.grants(candidate("groq", model=MODEL)):
            pass
        error = await refusal(client.complete("Hi", model=MODEL))
        assert (error.reason, error.metadata["attempt_count"]) == ("UPSTREAM_UNAVAILABLE", "1")
        assert rig.second.requests == []


async def test_what_a_stream_tells_of_its_endpoint(tmp_path: Path) -> None:
    """Else nobody knows which provider is quick, and one with long answers looks idle while it gives them."""
    script = chat_stream(["x"] * 20, usage=(7, 40), per_chunk_delay=0.01)
    async with two_endpoints(tmp_path, script, chat_stream(["never"])) as rig, rig.router.client() as client:
        health = rig.router.core.services.health
        stream = client.stream("Hi", model=MODEL)
        await anext(stream)
        during = health.snapshot().endpoints[FIRST]
        await events_of(stream)
        after = health.snapshot().endpoints[FIRST]
        (tally,) = health.tallies()
    assert (during.in_flight, after.in_flight) == (1, 0)
    assert after.time_to_first_token_ms is not None
    assert after.throughput_tokens_per_s is not None
    assert (tally.endpoint, tally.ok, tally.input_tokens) == (FIRST, 1, 7)
    assert len(tally.first_token_ms) == len(tally.throughput) == 1


async def test_a_caller_who_leaves_a_stream_frees_his_place(tmp_path: Path) -> None:
    """Else an endpoint looks busier with each caller who stops reading."""
    begun: list[Step] = [Send(STREAM_HEAD + chunk(chat_chunk({"content": "x"}))), Stall()]
    async with two_endpoints(tmp_path, begun, chat_stream(["never"])) as rig:
        health = rig.router.core.services.health
        async with rig.router.client() as client, client.stream("Hi", model=MODEL) as stream:
            await anext(stream)
        await ended(rig.router)
        (tally,) = health.tallies()
        assert health.snapshot().endpoints[FIRST].in_flight == 0
    assert (tally.ok, tally.failed) == (1, 0)


async def test_a_stream_without_a_hold_frees_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an endpoint looks busier with each call for which the store failed."""

    async def fails(*_: object) -> None:
        raise LedgerUnavailableError("The store is down.", 1.0)

    monkeypatch.setattr(settle, "held", fails)
    async with two_endpoints(tmp_path, chat_stream(["a"]), chat_stream(["never"])) as rig, rig.router.client() as client:
        assert (await refusal(events_of(client.stream("Hi", model=MODEL)))).reason == "LEDGER_UNAVAILABLE"
        assert rig.router.core.services.health.snapshot().endpoints[FIRST].in_flight == 0
