"""The transport against a server that misbehaves: every fault is told by its phase, and nothing hangs."""

import asyncio
import itertools
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest

from junctor.adapters.net import face
from junctor.adapters.net.errors import (
    BadProtocolError,
    ConnectionLostError,
    NeverSentError,
    TimedOutError,
    TooLargeError,
    TransportError,
)
from junctor.adapters.net.face import Limits, Response, Transport
from tests.support.certificates import self_signed
from tests.support.scripted_upstream import (
    PATIENCE_S,
    STREAM_HEAD,
    Close,
    Request,
    Reset,
    ScriptedUpstream,
    Send,
    Stall,
    Step,
    Wait,
    WaitClosed,
    chunk,
    head,
    refused_base_url,
    status,
)
from tests.support.transports import Make, post, soon, whole

KIB = 1024


@pytest.fixture
def transport(make: Make) -> Transport:
    """Make a transport whose answers end at 256 KiB."""
    return make(Limits(answer_bytes_max=256 * KIB))


async def test_only_our_own_headers_leave(transport: Transport) -> None:
    """A library's default header could name what we run, or ask for an encoding that nobody undoes."""
    async with ScriptedUpstream(status(200, b"hi")) as upstream:
        assert await whole(transport, upstream.base_url + "/x") == b"hi"
    request = upstream.requests[0]
    assert (request.method, request.path, request.body) == ("POST", "/v1/x", b"hello")
    assert set(request.headers) == {"host", "content-length", "content-type", "user-agent", "accept-encoding"}
    assert request.headers["user-agent"].startswith("junctor/")
    assert request.headers["accept-encoding"] == "identity"


async def test_the_environment_and_cookies_have_no_say(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable would send our keys elsewhere, and a cookie would tie one account's calls to another's."""
    with refused_base_url() as nowhere:
        monkeypatch.setenv("HTTP_PROXY", nowhere)
        monkeypatch.setenv("ALL_PROXY", nowhere)
        async with ScriptedUpstream(status(200, b"hi", {"set-cookie": "who=me"})) as upstream:
            await whole(transport, upstream.base_url)
            await whole(transport, upstream.base_url)
    assert "cookie" not in upstream.requests[1].headers


async def test_connections_are_kept(transport: Transport) -> None:
    """A handshake for each call would cost more than all the rest of the routing."""
    async with ScriptedUpstream(status(200, b"hi")) as upstream:
        for _ in range(3):
            await whole(transport, upstream.base_url)
        assert upstream.connections == 1


async def test_a_redirect_is_not_followed(transport: Transport) -> None:
    """A redirect that is followed takes our key to a host that nobody vetted."""
    async with ScriptedUpstream(status(307, headers={"location": "http://127.0.0.1:9/stolen"})) as upstream:
        async with await post(transport, upstream.base_url) as response:
            assert response.status == 307
        assert len(upstream.requests) == 1


async def test_refused_is_never_sent(transport: Transport) -> None:
    """A refused connection that counts as perhaps executed would not be tried again."""
    with refused_base_url() as url, pytest.raises(NeverSentError):
        await post(transport, url)


async def test_a_path_leaves_as_it_was_written(transport: Transport) -> None:
    """A path that is spelt anew no longer fits its signature, or names another model."""
    path = "/model/a%3Ab%2Fc/invoke?api-version=2024-10-21&x=%20"
    async with ScriptedUpstream(status(200, b"hi")) as upstream:
        await whole(transport, upstream.base_url + path)
        await whole(transport, upstream.base_url.removesuffix("/v1"))
    assert [request.path for request in upstream.requests] == ["/v1" + path, "/"]


@pytest.mark.parametrize("url", ["http://[::1", "ftp://127.0.0.1/x", "/v1/chat", "http://nowhere.invalid/"])
async def test_an_address_that_leads_nowhere_is_never_sent(transport: Transport, url: str) -> None:
    """An operator's misspelt address must fail its endpoint, not the whole call as a bug."""
    with pytest.raises(NeverSentError):
        await post(transport, url)


async def test_a_failed_handshake_is_never_sent(transport: Transport) -> None:
    """Behind a broken TLS handshake nothing was executed, so the call may go on elsewhere."""
    async with ScriptedUpstream(status(200)) as upstream:
        with pytest.raises(NeverSentError):
            await post(transport, upstream.base_url.replace("http:", "https:"), connect_s=1.0)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_handshake_that_is_given_up_is_closed(transport: Transport, cancelled: bool) -> None:
    """A host that stalls its handshakes would take one socket for each call that gives it up, until none is left."""
    opened, closed = asyncio.Event(), asyncio.Event()

    async def never_greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.set()
        await reader.read()
        closed.set()
        writer.close()

    server = await asyncio.start_server(never_greet, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        sending = asyncio.create_task(post(transport, url, connect_s=5.0 if cancelled else 0.2))
        await opened.wait()
        if cancelled:
            sending.cancel()
        await asyncio.wait((sending,))
        assert sending.cancelled() or isinstance(sending.exception(), NeverSentError)
        await asyncio.wait_for(closed.wait(), PATIENCE_S)


async def test_connecting_has_its_own_time(transport: Transport) -> None:
    """A host that swallows packets must cost the connect timeout, not the whole deadline."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        queue = [socket.socket() for _ in range(4)]
        for waiting in queue:
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        with pytest.raises(NeverSentError):
            await asyncio.wait_for(post(transport, f"http://127.0.0.1:{full.getsockname()[1]}", connect_s=0.1), PATIENCE_S)
        for waiting in queue:
            waiting.close()


async def test_the_time_for_connecting_ends_with_it(transport: Transport) -> None:
    """A model that thinks for longer than a connection may take must still be heard."""
    script = [Wait(0.8), *status(200, b"hi")]
    async with ScriptedUpstream(script) as upstream, await post(transport, upstream.base_url, connect_s=0.5) as response:
        assert response.status == 200


async def test_a_full_pool_is_never_sent(make: Make) -> None:
    """Waiting for a free connection counts as connecting, or a busy instance would hold its calls to their deadlines."""
    transport = make(Limits(connections_max=1))
    async with ScriptedUpstream([Send(STREAM_HEAD), WaitClosed()]) as upstream, await post(transport, upstream.base_url):
        with pytest.raises(NeverSentError):
            await post(transport, upstream.base_url, connect_s=0.1)


@pytest.mark.parametrize("fault", [Reset(), Close()])
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-"])
async def test_a_break_before_the_headers_may_have_executed(transport: Transport, fault: Step, sent: bytes) -> None:
    """On a fresh connection the server had the request: trying the same endpoint again could be charged twice."""
    async with ScriptedUpstream([Send(sent), Wait(0.02), fault]) as upstream:
        with pytest.raises(ConnectionLostError):
            await post(transport, upstream.base_url)


@pytest.mark.parametrize("fault", [Reset(), Close()])
async def test_a_kept_connection_that_dies_is_never_sent(transport: Transport, fault: Step) -> None:
    """Servers close idle connections just as we use them; if that counted as a reset, healthy endpoints would be ejected."""
    async with ScriptedUpstream(status(200, b"hi"), [fault]) as upstream:
        await whole(transport, upstream.base_url)
        with pytest.raises(NeverSentError):
            await post(transport, upstream.base_url)
        assert [request.connection for request in upstream.requests] == [0, 0]


@pytest.mark.parametrize("fault", [Reset(), Close()])
@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200 OK\r\ncontent-", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_kept_connection_that_breaks_within_the_head_may_have_executed(
    transport: Transport, fault: Step, begun: bytes
) -> None:
    """Whoever has begun to answer has read the request: asked again, the same endpoint could be paid twice."""
    breaking: list[Step] = [Send(begun), Wait(0.02), fault]
    async with ScriptedUpstream(status(200, b"hi"), status(200, b"hi"), breaking) as upstream:
        for _ in range(2):
            await whole(transport, upstream.base_url)
        with pytest.raises(ConnectionLostError):
            await post(transport, upstream.base_url)
        assert [request.connection for request in upstream.requests] == [0, 0, 0]


@pytest.mark.parametrize(("begun", "told"), [(b"", NeverSentError), (b"HTTP/1.1 200 OK\r\ncontent-", ConnectionLostError)])
async def test_tls_tells_no_less(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes, told: type[TransportError]
) -> None:
    """Providers are spoken with over TLS, where what a handshake said must not count as an answer, nor an answer as nothing."""
    context, authority = self_signed("localhost", tmp_path)
    monkeypatch.setattr(certifi, "where", lambda: str(authority))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"hello")
        writer.write(head(200, {"content-length": "2"}) + b"hi")
        await reader.readuntil(b"hello")
        writer.write(begun)
        await writer.drain()
        writer.close()

    transport = make(Limits())
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
        assert await whole(transport, url) == b"hi"
        with pytest.raises(told):
            await post(transport, url)


async def test_a_kept_connection_that_ended_while_idle_is_replaced(transport: Transport) -> None:
    """A connection that is known to be dead must not cost a call."""
    async with ScriptedUpstream([*status(200, b"hi"), Close()]) as upstream:
        for _ in range(2):
            assert await whole(transport, upstream.base_url) == b"hi"
            await asyncio.sleep(0.02)
        assert upstream.connections == 2


@pytest.mark.parametrize("fault", [Reset(), Close()])
@pytest.mark.parametrize("begun", [STREAM_HEAD + chunk(b"some"), head(200, {"content-length": "100"}) + b"some"])
async def test_a_break_within_the_body_is_told_after_its_bytes(transport: Transport, fault: Step, begun: bytes) -> None:
    """A cut answer that looks whole would be charged and shown as the model's full word."""
    async with ScriptedUpstream([Send(begun), Wait(0.05), fault]) as upstream:
        async with await post(transport, upstream.base_url) as response:
            assert await response.read(soon()) == b"some"
            with pytest.raises(ConnectionLostError):
                await response.read(soon())
        with pytest.raises(ConnectionLostError):
            await whole(transport, upstream.base_url)


async def test_silence_ends_by_the_clock(transport: Transport) -> None:
    """A server that takes the request and says nothing must not hold the caller."""
    async with ScriptedUpstream([Stall()], [Send(STREAM_HEAD), Stall()]) as upstream:
        with pytest.raises(TimedOutError):
            await post(transport, upstream.base_url, answer_s=0.1)
        async with await post(transport, upstream.base_url) as response:
            with pytest.raises(TimedOutError):
                await response.read(soon(0.1))
        async with await post(transport, upstream.base_url) as response:
            with pytest.raises(TimedOutError):
                await response.whole(soon(0.1))


def endless_headers() -> Iterator[Step]:
    """Begin an answer whose headers never end."""
    yield Send(b"HTTP/1.1 200 OK\r\n")
    for number in itertools.count():
        yield Send(b"x-%d: %s\r\n" % (number, b"y" * 4 * KIB))


async def test_endless_headers_end_at_a_limit(transport: Transport) -> None:
    """Headers without end would fill the memory of the instance."""
    async with ScriptedUpstream(lambda _request: endless_headers()) as upstream:
        with pytest.raises(BadProtocolError):
            await post(transport, upstream.base_url)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        head(200, {"content-length": "3", "content-encoding": "gzip"}) + b"abc",
    ],
)
async def test_what_is_not_asked_for_is_refused(transport: Transport, answer: bytes) -> None:
    """Another protocol, or a compressed answer that might unfold to gigabytes, must not be read."""
    async with ScriptedUpstream([Send(answer)]) as upstream:
        with pytest.raises(BadProtocolError):
            await post(transport, upstream.base_url)


def endless_body(_request: Request) -> Iterator[Step]:
    """Answer without end."""
    yield Send(STREAM_HEAD)
    while True:
        yield Send(chunk(b"x" * 16 * KIB))


async def exhaust(response: Response) -> None:
    """Read an answer to its end."""
    while await response.read(soon()):
        pass


async def test_an_answer_has_a_greatest_length(transport: Transport) -> None:
    """A 200 without end would fill the memory of the instance, whole or streamed."""
    async with ScriptedUpstream(endless_body) as upstream:
        with pytest.raises(TooLargeError):
            await whole(transport, upstream.base_url)
        async with await post(transport, upstream.base_url) as response:
            with pytest.raises(TooLargeError):
                await exhaust(response)


async def test_a_slow_reader_does_not_pile_up_the_answer(make: Make) -> None:
    """What a slow caller has not taken must stay in the network, not in our memory."""
    transport = make(Limits())
    async with ScriptedUpstream(endless_body) as upstream, await post(transport, upstream.base_url) as response:
        await response.read(soon())
        await asyncio.sleep(0.2)
        assert len(await response.read(soon())) < 512 * KIB


async def test_a_head_is_what_came(transport: Transport) -> None:
    """An error's body that is long, cut or late must not hide the error's status."""
    cut: list[Step] = [Send(head(500, {"content-length": "100"}) + b"some"), Wait(0.02), Reset()]
    late: list[Step] = [Send(head(500, {"content-length": "100"}) + b"some"), Stall()]
    async with ScriptedUpstream(status(500, b"y" * 64 * KIB), cut, late) as upstream:
        for bytes_max, expected in ((10, b"yyyyyyyyyy"), (10, b"some"), (10, b"some")):
            async with await post(transport, upstream.base_url) as response:
                assert await response.head(bytes_max, soon(0.5)) == expected


async def test_what_came_together_is_read_together(transport: Transport) -> None:
    """Each chunk on its own would cost a message, a write and a wake-up all the way to the caller."""
    three = Send(chunk(b"a") + chunk(b"b") + chunk(b"c"))
    script: list[Step] = [Send(STREAM_HEAD), Wait(0.05), three, Wait(0.05), Send(chunk(b"d") + chunk(b""))]
    async with ScriptedUpstream(script) as upstream, await post(transport, upstream.base_url) as response:
        assert [await response.read(soon()) for _ in range(4)] == [b"abc", b"d", b"", b""]


async def test_leaving_closes_at_once(transport: Transport) -> None:
    """A model that goes on writing for nobody is paid for by us."""
    async with ScriptedUpstream([Send(STREAM_HEAD + chunk(b"a")), WaitClosed()]) as upstream:
        async with await post(transport, upstream.base_url) as response:
            await response.read(soon())
        await upstream.requests[0].gone()


async def test_cancelling_while_nothing_has_come_closes_at_once(transport: Transport) -> None:
    """A caller who hangs up before the first byte must stop the model too."""
    async with ScriptedUpstream([Stall()]) as upstream:
        sending = asyncio.create_task(post(transport, upstream.base_url))
        await upstream.arrived()
        sending.cancel()
        await asyncio.wait((sending,))
        assert sending.cancelled()
        await upstream.requests[0].gone()


async def test_a_released_answer_keeps_its_connection(transport: Transport) -> None:
    """The end of a stream's body trails its last event: closing then would cost every stream a new handshake."""
    stream: list[Step] = [Send(STREAM_HEAD + chunk(b"last")), Wait(0.05), Send(chunk(b""))]
    async with ScriptedUpstream(stream) as upstream:
        for _ in range(3):
            async with await post(transport, upstream.base_url) as response:
                await response.read(soon())
                response.release()
            await asyncio.sleep(0.15)
        assert upstream.connections == 1


async def test_a_released_answer_that_does_not_end_is_closed(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never ends its body would hold a connection for each answer."""
    monkeypatch.setattr(face, "LINGER_S", 0.05)
    async with ScriptedUpstream([Send(STREAM_HEAD + chunk(b"last")), WaitClosed()]) as upstream:
        async with await post(transport, upstream.base_url) as response:
            await response.read(soon())
            response.release()
        await upstream.requests[0].gone()


async def test_closing_ends_what_lingers(make: Make) -> None:
    """A server that stops must not leave tasks and sockets behind."""
    transport = make(Limits())
    async with ScriptedUpstream([Send(STREAM_HEAD + chunk(b"last")), WaitClosed()]) as upstream:
        async with await post(transport, upstream.base_url) as response:
            await response.read(soon())
            response.release()
        await asyncio.wait_for(transport.close(), PATIENCE_S)
        await upstream.requests[0].gone()


async def test_nothing_is_logged_above_debug(transport: Transport, caplog: pytest.LogCaptureFixture) -> None:
    """A library's own log line would carry addresses past our allow-list."""
    with caplog.at_level(logging.INFO):
        async with ScriptedUpstream(status(200, b"hi")) as upstream:
            await whole(transport, upstream.base_url)
    assert not caplog.records
