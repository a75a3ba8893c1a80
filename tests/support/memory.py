"""By how much does a process swell while something happens? As the kernel counts it, looked at many times a second."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOOK_S = 0.005
_PAGE_BYTES = 4096


class Swelling:
    """The most that was added to the resident memory since the beginning, in bytes; 0 where the kernel does not tell."""

    bytes = 0


@contextmanager
def swelling(pid: int | None = None) -> Iterator[Swelling]:
    """Watch a process, this one by default, while the body runs: from a thread, as the body may hold up its event loop."""
    statm = Path(f"/proc/{pid or 'self'}/statm")
    found, ended = Swelling(), threading.Event()
    before = _resident_bytes(statm)

    def watch() -> None:
        while not ended.wait(_LOOK_S):
            found.bytes = max(found.bytes, _resident_bytes(statm) - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def _resident_bytes(statm: Path) -> int:
    return int(statm.read_text().split()[1]) * _PAGE_BYTES if statm.exists() else 0
