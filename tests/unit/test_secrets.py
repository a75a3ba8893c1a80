"""Tests of adapters/secrets: the environment's secrets and this machine's files."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from junctor.adapters.secrets.environment import EnvironmentSecrets, local_pepper
from junctor.adapters.secrets.private_file import PrivateFileError, create_private, read_private
from junctor.ports.secrets import Peppers, Secrets

PEPPERS = Peppers(1, {1: b"p" * 32})


def test_secrets_are_a_copy_and_blanks_are_absent() -> None:
    """If this fails, a provider without a key counts as reachable, or a pasted newline breaks a header."""
    environ = {"ACME_API_KEY": " sk-acme\n", "EMPTY_API_KEY": "  "}
    made = EnvironmentSecrets(environ, PEPPERS)
    environ["LATER_API_KEY"] = "sk-later"
    secrets: Secrets = made
    assert secrets.get("ACME_API_KEY") == "sk-acme"
    assert secrets.get("EMPTY_API_KEY") is None
    assert secrets.get("LATER_API_KEY") is None
    assert secrets.peppers() is PEPPERS
    assert made.names() == {"ACME_API_KEY"}


def test_a_secret_may_be_added_at_run_time() -> None:
    """If this fails, the local model that we start refuses us."""
    secrets = EnvironmentSecrets({}, PEPPERS)
    secrets.add("JUNCTOR_LOCAL_KEY", "made-up")
    assert secrets.get("JUNCTOR_LOCAL_KEY") == "made-up"
    assert secrets.names() == {"JUNCTOR_LOCAL_KEY"}


def test_no_value_is_in_a_repr() -> None:
    """If this fails, a traceback or a log line shows provider keys."""
    assert "sk-acme" not in repr(EnvironmentSecrets({"ACME_API_KEY": "sk-acme"}, PEPPERS))


def test_the_local_pepper_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    """If this fails, every restart voids all keys, or another user of the machine can forge them."""
    path = tmp_path / "data" / "pepper"
    made = local_pepper(path)
    assert made.current in made.by_version
    assert len(made.by_version[made.current]) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert local_pepper(path) == made
    assert local_pepper(tmp_path / "other") != made
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["pepper"]


def test_many_starters_agree_on_one_pepper(tmp_path: Path) -> None:
    """If this fails, two processes that start together refuse each other's keys."""
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: local_pepper(tmp_path / "pepper"), range(16)))
    assert all(peppers == found[0] for peppers in found)


def test_a_pepper_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """If this fails, a leaked pepper stays in use without anyone knowing."""
    path = tmp_path / "pepper"
    local_pepper(path)
    content = path.read_text(encoding="utf-8").strip()
    path.chmod(0o640)
    with pytest.raises(PrivateFileError, match="chmod 600") as caught:
        local_pepper(path)
    assert caught.value.path == path
    assert content not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"c2hvcnQ=", b"not base64 at all"])
def test_a_damaged_pepper_is_refused(tmp_path: Path, content: bytes) -> None:
    """If this fails, API keys are digested under next to nothing."""
    path = tmp_path / "pepper"
    assert create_private(path, content)
    with pytest.raises(PrivateFileError, match="not a pepper"):
        local_pepper(path)


def test_private_files_are_not_overwritten(tmp_path: Path) -> None:
    """If this fails, a second start destroys the first one's secret."""
    path = tmp_path / "first-key"
    assert create_private(path, b"one")
    assert not create_private(path, b"two")
    assert read_private(path) == b"one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["first-key"]


def test_a_place_that_cannot_hold_a_file_is_a_typed_error(tmp_path: Path) -> None:
    """If this fails, a start on a bad folder ends in a traceback."""
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(PrivateFileError):
        create_private(tmp_path / "file" / "pepper", b"x")
    (tmp_path / "pepper").mkdir(mode=0o700)
    with pytest.raises(PrivateFileError):
        local_pepper(tmp_path / "pepper")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """If this fails, someone who can write in the folder chooses which file is our secret."""
    create_private(tmp_path / "theirs", b"x")
    (tmp_path / "pepper").symlink_to(tmp_path / "theirs")
    with pytest.raises(PrivateFileError):
        read_private(tmp_path / "pepper")
