"""What the tests of commands share: an environment that has a key, and nothing of whoever runs them."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give a test a key in the environment, an empty data folder and no other settings; return the folder."""
    for variable in [name for name in os.environ if name.startswith("JUNCTOR_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("JUNCTOR_API_KEY", "jk-environment")
    monkeypatch.setenv("JUNCTOR_DATA_DIR", str(tmp_path))
    return tmp_path
