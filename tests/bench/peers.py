"""Other gateways on the same stub: LiteLLM's proxy and Portkey's gateway, as their makers run them in production.

They are given their best: compiled bytecode, one process (what is compared is CPU a call, which more would not lower), no
request log, no database, no price list from the network, one provider to choose from, retries at their defaults. LiteLLM is
asked for its one master key; Portkey checks none. Both speak OpenAI's HTTP API and keep no durable record of a call.
"""

import asyncio
import os
import shutil
import socket
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from msgspec import Struct

from tests.bench import resident
from tests.bench.exchange import MODEL
from tests.bench.outside import places
from tests.bench.outside.places import LITELLM, PORTKEY, MissingError, Program
from tests.bench.resident import Memory

PEERS = (LITELLM, PORTKEY)
START_S = 120.0
END_S = 15.0
_LOOK_S = 0.02
_KEY = "sk-made-up"
_ROOT = Path(__file__).parents[2]
_LITELLM_CONFIG = """\
model_list:
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: {base_url}
      api_key: made-up
litellm_settings:
  set_verbose: false
general_settings:
  master_key: {key}
  disable_spend_logs: true
"""


class Kind(Struct, frozen=True):
    """How a peer is started and asked; `command` is given its program, its folder, its port and the stub's base URL."""

    program: Callable[[], Program]
    command: Callable[[str, Path, int, str], list[str]]
    environment: Mapping[str, str]
    headers: Callable[[str], dict[str, str]]
    health: str


class Peer(Struct, frozen=True):
    """A peer that listens: its version, how it is called, its process group, and how long it took from start to listening."""

    version: str
    port: int
    headers: dict[str, str]
    leader: int
    start_s: float

    async def cpu_s(self) -> float:
        """Return the seconds of CPU that its processes have used."""
        return resident.cpu_s(*resident.group(self.leader))

    def memory(self) -> Memory:
        """Return what its processes hold."""
        return resident.memory(*resident.group(self.leader))


def _litellm_command(program: str, folder: Path, port: int, base_url: str) -> list[str]:
    config = folder / "config.yaml"
    config.write_text(_LITELLM_CONFIG.format(model=MODEL, base_url=base_url, key=_KEY), encoding="utf-8")
    return [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--run_granian"]


def _portkey_command(program: str, folder: Path, port: int, base_url: str) -> list[str]:
    return [shutil.which("node") or "node", program, "--headless", f"--port={port}"]


KINDS: dict[str, Kind] = {
    LITELLM: Kind(
        program=places.litellm,
        command=_litellm_command,
        environment={"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        headers=lambda _: {"authorization": f"Bearer {_KEY}"},
        health="/health/liveliness",
    ),
    PORTKEY: Kind(
        program=places.portkey,
        command=_portkey_command,
        environment={"NODE_ENV": "production"},
        headers=lambda base_url: {
            "authorization": "Bearer made-up",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": base_url,
        },
        health="/",
    ),
}


@asynccontextmanager
async def serving(name: str, base_url: str) -> AsyncGenerator[Peer, None]:
    """Run a peer until the block ends, installing it first if need be. Raises MissingError."""
    if not sys.platform.startswith("linux"):
        raise MissingError(f"{name} is left out: what its processes cost is known on Linux alone")
    kind = KINDS[name]
    program = kind.program()
    place = await asyncio.to_thread(places.installed, program)
    with tempfile.TemporaryDirectory(prefix="junctor-bench-") as folder, (Path(folder) / "log").open("wb") as log:
        port = _free_port()
        command = kind.command(str(place.program), Path(folder), port, base_url)
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": folder, "TMPDIR": folder, **kind.environment}
        begun = time.perf_counter()
        guard = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.outside.guard", *command),
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            cwd=_ROOT,
            env=environment,
        )
        try:
            leader = await _leader(name, guard)
            await _listens(name, guard, f"http://127.0.0.1:{port}{kind.health}")
            yield Peer(program.version, port, kind.headers(base_url), leader, time.perf_counter() - begun)
        finally:
            await _end(guard)


async def _leader(name: str, guard: Process) -> int:
    """Return its process group. Raises MissingError."""
    assert guard.stdout is not None
    line = await asyncio.wait_for(guard.stdout.readline(), START_S)
    if not line:
        raise MissingError(f"{name} cannot be run")
    return int(line)


async def _listens(name: str, guard: Process, url: str) -> None:
    """Wait until it answers. Raises MissingError."""
    assert guard.stdout is not None
    ended = asyncio.create_task(guard.stdout.readline())
    try:
        until = time.perf_counter() + START_S
        while time.perf_counter() < until:
            if await asyncio.to_thread(_answers, url):
                return
            if (await asyncio.wait((ended,), timeout=_LOOK_S))[0]:
                raise MissingError(f"{name} ended before it listened")
        raise MissingError(f"{name} did not listen within {START_S:g} s")
    finally:
        ended.cancel()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=START_S) as response:  # noqa: S310 - an address of the loopback, made here
            return bool(response.status == 200)
    except (URLError, OSError):
        return False


async def _end(guard: Process) -> None:
    assert guard.stdin is not None
    guard.stdin.close()
    try:
        await asyncio.wait_for(guard.wait(), END_S)
    finally:
        if guard.returncode is None:
            guard.kill()
            await guard.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
