"""Where does a request go whose address has to be judged? Asked for each one: no kept connection outlives a judgement."""

import asyncio

from junctor.adapters.net.addresses import AddressRefusedError, Place, Vetting
from junctor.adapters.net.errors import NeverSentError


async def place(vetting: Vetting, url: str, by: float) -> Place | None:
    """Return where an address must be connected to, None if that is not prescribed. Raises NeverSentError."""
    if not vetting.watching:
        return None
    try:
        async with asyncio.timeout_at(by):
            return await vetting.place(url)
    except AddressRefusedError:
        raise NeverSentError("the address may not be connected to") from None
    except TimeoutError:
        raise NeverSentError("the host's name was not found in time") from None
