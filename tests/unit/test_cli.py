"""Tests of the command line: parsing, settings and what is imported when."""

import re
import sys
from types import ModuleType

import pytest

from junctor.cli.console import Console
from junctor.cli.main import main
from junctor.settings import Settings, Store, list_settings
from tests.support.fresh_python import modules_after

HEAVY = {"grpc", "httpx", "aiohttp", "boto3", "botocore", "rich", "google", "uvloop"}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in list_settings():
        monkeypatch.delenv(row.variable, raising=False)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Put servers in place that note what they are started with and end with code 7."""
    calls: list[tuple[object, ...]] = []

    def start(*given: object) -> int:
        calls.append(given)
        return 7

    for name in ("up", "serve"):
        module = ModuleType(f"junctor.bootstrap.{name}")
        setattr(module, f"run_{name}", start)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["up", "--help"], ["serve", "--help"], ["chat", "--help"]])
def test_help_is_quick_because_it_imports_nothing_heavy(words: list[str]) -> None:
    """If this fails, `junctor --help` takes a second and a missing native library breaks even the help."""
    loaded = modules_after(f"from junctor.cli.main import main; main({words!r})")
    assert "junctor" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("command", ["", "up", "serve", "chat"])
def test_every_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a newcomer reads options and still does not know what to type."""
    with pytest.raises(SystemExit) as ended:
        main([word for word in (command, "--help") if word])
    assert ended.value.code == 0
    assert re.search(rf"Example:.*junctor {command or 'up'}", capsys.readouterr().out, re.DOTALL)


def test_serve_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, an operator cannot find what can be set."""
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    shown = capsys.readouterr().out
    assert all(row.variable in shown and row.meaning in shown for row in list_settings())


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a bug report cannot say what it is about."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert re.fullmatch(r"junctor \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_wrong_use_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a script takes a mistyped command for one that worked."""
    assert main([]) == 2
    for words in (["fly"], ["chat", "--max-tokens", "0", "Hi"], ["chat", "--timeout", "nan", "Hi"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
    assert "usage: junctor" in capsys.readouterr().err


def test_up_turns_its_options_into_settings(started: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, an option is ignored, or does not win over the environment."""
    monkeypatch.setenv("JUNCTOR_LISTEN", "127.0.0.1:1")
    assert main(["up", "--listen", "127.0.0.1:0", "--data-dir", "/tmp/junctor-x", "--no-local-model"]) == 7
    ((settings, console),) = started
    assert isinstance(settings, Settings)
    assert isinstance(console, Console)
    assert (str(settings.listen), str(settings.data_dir), settings.local_model) == ("127.0.0.1:0", "/tmp/junctor-x", False)
    assert settings.store is Store.SQLITE


def test_serve_takes_the_environment(started: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a container starts as if it were a laptop."""
    monkeypatch.setenv("JUNCTOR_PEPPER", "1:" + "A" * 43 + "=")
    assert main(["serve"]) == 7
    ((settings,),) = started
    assert isinstance(settings, Settings)
    assert (settings.store, settings.log) == (Store.DYNAMODB, None)


@pytest.mark.parametrize("command", ["up", "serve"])
def test_every_wrong_setting_is_told_before_anything_starts(
    command: str,
    started: list[tuple[object, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """If this fails, a server half starts on settings that are wrong, or tells one mistake at a time."""
    monkeypatch.setenv("JUNCTOR_LISTEN", "nowhere")
    monkeypatch.setenv("JUNCTOR_DRAIN_S", "long")
    monkeypatch.setenv("JUNCTOR_PEPPER", "1:" + "A" * 43 + "=")
    assert main([command]) == 2
    assert started == []
    told = capsys.readouterr().err.splitlines()
    assert {line.partition(":")[0] for line in told} == {"JUNCTOR_LISTEN", "JUNCTOR_DRAIN_S"}


def test_an_interrupted_command_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, Ctrl-C shows a traceback, or a script goes on as if the command had worked."""

    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    module = ModuleType("junctor.bootstrap.up")
    module.run_up = interrupt  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert main(["up"]) == 130
