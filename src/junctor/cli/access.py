"""How does a command reach the router? The options, the target and the API key, the same for all that speak with a user's key.

Invariant: the key that `junctor up` left on this machine is sent to this machine only.
"""

import argparse
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from junctor.settings import API_KEY_VARIABLE, DEFAULT_TARGET, FIRST_KEY_FILE, TARGET_VARIABLE, SettingsError, data_dir


class KeyPlace(NamedTuple):
    """Where a kind of API key is looked for: a variable, then a file in the data folder, which `junctor up` wrote."""

    variable: str
    file: str


USER_KEY = KeyPlace(API_KEY_VARIABLE, FIRST_KEY_FILE)


class WrongUseError(Exception):
    """The command cannot be done as it was given; the text says what to do."""


def add_options(parser: argparse.ArgumentParser, timeout_s: float) -> None:
    """Add --target, --key-file and --timeout, with its default in seconds, to a command."""
    parser.add_argument("--target", metavar="HOST:PORT", help=f"the router (default {TARGET_VARIABLE} or {DEFAULT_TARGET})")
    parser.add_argument(
        "--key-file",
        metavar="FILE",
        type=Path,
        help=f"file with the API key (default {API_KEY_VARIABLE}, then what junctor up wrote)",
    )
    add_timeout(parser, timeout_s)


def add_timeout(parser: argparse.ArgumentParser, timeout_s: float) -> None:
    """Add --timeout, with its default in seconds, to a command."""
    parser.add_argument(
        "--timeout", metavar="S", type=_seconds, default=timeout_s, help=f"seconds to wait (default {timeout_s:g})"
    )


def find_target(given: str | None, environ: Mapping[str, str]) -> str:
    """Return where the router is: as given, else as the environment says, else on this machine."""
    return given or environ.get(TARGET_VARIABLE, "").strip() or DEFAULT_TARGET


def find_key(key_file: Path | None, target: str, environ: Mapping[str, str], place: KeyPlace = USER_KEY) -> str:
    """Return the API key: the file's, else the environment's, else the one that `junctor up` left on this machine.

    Raises WrongUseError if there is none, or none that can be a key.
    """
    key = _read_key(key_file) if key_file is not None else environ.get(place.variable, "").strip()
    if not key and key_file is None and _is_here(target):
        try:
            key = _read_key(data_dir(environ) / place.file, missing="")
        except SettingsError as error:
            raise WrongUseError(str(error)) from None
    if not key:
        raise WrongUseError(
            f"There is no API key. `junctor up` writes one for this machine; or set {place.variable}, or give --key-file."
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise WrongUseError("The API key has characters that no key has; is it the right file?")
    return key


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def _read_key(path: Path, missing: str | None = None) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        if missing is not None:
            return missing
        raise WrongUseError(f"There is no key file {path}.") from None
    except OSError:
        raise WrongUseError(f"The key file {path} cannot be read.") from None


def _is_here(target: str) -> bool:
    """Tell whether a target is this machine: the key that `junctor up` left is sent nowhere else."""
    host = target.rpartition(":")[0].strip("[]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    # A connection to 0.0.0.0, as a server that listens everywhere is named, stays here too.
    return address.is_loopback or address.is_unspecified
