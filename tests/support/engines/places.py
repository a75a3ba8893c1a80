"""Which engines judge the DynamoDB adapter, and where they are on this machine.

Each engine lies in a folder of the user's cache that is named after all that goes into it, so that it is made once, shared by
every checkout, and made anew when a version changes. Finding is quick and installs nothing: that is `poe engines`. A folder
without its mark is half an installation and counts as none.
"""

import functools
import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

import platformdirs
import pytest
from msgspec import Struct

REQUIREMENTS = Path(__file__).with_name("requirements-ministack.txt")
"""ministack and all that it needs, by hash; written from the file ending in `.in` by `uv pip compile`, as `poe lock` does."""

CRATE = "dynoxide-rs"
CRATE_VERSION = "3.2.0"
CRATE_FEATURES = "native-sqlite,http-server,cli"

COMMAND = "poe engines"
_MARK = "complete"


class Place(Struct, frozen=True):
    """Where an engine is, or would be; `program` is what starts it."""

    name: str
    folder: Path
    program: Path

    @property
    def mark(self) -> Path:
        """Return the file that says that the engine was installed to the end."""
        return self.folder / _MARK

    @property
    def installed(self) -> bool:
        """Tell whether the engine can be started. The Python that a virtual environment was made from may be gone."""
        return self.mark.exists() and self.program.exists()


def ministack() -> Place:
    """Return the place of ministack: a virtual environment of its own, as it pins botocore."""
    return place("engines", "ministack", "venv/bin/python", REQUIREMENTS.read_text(encoding="utf-8"))


def dynoxide() -> Place:
    """Return the place of dynoxide, which is built by the Rust compiler found here."""
    return place("engines", "dynoxide", "bin/dynoxide", f"{CRATE} {CRATE_VERSION} {CRATE_FEATURES} {rustc()}")


PLACES = {"ministack": ministack, "dynoxide": dynoxide}


@functools.cache
def rustc() -> str:
    """Return what the Rust compiler says of itself, empty where there is none or no cargo."""
    compiler = shutil.which("rustc")
    if compiler is None or shutil.which("cargo") is None:
        return ""
    said = subprocess.run([compiler, "-vV"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    return said.stdout if said.returncode == 0 else ""


def required() -> bool:
    """Tell whether a missing engine is a failure here."""
    return bool(os.environ.get("CI") or os.environ.get("TESTS_REQUIRE_ENGINES"))


def found(name: str) -> Place:
    """Return an installed engine's place; without it the running test is skipped, or fails where engines are required."""
    engine = PLACES[name]()
    if not engine.installed:
        reason = f"{name} is not installed here: `{COMMAND}` installs it"
        if required():
            pytest.fail(reason)
        pytest.skip(reason)
    return engine


def place(kind: str, name: str, program: str, made_of: str) -> Place:
    """Return where something of a kind lies that is made of these things, for this machine; `program` is what starts it."""
    machine = f"{platform.system()} {platform.machine()}"
    digest = hashlib.sha256(f"{machine}\n{made_of}".encode()).hexdigest()[:16]
    folder = platformdirs.user_cache_path("junctor", appauthor=False) / kind / f"{name}-{digest}"
    return Place(name, folder, folder / program)
