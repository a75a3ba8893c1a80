"""`junctor models`, `endpoints`, `providers` and a conversation, typed at a real server."""

import asyncio
import io
import json
import sys
from pathlib import Path

import pytest

from junctor.cli.main import main
from tests.support.harness import Router
from tests.support.pipeline import FIRST, MODEL, PATIENCE_S, one_endpoint
from tests.support.scripted_upstream import chat_stream


class Shell:
    """Types commands with a router's key."""

    def __init__(
        self, router: Router, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._patch = monkeypatch
        self._capsys = capsys
        monkeypatch.setenv("JUNCTOR_TARGET", router.target)
        monkeypatch.setenv("JUNCTOR_API_KEY", router.api_key)
        monkeypatch.setenv("JUNCTOR_DATA_DIR", str(folder))

    async def run(self, *words: str, typed: str = "") -> tuple[int, str, str]:
        """Run a command; return its exit code and what it wrote to standard output and error."""
        self._patch.setattr(sys, "stdin", io.StringIO(typed))
        code = await asyncio.wait_for(asyncio.to_thread(main, list(words)), 3 * PATIENCE_S)
        return code, *self._capsys.readouterr()


async def test_what_there_is_is_read_from_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands would not understand what the server says."""
    async with one_endpoint(tmp_path, chat_stream(["Hi."])) as (router, _):
        shell = Shell(router, tmp_path, monkeypatch, capsys)
        code, out, err = await shell.run("models", "gpt-oss", "--provider", "groq", "--max-output-price", "5")
        assert (code, err) == (0, "")
        assert MODEL in out
        assert "can be reached." in out
        code, out, _ = await shell.run("models")
        assert (code, "set OPENROUTER_API_KEY to reach" in out) == (0, True)
        code, out, _ = await shell.run("models", "--json", "--all")
        assert (code, len(json.loads(out)["models"])) == (0, len(router.core.catalog.current().models))
        code, out, _ = await shell.run("endpoints", MODEL)
        assert code == 0
        assert next(line for line in out.splitlines() if line.startswith(FIRST)).rstrip().endswith("reachable")
        assert "set OPENROUTER_API_KEY" in out
        code, out, _ = await shell.run("providers", "--json")
        reached = {row["slug"] for row in json.loads(out)["providers"] if row["reachable_endpoint_count"]}
        assert (code, reached) == (0, {"groq"})
        code, _, err = await shell.run("endpoints", "openai/gpt-oss-12b")
        assert (code, "Near names: " in err) == (1, True)
        code, _, err = await shell.run("models", "--sort", "popularity")
        assert (code, "sort: by popularity cannot be used yet" in err) == (1, True)


async def test_a_conversation_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person could not talk with a model, change it, and see where his words went."""
    first, second = chat_stream(["Good ", "morning."], usage=(7, 3)), chat_stream(["Bye."], usage=(9, 2))
    async with one_endpoint(tmp_path, first, second) as (router, upstream):
        shell = Shell(router, tmp_path, monkeypatch, capsys)
        typed = "Hi\n/route\n/model openai/gpt-oss-12b\n/model groq/nothing\n/model {}:floor\n/explain\nAnd?\n/cost\n/quit\n"
        code, out, err = await shell.run("chat", "--interactive", "--model", MODEL, typed=typed.format(MODEL))
        assert code == 1
        assert "Near names: " in err
        assert f"Talking with {MODEL}:floor." in err
        assert (out.splitlines()[0], out.splitlines()[-1]) == ("Good morning.", "Bye.")
        assert FIRST in out
        assert "2 answers cost $0.00" in err
        sent = upstream.requests[1].json["messages"]
        assert [turn["role"] for turn in sent] == ["user", "assistant", "user"]
