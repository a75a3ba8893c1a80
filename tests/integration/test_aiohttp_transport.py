"""What the transport on aiohttp's parser does over the common suite: where the other library waits, believes or copies."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import certifi
import pytest

from junctor.adapters.net import dial, face
from junctor.adapters.net.addresses import HostRule, Vetting
from junctor.adapters.net.aiohttp_transport import Transport
from junctor.adapters.net.errors import ConnectionLostError, NeverSentError, TransportError
from junctor.adapters.net.face import Limits
from junctor.adapters.net.headers import prepared
from junctor.adapters.net.line import Line, Target
from tests.support.certificates import self_signed
from tests.support.scripted_upstream import (
    PATIENCE_S,
    STREAM_HEAD,
    Close,
    ScriptedUpstream,
    Send,
    Stall,
    Step,
    Until,
    Wait,
    WaitClosed,
    chunk,
    head,
    status,
)
from tests.support.transports import post, soon, whole

MIB = 1024 * 1024


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    """Make a transport."""
    made = Transport()
    yield made
    await made.close()


async def test_bytes_after_an_answer_are_not_the_next_one(transport: Transport) -> None:
    """A server that sends two answers to one request could have one caller's question answered with another's words."""
    good = head(200, {"content-length": "2"}) + b"hi"
    poison = head(200, {"content-length": "6"}) + b"poison"
    sent = asyncio.Event()

    def late() -> Iterator[Step]:
        yield from (Send(good), Wait(0.02), Send(poison))
        sent.set()

    async with ScriptedUpstream([Send(good + poison)], late(), [Send(good)]) as upstream:
        assert await whole(transport, upstream.base_url) == b"hi"
        assert await whole(transport, upstream.base_url) == b"hi"
        await asyncio.wait_for(sent.wait(), PATIENCE_S)
        await asyncio.sleep(0.05)
        assert await whole(transport, upstream.base_url) == b"hi"
        assert upstream.connections == 3


async def test_an_answer_may_come_before_the_request_is_through(transport: Transport) -> None:
    """A provider that refuses a long prompt by its first bytes must be heard, and its connection not be used again."""
    refused = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head(413, {"content-length": "4"}) + b"long")
        await writer.drain()
        await refused.wait()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with await post(transport, url, b"x" * 8 * MIB) as response:
            assert (response.status, await response.whole(soon())) == (413, b"long")
        refused.set()


async def test_cancelled_calls_leave_nothing() -> None:
    """A connection or a place for each caller who hangs up would in the end be all that there are."""
    transport = Transport(Limits(connections_max=1))
    for _ in range(10):
        async with ScriptedUpstream([Stall()]) as upstream:
            sending = asyncio.create_task(whole(transport, upstream.base_url))
            request = await upstream.arrived()
            sending.cancel()
            await asyncio.wait((sending,))
            await request.gone()
    assert not transport._pool._open
    await transport.close()


@pytest.mark.parametrize("tail", ["/\r\nx-key: y", "/\n", "/a b", "/\x00", "/caf\xe9"])
async def test_an_address_is_one_word(transport: Transport, tail: str) -> None:
    """An address that holds more than itself would write headers of its own, or a second request."""
    async with ScriptedUpstream(status(200, b"hi")) as upstream:
        with pytest.raises(NeverSentError):
            await whole(transport, upstream.base_url + tail)
        assert upstream.connections == 0


async def test_a_released_answer_whose_connection_is_gone_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to wait for any more, and each such answer would keep another call from being made."""
    monkeypatch.setattr(face, "LINGER_S", 2 * PATIENCE_S)
    transport = Transport(Limits(connections_max=1))
    async with ScriptedUpstream([Send(STREAM_HEAD + chunk(b"last")), Close()], status(200, b"hi")) as upstream:
        async with await post(transport, upstream.base_url) as response:
            assert await response.read(soon()) == b"last"
            with pytest.raises(ConnectionLostError):
                await response.read(soon())
            response.release()
        assert await whole(transport, upstream.base_url) == b"hi"
    await transport.close()


@pytest.mark.parametrize("early", [True, False])
async def test_every_place_comes_back(early: bool) -> None:
    """A place lost in one of the ways in which an exchange ends would be lost for good, a thousand times."""
    transport = Transport(Limits(connections_max=1))
    last: list[Step] = [Send(STREAM_HEAD + chunk(b"last")), Wait(0.02), Send(chunk(b"")) if early else Close()]
    scripts: list[list[Step]] = [last, [Send(b"nonsense\r\n\r\n")], [Close()], [Send(STREAM_HEAD + chunk(b"a")), WaitClosed()]]
    async with ScriptedUpstream(*scripts, status(200, b"hi")) as upstream:
        async with await post(transport, upstream.base_url) as response:
            assert await response.read(soon()) == b"last"
            response.release()
        for _ in range(2):
            with pytest.raises(TransportError):
                await whole(transport, upstream.base_url)
        async with await post(transport, upstream.base_url):
            pass
        assert await whole(transport, upstream.base_url) == b"hi"
    await transport.close()


async def test_a_name_is_looked_up_once_for_all(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand calls to a cold host would fill the threads that look names up, and hold every other call."""
    asked = []

    async def local(host: str, port: int) -> Sequence[object]:
        asked.append(host)
        await asyncio.sleep(0.05)
        return await asyncio.get_running_loop().getaddrinfo("127.0.0.1", port, type=1)

    monkeypatch.setattr(dial, "_ask", local)
    async with ScriptedUpstream([Wait(0.01), *status(200, b"hi")]) as upstream:
        url = upstream.base_url.replace("127.0.0.1", "model.example")
        given_up = asyncio.create_task(whole(transport, url))
        await asyncio.sleep(0.01)
        others = asyncio.gather(*(whole(transport, url) for _ in range(5)))
        given_up.cancel()
        assert await others == [b"hi"] * 5
        assert upstream.requests[0].headers["host"].startswith("model.example:")
    assert asked == ["model.example"]


async def test_closing_ends_what_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer would hold the end of the instance."""

    async def never(_host: str, _port: int) -> Sequence[object]:
        await asyncio.Event().wait()
        return ()

    monkeypatch.setattr(dial, "_ask", never)
    transport = Transport()
    asking = asyncio.create_task(whole(transport, "http://model.example/"))
    while not transport._dialer._looking:  # noqa: ASYNC110 - nothing tells when a task has begun
        await asyncio.sleep(0)
    await transport.close()
    with pytest.raises(NeverSentError):
        await asyncio.wait_for(asking, PATIENCE_S)
    assert not transport._dialer._looking


async def test_a_name_that_turns_is_connected_to_anew() -> None:
    """A kept connection to where a name led before would go on being used after the name was judged to lead elsewhere."""
    places = ["127.0.0.2", "127.0.0.1"]

    async def turning(_host: str, _port: int) -> Sequence[str]:
        return [places[-1]]

    async with ScriptedUpstream(status(200, b"hi")) as upstream:
        port = int(upstream.base_url.split(":")[2].split("/")[0])
        vetting = Vetting([HostRule("127.0.0.0/8", port)], turning)
        transport = Transport(vetting=vetting)
        url = f"http://gpu.example:{port}/v1"
        vetting.watch(url)
        assert await whole(transport, url) == b"hi"
        assert upstream.requests[0].headers["host"] == f"gpu.example:{port}"
        places.pop()
        vetting._places.clear()
        with pytest.raises(NeverSentError):
            await whole(transport, url)
        await transport.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "169.254.169.254"])
async def test_an_address_is_judged_like_a_name(host: str) -> None:
    """An address needs no name server, and must not thereby pass by the judge."""
    vetting = Vetting()
    url = f"http://{host}:9/v1"
    vetting.watch(url)
    transport = Transport(vetting=vetting)
    async with ScriptedUpstream(status(200, b"hi")) as upstream:
        vetting.watch(upstream.base_url)
        for address in (url, upstream.base_url):
            with pytest.raises(NeverSentError):
                await whole(transport, address)
        assert upstream.connections == 0
    await transport.close()


@asynccontextmanager
async def tls_server(context: ssl.SSLContext) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Answer "hi" over TLS; yield the port, and the requests that came."""
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                heads.append(await reader.readuntil(b"hello"))
                writer.write(head(200, {"content-length": "2"}) + b"hi")
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], heads


async def test_tls_is_spoken_with_whom_the_authorities_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our key would be handed to whoever stands in between, under any name and with any certificate."""
    context, authority = self_signed("model.example", tmp_path)

    async def local(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with tls_server(context) as (port, heads):
        urls = [f"https://{name}:{port}/v1" for name in ("model.example", "other.example")]
        vetting = Vetting([HostRule("127.0.0.0/8", port)], local)
        for url in urls:
            vetting.watch(url)
        unknown = Transport(vetting=vetting)
        with pytest.raises(NeverSentError):
            await whole(unknown, urls[0])
        monkeypatch.setattr(certifi, "where", lambda: str(authority))
        known = Transport(vetting=vetting)
        with pytest.raises(NeverSentError):
            await whole(known, urls[1])
        for _ in range(2):
            assert await whole(known, urls[0]) == b"hi"
        assert len(heads) == 2
        assert f"host: model.example:{port}\r\n".encode() in heads[0]
        await unknown.close()
        await known.close()


async def test_the_authorities_are_read_once() -> None:
    """Each transport would hold the event loop for 25 ms."""
    assert dial.Dialer()._context is dial.Dialer()._context


async def test_one_timer_serves_a_whole_stream(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer for each read would cost more than the read."""
    set_at: list[float] = []
    ring_at = Line._ring_at

    def noted(line: Line, at: float) -> None:
        set_at.append(at)
        ring_at(line, at)

    monkeypatch.setattr(Line, "_ring_at", noted)
    script: list[Step] = [Send(STREAM_HEAD)]
    for _ in range(20):
        script += [Wait(0.002), Send(chunk(b"x"))]
    by = soon()
    async with (
        ScriptedUpstream([*script, Send(chunk(b""))]) as upstream,
        await transport.post(upstream.base_url, prepared({}), b"", connect_by=by, answer_by=by) as response,
    ):
        while await response.read(soon()):
            pass
    assert set_at == [by]


async def test_one_timer_serves_the_calls_of_a_connection(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer for each call would cost as much as its headers, and one left by the call before must not end the next one."""
    set_at: list[float] = []
    ring_at, arrived, go_on = Line._ring_at, asyncio.Event(), asyncio.Event()
    answer = status(200, b"hi")

    def noted(line: Line, at: float) -> None:
        set_at.append(at)
        ring_at(line, at)

    def slow() -> Iterator[Step]:
        arrived.set()
        yield from (Until(go_on), *answer)

    monkeypatch.setattr(Line, "_ring_at", noted)
    async with ScriptedUpstream(answer, answer, slow()) as upstream:
        bys = [soon() + later_s for later_s in range(3)]
        for by in bys[:2]:
            async with await transport.post(upstream.base_url, prepared({}), b"", connect_by=by, answer_by=by) as response:
                assert await response.whole(by) == b"hi"
        assert set_at == bys[:1]
        posting = asyncio.create_task(transport.post(upstream.base_url, prepared({}), b"", connect_by=bys[2], answer_by=bys[2]))
        await asyncio.wait_for(arrived.wait(), PATIENCE_S)
        (line,) = transport._pool._open
        line._ring()
        assert set_at == [bys[0], bys[2]]
        go_on.set()
        async with await posting as response:
            assert await response.whole(bys[2]) == b"hi"
    assert upstream.connections == 1


async def test_each_wait_ends_by_its_own_instant() -> None:
    """A wait that is ended by the instant of the one before would cut a healthy answer, and one without end hold its caller."""
    loop = asyncio.get_running_loop()
    line = Line(Target("127.0.0.1", 9, None), lambda _: None)
    begun = loop.time()
    early = asyncio.create_task(line.wait(begun + 0.02))
    await asyncio.sleep(0)
    line._wake()
    assert await early
    for later_s in (0.08, 0.04):
        by = loop.time() + later_s
        assert not await asyncio.wait_for(line.wait(by), PATIENCE_S)
        assert loop.time() >= by - 0.005


async def test_idle_connections_end_by_themselves() -> None:
    """After a peak nobody may ask for long, and all that time its connections would stay."""
    transport = Transport(Limits(idle_s=0.1))
    async with ScriptedUpstream(status(200, b"hi")) as upstream, ScriptedUpstream(status(200, b"ho")) as other:
        for _ in range(2):
            await asyncio.gather(*(whole(transport, upstream.base_url) for _ in range(3)))
            await asyncio.sleep(0.03)
            await whole(transport, other.base_url)
            await asyncio.gather(*(request.gone() for request in (*upstream.requests, *other.requests)))
    await transport.close()


async def test_an_idle_connection_that_ended_is_forgotten(transport: Transport) -> None:
    """What is left of connections to hosts that are never called again would pile up."""
    async with ScriptedUpstream([*status(200, b"hi"), Wait(0.02), Close()]) as upstream:
        assert await whole(transport, upstream.base_url) == b"hi"
        await upstream.requests[0].gone()
        await asyncio.sleep(0.02)
    assert not transport._pool._since
    assert not transport._pool._idle


async def test_closing_waits_for_its_connections() -> None:
    """A loop that ends before its sockets are closed leaves them to the garbage collector."""
    async with ScriptedUpstream(status(200, b"hi")) as upstream:
        transport = Transport()
        await asyncio.gather(*(whole(transport, upstream.base_url) for _ in range(5)))
        await transport.close()
        assert not transport._pool._open
        await asyncio.gather(*(request.gone() for request in upstream.requests))
