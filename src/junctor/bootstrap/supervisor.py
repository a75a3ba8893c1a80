"""`junctor serve` in several processes: they are started, told to end, and replaced where one has died.

Each process is Python begun anew, never a fork: grpc does not survive one. They share the ports by SO_REUSEPORT, of which this
process keeps a socket that is bound and does not listen: it gets no connection, and the ports stay ours while processes come
and go. This process imports no grpc and serves nobody. It owns the signals: processes do what it tells them through a pipe,
whose end tells them that it is gone. Invariant: no process outlives it for longer than its drain.
"""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress

from msgspec import Struct

from junctor.adapters.system.ambient import SystemClock
from junctor.bootstrap.stop import ASK, INSIST, Stop
from junctor.bootstrap.telling import open_log, tell_listening
from junctor.doors.addresses import AddressError, refused
from junctor.ports.telemetry import Telemetry
from junctor.settings import PREFIX, Address, Settings

LISTENING = b"listening\n"
"""What a process writes on its standard output once it listens."""

# Without the current folder in front of the path, which is nobody's to put modules into.
COMMAND = (sys.executable, "-P", "-m", "junctor.bootstrap.worker")

_DOUBLINGS_MAX = 32
"""More would not fit a float one day, while one process lives and another one fails for hours."""


class Pace(Struct, frozen=True, kw_only=True):
    """How fast processes are started again, in seconds.

    One that listened for `steady_s` may start again at once; one that did not waits, twice as long each time. When each has
    had `short_lives_max` short lives in a row, all is given up. One that does not end `end_s` after it was told to is killed.
    """

    steady_s: float = 10.0
    first_s: float = 0.5
    most_s: float = 30.0
    short_lives_max: int = 5
    end_s: float = 150.0

    def again_s(self, short_lives: int) -> float:
        """Return how long to wait after so many short lives in a row, of which there may be thousands."""
        doubled = min(short_lives - 1, _DOUBLINGS_MAX)
        return min(self.first_s * 2**doubled, self.most_s) if short_lives else 0.0


def run_supervisor(settings: Settings) -> int:
    """Run the processes until a signal ends them; return the exit status: 0 all ended well, 1 not, 2 not to be had here."""
    if sys.platform != "linux":
        return _refused(f"{PREFIX}PROCESSES: several processes share a port on Linux only", 2)
    with ExitStack() as held:
        try:
            listen = reserve(settings.listen, held)
            admin_listen = reserve(settings.admin_listen, held)
            clock = SystemClock()
            telemetry = open_log(settings, clock)
        except AddressError as error:
            return _refused(str(error), 1)
        except OSError as error:
            return _refused(f"{error.filename or 'the log'}: {error.strerror}", 1)
        environ = {**os.environ, f"{PREFIX}LISTEN": str(listen), f"{PREFIX}ADMIN_LISTEN": str(admin_listen)}
        pace = Pace(end_s=settings.drain_s + 30)

        async def supervise() -> int:
            stop = Stop()
            stop.listen()
            supervisor = Supervisor(COMMAND, environ, settings.processes, telemetry, pace)
            running = asyncio.create_task(supervisor.run(stop))
            if await supervisor.listening():
                tell_listening(telemetry, settings, listen.port, admin_listen.port)
            return await running

        return asyncio.run(supervise())


def reserve(address: Address, held: ExitStack) -> Address:
    """Keep an address for processes of ours until `held` closes, and return it with its port, which may have been 0.

    Raises AddressError if it is not an address of this machine, or somebody listens there.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        if address.port:
            # Who shares the port with us could only be told from a stranger by taking it alone, for a moment.
            socket.create_server(place[:2], family=family).close()
        kept = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(place)
    except OSError as error:
        raise refused(address, error) from error
    return Address(address.host, int(kept.getsockname()[1]))


class _Place:
    """One of the processes, and those that took its place."""

    def __init__(self) -> None:
        self.listening = False
        self.short_lives = 0


class Supervisor:
    """Keeps so many processes of a command running. The first must listen before the others are started."""

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], processes: int, telemetry: Telemetry, pace: Pace
    ) -> None:
        self._command = command
        self._environ = environ
        self._telemetry = telemetry
        self._pace = pace
        self._places = tuple(_Place() for _ in range(processes))
        self._first = asyncio.Event()
        self._all = asyncio.Event()
        self._over = asyncio.Event()
        self._status = 0

    async def run(self, stop: Stop) -> int:
        """Keep them running until they are told to end, or keep ending by themselves; return the exit status."""
        try:
            first = asyncio.create_task(self._keep(self._places[0], stop))
            begun = asyncio.create_task(self._first.wait())
            await asyncio.wait({first, begun}, return_when=asyncio.FIRST_COMPLETED)
            begun.cancel()
            # What keeps the first from listening would keep all of them, and be told by each.
            others = self._places[1:] if self._first.is_set() else ()
            await asyncio.gather(first, *(self._keep(place, stop) for place in others))
        finally:
            self._over.set()
        return self._status

    async def listening(self) -> bool:
        """Wait until all listen, and tell whether that came about before the end."""
        waits = [asyncio.create_task(event.wait()) for event in (self._all, self._over)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return self._all.is_set()

    async def _keep(self, place: _Place, stop: Stop) -> None:
        """Keep one process running, and another when it has ended."""
        pace = self._pace
        while not stop.asked.is_set():
            pid, status, listened_s = await self._live(place, stop)
            if stop.asked.is_set() or not self._first.is_set():
                self._status = self._status or (0 if stop.asked.is_set() and status == 0 else max(status, 1))
                return
            place.short_lives = 0 if listened_s >= pace.steady_s else place.short_lives + 1
            if all(each.short_lives >= pace.short_lives_max for each in self._places):
                self._telemetry.event("processes keep ending, and no more are started", {"status": status})
                self._status = 1
                stop.ask()
                return
            again_s = pace.again_s(place.short_lives)
            again_ms = int(again_s * 1000)
            self._telemetry.event("a process ended, another follows", {"pid": pid, "status": status, "after_ms": again_ms})
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.asked.wait(), again_s)

    async def _live(self, place: _Place, stop: Stop) -> tuple[int, int, float]:
        """Run one process to its end; return its id, its status, and for how many seconds it listened."""
        clock = asyncio.get_running_loop().time
        try:
            process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE, env=self._environ)
        except OSError as error:
            return 0, error.errno or 1, 0.0
        leading = asyncio.create_task(self._lead(process, stop))
        since: float | None = None
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for above
            while said := await process.stdout.readline():
                if said == LISTENING:
                    since = clock()
                    self._listens(place, process.pid)
            status = await process.wait()
        finally:
            place.listening = False
            leading.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.pid, status, 0.0 if since is None else clock() - since

    def _listens(self, place: _Place, pid: int) -> None:
        place.listening = True
        self._first.set()
        if self._all.is_set():
            self._telemetry.event("a process listens again", {"pid": pid})
        elif all(each.listening for each in self._places):
            self._all.set()

    async def _lead(self, process: Process, stop: Stop) -> None:
        """Tell a process to end when that is wanted, and once more; kill it if it does not."""
        assert process.stdin is not None  # noqa: S101 - it was asked for
        await stop.asked.wait()
        process.stdin.write(ASK)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.insisted.wait(), self._pace.end_s)
            process.stdin.write(INSIST)
            await asyncio.sleep(self._pace.end_s)
        process.kill()


def _refused(text: str, status: int) -> int:
    print(text, file=sys.stderr)  # noqa: T201 - the last word of a process that cannot start
    return status
