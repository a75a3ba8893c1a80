"""Programs that a benchmark uses and nothing else does: two other gateways and a profiler, each in an environment of its own.

They lie in the user's cache, as the engines do (tests/support/engines): in a folder named after all that goes into them, every
package pinned and checked by hash. Installing them asks the package indexes that pip and npm are set to; a program that cannot
be had is said to be missing, and the rest goes on without it.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.support.engines.__main__ import make, run
from tests.support.engines.places import Place, place

LITELLM, PORTKEY, PY_SPY = "litellm", "portkey", "py-spy"
_HERE = Path(__file__).parent
_KIND = "bench"
_PORTKEY_FILES = ("package.json", "package-lock.json")


class MissingError(Exception):
    """A program is not to be had here; the text says which and why."""


class Program(Struct, frozen=True):
    """A program, which version of it, where it is or would be, and how it gets there."""

    version: str
    place: Place
    install: Callable[[Place], None]


def litellm() -> Program:
    """Return LiteLLM's proxy."""
    return _python(LITELLM, "venv/bin/litellm")


def py_spy() -> Program:
    """Return the sampling profiler."""
    return _python(PY_SPY, "venv/bin/py-spy")


def portkey() -> Program:
    """Return Portkey's gateway. Raises MissingError where there is no Node to run it."""
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            raise MissingError(f"{PORTKEY} is left out: {name} is not here")
    files = [(_HERE / PORTKEY / name).read_text(encoding="utf-8") for name in _PORTKEY_FILES]
    version: str = msgspec.json.decode(files[0])["dependencies"]["@portkey-ai/gateway"]
    start = "node_modules/@portkey-ai/gateway/build/start-server.js"
    return Program(version, place(_KIND, PORTKEY, start, "".join(files)), _install_portkey)


def installed(program: Program) -> Place:
    """Install a program unless it is here. Raises MissingError."""

    def install(where: Place) -> None:
        print(f"installing {where.name} {program.version}, once, in the user's cache", file=sys.stderr)
        try:
            program.install(where)
        except (OSError, subprocess.SubprocessError) as problem:
            raise MissingError(f"{where.name} could not be installed: {type(problem).__name__}") from None

    make(program.place, install)
    return program.place


def pinned(requirements: str) -> str:
    """Return the version in a requirement file's one line."""
    return requirements.strip().rpartition("==")[2]


def _python(name: str, program: str) -> Program:
    version = pinned((_HERE / f"requirements-{name}.in").read_text(encoding="utf-8"))
    made_of = _locked(name).read_text(encoding="utf-8") + sys.version
    return Program(version, place(_KIND, name, program, made_of), _install_python)


def _locked(name: str) -> Path:
    return _HERE / f"requirements-{name}.txt"


def _install_python(where: Place) -> None:
    """Make a virtual environment; pip compiles all modules when it installs them."""
    run(sys.executable, "-m", "venv", str(where.folder / "venv"))
    pip = (str(where.folder / "venv/bin/python"), "-m", "pip", "install", "-q", "--require-hashes")
    run(*pip, "-r", str(_locked(where.name)))


def _install_portkey(where: Place) -> None:
    for name in _PORTKEY_FILES:
        shutil.copy(_HERE / PORTKEY / name, where.folder)
    run("npm", "ci", "--prefix", str(where.folder), "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
