"""What do processes that are not ours to ask take of memory and CPU? As the Linux kernel counts it; elsewhere 0.

A group is all processes of a process group: a program with workers is judged by their sum. A worker that has ended counts no
more, so figures are only to be compared while the group stays as it is.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

_PROC = Path("/proc")
_GROUP_PLACE = 2
"""Where a process's group stands in its stat file, after its name (proc_pid_stat(5): state, ppid, pgrp)."""


class Memory(Struct, frozen=True):
    """Resident memory of a process or group in bytes: now, and the most since it began."""

    now: int
    peak: int


def memory(*pids: int) -> Memory:
    """Return what these processes hold together; pages that they share count for each."""
    found = [_resident(pid) for pid in pids]
    return Memory(sum(one.now for one in found), sum(one.peak for one in found))


def cpu_s(*pids: int) -> float:
    """Return the seconds of CPU that these processes have used, all threads, user and system."""
    return sum(_cpu_s(pid) for pid in pids)


def group(leader: int) -> list[int]:
    """Return the ids of a process group's processes."""
    return [pid for pid in _processes() if _group_of(pid) == leader]


def status_bytes(text: str, field: str) -> int:
    """Read a field of a status file in bytes (proc_pid_status(5): kibibytes, written kB); 0 if it is not there."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return 0


def _resident(pid: int) -> Memory:
    text = _read(pid, "status")
    return Memory(status_bytes(text, "VmRSS"), status_bytes(text, "VmHWM"))


def _cpu_s(pid: int) -> float:
    """Read a process's CPU clock, which has nanoseconds (clock_getcpuclockid(3) makes its number so)."""
    if not sys.platform.startswith("linux"):
        return 0.0
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def _processes() -> Iterator[int]:
    return (int(entry.name) for entry in _PROC.glob("[0-9]*"))


def _group_of(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return int(fields[_GROUP_PLACE]) if len(fields) > _GROUP_PLACE else 0


def _read(pid: int, name: str) -> str:
    try:
        return (_PROC / str(pid) / name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
