"""An endpoint that fails before its first content: the next one takes over and the caller never knows; or all fail."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from junctor.client import JunctorRpcError
from junctor.domain.lease import SlotState
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
    DONE,
    STREAM_HEAD,
    Close,
    Reset,
    Script,
    Send,
    Stall,
    Step,
    chat_answer,
    chat_body,
    chat_chunk,
    chat_stream,
    chunk,
    event,
    head,
    refused_base_url,
    sse,
    status,
)

LENGTH_10 = {"content-type": "application/json", "content-length": "10"}
ERROR = b'{"error": {"message": "It broke.", "type": "server_error"}}'
TIMEOUT_S = 2.5
"""The caller's deadline where an endpoint stalls: the next one is tried after less than half of it, or two thirds of it."""

FAULTS: dict[str, tuple[Script, str]] = {
    "500": (status(500, ERROR), "FAILED"),
    "503": (status(503), "FAILED"),
    "redirect": (status(302, headers={"location": "http://127.0.0.1:1/"}), "FAILED"),
    "429": (status(429, ERROR, {"retry-after": "20"}), "THROTTLED"),
    "401": (status(401, ERROR), "CREDENTIAL_REFUSED"),
    "402": (status(402, ERROR), "CREDENTIAL_REFUSED"),
    "404": (status(404, ERROR), "MODEL_GONE"),
    "reset before headers": ([Reset()], "FAILED"),
    "closed before headers": ([Close()], "FAILED"),
    "no HTTP": ([Send(b"220 ready\r\n\r\n"), Close()], "MALFORMED"),
    "stall before headers": ([Stall()], "TIMED_OUT"),
}
"""What can go wrong in the same way for a whole answer and for a stream."""

WHOLE_FAULTS: dict[str, tuple[Script, str]] = {
    **FAULTS,
    "reset after headers": ([Send(head(200, LENGTH_10)), Reset()], "FAILED"),
    "cut": ([Send(head(200, LENGTH_10) + b"{"), Close()], "FAILED"),
    "stall after headers": ([Send(head(200, LENGTH_10) + b"{"), Stall()], "TIMED_OUT"),
    "empty body": (status(200), "MALFORMED"),
    "empty answer": (status(200, chat_body({"content": ""}, finish="")), "MALFORMED"),
    "no choices": (status(200, b'{"choices": []}'), "MALFORMED"),
    "not JSON": (status(200, b"<html></html>"), "MALFORMED"),
    "error inside a 200": (status(200, ERROR), "FAILED"),
}

STREAM_FAULTS: dict[str, tuple[Script, str]] = {
    **FAULTS,
    "reset after headers": ([Send(STREAM_HEAD), Reset()], "FAILED"),
    "cut before content": ([Send(STREAM_HEAD + chunk(chat_chunk({"role": "assistant", "content": ""}))), Close()], "FAILED"),
    "stall before the first token": ([Send(STREAM_HEAD + chunk(b": here\n\n")), Stall()], "TIMED_OUT"),
    "empty body": ([Send(STREAM_HEAD + chunk(b""))], "MALFORMED"),
    "empty answer": ([Send(STREAM_HEAD + chunk(DONE) + chunk(b""))], "MALFORMED"),
    "malformed chunk": (lambda _: sse([b"data: {\n\n"]), "MALFORMED"),
    "error inside a 200": (lambda _: sse([event({"error": {"message": "It broke.", "code": 502}}), DONE]), "FAILED"),
    "whole error": (status(200, ERROR), "FAILED"),
    "content and error in one read": (
        [Send(STREAM_HEAD + chunk(chat_chunk({"content": "bad"}) + event({"error": {"message": "It broke."}})) + chunk(b""))],
        "FAILED",
    ),
}


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
