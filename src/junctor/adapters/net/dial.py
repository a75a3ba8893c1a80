"""How is a connection made? A name is looked up, its addresses are tried side by side, and TLS is spoken where it is asked for.

Certificates are checked against the same authorities as ever (certifi's), and for the name that was asked for, whatever address
it led to. An address in place of a name is never looked up: it is what somebody vetted.

Invariant: every failure is a NeverSentError, as no request has left.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import certifi
from aiohappyeyeballs import AddrInfoType, start_connection

from junctor.adapters.net.errors import NeverSentError
from junctor.adapters.net.line import Target

Protocol = TypeVar("Protocol", bound=asyncio.BaseProtocol)

_HEAD_START_S = 0.25
"""How long one address is tried alone before the next one joins in, in seconds (RFC 8305, section 5)."""


class Dialer:
    """Makes connections."""

    def __init__(self) -> None:
        """Load the authorities, once for the process: it takes 25 ms."""
        self._context = _context(certifi.where())
        self._looking: dict[tuple[str, int], asyncio.Task[Sequence[AddrInfoType]]] = {}

    async def __call__(self, target: Target, make: Callable[[], Protocol]) -> Protocol:
        """Connect, and make what speaks on the connection. Raises NeverSentError."""
        try:
            infos = _literal(target) or await self._look_up(target.host, target.port)
            connected = await start_connection(infos, happy_eyeballs_delay=_HEAD_START_S)
            context = None if target.tls_name is None else self._context
            _, made = await asyncio.get_running_loop().create_connection(
                make, sock=connected, ssl=context, server_hostname=target.tls_name
            )
        # A name that cannot be written in the way of DNS is a ValueError, and so is a certificate for another one.
        except (OSError, ValueError):
            raise NeverSentError("no connection could be made") from None
        return made

    def close(self) -> None:
        """Look up no more."""
        for looking in self._looking.values():
            looking.cancel()

    async def _look_up(self, host: str, port: int) -> Sequence[AddrInfoType]:
        """Ask the system where a name leads, once for all who want to know at present. Raises OSError, NeverSentError."""
        key = host, port
        looking = self._looking.get(key)
        if looking is None:
            looking = self._looking[key] = asyncio.create_task(_ask(host, port))
            looking.add_done_callback(lambda task: self._looked(key, task))
        # Waited for beside the task: who gives up must not end the lookup for all.
        await asyncio.wait((looking,))
        if looking.cancelled():
            raise NeverSentError("the transport is closed")
        return looking.result()

    def _looked(self, key: tuple[str, int], task: asyncio.Task[Sequence[AddrInfoType]]) -> None:
        del self._looking[key]
        if not task.cancelled():
            # Whoever asked may be gone: then nobody else takes note of a failure.
            task.exception()


async def _ask(host: str, port: int) -> Sequence[AddrInfoType]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)


def _literal(target: Target) -> Sequence[AddrInfoType]:
    """Return how to connect to an address, nothing if the host is a name."""
    try:
        ip = ipaddress.ip_address(target.host)
    except ValueError:
        return ()
    if isinstance(ip, ipaddress.IPv6Address):
        return ((socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(ip), target.port, 0, 0)),)
    return ((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(ip), target.port)),)


@lru_cache(1)
def _context(authorities: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authorities)
    context.set_alpn_protocols(["http/1.1"])
    return context
