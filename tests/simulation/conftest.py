"""The suite's seeds are played on another core while the tests before them run: they take as long as half of the rest."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tests.simulation.run import Result, play

SEEDS = int(os.environ.get("TESTS_SUITE_SEEDS", "2000"))
"""So many that a mistake which shows itself once in a thousand seeds is found; `.ci/run` plays fewer on the other Pythons."""

_PLAYED = pytest.StashKey[Iterator[Result]]()
_POOL = pytest.StashKey[ProcessPoolExecutor]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to play, if a test of this run asks for it."""
    asking = [item for item in session.items if isinstance(item, pytest.Function) and "total" in item.fixturenames]
    if asking and not session.config.option.collectonly:
        processes = 1 if len(session.items) > len(asking) else 2
        pool = session.config.stash[_POOL] = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
        session.config.stash[_PLAYED] = pool.map(play, range(SEEDS), chunksize=10)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what plays, also where the run was cut short."""
    pool = session.config.stash.get(_POOL, None)
    if pool is not None:
        pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def played(pytestconfig: pytest.Config) -> Iterator[Result]:
    """Return what comes of each of the suite's seeds, in order."""
    return pytestconfig.stash[_PLAYED]
