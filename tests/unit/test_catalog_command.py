"""`junctor catalog` and the file in the data folder: what is told, what is refused, and what comes into force."""

import argparse
import asyncio
import errno
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from junctor.adapters.catalog.packaged import PackagedCatalog
from junctor.adapters.catalog.snapshot import CatalogFormatError
from junctor.adapters.providers import registry
from junctor.adapters.providers.registry import RegistryError
from junctor.bootstrap import catalog_file as catalog_files
from junctor.bootstrap.catalog_file import IMPORTED_FILE, CatalogFile
from junctor.cli.catalog import add_catalog, run_catalog
from junctor.cli.catalog_changes import per_million, per_piece, percent
from junctor.settings import Command, Settings

CARD = {"version": "1", "parts": {"input": 150_000, "output": 600_000}, "source": "s", "as_of": "2026-11-01"}
ENDPOINT = {"model": "lab/model", "upstream_model": "m", "dialect": "openai_chat", "base_url": "https://a.example/v1"}


def rows() -> dict[str, object]:
    """Give the rows of a small snapshot: one price, one suspect."""
    return {
        "version": "7",
        "built_at": "2026-11-21T00:00:00Z",
        "providers": [{"slug": "groq", "name": "Groq"}, {"slug": "nvidia", "name": "N"}],
        "models": [{"slug": "lab/model", "name": "Model", "aliases": ["model"]}],
        "endpoints": [
            {"id": "groq/lab/model", "provider": "groq", **ENDPOINT},
            {"id": "nvidia/lab/model", "provider": "nvidia", **ENDPOINT},
        ],
        "prices": [{"endpoint": "groq/lab/model", "cards": [CARD]}],
        "quarantined": [{"endpoint": "nvidia/lab/model", "cards": [CARD], "reason": "too dear"}],
    }


def written(folder: Path, name: str = "given.json", changed: Mapping[str, object] = MappingProxyType({})) -> Path:
    """Write the rows into a file."""
    path = folder / name
    path.write_text(json.dumps({**rows(), **changed}))
    return path


def run(folder: Path, *words: object) -> int:
    """Run the command as the command line would."""
    parser = argparse.ArgumentParser()
    add_catalog(parser.add_subparsers())
    settings = Settings.from_environment({"JUNCTOR_DATA_DIR": str(folder / "data")}, Command.UP)
    return run_catalog(parser.parse_args(["catalog", *map(str, words)]), settings)


def told(capsys: pytest.CaptureFixture[str]) -> Mapping[str, Any]:
    """Return the one JSON object on standard output."""
    found: Mapping[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_show_counts_the_packaged_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else nobody learns how much Junctor can reach."""
    assert run(tmp_path, "show", "--json") == 0
    counted = told(capsys)
    assert counted["models"] >= 350
    assert counted["endpoints"] >= 2000
    assert counted["providers"] >= 80
    assert run(tmp_path, "show") == 0
    assert f"{counted['endpoints']:,}" in capsys.readouterr().out


def test_show_lists_endpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else a price, or its absence and the reason, cannot be looked up."""
    path = written(tmp_path)
    assert run(tmp_path, "show", path, "--model", "model") == 0
    text = capsys.readouterr().out
    assert "0.15 / 0.6 of 2026-11-01" in text
    assert "quarantined" in text
    assert run(tmp_path, "show", path, "--provider", "groq", "--json") == 0
    assert [row["endpoint"]["id"] for row in told(capsys)["endpoints"]] == ["groq/lab/model"]
    assert run(tmp_path, "show", path, "--quarantined", "--json") == 0
    assert [row["reason"] for row in told(capsys)["quarantined"]] == ["too dear"]
    assert run(tmp_path, "show", path, "--quarantined", "--provider", "groq") == 0
    assert "too dear" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [("--model", "lab/other"), ("--provider", "other"), ("--quarantined", "--model", "lab/other")]
)
def test_a_name_that_the_catalogue_has_not_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """A script that mistypes a model would take it for one that nobody serves."""
    assert run(tmp_path, "show", written(tmp_path), *words) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"catalogue 7 has no {'provider' if '--provider' in words else 'model'} {words[-1]!r}\n")


def test_diff_tells_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else a new catalogue is put in force blindly."""
    dearer = {**CARD, "parts": {"input": 1, "output": 2}}
    changed = {"prices": [{"endpoint": "groq/lab/model", "cards": [dearer]}], "quarantined": []}
    old, new = written(tmp_path), written(tmp_path, "new.json", changed)
    assert run(tmp_path, "diff", old, new, "--json") == 0
    found = told(capsys)
    assert found["prices"] == {"added": [], "removed": [], "changed": ["groq/lab/model"]}
    assert found["quarantined"]["removed"] == ["nvidia/lab/model"]
    assert found["endpoints"] == found["models"] == found["providers"] == {"added": [], "removed": [], "changed": []}
    assert run(tmp_path, "diff", old) == 0
    assert "and " in capsys.readouterr().out


def test_import_puts_a_snapshot_in_force_and_takes_it_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else an operator cannot change prices without a new release of Junctor, or not go back."""
    assert run(tmp_path, "import", written(tmp_path), "--json") == 0
    assert told(capsys) == {"version": "7", "changed": True}
    assert run(tmp_path, "show", "--json") == 0
    assert told(capsys)["models"] == 1
    assert run(tmp_path, "import", "--packaged", "--json") == 0
    assert told(capsys)["changed"]
    assert run(tmp_path, "show", "--json") == 0
    assert told(capsys)["models"] >= 350


ODD: Mapping[str, object] = {
    "providers": [{"slug": "odd", "name": "O"}],
    "endpoints": [{"id": "odd/lab/model", "provider": "odd", **ENDPOINT}],
    "prices": [],
    "quarantined": [],
}
"""A provider that has no row in providers.toml."""


@pytest.mark.parametrize("changed", [{"models": []}, {"extra": 1}, ODD])
def test_import_refuses_what_is_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: Mapping[str, object]
) -> None:
    """Else one wrong file stops every router of the folder at its next start."""
    assert run(tmp_path, "import", written(tmp_path, changed=changed)) == 1
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'given.json'}: ")
    assert not (tmp_path / "data" / IMPORTED_FILE).exists()
    assert run(tmp_path, "import", tmp_path / "gone.json") == 1


def test_a_running_router_follows_the_file(tmp_path: Path) -> None:
    """Else a price change needs a restart, which costs every open stream."""
    catalog = PackagedCatalog()
    file = CatalogFile(catalog, registry.load(), tmp_path / IMPORTED_FILE)
    before = catalog.current()
    assert not file.refresh()
    written(tmp_path, IMPORTED_FILE)
    assert file.refresh()
    assert catalog.current().version == "7"
    assert before.version != "7"
    assert not file.refresh()
    (tmp_path / IMPORTED_FILE).unlink()
    assert file.refresh()
    assert catalog.current().version == before.version


@pytest.mark.parametrize(("changed", "error"), [({"models": []}, CatalogFormatError), (ODD, RegistryError)])
def test_a_wrong_file_changes_nothing(tmp_path: Path, changed: Mapping[str, object], error: type[Exception]) -> None:
    """Else a slip in a file takes a running router's models away."""
    catalog = PackagedCatalog()
    before = catalog.current()
    file = CatalogFile(catalog, registry.load(), tmp_path / IMPORTED_FILE)
    written(tmp_path, IMPORTED_FILE, changed)
    with pytest.raises(error):
        file.refresh()
    assert catalog.current() is before
    assert not file.refresh()


async def test_the_look_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one wrong file ends the watch, and the right one after it is never seen."""
    monkeypatch.setattr(catalog_files, "LOOK_EVERY_S", 0.01)
    catalog = PackagedCatalog()
    heard: asyncio.Queue[str] = asyncio.Queue()
    looking = asyncio.create_task(CatalogFile(catalog, registry.load(), tmp_path / IMPORTED_FILE).keep(heard.put_nowait))
    try:
        written(tmp_path, "partial.json", {"extra": 1})
        (tmp_path / "partial.json").replace(tmp_path / IMPORTED_FILE)
        assert "not fit for use" in await asyncio.wait_for(heard.get(), 10)
        written(tmp_path, "partial.json")
        (tmp_path / "partial.json").replace(tmp_path / IMPORTED_FILE)
        assert await asyncio.wait_for(heard.get(), 10) == "catalogue 7 is in force"
    finally:
        looking.cancel()


async def test_the_look_goes_on_whatever_a_file_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one odd file, or one that could not be read for a moment, leaves old prices in force until a restart."""
    monkeypatch.setattr(catalog_files, "LOOK_EVERY_S", 0.01)
    readable, heard = Path.read_bytes, asyncio.Queue[str]()
    refusals = [OSError(errno.EMFILE, "too many open files")] * 3

    def read_bytes(path: Path) -> bytes:
        if refusals:
            raise refusals.pop()
        return readable(path)

    file = CatalogFile(PackagedCatalog(), registry.load(), tmp_path / IMPORTED_FILE)
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    looking = asyncio.create_task(file.keep(heard.put_nowait))
    try:
        deep = "[" * 100_000 + "]" * 100_000
        (tmp_path / "partial.json").write_text(
            json.dumps(rows()).replace('{"slug": "groq"', f'{{"odd": {deep}, "slug": "groq"')
        )
        (tmp_path / "partial.json").replace(tmp_path / IMPORTED_FILE)
        told = [await asyncio.wait_for(heard.get(), 10) for _ in range(2)]
        assert [text.rpartition(": ")[2] for text in told] == ["OSError", "RecursionError"]
        written(tmp_path, "partial.json")
        (tmp_path / "partial.json").replace(tmp_path / IMPORTED_FILE)
        assert await asyncio.wait_for(heard.get(), 10) == "catalogue 7 is in force"
    finally:
        looking.cancel()


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (per_million, "0.25", 250_000),
        (per_million, "0.000001", 1),
        (per_million, "0", 0),
        (per_million, "1e1", 10_000_000),
        (per_piece, "0.002", 2_000_000_000),
        (per_piece, "0.000000000001", 1),
        (percent, "12.5", 125_000),
        (percent, "0.0001", 1),
    ],
)
def test_prices_are_read_exactly(read: Callable[[str], int], text: str, expected: int) -> None:
    """An operator would set another price than he typed."""
    assert read(text) == expected


@pytest.mark.parametrize("text", ["", "0.0000001", "-1", "nan", "inf", "1,5", "$1", "1e99", "9" * 40, "1000001"])
def test_what_is_no_price_is_refused(text: str) -> None:
    """A slip of the keyboard would be rounded to some price."""
    with pytest.raises(argparse.ArgumentTypeError):
        per_million(text)


def test_changes_of_a_running_catalogue_need_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command would look at files, or show a stack, where a running router must be asked."""
    assert run(tmp_path, "discount", "list", "--key-file", tmp_path / "none") == 2
    assert "none" in capsys.readouterr().err
