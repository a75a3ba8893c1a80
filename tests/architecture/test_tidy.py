"""What must not be in any file of the project: a machine's paths, a package index's address, an unpinned requirement."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
REQUIREMENTS = sorted(ROOT.glob("requirements*.txt"))
TIMEOUT_S = 60

MACHINE_PATH = re.compile(r"(?<![\w.~:/-])(?:/(?:work|root|Users|opt/wheels)/[\w.-]+|[A-Z]:\\Users\\\w)")
"""A path of somebody's machine; a made-up home such as a test's own is none."""
INDEX_ADDRESS = re.compile(r"https?://[\w.:@-]*(?:pypi|pythonhosted|artifactory|nexus|jfrog)[\w.:-]*/", re.IGNORECASE)
PINNED = re.compile(r"[\w.-]+(?:\[[\w,.-]+\])?==[\w.!+-]+(?: ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")


def tracked() -> list[Path]:
    """Return the files that git tracks; skip where this is no checkout."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str:
    """Return a file's text; what is not text has no readable address in it."""
    return path.read_bytes().decode("utf-8", errors="replace")


def this_machine_s_index_hosts() -> list[str]:
    """Return the hosts of the package index that this machine is set to use, if any."""
    names = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX")
    hosts = (urlsplit(address).hostname for name in names for address in os.environ.get(name, "").split())
    return [host for host in hosts if host and host not in {"localhost", "127.0.0.1"}]


def test_no_tracked_file_names_a_machine_or_its_package_index() -> None:
    """The project would only build on the machine on which it was written."""
    hosts = this_machine_s_index_hosts()
    found: list[str] = []
    files = tracked()
    assert ROOT / "pyproject.toml" in files
    for path in files:
        text = text_of(path)
        found += [f"{path.name}: {match[0]}" for match in (*MACHINE_PATH.finditer(text), *INDEX_ADDRESS.finditer(text))]
        found += [f"{path.name}: the host of this machine's index" for host in hosts if host in text]
    assert found == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see /" + "work/main/x", True),
        ("find-links=/opt/" + "wheels/x", True),
        ("a/" + "work/main", False),
        ("https://" + "pypi.example.org/simple/x", True),
        ("https://" + "files.pythonhosted.org/packages/x", True),
        ("PyPI has it", False),
        ("http://127.0.0.1:9/simple", False),
    ],
)
def test_the_patterns_find_what_they_are_for(text: str, expected: bool) -> None:
    """A pattern that matches nothing would keep nothing out."""
    assert bool(MACHINE_PATH.search(text) or INDEX_ADDRESS.search(text)) is expected


def test_there_are_two_requirement_files() -> None:
    """The tests below would pass by looking at nothing."""
    assert [path.name for path in REQUIREMENTS] == ["requirements-dev.txt", "requirements.txt"]


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_requirements_are_pinned_and_hashed_and_nothing_else(path: Path) -> None:
    """An install could fetch another thing than was tested, or from another place."""
    text = text_of(path)
    assert not re.search(r"://|\bfile:|^--(?!hash)|^-", text, re.MULTILINE)
    strange = [line for line in text.splitlines() if line and not PINNED.fullmatch(line) and not HASH.fullmatch(line)]
    assert strange == []
    assert text.count("==") > 10


def test_what_runs_is_what_was_tested() -> None:
    """The image would hold another version of a library than the tests saw."""
    dev, run_time = ({line for line in text_of(path).splitlines() if "==" in line} for path in REQUIREMENTS)
    assert {line.partition(" ")[0] for line in run_time} <= {line.partition(" ")[0] for line in dev}
