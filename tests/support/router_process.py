"""A router in a process of its own, so that a test can kill it: `python -m tests.support.router_process`.

The process loads its code, waits for one line of JSON that says where its store and its providers are, and writes its port on
standard output once it listens. It ends when its standard input does: whoever started it cannot leave it behind. The store
outlives it; the endpoints of junctor/local and of a priced model are at the base URL.
"""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from junctor.adapters.system.ambient import SystemClock
from junctor.adapters.telemetry.lines import LineTelemetry
from junctor.bootstrap import native
from junctor.bootstrap.core import Core, open_core
from junctor.settings import Settings
from tests.support.harness import CREDENTIALS, LOCAL, PEPPERS
from tests.support.pipeline import FIRST

START_TIMEOUT_S = 30.0
LOG = "log.jsonl"
_ROOT = Path(__file__).parents[2]


class Site(Struct, frozen=True):
    """Where a router runs: its data folder, and the JUNCTOR_* settings beside it, such as another store."""

    folder: str
    settings: Mapping[str, str] = {}

    def parsed(self) -> Settings:
        """Return its settings."""
        own = {"JUNCTOR_LISTEN": "127.0.0.1:0", "JUNCTOR_DATA_DIR": self.folder, "JUNCTOR_LOCAL_MODEL": "off"}
        return Settings.from_environment({**own, **self.settings})


class _Orders(Struct, frozen=True):
    site: Site
    base_url: str


class RouterProcess:
    """A router that is loaded and waits. `target` is where it listens once it was started."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.target = ""

    async def start(self, site: Site, base_url: str) -> None:
        """Let it open its store and listen. Raises RuntimeError."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(_Orders(site, base_url)) + b"\n")
        line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
        if not line.strip().isdigit():
            raise RuntimeError("the router did not start")
        self.target = f"127.0.0.1:{int(line)}"

    async def kill(self) -> None:
        """End it with SIGKILL, in the middle of whatever it does, and wait until it is gone."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


async def loaded_router() -> RouterProcess:
    """Start a process that loads a router and waits; whoever asks for it kills it."""
    command = (sys.executable, "-m", "tests.support.router_process")
    return RouterProcess(await asyncio.create_subprocess_exec(*command, cwd=_ROOT, stdin=PIPE, stdout=PIPE, stderr=DEVNULL))


@asynccontextmanager
async def opened_core(site: Site) -> AsyncGenerator[Core, None]:
    """Open all that lies behind the doors of a site, with the made-up secrets of the test harness."""
    telemetry = LineTelemetry.to_file(Path(site.folder) / LOG, SystemClock())
    try:
        core = await open_core(site.parsed(), CREDENTIALS, PEPPERS, telemetry)
        try:
            yield core
        finally:
            await core.close()
    finally:
        telemetry.close()


async def _serve(orders: _Orders) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop.set)
    async with opened_core(orders.site) as core:
        for endpoint in (LOCAL, FIRST):
            core.catalog.locate(endpoint, orders.base_url)
        server = native.server(core, orders.site.parsed())
        print(await server.start(), flush=True)
        await stop.wait()
        await server.drain(1.0)


if __name__ == "__main__":
    line = sys.stdin.readline()
    if line:
        native.run(_serve(msgspec.json.decode(line, type=_Orders)))
