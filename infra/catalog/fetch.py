"""Where do the sources come from? From their registries, once, by the registries' own clients, into a cache by digest.

Refuses a file whose digest is not the pinned one. No address of a registry stands here: pip and npm know theirs.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct
from platformdirs import user_cache_path

FETCH_S = 300


class UnavailableError(Exception):
    """A package is not in the cache and cannot be fetched here."""


class DigestError(Exception):
    """A package is not the one that was pinned."""


class Pin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of one package. `python` and `platform` choose among wheels where there are several."""

    source: str
    kind: Literal["pypi", "npm"]
    name: str
    version: str
    sha256: str
    as_of: str
    python: str | None = None
    platform: str | None = None


class Pins(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of sources.toml."""

    version: str
    built_at: str
    package: tuple[Pin, ...]


def read_pins(text: str) -> Pins:
    """Read sources.toml. Raises tomllib.TOMLDecodeError, msgspec.ValidationError."""
    return msgspec.convert(tomllib.loads(text), Pins)


def cached_at(pin: Pin) -> Path:
    """Return where the package's file is once it was fetched."""
    return user_cache_path("junctor") / "catalog" / pin.sha256


def fetch(pin: Pin) -> bytes:
    """Return the package's file, from the cache or else from its registry. Raises UnavailableError, DigestError."""
    cached = cached_at(pin)
    if not cached.exists():
        with tempfile.TemporaryDirectory() as folder:
            data = _download(pin, Path(folder))
            _check(pin, data)
            cached.parent.mkdir(parents=True, exist_ok=True)
            partial = cached.with_suffix(".part")
            partial.write_bytes(data)
            partial.replace(cached)
    data = cached.read_bytes()
    _check(pin, data)
    return data


def members(pin: Pin, data: bytes) -> Mapping[str, bytes]:
    """Return the files within a package, by path from its top folder."""
    if pin.kind == "pypi":
        with zipfile.ZipFile(BytesIO(data)) as wheel:
            return {
                name: wheel.read(name)
                for name in wheel.namelist()
                if name.endswith((".json", ".json.gz", ".sqlite", "/data.py"))
            }
    with tarfile.open(fileobj=BytesIO(data), mode="r:gz") as archive:
        found = (
            (entry.name.partition("/")[2], archive.extractfile(entry)) for entry in archive if entry.name.endswith(".json")
        )
        return {name: file.read() for name, file in found if file is not None}


def _check(pin: Pin, data: bytes) -> None:
    if hashlib.sha256(data).hexdigest() != pin.sha256:
        raise DigestError(f"{pin.name} {pin.version} is not the file that was pinned")


def _download(pin: Pin, folder: Path) -> bytes:
    command = _pip(pin, folder) if pin.kind == "pypi" else _npm(pin, folder)
    try:
        # The words are ours and those of sources.toml, which is reviewed like code.
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=FETCH_S, check=False)  # noqa: S603 - see above
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{pin.name} {pin.version}: {type(error).__name__}") from None
    files = [path for path in folder.iterdir() if path.suffix in {".whl", ".tgz"}]
    if done.returncode != 0 or len(files) != 1:
        raise UnavailableError(f"{pin.name} {pin.version}: {command[0]} ended with {done.returncode}")
    return files[0].read_bytes()


def _pip(pin: Pin, folder: Path) -> Sequence[str]:
    chosen = (
        *(("--python-version", pin.python) if pin.python else ()),
        *(("--platform", pin.platform) if pin.platform else ()),
    )
    words = ("download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder))
    return (sys.executable, "-m", "pip", *words, *chosen, f"{pin.name}=={pin.version}")


def _npm(pin: Pin, folder: Path) -> Sequence[str]:
    return ("npm", "pack", "--silent", "--pack-destination", str(folder), f"{pin.name}@{pin.version}")
