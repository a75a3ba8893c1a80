"""Tests of `junctor chat` as a conversation, against a real server whose answers and plans are scripted."""

import io
import re
import signal
import subprocess
import sys

import grpc
import pytest

from junctor.cli.main import main
from junctor.v1.completion_pb2 import Role
from junctor.v1.router_service_pb2 import Cost, StreamResponse
from junctor.v1.routing_pb2 import Adjustment
from tests.support.fake_router import Failure, Reply, SeenCall, a_stream, an_answer
from tests.support.fake_server import HANG_MAX_S
from tests.support.fake_talk import FakeTalk
from tests.support.interruptible import interruptible

ROLES = {Role.ROLE_SYSTEM: "system", Role.ROLE_USER: "user", Role.ROLE_ASSISTANT: "assistant"}


pytestmark = pytest.mark.usefixtures("data_dir")


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


class Talk:
    """Talks with a router: lines in, and what is shown."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch = monkeypatch
        self._capsys = capsys
        self.out = self.err = ""

    def say(self, router: FakeTalk, *lines: str, more: tuple[str, ...] = ()) -> int:
        """Pipe lines into a conversation; return the exit code."""
        self._patch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        code = main(["chat", "--interactive", "--model", "acme/small", "--target", router.target, *more])
        self.out, self.err = self._capsys.readouterr()
        return code


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Talk:
    """Return someone who talks."""
    return Talk(monkeypatch, capsys)


def streams(*texts: str) -> list[Reply]:
    """Return replies that are streamed in two pieces each."""
    return [Reply(batches=a_stream(text[:1], text[1:])) for text in texts]


def priced(text: str, cost_nanousd: int | None) -> Reply:
    """Return a streamed reply that costs so much."""
    batches = a_stream(text)
    finished = batches[-1].events[-1].finished
    if cost_nanousd is not None:
        finished.cost.CopyFrom(Cost(cost_nanousd=cost_nanousd))
    return Reply(batches=batches)


def turns(call: SeenCall) -> list[tuple[str, str]]:
    """Return what a call carried of the conversation."""
    return [(ROLES[turn.role], turn.parts[0].text.text) for turn in call.request.spec.messages]


def test_what_was_said_is_kept(talk: Talk) -> None:
    """The model would answer the second question as if there had been no first."""
    with FakeTalk(*streams("Hello.", "Bye.")) as router:
        assert talk.say(router, "Hi", "", "  And now?  ", more=("--system", "Be brief.")) == 0
    assert talk.out == "Hello.\nBye.\n"
    assert [turns(call) for call in router.calls] == [
        [("system", "Be brief."), ("user", "Hi")],
        [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "And now?")],
    ]
    assert talk.err.count("acme/small · acme · 7 tokens in, 3 out") == 2


def test_answers_may_come_whole(talk: Talk) -> None:
    """A conversation would need what holds back streams to let them through."""
    with FakeTalk(Reply(answer=an_answer("Hello.")), Reply(answer=an_answer("Bye."))) as router:
        assert talk.say(router, "Hi", "And?", more=("--no-stream",)) == 0
    assert talk.out == "Hello.\nBye.\n"
    assert turns(router.calls[1])[1] == ("assistant", "Hello.")


def test_another_model_goes_on_with_the_same_conversation(talk: Talk) -> None:
    """A person could not ask another model what it thinks of the same words."""
    with FakeTalk(*streams("One.", "Two.")) as router:
        assert talk.say(router, "/model", "Hi", "/model acme/big", "And you?") == 0
    assert [call.request.spec.model for call in router.calls] == ["acme/small", "acme/big"]
    assert len(turns(router.calls[1])) == 3
    assert talk.err.startswith("The model is acme/small.\n")
    assert "Talking with acme/big.\n" in talk.err


def test_a_slip_in_a_models_name_changes_nothing_and_is_told_with_near_names(talk: Talk) -> None:
    """A person would lose the model that he talks with, or not know how the other one is called."""
    with FakeTalk(*streams("One.")) as router:
        assert talk.say(router, "/model acme/bog", "/model acme/shut", "Hi") == 1
    assert "Near names: acme/big." in talk.err
    assert "Nothing that has acme/shut can answer now (credentials missing); still talking with acme/small." in talk.err
    assert router.calls[0].request.spec.model == "acme/small"


def test_the_route_of_the_last_answer_is_shown(talk: Talk) -> None:
    """A person could not see where his words went, what failed before, and what it cost."""
    reply = priced("One.", 1_500)
    changed = [Adjustment(parameter="seed", kind=Adjustment.KIND_DROPPED), Adjustment(parameter="max_tokens", sent="9")]
    reply.batches[-1].events[-1].finished.route.adjustments.extend(changed)
    with FakeTalk(reply) as router:
        assert talk.say(router, "/route", "Hi", "/route") == 0
    assert talk.err.startswith("There was no answer yet.\n")
    shown = [re.sub(r" {2,}", " | ", line.strip()) for line in talk.out.splitlines() if line.strip()]
    assert shown == [
        "One.",
        "Last answer",
        "model | acme/small",
        "endpoint | acme/small",
        "cost | $0.0000015",
        "tokens | 7 in (0 cached), 3 out",
        "first token | 120 ms",
        "total | 1.5 s",
        "generation | gen-1",
        "seed | left out",
        "max_tokens | sent as 9",
        "Tried",
        "endpoint | outcome | after | HTTP status",
        "slow | slow/small | timed out | 900 ms",
        "acme | acme/small | served | 120 ms | 200",
    ]


def test_the_next_message_is_explained_with_the_conversation(talk: Talk) -> None:
    """The plan shown would be that of another request than the next one."""
    with FakeTalk(*streams("One.")) as router:
        assert talk.say(router, "Hi", "/explain What then?", "/explain", more=("--max-tokens", "9")) == 0
    first, second = router.explained
    assert [turn.parts[0].text.text for turn in first.spec.messages] == ["Hi", "One.", "What then?"]
    assert (first.spec.model, first.spec.max_tokens) == ("acme/small", 9)
    assert len(second.spec.messages) == 3
    assert "acme/big" in talk.out
    assert "credentials missing" in talk.out


def test_what_all_answers_cost_is_added_up(talk: Talk) -> None:
    """A person would not see what a conversation costs until the bill comes."""
    with FakeTalk(priced("One.", 1_500), priced("Two.", 10**9), priced("Three.", None)) as router:
        assert talk.say(router, "/cost", "a", "b", "/cost", "c", "/cost") == 0
    told = [line for line in talk.err.splitlines() if "so far" in line]
    assert told == [
        "0 answers cost $0.00 so far.",
        "2 answers cost $1.0000015 so far.",
        "3 answers cost $1.0000015 so far; of 1 the cost is not known.",
    ]


def test_a_new_conversation_forgets_the_old_one(talk: Talk) -> None:
    """What was said before would be sent, and paid for, with every later question."""
    with FakeTalk(*streams("One.", "Two.")) as router:
        assert talk.say(router, "Hi", "/new", "Ho", more=("--system", "Be brief.")) == 0
    assert turns(router.calls[1]) == [("system", "Be brief."), ("user", "Ho")]


def test_help_names_every_command_and_quit_ends(talk: Talk) -> None:
    """A person would not find out what he can type, nor how to leave."""
    with FakeTalk() as router:
        assert talk.say(router, "/help", "/quit", "never sent") == 0
    assert router.calls == []
    for name in ("/model NAME", "/route", "/explain", "/cost", "/new", "/help", "/quit", "//"):
        assert name in talk.err


def test_a_command_that_there_is_not_is_not_sent(talk: Talk) -> None:
    """A slip would be sent to a model, and paid for."""
    with FakeTalk(*streams("One.")) as router:
        assert talk.say(router, "/rotue", "//etc/hosts?") == 1
    assert "There is no /rotue" in talk.err
    assert [turns(call) for call in router.calls] == [[("user", "/etc/hosts?")]]


def test_what_failed_is_no_part_of_the_conversation(talk: Talk) -> None:
    """A question that was refused would be sent again with each later one, and refused again."""
    refused = Reply(failure=Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", "Too many.", retry_after_s=7))
    cut = Reply(batches=a_stream("Hal", finished=False))
    silent = Reply(batches=(StreamResponse(events=a_stream("x")[1].events[1:]),))
    with FakeTalk(refused, cut, silent, *streams("One.")) as router:
        assert talk.say(router, "a", "b", "c", "d") == 1
    assert "Too many. (RATE_LIMITED)\nTry again in 7 s.\n" in talk.err
    assert "STREAM_TRUNCATED" in talk.err
    assert turns(router.calls[3]) == [("user", "d")]


def test_at_a_terminal_no_question_is_needed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`junctor chat` alone would not be a conversation, or fail at its end because one answer did."""
    refused = Reply(failure=Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", "Too many."))
    with FakeTalk(refused, *streams("One.")) as router:
        monkeypatch.setattr(sys, "stdin", Screen("a\nb\n"))
        assert main(["chat", "--target", router.target]) == 0
    seen = capsys.readouterr()
    assert seen.out == "One.\n"
    assert seen.err.startswith("Talking with junctor/local. /help lists what can be typed; Ctrl-D ends.\n> ")


def test_ctrl_c_at_the_prompt_says_how_to_leave(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A person who wanted to clear a line would lose all that was said."""

    class Interrupted(Screen):
        def readline(self, size: int | None = -1) -> str:  # type: ignore[override]  # typeshed has two bases at odds
            line = super().readline(-1)
            if line == "^C\n":
                raise KeyboardInterrupt
            return line

    with FakeTalk(*streams("One.", "Two.")) as router:
        monkeypatch.setattr(sys, "stdin", Interrupted("a\n^C\nb\n"))
        assert main(["chat", "--target", router.target]) == 0
    assert len(turns(router.calls[1])) == 3
    assert "/quit or Ctrl-D ends." in capsys.readouterr().err


def test_the_prompt_stands_where_the_answers_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A person at a terminal would not see that it is his turn."""
    out = Screen()
    with FakeTalk(*streams("One.")) as router:
        monkeypatch.setattr(sys, "stdin", Screen("a\n"))
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["chat", "--target", router.target]) == 0
    assert out.getvalue() == "> One.\n> "
    assert "> " not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["Hi", "--interactive"], "without a question"),
        (["--interactive", "--json"], "no JSON"),
        (["--interactive", "--system", "a\udcff"], "UTF-8"),
    ],
)
def test_what_is_no_conversation_is_refused(
    words: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wish would be ignored, or a conversation begin that can only fail."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hi\n"))
    assert main(["chat", *words, "--target", "127.0.0.1:1"]) == 2
    assert complaint in capsys.readouterr().err


def test_what_is_piped_in_is_one_question_unless_said_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`git diff | junctor chat` would ask, and pay for, each line by itself."""
    with FakeTalk(*streams("One.")) as router:
        monkeypatch.setattr(sys, "stdin", io.StringIO("a\nb\n"))
        assert main(["chat", "--target", router.target]) == 0
    assert [turns(call) for call in router.calls] == [[("user", "a\nb\n")]]
    assert capsys.readouterr().out == "One.\n"


def test_ctrl_c_cancels_the_answer_and_not_the_conversation() -> None:
    """A person who has seen enough of an answer would pay for its rest, or lose what was said before."""
    hanging = Reply(batches=a_stream("Hal", finished=False), hang=True)
    with FakeTalk(*streams("One."), hanging, *streams("Two.")) as router:
        argv = interruptible("-m", "junctor", "chat", "--interactive", "--target", router.target)
        pipe = subprocess.PIPE
        with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write("a\nb\n")
                process.stdin.flush()
                shown = [process.stdout.readline(), process.stdout.read(3)]
                process.send_signal(signal.SIGINT)
                out, err = process.communicate("c\n/cost\n", timeout=HANG_MAX_S)
            finally:
                process.kill()
        assert router.calls[1].left.wait(HANG_MAX_S / 3)
    assert (process.returncode, [*shown, out]) == (0, ["One.\n", "Hal", "\nTwo.\n"])
    assert "Cancelled; this turn is not part of the conversation." in err
    assert "2 answers cost $0.00 so far; of 3 the cost is not known." in err
    assert turns(router.calls[2]) == [("user", "a"), ("assistant", "One."), ("user", "c")]
