"""What the contract tests share: the real engines, started once for all of them."""

from collections.abc import Iterator

import pytest

from tests.support.engines.process import Engines


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """Return the engines, none of which runs before it is asked for."""
    shared = Engines(tmp_path_factory.mktemp)
    yield shared
    shared.close()
