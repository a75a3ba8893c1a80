"""What may stand in one variable? One function for each kind of value: text in, the value out, or ValueError in our words.

Refuses to show a value that may hold a secret, as its own message would carry it into a log.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

PORT_MAX = 65535
_PEPPER_MIN_BYTES = 32
_SHOWN_CHARACTERS = 80
_WEIGHT_MOST = 1000.0


class Address(Struct, frozen=True):
    """Where to listen. Port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write it as it is set: IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Pepper(Struct, frozen=True):
    """A key under which API keys are digested."""

    version: int
    key: bytes

    def __repr__(self) -> str:
        """Name the version and keep the key to itself."""
        return f"Pepper(version={self.version})"


class PrivateHost(Struct, frozen=True):
    """Where own endpoints may be though it is private or in plain text. `host` may be a network; `port` None is any."""

    host: str
    port: int | None


def shown(text: str) -> str:
    """Return a value as a message may show it: quoted, and cut where it is long."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")


def address(text: str) -> Address:
    """Read host:port. Raises ValueError, as all that follow."""
    bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.%\w]+)\]:(\d{1,5})", text)
    plain = re.fullmatch(r"([A-Za-z0-9._-]+):(\d{1,5})", text)
    match = bracketed or plain
    if match is None:
        raise ValueError(f"{shown(text)} is not host:port, such as 127.0.0.1:50051, 0.0.0.0:50051 or [::1]:50051")
    if int(match[2]) > PORT_MAX:
        raise ValueError(f"the port {match[2]} is more than {PORT_MAX}")
    return Address(match[1], int(match[2]))


def private_hosts(text: str) -> tuple[PrivateHost, ...]:
    """Read a list of host:port, where the host may be a network and the port `*`."""
    found = []
    for entry in map(str.strip, text.split(",")):
        match = re.fullmatch(r"(?:\[([0-9a-f:.]+(?:/\d{1,3})?)\]|([a-z0-9.-]+(?:/\d{1,2})?)):(\d{1,5}|\*)", entry.lower())
        host = "" if match is None else match[1] or match[2]
        if match is None or not _is_host(host) or (match[3] != "*" and not 0 < int(match[3]) <= PORT_MAX):
            raise ValueError(f"{shown(entry)} is not host:port, such as 10.1.0.0/16:8000, [fd00::/8]:443, gpu.internal:*")
        found.append(PrivateHost(host, None if match[3] == "*" else int(match[3])))
    return tuple(found)


def _is_host(host: str) -> bool:
    """Tell whether a host is a network without host bits, an address, or a name that cannot be taken for one."""
    try:
        ipaddress.ip_network(host)
    except ValueError:
        labels = host.split(".")
        named = all(re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", label) for label in labels)
        return named and not re.fullmatch(r"\d+|0x[0-9a-f]*", labels[-1])
    return True


def path(text: str) -> Path:
    """Read the path of a file or folder, made absolute."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError(f"the home folder in {shown(text)} is not known; give the whole path") from None


def url(text: str) -> str:
    """Read the address of a server, without a path."""
    try:
        parts = urlsplit(text)
        sound = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound or parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        # Not shown: whoever writes a password into it should not find it in a log.
        raise ValueError("is not http(s)://host:port and nothing more, such as http://127.0.0.1:8000")
    return text.rstrip("/")


def table_prefix(text: str) -> str:
    """Read what the names of tables begin with."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text):
        raise ValueError(f"{shown(text)} is not 1 to 64 letters, digits, underscores, full stops and hyphens")
    return text


def peppers(text: str) -> tuple[Pepper, ...]:
    """Read version:base64, several with commas."""
    found: list[Pepper] = []
    for place, entry in enumerate(text.split(","), 1):
        version, _, encoded = entry.strip().partition(":")
        if not re.fullmatch(r"[1-9][0-9]{0,8}", version):
            raise ValueError(f"entry {place} does not begin with a version, such as 1:")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise ValueError(f"entry {place} is not base64 after its version") from None
        if len(key) < _PEPPER_MIN_BYTES:
            raise ValueError(f"entry {place} has {len(key)} bytes and needs {_PEPPER_MIN_BYTES}")
        if any(pepper.version == int(version) for pepper in found):
            raise ValueError(f"entry {place} repeats version {version}")
        found.append(Pepper(int(version), key))
    return tuple(found)


def switch(text: str) -> bool:
    """Read on or off."""
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off"}:
        return False
    raise ValueError(f"{shown(text)} is neither on nor off")


def seconds(least: float, most: float) -> Callable[[str], float]:
    """Return what reads a number of seconds from the least to the most."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{shown(text)} is not a number of seconds") from None
        if not least <= value <= most:
            raise ValueError(f"{shown(text)} is not between {least:g} and {most:g} seconds")
        return value

    return parse


def count(most: int, least: int = 1) -> Callable[[str], int]:
    """Return what reads a whole number from the least to the most."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"{shown(text)} is not a whole number between {least} and {most}")
        return int(text)

    return parse


def size(text: str) -> int:
    """Read a number of bytes, as it is or in KiB or MiB."""
    value = _bytes(text)
    if not 1 << 10 <= value <= 1 << 30:
        raise ValueError(f"{shown(text)} is not a size between 1 KiB and 1024 MiB, such as 1048576 or 20 MiB")
    return value


def memory(text: str) -> int:
    """Read a share of a machine's memory in bytes, as it is or in MiB or GiB."""
    value = _bytes(text)
    if not 1 << 20 <= value <= 1 << 42:
        raise ValueError(f"{shown(text)} is not an amount of memory between 1 MiB and 4096 GiB, such as 512 MiB")
    return value


def _bytes(text: str) -> int:
    """Return a number of bytes, 0 if there is none in the text."""
    match = re.fullmatch(r"([0-9]{1,13})\s*(KiB|MiB|GiB|B)?", text)
    return int(match[1]) * {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}.get(match[2], 1) if match else 0


def weights(text: str) -> Mapping[str, float]:
    """Read NAME=weight, several with commas: names of variables, and numbers above 0 and at most 1000."""
    found: dict[str, float] = {}
    for place, entry in enumerate(text.split(","), 1):
        match = re.fullmatch(r"([A-Z][A-Z0-9_]{0,127})\s*=\s*([0-9]{1,4}(?:\.[0-9]{1,6})?)", entry.strip())
        if match is None or not 0 < float(match[2]) <= _WEIGHT_MOST:
            # Not shown: the name of a key is easily mixed up with the key.
            raise ValueError(f"entry {place} is not NAME=weight, above 0 and at most 1000, such as OPENAI_API_KEY_2=0.5")
        if match[1] in found:
            raise ValueError(f"entry {place} repeats the name of another")
        found[match[1]] = float(match[2])
    return found


def secret_id(text: str) -> str:
    """Read the name or ARN of a secret in Secrets Manager."""
    if not re.fullmatch(r"[A-Za-z0-9/_+=.@:-]{1,2048}", text):
        # Not shown: it may be the secret itself.
        raise ValueError("is neither a name nor an ARN of a secret in Secrets Manager, such as junctor/credentials")
    return text
