"""Several processes on one port: started, told to end, and replaced, with stand-ins for the processes themselves."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from junctor.bootstrap import supervisor
from junctor.bootstrap.stop import Stop
from junctor.bootstrap.supervisor import COMMAND, Pace, Supervisor, reserve
from junctor.doors.addresses import AddressError
from junctor.settings import Address, Command, Settings
from tests.support import fake_worker
from tests.support.child import START_S, child, environment
from tests.support.pipeline import PATIENCE_S, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="several processes share a port on Linux only")

QUICK = Pace(steady_s=60.0, first_s=0.01, most_s=0.05, short_lives_max=3, end_s=PATIENCE_S)


class _Told:
    """Keeps the events of a supervisor."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, str | int]]] = []

    def event(self, name: str, fields: Mapping[str, str | int]) -> None:
        self.events.append((name, fields))

    def named(self, word: str) -> list[Mapping[str, str | int]]:
        return [fields for name, fields in self.events if word in name]

    request = count = incident = None


class _Site:
    """A supervisor at work, and what it was told with and tells."""

    def __init__(self, folder: Path, kind: str, processes: int, pace: Pace, address: Address) -> None:
        self.heard = folder / "heard"
        self.address = address
        self.told = _Told()
        self.stop = Stop()
        command = [sys.executable, "-S", "-E", fake_worker.__file__, kind, str(self.heard)]
        environ = {**os.environ, "JUNCTOR_LISTEN": str(address)}
        self.supervisor = Supervisor(command, environ, processes, self.told, pace)  # type: ignore[arg-type]
        self.running = asyncio.create_task(self.supervisor.run(self.stop))

    async def listens(self) -> bool:
        return await asyncio.wait_for(self.supervisor.listening(), PATIENCE_S)

    async def ended(self) -> int:
        return await asyncio.wait_for(self.running, PATIENCE_S)

    async def answerers(self, connections: int = 64) -> set[int]:
        """Return the ids of the processes that answer so many connections."""

        async def one() -> int:
            reader, writer = await asyncio.open_connection(self.address.host, self.address.port)
            pid = int(await reader.read())
            writer.close()
            return pid

        return set(await asyncio.gather(*(one() for _ in range(connections))))


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """Keep addresses until the end of the test."""
    with ExitStack() as stack:
        yield stack


@asynccontextmanager
async def _site(
    folder: Path, held: ExitStack, kind: str = "serve", processes: int = 3, pace: Pace = QUICK
) -> AsyncGenerator[_Site, None]:
    site = _Site(folder, kind, processes, pace, reserve(Address("127.0.0.1", 0), held))
    try:
        yield site
    finally:
        site.stop.insist()
        await site.ended()


async def test_connections_reach_more_than_one_process(tmp_path: Path, held: ExitStack) -> None:
    """Else several processes cost memory and serve no more calls than one, or the socket that is kept swallows some."""
    async with _site(tmp_path, held) as site:
        assert await site.listens()
        assert len(await site.answerers()) > 1
        site.stop.signal()
        assert await site.ended() == 0
    assert site.heard.read_bytes() == b"end\n" * 3
    assert site.told.events == []


async def test_a_killed_process_is_replaced_while_the_others_serve(tmp_path: Path, held: ExitStack) -> None:
    """Else one crash takes the service down, or leaves it smaller for good."""
    async with _site(tmp_path, held) as site:
        assert await site.listens()
        victim, *_ = before = await site.answerers()
        os.kill(victim, signal.SIGKILL)

        async def back() -> bool | None:
            return bool(site.told.named("listens again")) or None

        await until(back)
        after = await site.answerers(128)
    assert victim not in after
    assert after & before
    assert [(one["pid"], one["status"]) for one in site.told.named("ended")] == [(victim, -signal.SIGKILL)]
    (again,) = site.told.named("listens again")
    assert after <= (before - {victim}) | {again["pid"]}


async def test_the_first_that_cannot_start_ends_it_all(tmp_path: Path, held: ExitStack) -> None:
    """Else a wrong secret is told once for each process, again and again, by a service that says it runs."""
    async with _site(tmp_path, held, "unfit") as site:
        assert not await site.listens()
        assert await site.ended() == 3
    assert site.told.events == []


async def test_processes_that_keep_ending_are_given_up(tmp_path: Path, held: ExitStack) -> None:
    """Else whoever looks after the service never learns that it does not serve."""
    async with _site(tmp_path, held, "short", processes=2) as site:
        assert await site.ended() == 1
    assert len(site.told.named("another follows")) >= 2 * QUICK.short_lives_max - 1
    assert site.told.named("no more are started") == [{"status": 4}]
    waits = [int(fields["after_ms"]) for fields in site.told.named("another follows")]
    assert waits[0] == 10
    assert 20 <= max(waits) <= 50


def test_waits_grow_to_their_bound_and_stay_there() -> None:
    """Else a process that fails for a night beside others that serve ends them all, with every call under way."""
    assert [Pace().again_s(lives) for lives in (0, 1, 2, 3, 6, 7, 8, 2_000)] == [0.0, 0.5, 1.0, 2.0, 16.0, 30.0, 30.0, 30.0]


async def test_one_long_life_is_replaced_at_once(tmp_path: Path, held: ExitStack) -> None:
    """Else a service pays for the crashes of last year."""
    async with _site(tmp_path, held, processes=2, pace=Pace(steady_s=0.0, end_s=PATIENCE_S)) as site:
        assert await site.listens()
        os.kill(min(await site.answerers()), signal.SIGKILL)

        async def told() -> bool | None:
            return bool(site.told.named("another follows")) or None

        await until(told)
    assert site.told.named("another follows")[0]["after_ms"] == 0


async def test_a_second_signal_ends_the_calls_under_way(tmp_path: Path, held: ExitStack) -> None:
    """Else a person who wants his terminal back waits for somebody's endless stream."""
    async with _site(tmp_path, held, "insisted") as site:
        assert await site.listens()
        site.stop.signal()

        async def heard() -> bool | None:
            return (site.heard.exists() and site.heard.read_bytes() == b"end\n" * 3) or None

        await until(heard)
        assert not site.running.done()
        site.stop.signal()
        assert await site.ended() == 0
    assert site.heard.read_bytes().count(b"now\n") == 3


async def test_a_process_that_does_not_end_is_killed(tmp_path: Path, held: ExitStack) -> None:
    """Else one that hangs keeps the whole service from ending."""
    pace = Pace(end_s=0.2)
    async with _site(tmp_path, held, "insisted", processes=1, pace=pace) as site:
        assert await site.listens()
        site.stop.ask()
        assert await site.ended() == 1


LEADER = """
import asyncio, os, sys
from junctor.bootstrap.stop import Stop
from junctor.bootstrap.supervisor import Pace, Supervisor

async def lead():
    supervisor = Supervisor(sys.argv[1:], os.environ, 3, None, Pace())
    running = asyncio.create_task(supervisor.run(Stop()))
    print(await supervisor.listening(), flush=True)
    await running

asyncio.run(lead())
"""


async def test_processes_do_not_outlive_who_leads_them(tmp_path: Path, held: ExitStack) -> None:
    """Else a supervisor that is killed leaves processes behind which hold the port and obey nobody."""
    heard = tmp_path / "heard"
    environ = {**os.environ, "JUNCTOR_LISTEN": str(reserve(Address("127.0.0.1", 0), held))}
    worker = (sys.executable, "-S", "-E", fake_worker.__file__, "serve", str(heard))
    leader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LEADER, *worker, stdout=PIPE, env=environ, start_new_session=True
    )
    try:
        assert leader.stdout is not None
        assert await asyncio.wait_for(leader.stdout.readline(), START_S) == b"True\n"
        leader.kill()

        async def alone() -> bool | None:
            return (heard.exists() and heard.read_bytes() == b"alone\n" * 3) or None

        await until(alone)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(leader.pid, signal.SIGKILL)
        await leader.communicate()


async def test_a_led_process_ends_with_its_leader() -> None:
    """Else one that is left behind is in nobody's hands, or cuts calls that nobody asked it to cut."""
    reading, writing = os.pipe()
    stop = Stop()
    stop.follow(reading)
    os.close(writing)
    await asyncio.wait_for(stop.asked.wait(), PATIENCE_S)
    os.close(reading)
    assert not stop.insisted.is_set()


@pytest.mark.parametrize(("words", "insisted"), [(b"end\n", False), (b"end\nnow\n", True), (b"now\n", True)])
async def test_a_led_process_follows(words: bytes, insisted: bool) -> None:
    """Else what the operator tells the supervisor does not reach the calls."""
    reading, writing = os.pipe()
    stop = Stop()
    stop.follow(reading)
    os.write(writing, words)
    await asyncio.wait_for(stop.asked.wait(), PATIENCE_S)
    assert stop.insisted.is_set() is insisted
    asyncio.get_running_loop().remove_reader(reading)
    for end in (reading, writing):
        os.close(end)


async def test_signals_to_a_led_process_only_ask() -> None:
    """Else Ctrl-C, which a terminal sends to the whole group, cuts every call as if it had been typed twice."""
    stop = Stop()
    stop.listen(led=True)
    try:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.asked.wait(), PATIENCE_S)
        assert not stop.insisted.is_set()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)


def _listening(stack: ExitStack, *, shared: bool) -> int:
    """Listen as somebody else does, and return the port."""
    other = stack.enter_context(socket.socket())
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
    other.bind(("127.0.0.1", 0))
    other.listen()
    return int(other.getsockname()[1])


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_in_use_is_refused(held: ExitStack, shared: bool) -> None:
    """Else calls go by chance to our processes and to somebody else's."""
    port = _listening(held, shared=shared)
    with pytest.raises(match=f"127.0.0.1:{port} cannot be listened on: address already in use"):
        reserve(Address("127.0.0.1", port), held)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_of_another_machine_is_refused(held: ExitStack, host: str) -> None:
    """Else an operator reads a page of code about a typing mistake."""
    with pytest.raises(match=f"{host}:7 cannot be listened on: "):
        reserve(Address(host, 7), held)


def test_a_kept_port_is_nobody_else_s(held: ExitStack) -> None:
    """Else another program takes the port while all processes start again."""
    address = reserve(Address("127.0.0.1", 0), held)
    with pytest.raises(AddressError):
        reserve(address, held)


SEVERAL = {
    "JUNCTOR_PROCESSES": "2",
    "JUNCTOR_DYNAMODB_ENDPOINT": "http://127.0.0.1:9",
    "JUNCTOR_PEPPER": f"1:{'A' * 43}=",
    "JUNCTOR_ADMIN_LISTEN": "127.0.0.1:0",
}
STORE_KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


async def test_signals_do_not_end_a_led_process_that_starts(tmp_path: Path) -> None:
    """Else Ctrl-C, or a service manager that signals the group, makes a failure of an end that was asked for."""
    asked = asyncio.Event()

    def ask(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        writer.close()

    async with await asyncio.start_server(ask, "127.0.0.1", 0) as store:
        host, port = store.sockets[0].getsockname()
        settings = {**SEVERAL, "JUNCTOR_DYNAMODB_ENDPOINT": f"http://{host}:{port}", **STORE_KEYS}
        worker = await asyncio.create_subprocess_exec(
            *COMMAND, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment(tmp_path, settings)
        )
        try:
            await asyncio.wait_for(asked.wait(), START_S)
            for number in (signal.SIGINT, signal.SIGTERM):
                worker.send_signal(number)
            assert worker.stderr is not None
            assert await asyncio.wait_for(worker.stderr.read(), START_S)
            # Its own end, as its store does not answer.
            assert await worker.wait() == 1
        finally:
            if worker.returncode is None:
                worker.kill()
            await worker.communicate()


async def test_serve_tells_that_a_port_is_in_use(tmp_path: Path, held: ExitStack) -> None:
    """Else each process says so by itself, again and again."""
    address = f"127.0.0.1:{_listening(held, shared=True)}"
    async with child("serve", tmp_path, {**SEVERAL, "JUNCTOR_LISTEN": address}) as running:
        assert await running.ended() == 1
    assert running.lines == [f"{address} cannot be listened on: address already in use"]


async def test_up_is_one_process(tmp_path: Path) -> None:
    """Else whoever sets several believes that they run."""
    async with child("up", tmp_path, SEVERAL) as running:
        assert await running.ended() == 1
    assert running.lines == ["JUNCTOR_PROCESSES: junctor up runs one process; junctor serve runs several"]


def test_elsewhere_than_on_linux_it_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Else one process of several gets all calls, where the system does not share them out."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert supervisor.run_supervisor(Settings.from_environment(SEVERAL, Command.SERVE)) == 2
    assert capsys.readouterr().err == "JUNCTOR_PROCESSES: several processes share a port on Linux only\n"
