"""What all tests share: how several workers divide them, and what of a server's start is read once for all of them.

Hundreds of tests start a server, and most of its start is reading what never changes: the packaged catalogue's rows, the
providers' rows. That is read once; what is made of it is made for each test, as for each server.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped] # it has no types

from junctor.adapters.catalog import packaged
from junctor.adapters.providers import registry

TOGETHER = re.compile(r"[\[-](ministack|dynoxide|seeds\d+)[-\]]")
"""What the ids of tests have in common that share something dear: an engine, or the seeds of a part of the simulation."""

READ_ONCE = ((packaged, "read"), (registry, "load"))


def group(nodeid: str) -> str:
    """Return the name of what one worker must do as a whole: a test, or all that share something dear."""
    shared = TOGETHER.search(nodeid)
    return shared[1] if shared else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Give the largest group to the next free worker. `--dist loadgroup` would, but pytest 9.2 hides its groups from it."""
    scheduling = LoadScopeScheduling(config, log)
    scheduling._split_scope = group
    return scheduling


@pytest.fixture(scope="session", autouse=True)
def _read_once() -> Iterator[None]:
    """Keep what was read, by what it was read from."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in READ_ONCE:
            patch.setattr(module, name, lru_cache(maxsize=2)(getattr(module, name)))
        yield
