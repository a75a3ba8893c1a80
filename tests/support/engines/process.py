"""Real engines as child processes, each on a free port of the loopback, in a folder of its own, seeing nothing of this machine.

An engine is up when it says itself that it listens: a port that answers could be another process's. What it writes goes to a
file, which a failure shows.
"""

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.engines.places import Place, found

START_S = 60.0
"""How long an engine may take to listen: generous, as the machine may be busy."""

PORTS_TRIED = 5
"""A free port may be taken by another process before the engine has it."""

_LOOK_S = 0.02


class Engine:
    """One engine, not started yet. `port` stays the same when it is started again."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.port = 0
        self._place = place
        self._folder = folder
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the address for clients."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process, and wait until it listens. Raises AssertionError with what it said instead."""
        for port in [self.port] if self.port else [_free_port() for _ in range(PORTS_TRIED)]:
            self._spawn(port)
            if self._listens():
                self.port = port
                return
            self.kill()
        raise AssertionError(f"{self._place.name} does not listen: {self._log.read_text(errors='replace')[-2000:]}")

    def kill(self) -> None:
        """Kill the process where it stands, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _spawn(self, port: int) -> None:
        own = {"PATH": os.defpath, "HOME": str(self._folder), "TMPDIR": str(self._folder)}
        arguments, settings = _STARTS[self._place.name](self._folder, port)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(self._place.program), *arguments],
                cwd=self._folder,
                env={**own, **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _listens(self) -> bool:
        assert self._process is not None
        until = time.monotonic() + START_S
        while self._process.poll() is None and time.monotonic() < until:
            said = self._log.read_text(errors="replace")
            if "istening on http://" in said or "Running on http://" in said:
                return True
            time.sleep(_LOOK_S)
        return False


class Engines:
    """The engines that one run of the tests shares, each started when it is first asked for."""

    def __init__(self, new_folder: Callable[[str], Path]) -> None:
        self._new_folder = new_folder
        self._running: dict[str, Engine] = {}

    def new(self, name: str) -> Engine:
        """Return an engine for one test alone, not started; the test kills it. Skips where it is not installed."""
        return Engine(found(name), self._new_folder(name))

    def shared(self, name: str) -> Engine:
        """Return the running engine that all tests share. Skips where it is not installed."""
        if name not in self._running:
            engine = self.new(name)
            engine.start()
            self._running[name] = engine
        return self._running[name]

    def close(self) -> None:
        """End what was started."""
        while self._running:
            self._running.popitem()[1].kill()


def _ministack(folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Serve DynamoDB alone, in memory; a Docker that may be here is none of its business."""
    settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": "dynamodb"}
    return ["-m", "ministack"], {**settings, "DOCKER_HOST": f"unix://{folder / 'no-docker'}"}


def _dynoxide(folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Serve from a file, which the next start finds again."""
    return ["--host", "127.0.0.1", "--port", str(port), "--db-path", str(folder / "tables.sqlite3")], {}


_STARTS = {"ministack": _ministack, "dynoxide": _dynoxide}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
