"""How much may be under way on this machine? What the settings leave open is taken from its memory.

A quarter of the memory is for the requests under way, a quarter for the calls themselves; the rest is left to the interpreter,
the catalogue, answers on their way and whatever else runs there. Processes that share the machine share it evenly. The control
plane has a gate of its own, an eighth as wide: a crowd of callers never keeps a manager out.
"""

import os
from pathlib import Path

from junctor.doors.rpc.gate import Bounds
from junctor.settings import Settings

SHARE = 4
CALL_BYTES = 256 << 10
"""Memory of a call under way, beside that of its request: 85 KiB were measured for a Stream (decision 016), with room for what
waits to be read."""

CALLS_LEAST, CALLS_MOST = 64, 10_000
CONTROL_SHARE = 8
UNKNOWN_BYTES = 1 << 30
"""What is assumed of a machine that does not tell."""

_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container is told its memory: control groups, version 2 and 1."""


def bounds(settings: Settings, *, admin: bool = False) -> Bounds:
    """Return what a listener takes, by the settings and this machine's memory."""
    share = memory_bytes() // settings.processes // SHARE
    calls = settings.calls_max or min(max(share // CALL_BYTES, CALLS_LEAST), CALLS_MOST)
    requests = settings.requests_max_bytes or share
    part = CONTROL_SHARE if admin else 1
    return Bounds(
        calls_max=max(calls // part, 1),
        memory_max=requests // part,
        patience_s=settings.patience_s,
        request_max=settings.message_in_max_bytes,
    )


def memory_bytes() -> int:
    """Return the memory that this process may use: the machine's, or its container's if that is less."""
    known = [_told(path) for path in _GROUPS]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min((found for found in known if found > 0), default=UNKNOWN_BYTES)


def _told(path: Path) -> int:
    """Return the number in a file, 0 if there is none: a group without a limit says max."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return 0
    return int(text) if text.isdecimal() else 0
