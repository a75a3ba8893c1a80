"""How the engines are found: never installed by a test, never silently missing where they are required."""

from pathlib import Path

import platformdirs
import pytest

from tests.support.engines import places
from tests.support.engines.places import PLACES, REQUIREMENTS, found


@pytest.fixture
def no_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the user's cache be empty, and nothing require engines."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("TESTS_REQUIRE_ENGINES", raising=False)
    return tmp_path


@pytest.mark.parametrize("name", PLACES)
def test_a_missing_engine_is_skipped_with_the_command_that_installs_it(name: str, no_engines: Path) -> None:
    """A newcomer's first run of the tests would fail, or pass over the engines without a word."""
    with pytest.raises(pytest.skip.Exception, match=rf"{name} is not installed here: `poe engines`"):
        found(name)


@pytest.mark.parametrize("variable", ["CI", "TESTS_REQUIRE_ENGINES"])
def test_a_missing_engine_fails_where_engines_are_required(
    variable: str, no_engines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate would be green though no engine judged anything."""
    monkeypatch.setenv(variable, "1")
    with pytest.raises(pytest.fail.Exception, match="poe engines"):
        found("ministack")


def test_half_an_installation_is_none(no_engines: Path) -> None:
    """An installation that was cut off would be started, and fail in ways that say nothing."""
    place = PLACES["ministack"]()
    place.program.parent.mkdir(parents=True)
    place.program.touch()
    assert not place.installed
    place.mark.touch()
    assert place.installed
    assert found("ministack") == place


def test_another_version_is_another_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change of version the old engine would go on judging."""
    before = {name: locate().folder for name, locate in PLACES.items()}
    other = tmp_path / "requirements.txt"
    other.write_text(REQUIREMENTS.read_text(encoding="utf-8") + "\n")
    monkeypatch.setattr(places, "REQUIREMENTS", other)
    monkeypatch.setattr(places, "CRATE_VERSION", "0")
    after = {name: locate().folder for name, locate in PLACES.items()}
    assert not set(before.values()) & set(after.values())


def test_all_of_ministack_is_known_by_hash() -> None:
    """Whoever owns the name of one of its packages could run what he likes on our machines."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    pins = [number for number, line in enumerate(lines) if "==" in line]
    assert any(lines[number].startswith("ministack==1.5.33 ") for number in pins)
    assert all("--hash=sha256:" in lines[number + 1] for number in pins)
    assert not [line for line in lines if "://" in line or "index" in line]
