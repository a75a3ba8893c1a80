"""`junctor serve` in two processes on a real engine: calls reach both, one may be killed, both end when they are told to."""

import asyncio
import base64
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import grpc
import pytest

from junctor.adapters.system.ambient import SystemClock
from junctor.adapters.telemetry.lines import LineTelemetry
from junctor.bootstrap.core import open_core
from junctor.bootstrap.local_secrets import peppers
from junctor.client import complete_request
from junctor.settings import Command, Settings
from junctor.v1.router_service_pb2 import CompleteRequest, CompleteResponse
from tests.support.child import Child, child
from tests.support.engines.process import Engines
from tests.support.pipeline import MODEL, PATIENCE_S, SERVICE, bearer, until
from tests.support.tables import fake_credentials

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="several processes share a port on Linux only")

CONNECTIONS = 16
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
"""Channels to one target share a connection unless told otherwise, and a connection stays with its process."""


class Site:
    """Two processes that serve, and callers with connections of their own."""

    def __init__(self, running: Child, port: int, key: str) -> None:
        self.running = running
        self.port = port
        self._key = key

    @property
    def workers(self) -> list[int]:
        """Return the ids of the processes."""
        leader = self.running._process.pid
        return [int(pid) for pid in Path(f"/proc/{leader}/task/{leader}/children").read_text().split()]

    async def answered_by(self) -> set[int]:
        """Call over so many connections, and return which processes had one."""
        async with AsyncExitStack() as stack:
            target = f"127.0.0.1:{self.port}"
            channels = [
                await stack.enter_async_context(grpc.aio.insecure_channel(target, OWN_CONNECTION)) for _ in range(CONNECTIONS)
            ]
            assert await asyncio.gather(*map(self._call, channels)) == ["NO_ELIGIBLE_ENDPOINT"] * CONNECTIONS
            return {pid for pid in self.workers if _sockets(pid) & _connected(self.port)}

    async def _call(self, channel: grpc.aio.Channel) -> str:
        """Make a call that a router without any provider key refuses, and return how."""
        complete = channel.unary_unary(
            f"/{SERVICE}/Complete",
            request_serializer=CompleteRequest.SerializeToString,
            response_deserializer=CompleteResponse.FromString,
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await complete(complete_request("Hi", model=MODEL), metadata=bearer(self._key), timeout=PATIENCE_S)
        trailers = dict(refused.value.trailing_metadata())
        return "NO_ELIGIBLE_ENDPOINT" if b"NO_ELIGIBLE_ENDPOINT" in trailers["grpc-status-details-bin"] else str(refused.value)


def _sockets(pid: int) -> set[str]:
    """Return the inodes of a process's sockets."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        # One may be closed while this looks.
        with suppress(OSError):
            found.add(str(descriptor.readlink()))
    return {link.removeprefix("socket:[").removesuffix("]") for link in found if link.startswith("socket:")}


def _connected(port: int) -> set[str]:
    """Return the inodes of the connections to a port, at its side (proc_net_tcp: state 01 is established)."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == "01" and int(row[1].rpartition(":")[2], 16) == port}


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.fixture(params=["ministack"])
async def site(
    request: pytest.FixtureRequest, engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    """Start two processes on an engine, with tables of their own."""
    fake_credentials(monkeypatch)
    settings = {
        "JUNCTOR_DYNAMODB_ENDPOINT": engines.shared(request.param).url,
        "JUNCTOR_TABLE_PREFIX": f"junctor-test-{uuid.uuid4().hex[:12]}-",
        "JUNCTOR_PEPPER": f"1:{base64.b64encode(b'0' * 32).decode()}",
        "JUNCTOR_PROCESSES": "2",
        "JUNCTOR_LISTEN": "127.0.0.1:0",
        "JUNCTOR_DRAIN_S": "5",
    }
    key = await _key(Settings.from_environment(settings, Command.SERVE))
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    async with child("serve", tmp_path, {**settings, **aws}) as running:
        listening = json.loads(await running.line_with("listening"))["fields"]
        assert listening["processes"] == 2
        yield Site(running, listening["port"], key)


async def _key(settings: Settings) -> str:
    """Make the tables, an organisation and an API key."""
    core = await open_core(settings, {}, peppers(settings), LineTelemetry(sys.stderr, SystemClock()))
    try:
        return await core.accounts.create_api_key((await core.accounts.create_organisation("test")).id, "test")
    finally:
        await core.close()


async def test_two_processes_serve_and_one_may_die(site: Site) -> None:
    """Else a second core is paid for and idle, one crash ends the service, or a deployment leaves processes behind."""
    first = set(site.workers)
    assert len(first) == 2

    async def both() -> bool | None:
        return await site.answered_by() == set(site.workers) or None

    await until(both)
    victim = min(first)
    os.kill(victim, signal.SIGKILL)
    ended = json.loads(await site.running.line_with("another follows"))["fields"]
    assert (ended["pid"], ended["status"]) == (victim, -signal.SIGKILL)
    assert first - {victim} <= await site.answered_by()
    again = json.loads(await site.running.line_with("listens again"))["fields"]["pid"]
    assert {*site.workers} == {*first, again} - {victim}
    await until(both)
    last = site.workers
    assert await site.running.terminate() == 0
    assert not _alive(last)
    said = [json.loads(line)["event"] for line in site.running.lines if '"kind":"event"' in line]
    assert said.count("draining") == said.count("stopped") == 2
