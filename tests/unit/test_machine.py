"""What may be under way by the machine's memory: from a small container to a large host, alone or shared."""

from pathlib import Path

import pytest

from junctor.bootstrap import machine
from junctor.settings import Settings

GIB = 1 << 30


def settings(**values: str) -> Settings:
    """Return settings with some variables set."""
    return Settings.from_environment({f"JUNCTOR_{name.upper()}": value for name, value in values.items()})


@pytest.mark.parametrize(
    ("memory", "set_to", "calls", "requests"),
    [
        (2 * GIB, {}, 2048, GIB // 2),
        (2 * GIB, {"processes": "4"}, 512, GIB // 8),
        (GIB // 32, {}, machine.CALLS_LEAST, GIB // 128),
        (64 * GIB, {}, machine.CALLS_MOST, 16 * GIB),
        (2 * GIB, {"calls_max": "80", "requests_max_bytes": "16 MiB"}, 80, 16 << 20),
    ],
)
def test_a_quarter_for_each(
    memory: int, set_to: dict[str, str], calls: int, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small container would take what kills it, or a large host turn away what it could bear."""
    monkeypatch.setattr(machine, "memory_bytes", lambda: memory)
    data = machine.bounds(settings(**set_to, message_in_max_bytes="3 MiB"))
    control = machine.bounds(settings(**set_to), admin=True)
    assert (data.calls_max, data.memory_max) == (calls, requests)
    assert (control.calls_max, control.memory_max) == (calls // 8, requests // 8)
    assert data.patience_s == control.patience_s == 60
    assert data.request_max == 3 << 20


def test_the_control_plane_takes_one_call_at_least() -> None:
    """A manager could not lift the limit that keeps him out."""
    assert machine.bounds(settings(calls_max="1"), admin=True).calls_max == 1


@pytest.mark.parametrize(("limit", "bound"), [(f"{1 << 20}\n", 1 << 20), ("max\n", None), (None, None)])
def test_a_container_is_believed(limit: str | None, bound: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server would plan with the memory of a host of which it has a corner."""
    file = tmp_path / "memory.max"
    if limit is not None:
        file.write_text(limit)
    monkeypatch.setattr(machine, "_GROUPS", (file,))
    alone = machine.memory_bytes()
    assert alone == bound if bound else alone > 1 << 28
