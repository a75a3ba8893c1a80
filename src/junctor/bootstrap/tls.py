"""TLS of the listeners, from files: checked before anything listens, and taken up again when they are renewed.

A new connection looks whether the files are others than at the last look; connections that stand keep what they began with,
and end by their age. Renewed files that are not fit for use change nothing: those in force stay, and the log is told once.
Invariant: no text made here has anything of what the files hold.
"""

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import grpc
from msgspec import Struct

from junctor.bootstrap.problems import Problem
from junctor.settings import PREFIX, Settings

CERT, KEY = f"{PREFIX}TLS_CERT", f"{PREFIX}TLS_KEY"
# How OpenSSL names a key of another certificate: of the same kind, or of another.
_OF_ANOTHER = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})


Mark: TypeAlias = tuple[int, int, int, int] | None
"""What tells one state of a file from another: when it was written and last changed (its rights, too), which it is, how long;
None where there is none."""


class TlsFile(Struct, frozen=True):
    """A file, and the setting that names it."""

    setting: str
    path: Path

    def mark(self) -> Mark:
        """Return its state."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size

    def read(self) -> bytes:
        """Return what it holds. Raises Problem."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise self.problem(os.strerror(error.errno or 0).lower()) from error

    def problem(self, text: str) -> Problem:
        """Return what is wrong with it as a line."""
        return Problem(f"{self.setting}: {self.path}: {text}")


class TlsFiles(Struct, frozen=True):
    """What a listener shows, and the authorities of its clients; without them clients need no certificate."""

    cert: TlsFile
    key: TlsFile
    client_ca: TlsFile | None

    def mark(self) -> tuple[Mark, ...]:
        """Return their states."""
        return tuple(file.mark() for file in (self.cert, self.key, self.client_ca) if file is not None)

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Check the files and return what they hold. Raises Problem."""
        cert, key = self.cert.read(), self.key.read()
        authorities = None if self.client_ca is None else self.client_ca.read()
        for file in filter(None, (self.cert, self.client_ca)):
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file.path)
            except OSError as error:
                raise file.problem("no certificates in PEM") from error
        try:
            # With a passphrase at hand, as it would be asked for on a terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.cert.path, self.key.path, lambda: "")
        except OSError as error:
            other = isinstance(error, ssl.SSLError) and error.reason in _OF_ANOTHER
            text = f"not the key of the certificate of {CERT}" if other else "no private key in PEM without a passphrase"
            raise self.key.problem(text) from error
        return grpc.ssl_server_certificate_configuration([(key, cert)], authorities)


class Renewal:
    """Called at each handshake: returns what the files hold if it is another than at the last look, and fit for use."""

    def __init__(self, files: TlsFiles, tell: Callable[[str], None]) -> None:
        self._files = files
        self._tell = tell
        # Before they are read: what is written meanwhile is seen at the next look.
        self._seen = files.mark()
        self.first = files.read()

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        """Look once."""
        mark = self._files.mark()
        if mark == self._seen:
            return None
        self._seen = mark
        try:
            renewed = self._files.read()
        except Problem as problem:
            self._tell(f"the certificate in force stays: {problem}")
            return None
        if self._files.mark() != mark:
            # Written while it was read: the next look has it whole.
            return None
        self._tell("a renewed certificate is in force")
        return renewed


def credentials(settings: Settings, tell: Callable[[str], None], *, admin: bool = False) -> grpc.ServerCredentials | None:
    """Return what a listener speaks TLS with, None for plain text; `tell` hears of renewals, from any thread.

    Raises Problem if the files cannot be used.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    path, name = settings.tls_client_ca, "TLS_CLIENT_CA"
    if admin and settings.admin_tls_client_ca != path:
        path, name = settings.admin_tls_client_ca, "ADMIN_TLS_CLIENT_CA"
    client_ca = None if path is None else TlsFile(PREFIX + name, path)
    renewal = Renewal(TlsFiles(TlsFile(CERT, settings.tls_cert), TlsFile(KEY, settings.tls_key), client_ca), tell)
    # The types forget that the function may return None, for no change.
    looked: Callable[[], grpc.ServerCertificateConfiguration] = renewal  # type: ignore[assignment]
    return grpc.dynamic_ssl_server_credentials(renewal.first, looked, require_client_authentication=client_ca is not None)
