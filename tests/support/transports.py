"""The transports that stand behind one face, so that one suite can hold both to it.

`TESTS_HTTP=httpx` has whoever does not ask for one in particular use that one.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Final, TypeAlias

from junctor.adapters.net import aiohttp_transport, transport
from junctor.adapters.net.addresses import Vetting
from junctor.adapters.net.face import Limits, Response, Transport
from junctor.adapters.net.headers import prepared
from tests.support.scripted_upstream import PATIENCE_S

MAKERS: Final[dict[str, Callable[[Limits | None, Vetting | None], Transport]]] = {
    "httpx": transport.Transport,
    "aiohttp": aiohttp_transport.Transport,
}

CHOSEN: Final = os.environ.get("TESTS_HTTP", "aiohttp")
"""The one that is used where a test is not about transports."""


def chosen(limits: Limits | None = None, vetting: Vetting | None = None) -> Transport:
    """Make the transport that is used where a test is not about transports."""
    return MAKERS[CHOSEN](limits, vetting)


_TEXT: Final = prepared({"content-type": "text/plain"})

Make: TypeAlias = Callable[[Limits], Transport]
"""Makes transports that are closed when the test ends."""


def soon(seconds: float = PATIENCE_S) -> float:
    """Return an instant of the loop's clock, by default one that no healthy exchange reaches."""
    return asyncio.get_running_loop().time() + seconds


async def post(
    transport: Transport, url: str, body: bytes = b"hello", *, connect_s: float = PATIENCE_S, answer_s: float = PATIENCE_S
) -> Response:
    """Send a request."""
    return await transport.post(url, _TEXT, body, connect_by=soon(connect_s), answer_by=soon(answer_s))


async def whole(transport: Transport, url: str, body: bytes = b"hello") -> bytes:
    """Send a request and read its answer to the end."""
    async with await post(transport, url, body) as response:
        return await response.whole(soon())
