"""What the suites of the transports share: transports of each kind, closed in the end."""

from collections.abc import AsyncIterator

import pytest

from junctor.adapters.net.face import Limits, Transport
from tests.support.transports import MAKERS, Make


@pytest.fixture(params=tuple(MAKERS))
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Make transports, and close them in the end."""
    made: list[Transport] = []

    def one(limits: Limits) -> Transport:
        made.append(MAKERS[request.param](limits, None))
        return made[-1]

    yield one
    for transport in made:
        await transport.close()
