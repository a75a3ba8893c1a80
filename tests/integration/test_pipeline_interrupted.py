"""A stream that breaks after its first content: no other endpoint takes over, and what passed is told and settled."""

from pathlib import Path

import msgspec
import pytest

from junctor.client import JunctorRpcError, StreamEvent
from junctor.domain.lease import SlotState
from junctor.policy import fallback
from junctor.v1.completion_pb2 import FinishReason
from tests.support.money import cost
from tests.support.pipeline import (
    FIRST,
    MODEL,
    PATIENCE_S,
    Rig,
    ended,
    kinds,
    line_of,
    refusal,
    slots,
    text_of,
    two_endpoints,
)
from tests.support.scripted_upstream import (
    STREAM_HEAD,
    Close,
    Reset,
    Send,
    Stall,
    Step,
    Wait,
    chat_chunk,
    chat_stream,
    chunk,
    event,
)

BEGUN: list[Step] = [Send(STREAM_HEAD + chunk(chat_chunk({"content": "x" * 40}))), Wait(0.05)]
PROMPT = "y" * 80

BREAKS: dict[str, list[Step]] = {
    "cut": [Close()],
    "reset": [Reset()],
    "end without a finish reason": [Send(chunk(b""))],
    "error event": [Send(chunk(event({"error": {"message": "canary-7f3a", "code": 502}})))],
    "throttled": [Send(chunk(event({"error": {"message": "canary-7f3a", "code": 429}})))],
    "malformed event": [Send(chunk(b"data: {canary-7f3a\n\n"))],
    "idle": [Stall()],
}


async def _interrupted(rig: Rig) -> tuple[list[StreamEvent], JunctorRpcError]:
    """Take a stream that must break, and return what came and the error."""
    events: list[StreamEvent] = []

    async def read() -> None:
        async with rig.router.client() as client:
            async for one in client.stream(PROMPT, model=MODEL, timeout_s=PATIENCE_S):
                events.append(one)  # noqa: PERF401 - what came before the error is wanted

    return events, await refusal(read())


@pytest.mark.parametrize("broken", BREAKS)
async def test_stream_breaks(tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else half an answer passes for a whole one, is spliced with another model's, or is never paid for."""
    monkeypatch.setattr(fallback, "IDLE_S", 0.3)
    async with two_endpoints(tmp_path, [*BEGUN, *BREAKS[broken]], chat_stream(["never"])) as rig:
        events, error = await _interrupted(rig)
        (record,) = await slots(rig.router)
        line = await line_of(rig.router)
        assert rig.second.requests == []
    assert kinds(events) == ["opened", "delta"]
    assert text_of(events) == "x" * 40
    assert (error.code, error.reason) == ("ABORTED", "STREAM_INTERRUPTED")
    assert error.metadata == {"generation_id": record.id, "delivered_tokens": "10", "cost_nanousd": str(record.cost_nanousd)}
    assert record.id == events[0].opened.generation_id
    assert (record.state, record.endpoint, record.cost_nanousd) == (SlotState.SETTLED, FIRST, cost(20, 10))
    assert (record.input_tokens, record.output_tokens, record.estimated, record.finish_reason) == (20, 10, True, "error")
    assert (line["status"], line["generation_id"]) == ("STREAM_INTERRUPTED", record.id)
    assert [attempt["outcome"] for attempt in line["attempts"]] == ["interrupted"]
    assert "canary" not in str(error) + msgspec.json.encode(line).decode()


async def test_content_before_the_error_in_one_read_is_delivered(tmp_path: Path) -> None:
    """Else a caller pays for words that he never saw."""
    last = chat_chunk({"content": "z" * 40}) + event({"error": {"message": "It broke."}})
    async with two_endpoints(tmp_path, [*BEGUN, Send(chunk(last)), Stall()], chat_stream(["never"])) as rig:
        events, error = await _interrupted(rig)
        (record,) = await slots(rig.router)
    assert text_of(events) == "x" * 40 + "z" * 40
    assert error.metadata["delivered_tokens"] == "20"
    assert (record.state, record.output_tokens, record.estimated) == (SlotState.SETTLED, 20, True)


async def test_finish_without_done_is_whole(tmp_path: Path) -> None:
    """Else a provider that leaves out the last line of a stream seems to break every answer."""
    tail: list[Step] = [Send(chunk(chat_chunk(finish="stop"))), Send(chunk(b""))]
    async with two_endpoints(tmp_path, [*BEGUN, *tail], chat_stream(["never"])) as rig, rig.router.client() as client:
        events = [one async for one in client.stream(PROMPT, model=MODEL, timeout_s=PATIENCE_S)]
    assert kinds(events) == ["opened", "delta", "finished"]
    assert events[-1].finished.choices[0].finish_reason == FinishReason.FINISH_REASON_STOP
    assert events[-1].finished.usage.estimated


async def test_bug_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a bug of ours in the middle of a stream tells its text to a caller, or leaves a generation open."""

    def broken(*_: object) -> int:
        raise RuntimeError("canary-7f3a")

    monkeypatch.setattr("junctor.doors.codec.answers.stream_response", broken)
    async with two_endpoints(tmp_path, chat_stream(["a", "b"], per_chunk_delay=0.05), chat_stream(["never"])) as rig:
        _, error = await _interrupted(rig)
        assert (await ended(rig.router)).state is SlotState.SETTLED
        incident = await line_of(rig.router, "incident")
        log = rig.router.log.read_text()
    assert (error.code, error.reason, error.metadata) == ("INTERNAL", "INTERNAL", {"incident": incident["incident"]})
    assert "canary" not in str(error) + log
