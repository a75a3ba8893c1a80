"""Tests of adapters/telemetry and adapters/system."""

import asyncio
import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from junctor.adapters.system.ambient import SystemClock, SystemDice
from junctor.adapters.telemetry.lines import HELD_S, LINE_MAX_BYTES, LineTelemetry
from junctor.domain.routing import Attempt, AttemptOutcome
from junctor.ports.ambient import Clock, Dice
from junctor.ports.telemetry import Counter, RequestLine, Telemetry

CANARY = "canary-3f9c"
LINE = RequestLine(method="Complete", status="OK", latency_ms=12, model="acme/small", cost_nanousd=5)


class StoppedClock:
    """A clock that stands still."""

    def now_ms(self) -> int:
        """Return an instant of 2026."""
        return 1_790_000_000_000

    def monotonic_s(self) -> float:
        """Return nought."""
        return 0.0


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    """Read what was written."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_request_is_one_flat_line() -> None:
    """If this fails, whoever reads the logs cannot find what a call did."""
    stream = io.StringIO()
    telemetry: Telemetry = LineTelemetry(stream, StoppedClock())
    telemetry.request(LINE)
    assert lines_of(stream) == [
        {
            "at_ms": 1_790_000_000_000,
            "kind": "request",
            "method": "Complete",
            "status": "OK",
            "latency_ms": 12,
            "model": "acme/small",
            "cost_nanousd": 5,
        }
    ]


def test_events_and_strange_characters_stay_in_their_line() -> None:
    """If this fails, a caller writes lines of his own into the log."""
    stream = io.StringIO()
    telemetry = LineTelemetry(stream, StoppedClock())
    telemetry.event("started", {"port": 50051, "store": 'sq"lite\n{"kind":"request"}'})
    (line,) = lines_of(stream)
    assert line["kind"] == "event"
    assert line["event"] == "started"
    assert line["fields"] == {"port": 50051, "store": 'sq"lite\n{"kind":"request"}'}


def broken(secret: str) -> None:
    """Fail with a secret in the text and among the locals."""
    try:
        int(secret)
    except ValueError as error:
        raise RuntimeError(f"no number: {secret}") from error


def test_an_incident_tells_places_and_no_texts() -> None:
    """If this fails, a bug's log line leaks a prompt or a key, or does not say where the bug is."""
    stream = io.StringIO()
    telemetry = LineTelemetry(stream, StoppedClock())
    with pytest.raises(RuntimeError) as caught:
        broken(CANARY)
    telemetry.incident("inc-1", caught.value)
    assert CANARY not in stream.getvalue()
    (line,) = lines_of(stream)
    assert (line["kind"], line["incident"]) == ("incident", "inc-1")
    outer, inner = line["chain"]
    assert (outer["error"], inner["error"]) == ("builtins.RuntimeError", "builtins.ValueError")
    assert outer["frames"][-1].startswith("test_telemetry.py:")
    assert outer["frames"][-1].endswith(" in broken")
    assert str(Path.cwd()) not in stream.getvalue()


def test_counts_are_kept_by_label() -> None:
    """If this fails, lost money is not seen."""
    telemetry = LineTelemetry(io.StringIO(), StoppedClock())
    telemetry.count(Counter.SETTLE_LOST)
    telemetry.count(Counter.SETTLE_LOST, 2)
    telemetry.count(Counter.WASTED_UPSTREAM, 5, provider="acme", cause="gone")
    telemetry.count(Counter.WASTED_UPSTREAM, 5, cause="gone", provider="acme")
    assert telemetry.counts == {
        (Counter.SETTLE_LOST, ()): 3,
        (Counter.WASTED_UPSTREAM, (("cause", "gone"), ("provider", "acme"))): 10,
    }


def test_a_long_line_is_cut_and_stays_whole_json() -> None:
    """If this fails, one caller's endless model name blocks the log, or the line of a much-tried call is lost."""
    stream = io.StringIO()
    telemetry = LineTelemetry(stream, StoppedClock())
    tries = tuple(Attempt("acme", f"acme/small-{place}", AttemptOutcome.FAILED, 1, 500) for place in range(200))
    telemetry.request(RequestLine(method="Complete", status="OK", latency_ms=1, requested_model="m" * 10_000, attempts=tries))
    telemetry.request(RequestLine(method="Complete", status="OK", latency_ms=1, model="m" * 10_000))
    (line,) = lines_of(stream)
    assert len(stream.getvalue()) <= LINE_MAX_BYTES
    assert line["requested_model"] == "m" * 128
    assert [entry["endpoint"] for entry in line["attempts"]][-1] == "acme/small-199"
    assert telemetry.dropped == 1


def test_what_cannot_be_written_is_dropped_and_counted() -> None:
    """If this fails, a closed log or a broken string ends a call that was answered and charged."""
    stream = io.StringIO()
    telemetry = LineTelemetry(stream, StoppedClock())
    telemetry.request(RequestLine(method="Complete", status="OK", latency_ms=1, requested_model="\ud800"))
    telemetry.event("torn", {"text": "\udfff"})
    assert stream.getvalue() == ""
    stream.close()
    telemetry.request(LINE)
    telemetry.incident("inc-1", ValueError())
    assert telemetry.dropped == 4


def test_a_full_pipe_drops_lines_and_never_blocks() -> None:
    """If this fails, a log shipper that hangs stops the router."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as read_end, os.fdopen(writer, "w", encoding="utf-8") as stream:
        telemetry = LineTelemetry(stream, StoppedClock())

        def write() -> None:
            for _ in range(2000):
                telemetry.request(LINE)

        # In a thread, so that a write that blocks fails the test instead of holding it for ever.
        writing = threading.Thread(target=write, daemon=True)
        writing.start()
        writing.join(30)
        blocked = writing.is_alive()
        os.set_blocking(read_end.fileno(), False)
        waiting = read_end.read()
        assert not blocked
        assert telemetry.dropped > 0
        assert waiting.endswith(b"}\n")
        assert waiting.count(b"\n") + telemetry.dropped == 2000
        telemetry.request(LINE)
        assert json.loads(read_end.read())["model"] == "acme/small"


def test_a_reader_that_left_costs_lines_only() -> None:
    """If this fails, the end of a log shipper is the end of the router."""
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w", encoding="utf-8")
    os.close(reader)
    telemetry = LineTelemetry(stream, StoppedClock())
    telemetry.request(LINE)
    assert telemetry.dropped == 1
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    """If this fails, a restart wipes the log, or a server starts without one and nobody knows."""
    path = tmp_path / "logs" / "log.jsonl"
    for _ in range(2):
        telemetry = LineTelemetry.to_file(path, StoppedClock())
        telemetry.request(LINE)
        telemetry.close()
        telemetry.request(LINE)
        assert telemetry.dropped == 1
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2
    with pytest.raises(OSError, match="directory"):
        LineTelemetry.to_file(tmp_path, StoppedClock())


async def test_lines_of_requests_leave_together_soon_and_in_order(tmp_path: Path) -> None:
    """If this fails, a busy server pays a write for each call, a quiet one keeps its last lines, or a bug is told late."""
    path = tmp_path / "log.jsonl"
    telemetry = LineTelemetry.to_file(path, StoppedClock())
    telemetry.request(LINE)
    telemetry.request(LINE)
    assert path.read_text() == ""
    telemetry.event("started", {})
    assert [json.loads(line)["kind"] for line in path.read_text().splitlines()] == ["request", "request", "event"]
    telemetry.request(LINE)
    await asyncio.sleep(2 * HELD_S)
    assert path.read_text().count("\n") == 4
    for _ in range(100):
        telemetry.request(LINE)
    telemetry.close()
    assert path.read_text().count("\n") == 104
    assert telemetry.dropped == 0


async def test_what_waits_is_written_in_pieces_that_a_pipe_takes_whole() -> None:
    """If this fails, many lines at once block the router on a pipe that has room for one page."""
    sizes: list[int] = []
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as read_end, os.fdopen(writer, "w", encoding="utf-8") as stream:
        write = stream.write

        def noted(text: str) -> int:
            sizes.append(len(text))
            return write(text)

        stream.write = noted  # type: ignore[method-assign]
        telemetry = LineTelemetry(stream, StoppedClock())
        for _ in range(100):
            telemetry.request(LINE)
        telemetry.close()
        os.set_blocking(read_end.fileno(), False)
        assert read_end.read().count(b"\n") == 100
    assert 1 < len(sizes) < 10
    assert max(sizes) <= LINE_MAX_BYTES


def test_the_systems_clock_and_dice() -> None:
    """If this fails, leases expire at the wrong time or ids repeat."""
    clock: Clock = SystemClock()
    dice: Dice = SystemDice()
    assert clock.now_ms() > 1_750_000_000_000
    assert clock.monotonic_s() <= clock.monotonic_s()
    assert len(dice.draw(16)) == 16
    assert len({dice.draw(16) for _ in range(100)}) == 100
    drawn = [dice.uniform() for _ in range(1000)]
    assert all(0 <= value < 1 for value in drawn)
    assert 0.4 < sum(drawn) / len(drawn) < 0.6
