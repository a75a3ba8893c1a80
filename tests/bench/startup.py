"""Measures how long Junctor takes to start, beside what Python and grpc take by themselves: `python -m tests.bench.startup`.

Each round does all of it in turn, and the best round counts: whatever else runs on the machine only adds. A server listens when
a connection to its port is taken; then it is killed, so that its CPU is that of its start. Bytecode is compiled before, as an
installation has it. It judges nothing: 0.2 s for `--help` and 0.6 s until listening are promised for a quiet machine, for
which CPU is the nearest figure that a busy one gives.
"""

import argparse
import os
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

LONGEST_S = 60.0
"""How long a start may take before it counts as none."""

_LOOK_S = 0.001
_KEPT = ("PATH", "HOME", "LANG", "SYSTEMROOT")


class StartError(Exception):
    """A program did not start; the text says which."""


class Startup(Struct, frozen=True):
    """The best of the rounds, in seconds: of the clock, and of the process's CPU."""

    python_s: float
    python_cpu_s: float
    grpc_s: float
    grpc_cpu_s: float
    help_s: float
    help_cpu_s: float
    listening_s: float
    listening_cpu_s: float
    up_s: float
    up_cpu_s: float


def measure(rounds: int) -> Startup:
    """Measure so many rounds, after one that only compiles and makes the store. Raises StartError."""
    with tempfile.TemporaryDirectory(prefix="junctor-startup-") as folder:
        environ = _environment(Path(folder))
        best: dict[str, float] = {}
        for number in range(rounds + 1):
            taken = _round(environ)
            if number:
                best = {name: min(seconds, best.get(name, seconds)) for name, seconds in taken.items()}
    return Startup(**best)


def _round(environ: Mapping[str, str]) -> dict[str, float]:
    port = _free_port()
    serving = {**environ, "JUNCTOR_LISTEN": f"127.0.0.1:{port}", "JUNCTOR_ADMIN_LISTEN": "127.0.0.1:0"}
    programs: dict[str, tuple[Sequence[str], int | None]] = {
        "python": (("-c", "pass"), None),
        "grpc": (("-c", "import grpc"), None),
        "help": (("-m", "junctor", "--help"), None),
        "listening": (("-m", "junctor", "serve"), port),
        "up": (("-m", "junctor", "up"), port),
    }
    taken: dict[str, float] = {}
    for name, (arguments, listening) in programs.items():
        taken[f"{name}_s"], taken[f"{name}_cpu_s"] = _start(arguments, serving, listening)
    return taken


def _start(arguments: Sequence[str], environ: Mapping[str, str], port: int | None) -> tuple[float, float]:
    """Run a program to its end, or until it listens, and return its seconds and those of its CPU. Raises StartError."""
    silent = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in (0, 1, 2)]
    began = time.perf_counter()
    process = os.posix_spawn(sys.executable, [sys.executable, *arguments], dict(environ), file_actions=silent)
    until = began + LONGEST_S
    try:
        while port is None or not _listens(port):
            ended, status, usage = os.wait4(process, 0 if port is None else os.WNOHANG)
            if ended:
                process = 0
                if port is not None or status:
                    raise StartError(f"{' '.join(arguments)} ended by itself, with status {status}")
                break
            if time.perf_counter() > until:
                raise StartError(f"{' '.join(arguments)} does not listen")
            time.sleep(_LOOK_S)
        took_s = time.perf_counter() - began
    finally:
        if process:
            os.kill(process, 9)
            _, _, usage = os.wait4(process, 0)
    return took_s, usage.ru_utime + usage.ru_stime


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    own = {"DATA_DIR": str(folder / "data"), "STORE": "sqlite", "LOCAL_MODEL": "off"}
    return {**kept, **{f"JUNCTOR_{name}": value for name, value in own.items()}, "PYTHONPYCACHEPREFIX": str(folder / "code")}


def written(found: Startup) -> str:
    """Return the figures as lines, each beside what Python takes to do nothing."""
    rows = (
        ("python -c pass", found.python_s, found.python_cpu_s),
        ("python -c 'import grpc'", found.grpc_s, found.grpc_cpu_s),
        ("junctor --help", found.help_s, found.help_cpu_s),
        ("junctor serve, listening", found.listening_s, found.listening_cpu_s),
        ("junctor up, listening", found.up_s, found.up_cpu_s),
    )
    lines = [f"{'':<26}{'seconds':>9}{'CPU s':>9}{'CPU, x grpc':>13}"]
    lines += [f"{name:<26}{wall:>9.3f}{cpu:>9.3f}{cpu / found.grpc_cpu_s:>13.2f}" for name, wall, cpu in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure how long Junctor takes to start.")
    parser.add_argument("--rounds", type=int, default=10, help="rounds, of which the best counts (default %(default)s)")
    print(written(measure(parser.parse_args().rounds)))
