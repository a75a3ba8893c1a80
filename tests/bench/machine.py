"""On what was measured, and which code: figures without this say little. No names of hosts, users or folders."""

import asyncio
import os
import platform
from asyncio.subprocess import DEVNULL, PIPE
from importlib.metadata import version
from pathlib import Path

from msgspec import Struct

PACKAGES = ("aiohttp", "grpcio", "h11", "httpcore", "httpx", "msgspec", "protobuf", "uvloop")
_PROGRAM_S = 10.0
_ROOT = Path(__file__).parents[2]


class Machine(Struct, frozen=True):
    """Where a run took place. `commit` is empty outside a git checkout, `modified` tells that the code was ahead of it.

    `node` is the version of Node, empty where there is none.
    """

    system: str
    cpu: str
    cores: int
    memory_mb: int
    python: str
    packages: dict[str, str]
    node: str
    commit: str
    modified: bool


async def describe() -> Machine:
    """Look at this machine and checkout."""
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        memory_mb=_memory_mb(),
        python=platform.python_version(),
        packages={name: version(name) for name in PACKAGES if name != "uvloop" or platform.system() != "Windows"},
        node=(await _said("node", "--version")).removeprefix("v"),
        commit=await _said("git", "rev-parse", "HEAD"),
        modified=bool(await _said("git", "status", "--porcelain")),
    )


def _cpu() -> str:
    """Return the processor's model, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def _memory_mb() -> int:
    """Return the machine's memory, 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**6
    except (AttributeError, ValueError, OSError):
        return 0


async def _said(program: str, *arguments: str) -> str:
    """Return what a program says of this checkout or itself, nothing if it cannot say."""
    try:
        process = await asyncio.create_subprocess_exec(program, *arguments, stdout=PIPE, stderr=DEVNULL, cwd=_ROOT)
    except OSError:
        return ""
    try:
        said, _ = await asyncio.wait_for(process.communicate(), _PROGRAM_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return said.decode().strip() if process.returncode == 0 else ""
