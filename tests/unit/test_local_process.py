"""The life of the model process, with a stand-in for llama.cpp that only listens."""

import asyncio
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from junctor.adapters.local import process as module
from junctor.adapters.local.process import LocalModel, LocalModelError, Running, available, unavailable_line

STAND_IN = """
import os, socket, sys, types

class CommonParams:
    def __init__(self):
        self.model = types.SimpleNamespace()
        self.cpuparams = types.SimpleNamespace()
        self.cpuparams_batch = types.SimpleNamespace()

class Server:
    def __init__(self, params):
        print("native words")
        print(f"{params.n_ctx} {params.n_parallel} {params.cpuparams.n_threads} {params.cpuparams_batch.n_threads}", flush=True)
        with open(params.model.path) as file:
            does = file.read()
        if does == "fall":
            raise RuntimeError("cannot load")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listening_address = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        if does == "die":
            import threading
            threading.Timer(0.2, os._exit, [3]).start()
        if does == "hang":
            import time
            time.sleep(60)
"""

PARENT = """
import asyncio, json, sys
from pathlib import Path
from junctor.adapters.local.process import LocalModel

async def main():
    running = await LocalModel().start(Path(sys.argv[1]), Path(sys.argv[2]))
    print(running.base_url, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""

GONE_S = 10.0


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stand-in before the real package, and make a file for it to load."""
    (tmp_path / "xllamacpp.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = tmp_path / "model.gguf"
    behave(path, "serve")
    return path


def behave(weights: Path, how: str) -> None:
    """Choose what the stand-in does once it is told to load this file."""
    weights.write_text(how)


def read_process(pid: int, name: str) -> bytes:
    """Read what every user of a Linux machine may see of a process."""
    return Path(f"/proc/{pid}/{name}").read_bytes()


class Spawned:
    """The process that was started last, caught in the act."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Watch the module start it."""
        self.process: asyncio.subprocess.Process | None = None
        self.seen = asyncio.Event()
        self._spawn = module._spawn
        monkeypatch.setattr(module, "_spawn", self)

    async def __call__(self, log_path: Path) -> asyncio.subprocess.Process:
        """Start it and tell."""
        self.process = await self._spawn(log_path)
        self.seen.set()
        return self.process


def port_of(base_url: str) -> int:
    """Take the port out of the address."""
    return int(base_url.removesuffix("/v1").rpartition(":")[2])


async def wait_until_gone(base_url: str) -> None:
    """Wait until nothing listens at the address any more; a process that was not reaped yet counts as gone."""
    async with asyncio.timeout(GONE_S):
        while True:
            try:
                socket.create_connection(("127.0.0.1", port_of(base_url)), 1).close()
            except OSError:
                return
            await asyncio.sleep(0.05)


async def test_starts_and_stops(weights: Path, tmp_path: Path) -> None:
    """Else `junctor up` has no model, or leaves one behind."""
    model = LocalModel(context_tokens=1024, parallel=3)
    running = await model.start(weights, tmp_path / "logs" / "model.log")
    socket.create_connection(("127.0.0.1", port_of(running.base_url)), 5).close()
    assert (tmp_path / "logs" / "model.log").read_text() == "native words\n3072 3 1 1\n"
    await model.stop()
    await wait_until_gone(running.base_url)
    await model.stop()
    await model.ended()


async def test_the_key_stays_off_the_command_line(weights: Path, tmp_path: Path) -> None:
    """Else every user of the machine can read the key and use the model, or its caller's prompts."""
    model = LocalModel()
    running = await model.start(weights, tmp_path / "model.log")
    try:
        assert model._process is not None
        assert len(running.api_key) >= 32
        assert running.api_key not in repr(running)
        if sys.platform == "linux":
            for name in ("cmdline", "environ"):
                assert running.api_key.encode() not in read_process(model._process.pid, name)
        assert running.api_key not in (tmp_path / "model.log").read_text()
        assert running.api_key != (await _another_key(weights, tmp_path))
    finally:
        await model.stop()


async def _another_key(weights: Path, tmp_path: Path) -> str:
    model = LocalModel()
    running = await model.start(weights, tmp_path / "other.log")
    await model.stop()
    return running.api_key


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no sessions; the process group flag does this there")
async def test_a_terminal_interrupt_does_not_reach_it(weights: Path, tmp_path: Path) -> None:
    """Else Ctrl-C kills the model before the calls in flight are answered."""
    model = LocalModel()
    await model.start(weights, tmp_path / "model.log")
    try:
        assert model._process is not None
        assert os.getpgid(model._process.pid) != os.getpgid(0)
        assert os.getsid(model._process.pid) != os.getsid(0)
    finally:
        await model.stop()


async def test_a_model_that_cannot_load(weights: Path, tmp_path: Path) -> None:
    """Else a broken model is a riddle: the error must lead to the log, and the log must say why."""
    behave(weights, "fall")
    log = tmp_path / "model.log"
    with pytest.raises(LocalModelError, match="while it was loading") as caught:
        await LocalModel().start(weights, log)
    assert str(log) in str(caught.value)
    assert "cannot load" in log.read_text()


async def test_a_model_that_never_answers(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a start that hangs hangs for ever, and its process stays."""
    behave(weights, "hang")
    monkeypatch.setattr(module, "START_S", 1.0)
    monkeypatch.setattr(module, "STOP_S", 0.1)
    spawned = Spawned(monkeypatch)
    with pytest.raises(LocalModelError, match=r"did not load within 1 s; its log is .*model\.log"):
        await LocalModel().start(weights, tmp_path / "model.log")
    assert spawned.process is not None
    assert spawned.process.returncode is not None


async def test_a_model_that_dies_later(weights: Path, tmp_path: Path) -> None:
    """Else the model's sudden end goes unnoticed, and every call to it fails without a word."""
    behave(weights, "die")
    model = LocalModel()
    await model.start(weights, tmp_path / "model.log")
    async with asyncio.timeout(GONE_S):
        with pytest.raises(LocalModelError, match=r"exit code 3\); its log is .*model\.log"):
            await model.ended()
    await model.stop()


async def test_stop_is_not_taken_for_a_fault(weights: Path, tmp_path: Path) -> None:
    """Else each orderly end of Junctor looks like a crash of the model."""
    model = LocalModel()
    await model.start(weights, tmp_path / "model.log")
    watcher = asyncio.create_task(model.ended())
    await asyncio.sleep(0)
    await model.stop()
    async with asyncio.timeout(GONE_S):
        await watcher


async def test_cancelled_while_it_loads(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an interrupted start leaves a model process behind."""
    behave(weights, "hang")
    monkeypatch.setattr(module, "STOP_S", 0.1)
    spawned = Spawned(monkeypatch)
    start = asyncio.create_task(LocalModel().start(weights, tmp_path / "model.log"))
    async with asyncio.timeout(GONE_S):
        await spawned.seen.wait()
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
    assert spawned.process is not None
    assert spawned.process.returncode is not None


async def test_a_log_that_cannot_be_written(weights: Path, tmp_path: Path) -> None:
    """Else a read-only home ends the program with a stack trace."""
    (tmp_path / "logs").write_text("a file, not a folder")
    with pytest.raises(LocalModelError, match="cannot be written"):
        await LocalModel().start(weights, tmp_path / "logs" / "model.log")


async def test_it_ends_when_its_parent_is_killed(weights: Path, tmp_path: Path) -> None:
    """Else each kill -9 of Junctor leaves a model that holds memory until the machine restarts."""
    command = [sys.executable, "-c", PARENT, str(weights), str(tmp_path / "model.log")]
    parent = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    async with asyncio.timeout(GONE_S):
        base_url = (await parent.stdout.readline()).decode().strip()
    socket.create_connection(("127.0.0.1", port_of(base_url)), 5).close()
    parent.kill()
    await parent.wait()
    await wait_until_gone(base_url)


def test_available_without_importing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else asking whether there is a model loads native code, or crashes where it does not fit."""
    monkeypatch.setattr(module, "PACKAGE", "no_such_package_here")
    assert not available()
    monkeypatch.setattr(module, "PACKAGE", "msgspec")
    assert available()


@pytest.mark.parametrize(
    ("system", "machine", "says"),
    [
        ("linux", "x86_64", "pip install 'junctor[local]'"),
        ("darwin", "arm64", "pip install 'junctor[local]'"),
        ("win32", "AMD64", "pip install 'junctor[local]'"),
        ("win32", "ARM64", "no prebuilt package"),
        ("linux", "riscv64", "no prebuilt package"),
    ],
)
def test_unavailable_line_knows_the_machine(system: str, machine: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else someone is told to install a package that does not exist for his machine."""
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.31"))
    line = unavailable_line()
    assert says in line
    assert "OPENAI_API_KEY" in line
    assert "\n" not in line


def test_musl_has_no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else someone on Alpine waits for a build that cannot work."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert "no prebuilt package" in unavailable_line()


def test_running_hides_its_key() -> None:
    """Else a debugging print tells the key."""
    assert repr(Running("http://127.0.0.1:1/v1", "secret")) == "Running(base_url='http://127.0.0.1:1/v1')"
