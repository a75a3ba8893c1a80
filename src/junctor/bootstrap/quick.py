"""What makes a start quick without leaving anything out of it? Two things are not done that are of use to nobody here.

Python's collector looks again and again at what a start makes, all of which stays: a sixth of the time. And aiohttp, of which
only the parser is used, reads the machine's certificate authorities twice for connections that it never makes: an eighth.
"""

import gc
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

COLLECT_EVERY: Final = 5_000
"""After how many objects more than were freed the collector looks at the young ones."""


@contextmanager
def start() -> Generator[None, None, None]:
    """Start within this block: nothing is collected before `started`, or the block's end."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def started() -> None:
    """Let the collector work, and pass over what there is now: code and catalogue, which take long to look at and stay.

    It looks seven times less often than Python's own 700 have it: a call leaves six objects of grpc's in cycles, and what else
    is in its hands is of calls under way, which it would look at in vain.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY)
    gc.enable()


@contextmanager
def without_authorities() -> Generator[None, None, None]:
    """Import aiohttp within this block, with nothing else under way: a TLS context that it makes there trusts nobody."""
    # One method serves both of its contexts; taking this one away uncovers the inherited one.
    ssl.SSLContext.set_default_verify_paths = lambda _: None  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del ssl.SSLContext.set_default_verify_paths
