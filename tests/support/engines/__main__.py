"""`poe engines`: install the engines that judge the DynamoDB adapter, once, in the user's cache; safe to repeat.

ministack comes from the package index that pip is set to, checked by hash. dynoxide is built from its crate with the versions
that its author locked, and left out where there is no Rust compiler, unless engines are required.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.engines.places import (
    CRATE,
    CRATE_FEATURES,
    CRATE_VERSION,
    PLACES,
    REQUIREMENTS,
    Place,
    required,
    rustc,
)

LONGEST_S = 1_800.0
"""Seconds after which a step is given up: a build from nothing takes some minutes on a small machine."""


def main() -> int:
    """Install what is missing, and return the exit status."""
    status = 0
    for name, place in ((name, locate()) for name, locate in PLACES.items()):
        if name == "dynoxide" and not rustc():
            print("dynoxide is left out: rustc and cargo are not here")
            status = 1 if required() else status
            continue
        began = time.monotonic()
        made = make(place, STEPS[name])
        print(f"{name} was installed in {time.monotonic() - began:.0f} s" if made else f"{name} is here")
    return status


def make(place: Place, step: Callable[[Place], None]) -> bool:
    """Make what is not there yet, from nothing, and tell whether it was not. Raises what the step raises."""
    with _alone(place):
        if place.installed:
            return False
        shutil.rmtree(place.folder, ignore_errors=True)
        place.folder.mkdir()
        step(place)
        place.mark.touch()
        return True


def run(*command: str, within: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
    """Run a step, with these variables beside its own. Raises CalledProcessError or TimeoutExpired."""
    around = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **(environment or {})}
    subprocess.run(command, stdin=subprocess.DEVNULL, cwd=within, env=around, timeout=LONGEST_S, check=True)


@contextmanager
def _alone(place: Place) -> Iterator[None]:
    """Keep a second installation of the same engine waiting."""
    place.folder.parent.mkdir(parents=True, exist_ok=True)
    with place.folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install_ministack(place: Place) -> None:
    run(sys.executable, "-m", "venv", str(place.folder / "venv"))
    run(str(place.program), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(REQUIREMENTS))


def _install_dynoxide(place: Place) -> None:
    chosen = ("--version", CRATE_VERSION, "--no-default-features", "--features", CRATE_FEATURES, "--locked")
    run("cargo", "install", "--quiet", CRATE, *chosen, "--root", str(place.folder))


STEPS: dict[str, Callable[[Place], None]] = {"ministack": _install_ministack, "dynoxide": _install_dynoxide}

if __name__ == "__main__":
    sys.exit(main())
