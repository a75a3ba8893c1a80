"""How does a command reach the router? The options, the target, TLS and the API key, the same for all that ask a router.

Invariant: the key that `junctor up` left on this machine is sent to this machine only.
"""

import argparse
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from junctor.settings import (
    API_KEY_VARIABLE,
    DEFAULT_TARGET,
    FIRST_KEY_FILE,
    PORT_MAX,
    TARGET_CA_VARIABLE,
    TARGET_CERT_VARIABLE,
    TARGET_KEY_VARIABLE,
    TARGET_VARIABLE,
    SettingsError,
    data_dir,
)

if TYPE_CHECKING:
    from junctor.client import Client

SYSTEM = "system"


class KeyPlace(NamedTuple):
    """Where a kind of API key is looked for: a variable, then a file in the data folder, which `junctor up` wrote."""

    variable: str
    file: str


class TlsFiles(NamedTuple):
    """What the command line says of TLS: whom to trust (a file, or `system`), what to show, and its private key."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


class Secured(NamedTuple):
    """TLS as a client takes it."""

    tls: bool | bytes
    certificate: tuple[bytes, bytes] | None


USER_KEY = KeyPlace(API_KEY_VARIABLE, FIRST_KEY_FILE)


class WrongUseError(Exception):
    """The command cannot be done as it was given; the text says what to do."""


def add_options(parser: argparse.ArgumentParser, timeout_s: float) -> None:
    """Add --target, how it is reached, --key-file and --timeout, with its default in seconds, to a command."""
    parser.add_argument("--target", metavar="HOST:PORT", help=f"the router (default {TARGET_VARIABLE} or {DEFAULT_TARGET})")
    parser.add_argument(
        "--key-file",
        metavar="FILE",
        type=Path,
        help=f"file with the API key (default {API_KEY_VARIABLE}, then what junctor up wrote)",
    )
    add_tls(parser)
    add_timeout(parser, timeout_s)


def add_tls(parser: argparse.ArgumentParser) -> None:
    """Add --ca, --cert and --cert-key to a command."""
    parser.add_argument(
        "--ca", metavar="FILE", help=f"speak TLS, and trust these authorities; or {SYSTEM} (default {TARGET_CA_VARIABLE})"
    )
    parser.add_argument("--cert", metavar="FILE", help=f"the certificate to show (default {TARGET_CERT_VARIABLE})")
    parser.add_argument("--cert-key", metavar="FILE", help=f"its private key (default {TARGET_KEY_VARIABLE})")


def add_timeout(parser: argparse.ArgumentParser, timeout_s: float) -> None:
    """Add --timeout, with its default in seconds, to a command."""
    parser.add_argument(
        "--timeout", metavar="S", type=_seconds, default=timeout_s, help=f"seconds to wait (default {timeout_s:g})"
    )


def find_target(given: str | None, environ: Mapping[str, str]) -> str:
    """Return where the router is: as given, else as the environment says, else on this machine."""
    return given or environ.get(TARGET_VARIABLE, "").strip() or DEFAULT_TARGET


def given_tls(options: argparse.Namespace) -> TlsFiles:
    """Return what the options say of TLS."""
    return TlsFiles(options.ca, options.cert, options.cert_key)


def find_tls(given: TlsFiles, environ: Mapping[str, str]) -> Secured:
    """Return how to speak with the router: as given, else as the environment says, else in plain text.

    Raises WrongUseError if the files cannot be used.
    """
    variables = (TARGET_CA_VARIABLE, TARGET_CERT_VARIABLE, TARGET_KEY_VARIABLE)
    ca, cert, key = (said or environ.get(name, "").strip() for said, name in zip(given, variables, strict=True))
    if bool(cert) is not bool(key):
        raise WrongUseError("A certificate and its key go together: give --cert and --cert-key.")
    if not ca:
        if cert:
            raise WrongUseError("A certificate is shown over TLS only: give --ca.")
        return Secured(tls=False, certificate=None)
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        trusted = True if ca == SYSTEM else Path(ca).read_bytes()
        if ca != SYSTEM:
            context.load_verify_locations(ca)
        if cert:
            # With a passphrase at hand, as it would be asked for on the terminal.
            context.load_cert_chain(cert, key, lambda: "")
        return Secured(trusted, (Path(cert).read_bytes(), Path(key).read_bytes()) if cert else None)
    except ssl.SSLError:
        pair = f", or {cert} and {key} a certificate and its key without a passphrase," if cert else ""
        raise WrongUseError(f"{ca} does not hold certificates{pair} in PEM.") from None
    except OSError as error:
        raise WrongUseError(f"The file {error.filename or ca} cannot be read.") from None


def check_target(target: str) -> None:
    """Refuse a target that names no place, at which grpc would say only that nothing answers. Raises WrongUseError."""
    host, _, port = target.rpartition(":")
    numbered = port.isascii() and port.isdecimal() and len(port) <= len(str(PORT_MAX)) and 0 < int(port) <= PORT_MAX
    if not host or not numbered or not host.isprintable() or set(host) & set("/@ "):
        raise WrongUseError(f"The target {target} is not HOST:PORT, such as {DEFAULT_TARGET}.")


def open_client(target: str, key_file: Path | None, tls: TlsFiles, environ: Mapping[str, str]) -> "Client":
    """Return a client for a target. Raises WrongUseError if it is none, there is no key, or TLS cannot be spoken as wanted."""
    from junctor.client import Client

    check_target(target)
    secured = find_tls(tls, environ)
    return Client(target, find_key(key_file, target, environ), tls=secured.tls, certificate=secured.certificate)


def find_key(key_file: Path | None, target: str, environ: Mapping[str, str], place: KeyPlace = USER_KEY) -> str:
    """Return the API key: the file's, else the environment's, else the one that `junctor up` left on this machine.

    Raises WrongUseError if there is none, or none that can be a key.
    """
    key = _read_key(key_file) if key_file is not None else environ.get(place.variable, "").strip()
    here = _is_here(target)
    if not key and key_file is None and here:
        try:
            key = _read_key(data_dir(environ) / place.file, missing="")
        except SettingsError as error:
            raise WrongUseError(str(error)) from None
    if not key:
        written = "`junctor up` writes one for this machine; or" if here else "What `junctor up` wrote stays on this machine;"
        raise WrongUseError(f"There is no API key. {written} set {place.variable}, or give --key-file.")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise WrongUseError("The API key has characters that no key has; is it the right file?")
    return key


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
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
