"""Tests of `junctor usage` against a real server with made-up generations."""

import argparse
import json
import os
from collections.abc import Sequence

import grpc
import pytest

from junctor.cli.usage import add_usage, run_usage
from tests.support.fake_router import Failure
from tests.support.fake_usage import FakeUsage, a_generation, an_open_generation

FULL = {
    "id": "gen-5",
    "state": "settled",
    "api_key": "0123456789ab",
    "requested_model": "acme/asked",
    "model": "acme/small",
    "provider": "acme",
    "endpoint": "acme/small",
    "started_at_ms": 1_790_000_000_000,
    "ended_at_ms": 1_790_000_001_500,
    "streamed": True,
    "input_tokens": 7,
    "output_tokens": 3,
    "cache_read_tokens": 2,
    "cache_write_tokens": 1,
    "reasoning_tokens": 1,
    "estimated": True,
    "cost_nanousd": 1_000_012_300,
    "hold_nanousd": 2_000_000_000,
    "price_version": "v1",
    "upstream_id": "up-1",
    "finish_reason": "tool_calls",
    "time_to_first_token_ms": 120,
}


pytestmark = pytest.mark.usefixtures("data_dir")


def run(*words: str) -> int:
    """Run the command as the command line does."""
    parser = argparse.ArgumentParser(prog="junctor")
    add_usage(parser.add_subparsers(dest="command"))
    return run_usage(parser.parse_args(["usage", *words]), os.environ)


def cells(text: str) -> Sequence[str]:
    """Return each line of a table with single spaces."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_a_generation_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a person cannot find out what one answer cost and where it came from."""
    with FakeUsage([a_generation(5)]) as usage:
        assert run("show", "gen-5", "--target", usage.target) == 0
    assert cells(capsys.readouterr().out) == [
        "gen-5",
        "state settled",
        "API key 0123456789ab",
        "asked for acme/asked",
        "answered by acme/small",
        "provider acme",
        "endpoint acme/small",
        "started 2026-09-21 14:13:20Z",
        "ended 2026-09-21 14:13:21Z, after 1500 ms",
        "streamed yes",
        "tokens about 7 in, 3 out",
        "cached 2 read, 1 written",
        "reasoning 1 tokens",
        "cost $1.0000123",
        "hold $2.00",
        "price version v1",
        "finish tool calls",
        "first token after 120 ms",
        "upstream id up-1",
    ]
    assert usage.requests[0][1]["authorization"] == "Bearer jk-environment"


def test_what_is_not_known_yet_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a generation under way looks as if it were free and had ended in 1970."""
    with FakeUsage([an_open_generation(6)]) as usage:
        assert run("show", "gen-6", "--target", usage.target) == 0
        shown = cells(capsys.readouterr().out)
        assert run("show", "gen-6", "--target", usage.target, "--json") == 0
    assert not [line for line in shown if line.startswith(("cost", "ended", "finish", "first", "answered"))]
    assert "hold $0.05" in shown
    record = json.loads(capsys.readouterr().out)
    assert [record[name] for name in ("state", "cost_nanousd", "ended_at_ms", "finish_reason")] == ["open", None, None, ""]


def test_the_list_shows_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a person cannot see what was generated last."""
    with FakeUsage([a_generation(5)], [an_open_generation(4)]) as usage:
        assert run("list", "--target", usage.target) == 0
    assert cells(capsys.readouterr().out) == [
        "Generations, the newest first",
        "2026-09-21 14:13:20Z settled acme/small acme about 7 in, 3 out $1.0000123 gen-5",
        "2026-09-21 14:13:20Z open acme/asked 0 in, 0 out gen-4",
    ]


def test_json_is_one_object_with_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a program that adds up what was spent breaks on the output."""
    with FakeUsage([a_generation(5)], [a_generation(4)]) as usage:
        assert run("list", "--target", usage.target, "--json", "--api-key", "0123456789ab") == 0
        seen = capsys.readouterr()
        assert json.loads(seen.out) == {"generations": [FULL, {**FULL, "id": "gen-4"}]}
        assert seen.err == ""
        assert run("show", "gen-5", "--target", usage.target, "--json") == 0
    assert json.loads(capsys.readouterr().out) == FULL
    assert "0123456789ab" in str(usage.requests[0][0])


def test_no_more_than_the_limit_is_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a look at the last calls reads a whole history, or shows too much of it."""
    with FakeUsage([a_generation(5), a_generation(4)], [a_generation(3)]) as usage:
        assert run("list", "--target", usage.target, "--limit", "1", "--json") == 0
        assert len(usage.requests) == 1
        assert run("list", "--target", usage.target, "--limit", "5000", "--json") == 0
    assert [len(json.loads(line)["generations"]) for line in capsys.readouterr().out.splitlines()] == [1, 3]
    assert ["page_size: 1" in str(usage.requests[0][0]), "page_size: 1000" in str(usage.requests[1][0])] == [True, True]


def test_an_empty_list_says_so_and_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a new user takes silence for a fault."""
    with FakeUsage([]) as usage:
        assert run("list", "--target", usage.target) == 0
        seen = capsys.readouterr()
        assert (seen.out, seen.err) == ("", "There are no generations to show.\n")
        assert run("list", "--target", usage.target, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"generations": []}


def test_what_fails_is_told_and_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a script goes on with nothing, or a person reads a traceback."""
    with FakeUsage([]) as usage:
        assert run("show", "gen-9", "--target", usage.target) == 1
        seen = capsys.readouterr()
        told = "There is no generation 'gen-9'. (GENERATION_NOT_FOUND)\n`junctor usage list` lists those of an API key.\n"
        assert (seen.out, seen.err) == ("", told)
    denied = Failure(grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING", "Not yours.")
    with FakeUsage(failure=denied) as usage:
        assert run("list", "--target", usage.target) == 1
    assert capsys.readouterr().err.startswith("Not yours. (SCOPE_MISSING)\nCompletion keys ")


def test_without_a_key_nothing_is_asked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a call without a key is sent, and its refusal explains nothing."""
    monkeypatch.delenv("JUNCTOR_API_KEY")
    with FakeUsage([]) as usage:
        assert run("list", "--target", usage.target) == 2
    assert usage.requests == []
    assert "There is no API key." in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("list", "--limit", "0"),
        ("list", "--timeout", "0"),
        ("show",),
        ("show", "gen-\udcff"),
        ("list", "--api-key", "\x1b"),
    ],
)
def test_wrong_use_is_told_before_anything_is_asked(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a mistyped command line ends in a traceback."""
    with pytest.raises(SystemExit) as end:
        run(*words)
    assert end.value.code == 2
