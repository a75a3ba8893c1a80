"""The pins of `poe catalog`: what is fetched is what was reviewed, and what is committed is what it makes."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from infra.catalog import fetch as fetching
from infra.catalog.__main__ import PACKAGED, main
from infra.catalog.build import HERE, build
from infra.catalog.fetch import DigestError, Pin, UnavailableError, cached_at, fetch, members, read_pins

PINS = read_pins((HERE / "sources.toml").read_text(encoding="utf-8"))


@pytest.fixture
def pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pin:
    """Give a pin of b'right', and a cache of its own."""
    monkeypatch.setattr(fetching, "user_cache_path", lambda _: tmp_path)
    digest = "af39fae9508c7346c1b3eef29f4ed0aeb5d2ecac5e19ee7e7e7c2ddd5c02f0a5"
    return Pin(source="s", kind="pypi", name="package", version="1", sha256=digest, as_of="2026-11-01")


def test_pins_are_complete() -> None:
    """Else a build takes whatever version a registry has today."""
    assert len({package.source for package in PINS.package}) == len(PINS.package)
    for package in PINS.package:
        assert len(package.sha256) == 64
        assert package.version[0].isdigit()
        assert package.as_of <= PINS.built_at[:10]


def test_a_file_that_is_not_the_pinned_one_is_refused(pin: Pin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever can change a package writes our prices."""
    monkeypatch.setattr(fetching, "_download", lambda *_: b"wrong")
    with pytest.raises(DigestError, match="package 1"):
        fetch(pin)
    assert not cached_at(pin).exists()
    cached_at(pin).parent.mkdir()
    cached_at(pin).write_bytes(b"spoilt")
    with pytest.raises(DigestError):
        fetch(pin)


def test_a_registry_out_of_reach_is_no_difference(
    pin: Pin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else every check without a network fails, or a build without one writes nonsense."""

    def gone(*_: object) -> bytes:
        raise UnavailableError("package 1: no answer")

    monkeypatch.setattr(fetching, "_download", gone)
    assert main(["--check"]) == 0
    assert "skipped" in capsys.readouterr().err
    before = PACKAGED.read_bytes()
    assert main([]) == 2
    assert PACKAGED.read_bytes() == before


def test_files_within_packages() -> None:
    """Else an importer looks for its file where it is not."""
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("package/data.json", b"1")
        archive.writestr("package/data.json.gz", b"4")
        archive.writestr("package/code.py", b"2")
    pypi = Pin(source="s", kind="pypi", name="p", version="1", sha256="", as_of="")
    assert members(pypi, wheel.getvalue()) == {"package/data.json": b"1", "package/data.json.gz": b"4"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        entry = tarfile.TarInfo("package/dist/data.json")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"3"))
    npm = Pin(source="s", kind="npm", name="p", version="1", sha256="", as_of="")
    assert members(npm, packed.getvalue()) == {"dist/data.json": b"3"}


@pytest.mark.skipif(not all(cached_at(package).exists() for package in PINS.package), reason="run poe catalog once to fetch")
def test_the_pins_make_what_is_committed() -> None:
    """Else the catalogue that is shipped is not the one whose making was reviewed."""
    assert build() == PACKAGED.read_bytes()
