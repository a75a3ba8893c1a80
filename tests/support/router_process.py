"""A router in a process of its own, so that a test can kill it: `python -m tests.support.router_process FOLDER BASE_URL`.

The store lies in the folder and outlives the process; the endpoint of junctor/local is at the base URL. The process writes its
port on standard output once it listens, and ends when its standard input does: whoever started it cannot leave it behind.
"""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from junctor.adapters.system.ambient import SystemClock
from junctor.adapters.telemetry.lines import LineTelemetry
from junctor.bootstrap import native
from junctor.bootstrap.core import Core, open_core
from junctor.settings import Settings
from tests.support.harness import CREDENTIALS, LOCAL, PEPPERS

START_TIMEOUT_S = 30.0
LOG = "log.jsonl"
_ROOT = Path(__file__).parents[2]


class RouterProcess:
    """A running router: where it listens, and how it dies."""

    def __init__(self, process: Process, target: str) -> None:
        self._process = process
        self.target = target

    async def kill(self) -> None:
        """End it with SIGKILL, in the middle of whatever it does, and wait until it is gone."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


@asynccontextmanager
async def router_process(folder: Path, base_url: str) -> AsyncGenerator[RouterProcess, None]:
    """Start a router on the store in a folder; it is killed at the end, if not before. Raises RuntimeError."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.router_process", str(folder), base_url),
        cwd=_ROOT,
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
    )
    router = RouterProcess(process, "")
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
        if not line.strip().isdigit():
            raise RuntimeError("the router did not start")
        router.target = f"127.0.0.1:{int(line)}"
        yield router
    finally:
        await router.kill()


def settings_of(folder: Path) -> Settings:
    """Return the settings of a router on the store in a folder."""
    return Settings.from_environment(
        {"JUNCTOR_LISTEN": "127.0.0.1:0", "JUNCTOR_DATA_DIR": str(folder), "JUNCTOR_LOCAL_MODEL": "off"}
    )


@asynccontextmanager
async def opened_core(folder: Path) -> AsyncGenerator[Core, None]:
    """Open all that lies behind the doors on the store in a folder, with the made-up secrets of the test harness."""
    telemetry = LineTelemetry.to_file(folder / LOG, SystemClock())
    try:
        core = await open_core(settings_of(folder), CREDENTIALS, PEPPERS, telemetry)
        try:
            yield core
        finally:
            await core.close()
    finally:
        telemetry.close()


async def _serve(folder: Path, base_url: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop.set)
    async with opened_core(folder) as core:
        core.catalog.locate(LOCAL, base_url)
        server = native.server(core, settings_of(folder))
        print(await server.start(), flush=True)
        await stop.wait()
        await server.drain(1.0)


if __name__ == "__main__":
    native.run(_serve(Path(sys.argv[1]), sys.argv[2]))
