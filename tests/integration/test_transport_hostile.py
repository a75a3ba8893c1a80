"""Both transports against servers that break HTTP in a way of their own: each ends in its phase, and poisons nothing."""

import asyncio
import itertools
import socket
import struct
from collections.abc import Iterator

import pytest

from junctor.adapters.net.errors import (
    BadProtocolError,
    ConnectionLostError,
    NeverSentError,
    TimedOutError,
    TransportError,
)
from junctor.adapters.net.face import Limits, Response, Transport
from tests.support.scripted_upstream import (
    PATIENCE_S,
    STREAM_HEAD,
    Close,
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
from tests.support.transports import MAKERS, Make, post, soon, whole

KIB = 1024
MIB = 1024 * KIB


@pytest.fixture
def transport(make: Make) -> Transport:
    """Make a transport."""
    return make(Limits())


async def read_all(response: Response) -> tuple[bytes, type[TransportError] | None]:
    """Read an answer step by step; return what came, and how it broke."""
    taken = b""
    try:
        while data := await response.read(soon()):
            taken += data
    except TransportError as error:
        return taken, type(error)
    return taken, None


NONSENSE = b"ZZ\r\nnot a chunk\r\n"


@pytest.mark.parametrize("slow", [False, True])
async def test_a_chunk_that_is_none_ends_the_answer(transport: Transport, slow: bool) -> None:
    """A reader would wait for the whole deadline, holding the caller, and what came before would be lost."""
    script: list[Step] = [Send(STREAM_HEAD + chunk(b"some")), Wait(0.02), Send(NONSENSE), WaitClosed()]
    async with ScriptedUpstream(script) as upstream:
        async with await post(transport, upstream.base_url) as response:
            taken = await response.read(soon())
            if slow:
                await asyncio.sleep(0.1)
            assert (taken, await read_all(response)) == (b"some", (b"", BadProtocolError))
        await upstream.requests[0].gone()


@pytest.mark.parametrize("pause", [0.0, 0.02])
async def test_a_chunk_that_is_none_ends_a_whole_answer(transport: Transport, pause: float) -> None:
    """A call that is no stream must not wait for its deadline either."""
    wait = [Wait(pause)] if pause else []
    script: list[Step] = [Send(STREAM_HEAD + chunk(b"some") + (b"" if wait else NONSENSE)), *wait, Send(NONSENSE), WaitClosed()]
    async with ScriptedUpstream(script) as upstream:
        with pytest.raises(BadProtocolError):
            await whole(transport, upstream.base_url)


@pytest.mark.parametrize("fault", [Reset(), Close()])
async def test_a_slow_reader_gets_what_came_before_a_break(transport: Transport, fault: Step) -> None:
    """The last event of an answer holds its usage: a caller who is slow to take it would be charged by guess."""
    script: list[Step] = [Send(STREAM_HEAD + chunk(b"first")), Wait(0.02), Send(chunk(b"last")), Wait(0.02), fault]
    async with ScriptedUpstream(script) as upstream, await post(transport, upstream.base_url) as response:
        assert await response.read(soon()) == b"first"
        await asyncio.sleep(0.1)
        assert await read_all(response) == (b"last", ConnectionLostError)


async def test_a_slow_reader_gets_a_long_answer_that_was_closed(transport: Transport) -> None:
    """An answer that is complete in the network must not count as cut because its caller is slower than its server."""
    body = bytes(range(256)) * 4 * KIB
    script: list[Step] = [Send(head(200, {"content-length": str(len(body)), "connection": "close"}) + body), Close()]
    async with ScriptedUpstream(script) as upstream, await post(transport, upstream.base_url) as response:
        taken = await response.read(soon())
        await asyncio.sleep(0.05)
        rest, error = await read_all(response)
        assert (taken + rest, error) == (body, None)


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_an_answer_without_a_length_ends_with_its_connection(transport: Transport, version: bytes) -> None:
    """Small servers answer so, and a connection that has ended must not be used for the next call."""
    script: list[Step] = [Send(version + b" 200 OK\r\nserver: small\r\n\r\nsome"), Wait(0.02), Send(b" text"), Close()]
    async with ScriptedUpstream(script) as upstream:
        for _ in range(2):
            assert await whole(transport, upstream.base_url) == b"some text"
        assert upstream.connections == 2


async def test_an_answer_without_a_length_that_is_reset_is_cut(transport: Transport) -> None:
    """Half an answer would be charged and shown as the model's full word."""
    script: list[Step] = [Send(b"HTTP/1.1 200 OK\r\n\r\nsome"), Wait(0.05), Reset()]
    async with ScriptedUpstream(script) as upstream:
        with pytest.raises(ConnectionLostError):
            await whole(transport, upstream.base_url)


async def test_a_connection_that_is_to_be_closed_is_closed(transport: Transport) -> None:
    """A server that asked for it may wait for us to close, and both would hold the connection until one loses patience."""
    closing = status(200, b"hi", {"connection": "close"})
    async with ScriptedUpstream([*closing, WaitClosed()]) as upstream:
        assert await whole(transport, upstream.base_url) == b"hi"
        await upstream.requests[0].gone()


async def test_trailers_are_passed_over(transport: Transport) -> None:
    """What follows a chunked body is no part of it, and must not stay in the connection for the next call."""
    end = b"0\r\nx-checksum: abc\r\nx-more: def\r\n\r\n"
    async with ScriptedUpstream([Send(STREAM_HEAD + chunk(b"some") + end)]) as upstream:
        for _ in range(2):
            assert await whole(transport, upstream.base_url) == b"some"
        assert upstream.connections == 1


@pytest.mark.parametrize("early", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 3])
async def test_news_before_an_answer_is_passed_over(transport: Transport, early: bytes) -> None:
    """An informational status taken for the answer would end a healthy call."""
    answer = head(200, {"content-length": "2"}) + b"hi"
    async with ScriptedUpstream([Send(early), Wait(0.02), Send(answer)], [Send(early + answer)]) as upstream:
        for _ in range(2):
            assert await whole(transport, upstream.base_url) == b"hi"
        assert upstream.connections == 1


async def test_news_without_end_ends_by_the_clock(transport: Transport) -> None:
    """A server that only ever announces its answer must not hold a call, nor fill the memory."""

    def announcing() -> Iterator[Step]:
        for _ in itertools.count():
            yield Send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
            yield Wait(0.001)

    async with ScriptedUpstream(lambda _request: announcing()) as upstream:
        with pytest.raises(TimedOutError):
            await post(transport, upstream.base_url, answer_s=0.05)
        await upstream.requests[0].gone()


def test_the_suite_knows_two_transports() -> None:
    """Whichever is not listed would be held to nothing."""
    assert set(MAKERS) == {"httpx", "aiohttp"}


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * MIB,
        b"HTTP/1.1 200 OK\r\n" + b"y" * MIB,
        b"HTTP/1.1 200 " + b"y" * MIB,
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5x\r\n\r\nabcdef",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not plain text\r\n\r\n",
        b"<html>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx\x00y: z\r\ncontent-length: 0\r\n\r\n",
    ],
    ids=["long field", "long name", "long reason", "two lengths", "negative", "no number", "tls", "garbage", "nul"],
)
async def test_a_head_that_is_none_is_refused(transport: Transport, answer: bytes) -> None:
    """What two parsers could read in two ways, or without end, must not be read at all."""
    async with ScriptedUpstream([Send(answer), WaitClosed()]) as upstream:
        with pytest.raises(BadProtocolError):
            await whole(transport, upstream.base_url)
        await upstream.requests[0].gone()


async def test_a_greeting_is_not_an_answer(transport: Transport) -> None:
    """A server that speaks before it is asked does not answer what was asked."""

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        await writer.drain()
        await _reader.read()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        with pytest.raises(BadProtocolError):
            await post(transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def test_another_protocol_is_no_answer(transport: Transport) -> None:
    """A switch of protocols would hand raw bytes to a parser of events."""
    switch = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\x81\x05hello"
    async with ScriptedUpstream([Send(switch), WaitClosed()]) as upstream:
        try:
            async with await post(transport, upstream.base_url) as response:
                assert response.status == 101
        except BadProtocolError:
            pass
        await upstream.requests[0].gone()


@pytest.mark.parametrize("code", [204, 304])
async def test_a_status_without_a_body_ends_at_once(transport: Transport, code: int) -> None:
    """Waiting for a body that never comes would hold the call until its deadline."""
    async with ScriptedUpstream([Send(head(code, {"content-type": "text/plain"}))]) as upstream:
        for _ in range(2):
            async with await post(transport, upstream.base_url) as response:
                assert (response.status, await response.whole(soon())) == (code, b"")
        assert upstream.connections == 1


async def test_a_long_request_arrives_whole(transport: Transport) -> None:
    """A picture in a prompt is longer than what a socket takes at once."""
    body = bytes(range(256)) * 16 * KIB
    async with ScriptedUpstream(status(200, b"hi")) as upstream:
        async with await post(transport, upstream.base_url, body) as response:
            assert await response.whole(soon()) == b"hi"
        assert upstream.requests[0].body == body


async def test_a_request_that_nobody_reads_is_given_up(transport: Transport) -> None:
    """A server that takes connections and reads nothing must cost the caller's time only, and no socket for ever."""
    gone = asyncio.Event()

    class Deaf(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self._transport = transport
            transport.pause_reading()
            asyncio.get_running_loop().call_later(0.2, transport.resume_reading)

        def connection_lost(self, exc: Exception | None) -> None:
            gone.set()

    server = await asyncio.get_running_loop().create_server(Deaf, "127.0.0.1", 0)
    async with server:
        with pytest.raises(TimedOutError):
            await post(transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", b"x" * 32 * MIB, answer_s=0.1)
        await asyncio.wait_for(gone.wait(), PATIENCE_S)


async def test_headers_that_came_twice_are_joined(transport: Transport) -> None:
    """A hint for retrying would be lost behind another one of its name."""
    answer = b"HTTP/1.1 429 Too Many\r\nX-Limit: a\r\nx-limit: b\r\nX-Name: caf\xe9\r\ncontent-length: 0\r\n\r\n"
    async with ScriptedUpstream([Send(answer)]) as upstream, await post(transport, upstream.base_url) as response:
        assert response.headers["x-limit"] == "a, b"
        assert response.headers["x-name"].encode("utf-8")


async def test_idle_connections_are_few(make: Make) -> None:
    """Each peak would leave as many connections behind as it had calls, at both ends."""
    transport = make(Limits(idle_connections_max=2))
    async with ScriptedUpstream([Wait(0.02), *status(200, b"hi")]) as upstream:
        await asyncio.gather(*(whole(transport, upstream.base_url) for _ in range(5)))
        ends = asyncio.as_completed([request.gone() for request in upstream.requests[:5]])
        for _, end in zip(range(3), ends, strict=False):
            await end
        await whole(transport, upstream.base_url)
        assert upstream.connections == 5


async def test_a_connection_that_was_idle_for_long_is_not_used(make: Make) -> None:
    """Servers forget connections that were silent for long, and the call would be the one to find out."""
    transport = make(Limits(idle_s=0.05))
    async with ScriptedUpstream(status(200, b"hi")) as upstream:
        await whole(transport, upstream.base_url)
        await asyncio.sleep(0.1)
        await whole(transport, upstream.base_url)
        assert upstream.connections == 2


async def test_an_idle_connection_makes_room(make: Make) -> None:
    """Connections kept to hosts that nobody calls would keep all others from being called, or pass the limit."""
    transport = make(Limits(connections_max=1))
    async with ScriptedUpstream(status(200, b"hi")) as upstream, ScriptedUpstream(status(200, b"ho")) as other:
        assert await whole(transport, upstream.base_url) == b"hi"
        assert await whole(transport, other.base_url) == b"ho"
        await upstream.requests[0].gone()


async def test_a_connection_that_is_not_made_takes_no_place(make: Make) -> None:
    """Each outage of a host would cost places, until none is left for those that are well."""
    transport = make(Limits(connections_max=1))
    async with ScriptedUpstream(status(200, b"hi")) as upstream:
        with refused_base_url() as nowhere:
            for url in (nowhere, "http://nowhere.invalid/", nowhere):
                with pytest.raises(NeverSentError):
                    await post(transport, url)
        assert await whole(transport, upstream.base_url) == b"hi"


async def test_a_full_pool_is_used_in_turn(make: Make) -> None:
    """A connection that was given back must serve who waits for it, whoever was first to have it."""
    transport = make(Limits(connections_max=2))
    script = [Wait(0.02), *status(200, b"hi")]
    async with ScriptedUpstream(script) as upstream, ScriptedUpstream(script) as other:
        urls = [upstream.base_url, other.base_url] * 4
        assert await asyncio.gather(*(whole(transport, url) for url in urls)) == [b"hi"] * 8


async def test_a_waiting_call_that_is_given_up_frees_its_place(make: Make) -> None:
    """Places that are lost with cancelled calls would one after the other end the whole instance."""
    transport = make(Limits(connections_max=1))
    async with ScriptedUpstream([Stall()], status(200, b"hi")) as upstream:
        holding = asyncio.create_task(post(transport, upstream.base_url))
        await upstream.arrived()
        waiting = [asyncio.create_task(whole(transport, upstream.base_url)) for _ in range(3)]
        await asyncio.sleep(0)
        for task in (*waiting, holding):
            task.cancel()
        await asyncio.wait((*waiting, holding))
        assert await whole(transport, upstream.base_url) == b"hi"


async def test_many_calls_at_once_are_told_apart(transport: Transport) -> None:
    """An answer that goes to the wrong caller is the worst that a pool can do."""
    bodies = [f"question {number}".encode() for number in range(60)]
    async with ScriptedUpstream(lambda request: [Wait(0.005), *status(200, request.body)]) as upstream:

        async def ask(body: bytes, cancelled: bool) -> bytes | None:
            sending = asyncio.create_task(post(transport, upstream.base_url, body))
            if cancelled:
                await asyncio.sleep(0.003)
                sending.cancel()
                await asyncio.wait((sending,))
                if sending.cancelled():
                    return None
            async with await sending as response:
                return await response.whole(soon())

        for _ in range(3):
            found = await asyncio.gather(*(ask(body, number % 3 == 0) for number, body in enumerate(bodies)))
            assert all(answer in {None, body} for answer, body in zip(found, bodies, strict=True))
            assert sum(answer is not None for answer in found) >= 40


async def test_nonsense_on_a_kept_connection_is_not_its_end(transport: Transport) -> None:
    """An endpoint that has begun to talk nonsense would be tried again and again, as if nothing had been sent."""
    async with ScriptedUpstream(status(200, b"hi"), [Send(b"nonsense\r\n\r\n"), WaitClosed()]) as upstream:
        await whole(transport, upstream.base_url)
        with pytest.raises(BadProtocolError):
            await post(transport, upstream.base_url)
        assert upstream.connections == 1


async def test_a_server_that_resets_at_once_may_have_executed(transport: Transport) -> None:
    """A fresh connection that is reset after the request is no proof that nothing was done."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"hello")
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    server = await asyncio.start_server(reset, "127.0.0.1", 0)
    async with server:
        with pytest.raises(ConnectionLostError):
            await post(transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
