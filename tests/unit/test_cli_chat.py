"""Tests of `junctor chat` against a real server whose answers are scripted."""

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from junctor.cli.main import main
from junctor.v1.completion_pb2 import Role
from tests.support.fake_router import Failure, FakeRouter, Reply, a_stream, an_answer
from tests.support.fake_server import HANG_MAX_S
from tests.support.interruptible import interruptible

SUMMARY = "acme/small · acme · 7 tokens in, 3 out · first token 120 ms · total 1.5 s\n"


pytestmark = pytest.mark.usefixtures("data_dir")


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_the_answer_goes_to_stdout_and_the_summary_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, `junctor chat ... > file` saves something else than the answer."""
    with FakeRouter(Reply(batches=a_stream("Hel", "lo", reasoning="They greet."))) as router:
        code = main(["chat", "Hi", "--target", router.target, "--system", "Be brief.", "--max-tokens", "5", "--timeout", "20"])
    seen = capsys.readouterr()
    assert (code, seen.out, seen.err) == (0, "Hello\n", SUMMARY)
    (call,) = router.calls
    said = [(turn.role, turn.parts[0].text.text) for turn in call.request.spec.messages]
    assert said == [(Role.ROLE_SYSTEM, "Be brief."), (Role.ROLE_USER, "Hi")]
    assert (call.request.spec.model, call.request.spec.max_tokens) == ("junctor/local", 5)
    assert not call.request.spec.HasField("temperature")
    assert 0 < call.remaining_s < 21  # grpc rounds, by a clock of its own


def test_the_answer_may_come_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a caller behind something that holds back streams cannot ask at all."""
    with FakeRouter(Reply(answer=an_answer("Hello."))) as router:
        code = main(["chat", "Hi", "--target", router.target, "--no-stream", "--model", "acme/small", "--temperature", "0"])
    seen = capsys.readouterr()
    assert (code, seen.out, seen.err) == (0, "Hello.\n", SUMMARY)
    assert router.calls[0].request.spec.HasField("temperature")


@pytest.mark.parametrize("more", [[], ["--no-stream"]])
def test_json_is_one_object_and_nothing_else(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a program that reads the result breaks on it or misses what it cost and where it ran."""
    reply = Reply(answer=an_answer("Hello."), batches=a_stream("Hel", "lo.", reasoning="A greeting."))
    with FakeRouter(reply) as router:
        assert main(["chat", "Hi", "--target", router.target, "--json", *more]) == 0
    seen = capsys.readouterr()
    assert seen.err == ""
    assert json.loads(seen.out) == {
        "answer": "Hello.",
        "reasoning": "A greeting.",
        "finish_reason": "stop",
        "model": "acme/small",
        "provider": "acme",
        "endpoint": "acme/small",
        "usage": {
            "input_tokens": 7,
            "output_tokens": 3,
            "cache_read_tokens": 0,
            "cache_write_tokens": 0,
            "reasoning_tokens": 0,
            "estimated": False,
        },
        "cost_nanousd": None,
        "time_to_first_token_ms": 120,
        "latency_ms": 1500,
        "generation_id": "gen-1",
        "attempts": [
            {"provider": "slow", "endpoint": "slow/small", "outcome": "timed_out", "latency_ms": 900, "http_status": None},
            {"provider": "acme", "endpoint": "acme/small", "outcome": "served", "latency_ms": 120, "http_status": 200},
        ],
        "adjustments": [],
    }


def test_a_model_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a model's answer can rewrite the screen, or reasoning cannot be told from the answer."""
    out, err = Screen(), Screen()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with FakeRouter(Reply(batches=a_stream("a\x1b]0;owned\x07b\x9b\tc\n", reasoning="hm\x1b[2J"))) as router:
        assert main(["chat", "Hi", "--target", router.target]) == 0
    assert out.getvalue() == "a]0;ownedb\tc\n"
    assert err.getvalue().startswith("\x1b[2mhm[2J\x1b[0m\n\n")


@pytest.mark.parametrize("words", [["-"], []])
def test_the_prompt_may_be_piped(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, `git diff | junctor chat` asks nothing."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("from the pipe"))
    with FakeRouter(Reply(batches=a_stream("Yes."))) as router:
        assert main(["chat", *words, "--target", router.target]) == 0
    assert router.calls[0].request.spec.messages[0].parts[0].text.text == "from the pipe"


def test_keys_are_sought_in_order(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, `junctor up` and then `junctor chat` does not simply work, or a call runs on another key than meant."""
    (data_dir / "first-key").write_text("jk-first\n", encoding="utf-8")
    file = data_dir / "other-key"
    file.write_text("jk-file\n", encoding="utf-8")
    with FakeRouter(*[Reply(batches=a_stream("Yes."))] * 3) as router:
        monkeypatch.setenv("JUNCTOR_TARGET", router.target)
        assert main(["chat", "Hi", "--key-file", str(file)]) == 0
        assert main(["chat", "Hi"]) == 0
        monkeypatch.delenv("JUNCTOR_API_KEY")
        assert main(["chat", "Hi"]) == 0
    sent = [call.metadata["authorization"] for call in router.calls]
    assert sent == ["Bearer jk-file", "Bearer jk-environment", "Bearer jk-first"]


def test_this_machines_key_stays_on_it(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If this fails, the local key travels in clear text to whatever host a target names."""
    (data_dir / "first-key").write_text("jk-first\n", encoding="utf-8")
    monkeypatch.delenv("JUNCTOR_API_KEY")
    assert main(["chat", "Hi", "--target", "router.invalid:50051"]) == 2
    assert "JUNCTOR_API_KEY" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "stdin", "complaint"),
    [
        (["Hi", "--key-file", "/nowhere/key"], "", "/nowhere/key"),
        ([" "], "", "empty"),
        (["-"], "", "empty"),
        (["a\udcff"], "", "UTF-8"),
    ],
)
def test_a_question_that_cannot_be_asked_ends_with_2(
    words: list[str], stdin: str, complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If this fails, a slip at the keyboard ends in a traceback or in a call that costs money."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
    assert main(["chat", *words, "--target", "127.0.0.1:1"]) == 2
    seen = capsys.readouterr()
    assert complaint in seen.err
    assert seen.out == ""


def test_no_server_is_told_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a newcomer's first error is grpc's."""
    with FakeRouter() as router:
        target = router.target
    assert main(["chat", "Hi", "--target", target]) == 1
    told = f"Nothing answers at {target}; start it with `junctor up`, or give --target.\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (Failure(grpc.StatusCode.UNAUTHENTICATED, "API_KEY_INVALID", "No such key."), ["No such key.", "--key-file"]),
        (Failure(grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", "There is no model 'x'."), ["There is no model 'x'."]),
        (
            Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", "Too many.", retry_after_s=7),
            ["Too many. (RATE_LIMITED)", "Try again in 7 s."],
        ),
        (
            Failure(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "Bad.", violations=(("spec.n", "is nought"),)),
            ["spec.n: is nought"],
        ),
        (Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "Late.", {"stage": "attempt"}), ["--timeout"]),
        (Failure(grpc.StatusCode.INTERNAL, "INTERNAL", "A bug.", {"incident": "inc-9"}), ["inc-9"]),
        (Failure(grpc.StatusCode.FAILED_PRECONDITION, "NO_ELIGIBLE_ENDPOINT", "None."), ["provider", "junctor/local"]),
        (
            Failure(grpc.StatusCode.FAILED_PRECONDITION, "NO_ELIGIBLE_ENDPOINT", "None.", {"model": "junctor/local"}),
            ["without its local model"],
        ),
        (Failure(grpc.StatusCode.UNIMPLEMENTED, message="Method not found!"), ["not a Junctor", "50052"]),
        (Failure(grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING", "Not for this."), ["operator keys", "--key-file"]),
        (Failure(grpc.StatusCode.ABORTED, "CHANGED_MEANWHILE", "Changed.", retry_after_s=0.1), ["there is now", "in 1 s."]),
    ],
)
def test_a_failed_call_says_what_to_do_next(failure: Failure, told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a person is left with an error and no way on."""
    with FakeRouter(Reply(failure=failure)) as router:
        assert main(["chat", "Hi", "--target", router.target, "--json"]) == 1
    seen = capsys.readouterr()
    assert seen.out == ""
    assert all(text in seen.err for text in told)


def test_a_cut_answer_is_shown_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, half an answer passes for a whole one."""
    with FakeRouter(Reply(batches=a_stream("Hel", finished=False))) as router:
        assert main(["chat", "Hi", "--target", router.target]) == 1
    seen = capsys.readouterr()
    assert seen.out == "Hel\n"
    assert "STREAM_TRUNCATED" in seen.err


@pytest.mark.parametrize("more", [[], ["--no-stream"]])
def test_ctrl_c_cancels_the_call(more: list[str]) -> None:
    """If this fails, an answer that nobody waits for is made to its end and charged."""
    reply = Reply(batches=a_stream("Hel", finished=False), hang=True)
    with FakeRouter(reply) as router:
        argv = interruptible("-m", "junctor", "chat", "Hi", "--target", router.target, *more)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert router.begun.wait(HANG_MAX_S)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=HANG_MAX_S)
            finally:
                process.kill()
        assert router.calls[0].left.wait(HANG_MAX_S / 3)
    assert process.returncode == 130
    assert err.strip() == "Interrupted; the call was cancelled."
    assert out in {"", "Hel\n"}


def test_a_reader_that_leaves_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, `junctor chat | head` ends in a traceback, or pays for what nobody reads."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    with FakeRouter(Reply(batches=a_stream("Hel", finished=False), hang=True)) as router:
        assert main(["chat", "Hi", "--target", router.target]) == 1
        assert router.calls[0].left.wait(HANG_MAX_S / 3)
