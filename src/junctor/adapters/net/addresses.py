"""Where may we connect on an operator's word? The form of an address, the hosts that it may lead to, and the place itself.

An own endpoint is at https anywhere public, or at a host that the deployment's settings list with its port: by name, address
or network. The address by which clouds hand secrets to their machines, and whatever else no server is at, is never connected
to, whoever lists it, and under whatever spelling or name. Only plain spellings are taken: what two parsers could read in two
ways is refused rather than judged.

A name is judged by all addresses that it leads to, when the record is made, when it is put in force, and at each connection,
which then goes to the very address that was judged. Invariant: a watched address is never resolved a second time in between.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from msgspec import Struct

Ip: TypeAlias = IPv4Address | IPv6Address
Resolve: TypeAlias = "Callable[[str, int], Awaitable[Sequence[str]]]"
"""From a name and a port to the addresses that it leads to. Raises OSError."""

_CHARS_MAX: Final = 2_048
_ADDRESS: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9a-f:.]{2,45}\]|[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<path>(?:/[A-Za-z0-9_~@-][A-Za-z0-9._~@-]*)*)"
)
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label that some resolvers read as an IPv4 address or a part of one."""
_PORT_MAX: Final = 65_535
_PORTS: Final = {"http": 80, "https": 443}
_LOOPBACK_NAME: Final = "localhost"

_NEVER: Final = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "169.254.0.0/16",  # link-local, and there the metadata of AWS, Azure, Google and others
            "100.100.100.200/32",  # metadata of Alibaba
            "168.63.129.16/32",  # Azure's host, at an address that looks public
            "192.0.0.0/24",  # and there the metadata of Oracle
            "192.88.99.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "::/128",
            "::ffff:0:0/96",  # IPv4 in other clothes, four times
            "::/96",
            "2001::/32",
            "2002::/16",
            "fe80::/10",
            "fec0::/10",
            "ff00::/8",
            "fd00:ec2::/32",  # metadata of AWS
            "fd20:ce::/32",  # metadata of Google
        ),
    )
)
_LOOPBACK_V6: Final = IPv6Address("::1")
_TRANSLATED: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""IPv4 as a network of IPv6 alone reaches it: judged as what it stands for."""
_METADATA_NAMES: Final = frozenset({"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"})
_KEPT_S: Final = 5.0
"""For how long a judged place is used again, in seconds: the time of a few calls, and less than a name server's patience."""


class AddressRefusedError(Exception):
    """The address may not be used. The message is in our words and repeats nothing of it."""


class NameUnknownError(AddressRefusedError):
    """The name leads nowhere at present."""


class HostRule(Struct, frozen=True):
    """Hosts that may be private or reached in plain text: a name, an address or a network; `port` None is any."""

    host: str
    port: int | None


class Place(Struct, frozen=True):
    """Where to connect: the judged `address`, under the name `host` for which the server has its certificate."""

    address: str
    host: str


class Origin(Struct, frozen=True):
    """An address taken apart. `ip` is set where the host is one."""

    scheme: str
    host: str
    port: int
    ip: Ip | None


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system where a name leads. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Vetting:
    """Judges the addresses of own endpoints by the rules of one deployment."""

    def __init__(self, rules: Sequence[HostRule] = (), resolve: Resolve = resolve) -> None:
        """Keep the rules. Raises ValueError if one is no host."""
        self._names = {(rule.host.lower(), rule.port) for rule in rules if _network(rule.host) is None}
        found = ((_network(rule.host), rule.port) for rule in rules)
        self._networks = [(network, port) for network, port in found if network is not None]
        self._resolve = resolve
        self._watched: set[Origin] = set()
        self._places: dict[Origin, tuple[float, Place]] = {}

    async def problem(self, base_url: str, *, resolved: bool) -> str | None:
        """Say what is wrong with an address, None if it may be used; `resolved` asks for a name that leads somewhere now."""
        try:
            await self._judge(parse(base_url))
        except NameUnknownError as unknown:
            return str(unknown) if resolved else None
        except AddressRefusedError as refused:
            return str(refused)
        return None

    def watch(self, base_url: str) -> None:
        """Judge every connection to this scheme, host and port from now on. Raises AddressRefusedError."""
        self._watched.add(parse(base_url))

    @property
    def watching(self) -> bool:
        """Whether there is any address to be judged at its connections."""
        return bool(self._watched)

    async def place(self, url: str) -> Place | None:
        """Return where to connect for an address, None where nothing is to be judged. Raises AddressRefusedError."""
        origin = _origin(url)
        if origin not in self._watched:
            return None
        now_s = asyncio.get_running_loop().time()
        until_s, place = self._places.get(origin, (0.0, None))
        if place is None or now_s >= until_s:
            place = Place(await self._judge(origin), origin.host)
            self._places[origin] = now_s + _KEPT_S, place
        return place

    async def _judge(self, origin: Origin) -> str:
        """Return the address to connect to, of IPv4 if there is one. Raises AddressRefusedError."""
        if origin.ip is not None:
            self._check(origin, origin.ip)
            return str(origin.ip)
        try:
            found = [ip_address(text.partition("%")[0]) for text in await self._resolve(origin.host, origin.port)]
        except (OSError, ValueError):
            found = []
        if not found:
            raise NameUnknownError("its host's name leads nowhere at present")
        for ip in found:
            self._check(origin, ip)
        return str(min(found, key=lambda ip: ip.version))

    def _check(self, origin: Origin, ip: Ip) -> None:
        """Raise AddressRefusedError unless an address may be connected to under this origin."""
        ip = _meant(ip)
        if ip != _LOOPBACK_V6 and any(ip.version == network.version and ip in network for network in _NEVER):
            raise AddressRefusedError("its host is one at which no model may ever be looked for")
        if origin.scheme == "https" and ip.is_global:
            return
        if any(
            ip.version == network.version and ip in network and port in {None, origin.port} for network, port in self._networks
        ):
            return
        named = not self._names.isdisjoint({(origin.host, origin.port), (origin.host, None)})
        if named and (not ip.is_loopback or origin.host == _LOOPBACK_NAME):
            return
        raise AddressRefusedError("it is not https at a public host, and JUNCTOR_PRIVATE_HOSTS does not list its host and port")


def parse(url: str) -> Origin:
    """Take an address apart. Raises AddressRefusedError unless it is spelt in the one plain way."""
    found = _ADDRESS.fullmatch(url) if len(url) <= _CHARS_MAX else None
    if found is None:
        raise AddressRefusedError("is not http(s)://host:port/path in lower case, without user, query, fragment or final slash")
    port = int(found["port"] or _PORTS[found["scheme"]])
    if port > _PORT_MAX:
        raise AddressRefusedError(f"its port is more than {_PORT_MAX}")
    host = found["host"].strip("[]")
    return Origin(found["scheme"], host, port, _literal(host))


def _literal(host: str) -> Ip | None:
    """Return a host that is an address, None if it is a name. Raises AddressRefusedError if it could be either, or neither."""
    if ":" in host:
        try:
            return ip_address(host)
        except ValueError:
            raise AddressRefusedError("its host is no address of IPv6") from None
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return IPv4Address(host)
        except ValueError:
            raise AddressRefusedError("its host is no address of IPv4 in four plain numbers") from None
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressRefusedError("its host is no name of letters, digits and hyphens between dots")
    if host in _METADATA_NAMES:
        raise AddressRefusedError("its host is one at which no model may ever be looked for")
    return None


def _meant(ip: Ip) -> Ip:
    if isinstance(ip, IPv6Address) and any(ip in network for network in _TRANSLATED):
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def _network(host: str) -> IPv4Network | IPv6Network | None:
    """Return a network, or an address as one; None for a name. Raises ValueError for what is meant as one and is none."""
    try:
        return ip_network(host)
    except ValueError:
        if "/" in host or ":" in host:
            raise
        return None


@lru_cache(4_096)
def _origin(url: str) -> Origin | None:
    try:
        return parse(url)
    except AddressRefusedError:
        return None
