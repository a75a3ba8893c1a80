"""Which connection carries a request to DynamoDB, who waits for one, and that no place is lost, whatever ends an exchange."""

import asyncio
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest

from junctor.adapters.net import dial
from junctor.adapters.net.dial import Dialer
from junctor.adapters.net.face import Limits
from junctor.adapters.net.line import Target
from junctor.adapters.tables.dynamodb_connection import Connection
from junctor.adapters.tables.dynamodb_http import Reply
from junctor.adapters.tables.dynamodb_pool import AGE_MAX_S, AGE_MIN_S, Pool, _Due
from junctor.adapters.tables.dynamodb_sender import NeverSentError, UnansweredError
from tests.support.scripted_upstream import (
    PATIENCE_S,
    Close,
    Script,
    ScriptedUpstream,
    Send,
    Stall,
    Step,
    Until,
    Wait,
    head,
    refused_base_url,
    status,
)
from tests.support.virtual_loop import run_virtual

ONE = Limits(connections_max=1)
TARGET = Target("127.0.0.1", 1, None)
REQUEST = b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"
GOOD: list[Step] = status(200, b"good")


def target_of(url: str) -> Target:
    """Return where an address leads."""
    return Target("127.0.0.1", int(url.rpartition(":")[2].removesuffix("/v1")), None)


@asynccontextmanager
async def asking(
    upstream: ScriptedUpstream, limits: Limits, *, answer_s: float = PATIENCE_S
) -> AsyncIterator[tuple[Pool, Callable[[], "asyncio.Task[Reply]"]]]:
    """Yield a pool, and what sends a request over it."""
    pool = Pool(limits, connect_s=PATIENCE_S, answer_s=answer_s)
    target = target_of(upstream.base_url)
    yield pool, lambda: asyncio.create_task(pool.ask(target, REQUEST))
    await pool.close()


async def come(upstream: ScriptedUpstream, count: int) -> None:
    """Wait until so many requests have arrived."""
    async with asyncio.timeout(PATIENCE_S):
        while len(upstream.requests) < count:  # noqa: ASYNC110 - nothing else tells when it has come
            await asyncio.sleep(0.001)


async def waited(pool: Pool, count: int) -> None:
    """Wait until so many wait for a connection."""
    async with asyncio.timeout(PATIENCE_S):
        while len(pool._waiting) != count:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)


async def test_the_connection_that_was_used_last_is_used_next() -> None:
    """Of many connections that once were needed none would ever end, and each might be one that DynamoDB is closing."""
    first = asyncio.Event()
    async with ScriptedUpstream([Until(first), *GOOD], GOOD) as upstream, asking(upstream, Limits()) as (_, ask):
        slow = ask()
        await come(upstream, 1)
        await ask()
        first.set()
        await slow
        await ask()
        await ask()
        assert [request.connection for request in upstream.requests] == [0, 1, 0, 0]


async def test_who_waits_is_served_in_turn_by_the_same_connection() -> None:
    """Under load a call could wait for ever, or each call would make a connection of its own."""
    async with ScriptedUpstream([Wait(0.01), *GOOD]) as upstream, asking(upstream, ONE) as (pool, ask):
        answered: list[asyncio.Task[Reply]] = []
        tasks = [ask() for _ in range(6)]
        for task in tasks:
            task.add_done_callback(answered.append)
        await asyncio.gather(*tasks)
        assert answered == tasks
        assert (upstream.connections, len(pool._waiting), pool._places) == (1, 0, 0)


async def test_who_gives_up_waiting_leaves_the_line() -> None:
    """Each caller who hangs up while the table is busy would cost a place, until none is left."""
    may = asyncio.Event()
    async with ScriptedUpstream([Until(may), *GOOD], GOOD) as upstream, asking(upstream, ONE) as (pool, ask):
        busy = ask()
        await come(upstream, 1)
        impatient, patient = ask(), ask()
        await waited(pool, 2)
        impatient.cancel()
        await waited(pool, 1)
        may.set()
        assert [(await task).body for task in (busy, patient)] == [b"good"] * 2
        assert impatient.cancelled()
        assert (upstream.connections, len(upstream.requests)) == (1, 2)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("others", [0, 1])
async def test_who_gives_up_when_he_is_served_passes_it_on(
    others: int,
    before: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A connection that is given in the very moment of a cancellation would be nobody's for ever, and so its place."""
    may = asyncio.Event()
    async with ScriptedUpstream([Until(may), *GOOD], GOOD) as upstream, asking(upstream, ONE) as (pool, ask):
        busy = ask()
        await come(upstream, 1)
        unlucky = ask()
        await waited(pool, 1)
        patient = [ask() for _ in range(others)]
        await waited(pool, 1 + others)
        keep = pool._keep

        def kept(connection: Connection) -> None:
            if before:
                unlucky.cancel()
            keep(connection)
            unlucky.cancel()

        monkeypatch.setattr(pool, "_keep", kept)
        may.set()
        async with asyncio.timeout(PATIENCE_S / 2):
            await asyncio.gather(busy, *patient)
            await asyncio.wait((unlucky,))
            assert unlucky.cancelled()
            assert (await ask()).body == b"good"
        assert (upstream.connections, len(pool._waiting)) == (1, 0)


async def test_a_connection_that_ends_on_its_way_to_who_waits_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write would be called unknown for a connection whose end was there to be seen; or its place be lost."""
    may = asyncio.Event()
    async with ScriptedUpstream([Until(may), *GOOD], GOOD) as upstream, asking(upstream, ONE) as (pool, ask):
        busy = ask()
        await come(upstream, 1)
        patient = ask()
        await waited(pool, 1)
        keep = pool._keep

        def kept(connection: Connection) -> None:
            keep(connection)
            connection.abort()

        monkeypatch.setattr(pool, "_keep", kept)
        may.set()
        async with asyncio.timeout(PATIENCE_S / 2):
            assert [(await task).body for task in (busy, patient, ask())] == [b"good"] * 3
        assert upstream.connections == 3


ENDS: dict[str, Script] = {
    "closed": [Close()],
    "late": [Stall()],
    "without an answer's body": status(503),
    "no HTTP": [Send(b"220 mail.example ESMTP\r\n\r\n")],
    "a second answer": [*GOOD, *GOOD],
    "closed behind its answer": status(200, b"good", {"connection": "close"}),
    "closed once it was kept": [*GOOD, Wait(0.01), Close()],
    "until its end": [Send(head(200) + b"good"), Close()],
}


@pytest.mark.parametrize("name", ENDS)
async def test_however_an_exchange_ends_its_place_is_free(name: str) -> None:
    """After so many such ends as there are places, no write could ever be sent again."""
    async with ScriptedUpstream(ENDS[name], ENDS[name], GOOD) as upstream:
        async with asking(upstream, ONE, answer_s=0.2) as (pool, ask):
            for request in range(2):
                both = await asyncio.gather(ask(), return_exceptions=True)
                assert isinstance(both[0], (Reply, UnansweredError))
                await upstream.requests[request].gone()
            async with asyncio.timeout(PATIENCE_S / 2):
                assert (await ask()).body == b"good"
            assert upstream.connections == 3
        assert not pool._open


async def test_what_is_no_answer_is_not_waited_for() -> None:
    """Each call would stand for seconds where its fate is known at once."""
    async with ScriptedUpstream([Send(b"220 mail.example ESMTP\r\n\r\n")]) as upstream, asking(upstream, ONE) as (_, ask):
        with pytest.raises(UnansweredError):
            async with asyncio.timeout(PATIENCE_S / 2):
                await ask()


async def test_who_waits_for_a_connection_that_fails_gets_its_place() -> None:
    """Whoever stands behind a call that fails would wait until he fails as well."""
    may = asyncio.Event()
    async with ScriptedUpstream([Until(may), Close()], GOOD) as upstream, asking(upstream, ONE) as (pool, ask):
        failing = ask()
        await come(upstream, 1)
        behind = ask()
        await waited(pool, 1)
        may.set()
        with pytest.raises(UnansweredError):
            await failing
        assert (await behind).body == b"good"


async def test_a_connection_that_cannot_be_made_costs_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute without a network the table could not be reached until the process is started anew."""

    async def never(_host: str, _port: int) -> None:
        await asyncio.Event().wait()

    async with ScriptedUpstream(GOOD) as upstream, asking(upstream, ONE) as (pool, ask):
        with refused_base_url() as url:
            for _ in range(2):
                with pytest.raises(NeverSentError):
                    await pool.ask(target_of(url), REQUEST)
        monkeypatch.setattr(dial, "_ask", never)
        hanging = asyncio.create_task(pool.ask(Target("dynamodb.example", 80, None), REQUEST))
        await asyncio.sleep(0.01)
        hanging.cancel()
        await asyncio.wait((hanging,))
        async with asyncio.timeout(PATIENCE_S / 2):
            assert (await ask()).body == b"good"


async def test_no_more_are_kept_than_may_be() -> None:
    """A burst of calls would leave hundreds of connections behind."""
    limits = Limits(connections_max=5, idle_connections_max=2)
    async with ScriptedUpstream([Wait(0.01), *GOOD]) as upstream, asking(upstream, limits) as (pool, ask):
        await asyncio.gather(*(ask() for _ in range(5)))
        assert (len(pool._idle), pool._places) == (2, 3)
        await asyncio.gather(*(ask() for _ in range(5)))
        assert upstream.connections == 8


@pytest.mark.parametrize("early", [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood", b""])
async def test_what_comes_before_a_question_is_not_its_answer(early: bytes) -> None:
    """One call could be answered with what was meant for another; or a write be called unknown that never left."""
    ours, theirs = socket.socketpair()
    ended: list[Connection] = []
    with theirs:
        _, connection = await asyncio.get_running_loop().create_connection(lambda: Connection(100, ended.append), sock=ours)
        assert connection.quiet()
        if early:
            theirs.sendall(early)
        else:
            theirs.shutdown(socket.SHUT_WR)
        assert not connection.quiet(), "it has come, though the loop has not looked"
        async with asyncio.timeout(PATIENCE_S):
            while not ended:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.001)
        with pytest.raises(NeverSentError):
            connection.ask(REQUEST)
        assert theirs.recv(1_000) == b""


async def test_a_connection_whose_request_was_not_read_to_its_end_is_not_used_again() -> None:
    """What is asked next would stand behind megabytes that nobody reads, and be called unknown though it never left."""
    connections: list[asyncio.StreamWriter] = []
    refusal = b"HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\n{}"
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with suppress(asyncio.IncompleteReadError):
            while b"length: 0\r" in await reader.readuntil(b"\r\n\r\n"):
                writer.write(refusal)
            writer.write(refusal)
        await over.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        target = Target("127.0.0.1", server.sockets[0].getsockname()[1], None)
        pool = Pool(Limits(), connect_s=PATIENCE_S, answer_s=PATIENCE_S / 2)
        large = b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (2**24) + bytes(2**24)
        assert [(await pool.ask(target, request)).status for request in (large, REQUEST, REQUEST)] == [413] * 3
        assert len(connections) == 2
        await pool.close()
        over.set()


class _Answering(asyncio.Transport):
    """A transport whose other end answers each request in the loop's next turn."""

    def __init__(self, connection: Connection, ours: socket.socket) -> None:
        super().__init__({"socket": ours})
        self._connection = connection
        self._ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Answer what is asked."""
        assert not self._ended
        whole = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood"
        asyncio.get_running_loop().call_soon(self._connection.data_received, whole)

    def is_closing(self) -> bool:
        """Tell whether it was closed."""
        return self._ended

    def abort(self) -> None:
        """Close it."""
        if not self._ended:
            self._ended = True
            asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)


@pytest.mark.parametrize("busy", [2, 5])
def test_no_connection_is_kept_for_ever(busy: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance would ask an address for days that the table's name does not lead to any more, or all would end at once."""

    async def story() -> dict[int, list[float]]:
        loop = asyncio.get_running_loop()
        used: defaultdict[int, list[float]] = defaultdict(list)
        made: list[Connection] = []
        ours, theirs = socket.socketpair()

        async def connect(_dialer: Dialer, _target: Target, make: Callable[[], Connection]) -> Connection:
            connection = make()
            made.append(connection)
            connection.connection_made(_Answering(connection, ours))
            return connection

        monkeypatch.setattr(Dialer, "__call__", connect)
        with ours, theirs:
            limits = Limits(connections_max=2)  # with more who ask, each connection goes from hand to hand
            pool = Pool(limits, connect_s=PATIENCE_S, answer_s=PATIENCE_S)
            while loop.time() < 3 * AGE_MAX_S:
                assert {reply.body for reply in await asyncio.gather(*(pool.ask(TARGET, REQUEST) for _ in range(busy)))} == {
                    b"good"
                }
                for number, connection in enumerate(made):
                    if connection in pool._open:
                        used[number].append(loop.time())
                await asyncio.sleep(1)
            assert pool._places + len(pool._idle) == 2
            await pool.close()
        return used

    used = run_virtual(story())
    lives = [times[-1] - times[0] for times in used.values()][:4]
    assert len(used) >= 6
    assert all(AGE_MIN_S - 2 <= life <= AGE_MAX_S + 2 for life in lives)
    assert len(set(lives)) > 1


def test_each_has_its_own_time() -> None:
    """A call that is late would end another one's that is not, or with one timer for all none would ever end."""

    async def story() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        ended: list[tuple[str, float]] = []
        due = _Due(3.0, lambda connection: ended.append((str(connection), round(loop.time(), 2))))

        def add(name: str) -> None:
            due.add(cast("Connection", name))

        add("done")
        await asyncio.sleep(1)
        add("late")
        due.remove(cast("Connection", "done"))
        await asyncio.sleep(1)
        add("younger")
        await asyncio.sleep(10)
        add("after a rest")
        await asyncio.sleep(10)
        return ended

    assert run_virtual(story()) == [("late", 4.0), ("younger", 5.0), ("after a rest", 15.0)]
