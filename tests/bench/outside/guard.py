"""Runs a program until standard input ends: `python -m tests.bench.outside.guard PROGRAM [ARGUMENT ...]`.

The program leads a process group of its own, whose id is printed first; whoever started this one cannot leave it behind,
however he ends. If the program ends before, `ended` is printed.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

END_S = 10.0


def main() -> None:
    """Start, wait for the end of the input, and end the whole group."""
    # An interrupt reaches every process of a terminal: who started this one ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True) as program:
        print(program.pid, flush=True)
        watcher = threading.Thread(target=_watch, args=(program,), daemon=True)
        watcher.start()
        sys.stdin.read()
        _signal(program.pid, signal.SIGTERM)
        watcher.join(END_S)
        _signal(program.pid, signal.SIGKILL)
        program.wait()


def _watch(program: subprocess.Popen[bytes]) -> None:
    program.wait()
    with suppress(OSError):
        print("ended", flush=True)


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


if __name__ == "__main__":
    main()
