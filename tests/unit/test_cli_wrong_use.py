"""What is typed wrongly: told in one clear sentence on standard error, before anything is asked, whatever the command."""

import argparse
import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from junctor.cli.access import WrongUseError, check_target, find_key
from junctor.cli.main import main
from junctor.cli.numbers import INT32_MAX, whole
from junctor.settings import list_settings

NO_TEXT = "a\udcff"


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for row in list_settings():
        monkeypatch.delenv(row.variable, raising=False)
    monkeypatch.setenv("JUNCTOR_DATA_DIR", str(tmp_path))
    for kind in ("", "ADMIN_"):
        monkeypatch.setenv(f"JUNCTOR_{kind}KEY" if kind else "JUNCTOR_API_KEY", "jk-made-up")


@pytest.mark.parametrize(
    "words",
    [
        ("chat", NO_TEXT),
        ("chat", "--model", NO_TEXT, "Hi"),
        ("explain", "--model", NO_TEXT),
        ("orgs", "create", NO_TEXT),
        ("orgs", "members", "add", NO_TEXT),
        ("keys", "create", "k", "--models", f"x,{NO_TEXT}"),
        ("credits", "add", "5", "--id", NO_TEXT),
        ("limits", "set", "5", "--workspace", NO_TEXT),
        ("catalog", "override", "remove", NO_TEXT),
        ("usage", "list", "--target", NO_TEXT),
        ("audit", NO_TEXT),
    ],
)
def test_what_is_no_text_reaches_no_command(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A byte that is not UTF-8 would end in a traceback, after half of the command was done."""
    assert main(words) == 2
    assert capsys.readouterr() == ("", "This cannot be sent: it is not valid UTF-8.\n")


@pytest.mark.parametrize(
    "words",
    [
        ("chat", "--max-tokens", "many", "Hi"),
        ("chat", "--temperature", "hot", "Hi"),
        ("chat", "--timeout", "soon", "Hi"),
        ("explain", "--model", "x", "--max-tokens", "9" * 11),
        ("usage", "list", "--limit", "9" * 30),
        ("credits", "entries", "--limit", "0"),
        ("keys", "create", "k", "--requests-per-min", "9" * 30),
        ("keys", "rotate", "k", "--keep-old", "1.5"),
        ("catalog", "override", "remove", "a/b/c", "--if-version", "9" * 20),
        ("catalog", "endpoint", "add", "p", "a/b", "http://x", "--input", "0", "--output", "0", "--context", "9" * 30),
        ("catalog", "discount", "set", "groq", "100.1"),
    ],
)
def test_a_number_that_fits_no_field_is_told(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A number too many would end in a traceback, or in the name of a function of ours."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert " is not a" in said
    assert "invalid " not in said


def test_whole_numbers_have_bounds() -> None:
    """A limit would be read as another, or refused although it fits."""
    assert [whole()(text) for text in ("1", "0010", str(INT32_MAX))] == [1, 10, INT32_MAX]
    assert whole(least=0)("0") == 0
    for text in ("0", str(INT32_MAX + 1), "-1", "1_0", "1.0", "", "\u0663", "9" * 5_000):
        with pytest.raises(argparse.ArgumentTypeError, match="whole number from 1 to 2,147,483,647"):
            whole()(text)


@pytest.mark.parametrize("words", [("chat", "--frob", "Hi"), ("keys", "list", "--frob"), ("--frob",)])
def test_an_unknown_option_is_told_with_where_to_look(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Who mistypes an option would be shown the options of none of the commands."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    command = " ".join(["junctor", *(word for word in words[:1] if word[0] != "-"), "--help"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"unrecognized arguments: --frob; see {command}\n")


@pytest.mark.parametrize(
    "target",
    ["nonsense", "localhost", "127.0.0.1:", ":50051", "127.0.0.1:0", "127.0.0.1:99999", "http://127.0.0.1:50051", "a b:1"],
)
@pytest.mark.parametrize("words", [("models",), ("chat", "Hi"), ("orgs", "list"), ("explain", "--model", "x")])
def test_a_target_that_is_no_place_is_told(words: tuple[str, ...], target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Who gives a URL, or no port, would be told to start a router, or that he has no key."""
    assert main([*words, "--target", target]) == 2
    assert capsys.readouterr() == ("", f"The target {target} is not HOST:PORT, such as 127.0.0.1:50051.\n")


def test_places_are_targets() -> None:
    """A router could not be named by its address."""
    for target in ("127.0.0.1:50051", "[::1]:1", "router.example.com:65535", "localhost:50051"):
        check_target(target)


def test_a_key_that_stays_here_is_told_apart_from_none() -> None:
    """Who names another machine would look for a fault in the key that `junctor up` wrote."""
    with pytest.raises(WrongUseError, match=r"What `junctor up` wrote stays on this machine; set JUNCTOR_API_KEY"):
        find_key(None, "192.0.2.1:50051", {})
    with pytest.raises(WrongUseError, match=r"`junctor up` writes one for this machine; or set JUNCTOR_API_KEY"):
        find_key(None, "127.0.0.1:50051", {"JUNCTOR_DATA_DIR": "/nowhere"})


@pytest.mark.parametrize("words", [("up",), ("init",)])
def test_what_keeps_a_command_from_starting_is_no_output(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`junctor init > key` would leave an error in the place of a key, and show nobody."""
    (tmp_path / "store.sqlite3").write_bytes(b"no store of anybody's" * 100)
    monkeypatch.setenv("JUNCTOR_STORE", "sqlite")
    monkeypatch.setenv("JUNCTOR_LISTEN", "127.0.0.1:0")
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == (
        "",
        [f"{tmp_path / 'store.sqlite3'} is not a store, or cannot be written; use another data folder"],
    )


def test_an_output_that_takes_no_more_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk would end in a page of code, or pass for a whole output."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert main(["catalog", "show", "--json"]) == 1
    assert capsys.readouterr().err == "Not all could be written: no space left on device.\n"


def test_a_closed_output_is_no_bug() -> None:
    """A command started without standard output or error would end in a traceback, or write into one of its connections."""
    program = f"import sys; from junctor.cli.main import main; sys.stdout = None; sys.exit(main({['catalog', 'show']!r}))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
