"""Certificates of tests, and authorities for them: made on the spot, trusted by nobody but who is told to."""

import ipaddress
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM, _PLAIN = serialization.Encoding.PEM, serialization.NoEncryption()
_SINCE, _UNTIL = datetime(2020, 1, 1, tzinfo=UTC), datetime(2126, 1, 1, tzinfo=UTC)


class Pair(NamedTuple):
    """A certificate and its private key, in PEM."""

    certificate: bytes
    key: bytes

    def write(self, certificate: Path, key: Path) -> None:
        """Put them into files, each whole at once."""
        for path, data in ((certificate, self.certificate), (key, self.key)):
            part = path.with_name(path.name + ".part")
            part.write_bytes(data)
            part.replace(path)


class Authority:
    """Vouches for this machine's names and for clients; `certificate` is what to trust, in PEM."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        made = _begun(self._name, self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.certificate = made.sign(self._key, hashes.SHA256()).public_bytes(_PEM)

    def issue(self, name: str = "router") -> Pair:
        """Vouch for somebody who has this name and runs on this machine."""
        key = ec.generate_private_key(ec.SECP256R1())
        here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        made = _begun(_named(name), self._name, key).add_extension(x509.SubjectAlternativeName(here), critical=False)
        return Pair(made.sign(self._key, hashes.SHA256()).public_bytes(_PEM), _private(key))


def self_signed(name: str, folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's context with a certificate for a host's name, and the file of what to trust."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), _named(name)
    begun = _begun(subject, subject, key).add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    made = begun.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    trusted, private = folder / f"{name}.pem", folder / f"{name}.key"
    Pair(made.public_bytes(_PEM), _private(key)).write(trusted, private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, private)
    return context, trusted


def with_passphrase(pair: Pair) -> bytes:
    """Return the pair's key as it is kept by whoever must type something to use it."""
    key = serialization.load_pem_private_key(pair.key, None)
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"made-up"))


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _begun(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    begun = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return begun.serial_number(x509.random_serial_number()).not_valid_before(_SINCE).not_valid_after(_UNTIL)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, _PLAIN)
