"""Tests of the console: what a person sees, on a terminal and off it."""

import io

import pytest

from junctor.cli.console import Console


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture
def lively(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Return a terminal that wants colour."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Screen()


def show_everything(console: Console) -> None:
    """Use every kind of output once."""
    console.line("Junctor is ready at [::1]:50051 " + "x" * 200)
    with console.progress("Fetching the model") as report:
        for done in range(0, 101, 5):
            report(done * 1_000_000, 100_000_000)
    console.table("What runs", [("gRPC", "[::1]:50051"), ("model", "small", "on 2 cores")])
    console.quiet("Everything is in memory.")
    console.problem("No provider key was found.")
    console.next_steps(["junctor chat Hello"])


def test_off_a_terminal_all_is_plain_text() -> None:
    """If this fails, logs and scripts get escape codes, folded lines or words eaten as markup."""
    stream = io.StringIO()
    show_everything(Console(stream))
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()
    assert [line.rstrip() for line in stream.getvalue().splitlines()] == [
        "Junctor is ready at [::1]:50051 " + "x" * 200,
        "Fetching the model: 0% of 100.0 MB",
        "Fetching the model: 25% of 100.0 MB",
        "Fetching the model: 50% of 100.0 MB",
        "Fetching the model: 75% of 100.0 MB",
        "Fetching the model: 100% of 100.0 MB",
        "",
        "What runs",
        "gRPC   [::1]:50051",
        "model  small        on 2 cores",
        "Everything is in memory.",
        "No provider key was found.",
        "",
        "Next",
        "  junctor chat Hello",
    ]


def test_on_a_terminal_the_same_is_told_with_colour(lively: Screen) -> None:
    """If this fails, a person at a terminal sees no progress, or output that says something else than the plain one."""
    show_everything(Console(lively))
    shown = lively.getvalue()
    assert "\x1b[31mNo provider key was found." in shown
    assert "100.0/100.0 MB" in shown


def test_no_color_is_respected(lively: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a person who asked for no colour gets it all the same."""
    monkeypatch.setenv("NO_COLOR", "1")
    show_everything(Console(lively))
    assert "\x1b" not in lively.getvalue()


def test_a_download_of_unknown_size_is_told_once() -> None:
    """If this fails, a server that names no length breaks the download's display."""
    stream = io.StringIO()
    with Console(stream).progress("Fetching") as report:
        report(0, 0)
        report(5, 0)
    assert stream.getvalue() == "Fetching: begun\n"
