"""What the signed sender says of each way in which an exchange with DynamoDB can end, and what it keeps for the next one."""

import asyncio
import gzip
import socket
import ssl
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from email.utils import formatdate
from itertools import repeat
from pathlib import Path

import certifi
import msgspec
import pytest

from junctor.adapters.net import dial
from junctor.adapters.net.face import Limits
from junctor.adapters.tables import dynamodb_chain
from junctor.adapters.tables.dynamodb_sender import (
    NO_CREDENTIALS,
    UNREACHABLE,
    UNUSABLE,
    Answer,
    ComplaintError,
    Counted,
    NeverSentError,
    UnansweredError,
)
from junctor.adapters.tables.dynamodb_signed import Patience, SignedSender
from junctor.adapters.tables.dynamodb_values import AttributeValue
from tests.support.certificates import self_signed
from tests.support.scripted_upstream import (
    PATIENCE_S,
    STREAM_HEAD,
    Close,
    Request,
    Reset,
    Script,
    ScriptedUpstream,
    Send,
    Stall,
    Step,
    Wait,
    chunk,
    head,
    refused_base_url,
    status,
)
from tests.support.tables import fake_credentials

NOW_MS = 1_764_000_000_000
SOON = Patience(connect_s=PATIENCE_S, answer_s=0.2)
PATIENT = Patience(connect_s=PATIENCE_S, answer_s=PATIENCE_S)
FEW_BYTES = Limits(answer_bytes_max=100_000)
BODY = b'{"Item":{"pk":{"S":"P"}},"ConsumedCapacity":{"TableName":"t","CapacityUnits":1}}'
ANSWER = Answer(item={"pk": AttributeValue(text="P")}, consumed_capacity=Counted(1.0))
GOOD_BYTES = head(200, {"content-type": "application/x-amz-json-1.0", "content-length": str(len(BODY))}) + BODY
GOOD: list[Step] = [Send(GOOD_BYTES)]


class FixedClock:
    """A clock that stands."""

    def now_ms(self) -> int:
        """Return the same instant."""
        return NOW_MS

    def monotonic_s(self) -> float:
        """Return the same instant."""
        return 0.0


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_credentials(monkeypatch)


@asynccontextmanager
async def sending(
    url: str, patience: Patience = PATIENT, limits: Limits | None = None
) -> AsyncIterator[Callable[[], "asyncio.Task[Answer]"]]:
    """Yield what sends a request to this address."""
    more = {} if limits is None else {"limits": limits}
    sender = SignedSender(
        endpoint_url=url.removesuffix("/v1"), region="eu-central-1", clock=FixedClock(), patience=patience, **more
    )
    yield lambda: asyncio.create_task(sender.send("GetItem", {"TableName": "t", "Key": {"raw": {"B": b"\xff"}}}))
    await sender.close()


def complaint(kind: str, code: int = 400, **headers: str) -> list[Step]:
    """Answer with an error."""
    body = msgspec.json.encode({"__type": f"com.amazonaws.dynamodb.v20120810#{kind}", "Message": "m"})
    return status(code, body, {name.replace("_", "-"): value for name, value in headers.items()})


def drip() -> Iterator[Step]:
    """Answer one byte at a time, for ever."""
    yield Send(head(200, {"content-length": "1000000"}))
    for byte in repeat(b"x"):
        yield Send(byte)
        yield Wait(0.01)


async def test_a_request_is_dynamodbs_and_its_answer_is_read() -> None:
    """DynamoDB would refuse every request, or its answers would not be understood."""
    async with ScriptedUpstream(GOOD) as upstream, sending(upstream.base_url) as send:
        assert [await send(), await send()] == [ANSWER] * 2
        assert upstream.connections == 1
    request = upstream.requests[0]
    assert (request.method, request.path) == ("POST", "/")
    assert request.headers["x-amz-target"] == "DynamoDB_20120810.GetItem"
    assert request.headers["x-amz-date"] == "20251124T160000Z"
    assert "Credential=testing/20251124/eu-central-1/dynamodb/aws4_request" in request.headers["authorization"]
    assert request.headers["x-amz-security-token"] == "testing"
    assert request.json == {"TableName": "t", "Key": {"raw": {"B": "/w=="}}}


READABLE: dict[str, Script] = {
    "in chunks": [Send(STREAM_HEAD), Send(chunk(BODY[:9])), Wait(0.01), Send(chunk(BODY[9:]) + chunk(b""))],
    "in pieces": [Send(GOOD_BYTES[:20]), Wait(0.01), Send(GOOD_BYTES[20:90]), Wait(0.01), Send(GOOD_BYTES[90:])],
    "byte by byte": [step for at in range(len(GOOD_BYTES)) for step in (Send(GOOD_BYTES[at : at + 1]), Wait(0.0))],
    "with a sum": status(200, BODY, {"x-amz-crc32": str(zlib.crc32(BODY))}),
    "until its end": [Send(head(200) + BODY), Close()],
    "after a word": [Send(b"HTTP/1.1 100 Continue\r\n\r\n"), *GOOD],
}


@pytest.mark.parametrize("name", READABLE)
async def test_an_answer_may_come_in_any_way_of_http(name: str) -> None:
    """A balancer or another engine in between would make every outcome unknown."""
    async with ScriptedUpstream(READABLE[name], GOOD) as upstream, sending(upstream.base_url) as send:
        assert [await send(), await send()] == [ANSWER] * 2


CUT: dict[str, Script] = {
    "closed before an answer": [Close()],
    "reset before an answer": [Reset()],
    "stalled before an answer": [Stall()],
    "closed in the head": [Send(b"HTTP/1.1 200 OK\r\ncontent-le"), Close()],
    "reset in the head": [Send(b"HTTP/1.1 200 OK\r\ncontent-le"), Wait(0.01), Reset()],
    "stalled in the head": [Send(b"HTTP/1.1 200 OK\r\ncontent-le"), Stall()],
    "closed in the body": [Send(GOOD_BYTES[:-1]), Close()],
    "reset in the body": [Send(GOOD_BYTES[:-1]), Wait(0.01), Reset()],
    "stalled in the body": [Send(GOOD_BYTES[:-1]), Stall()],
    "closed in a chunk": [Send(STREAM_HEAD + chunk(BODY)[:-9]), Close()],
    "not in chunks": [Send(STREAM_HEAD + b"nonsense\r\n"), Stall()],
    "one byte at a time": lambda _: drip(),
    "an endless head": [Send(b"HTTP/1.1 200 OK\r\nx: "), *repeat(Send(b"x" * 10_000), 20), Stall()],
    "longer than it said": [Send(head(200, {"content-length": "9"}) + BODY), Stall()],
    "of two lengths": [Send(head(200, {"content-length": str(len(BODY)), "transfer-encoding": "chunked"}) + BODY), Stall()],
    "not http": [Send(b"220 mail.example ESMTP\r\n\r\n")],
    "another protocol": [Send(head(101, {"upgrade": "x", "connection": "upgrade"})), Stall()],
}

WHOLE: dict[str, Script] = {
    "garbage": status(200, b"<html>"),
    "nothing": status(200, b""),
    "no object": status(200, b"[]"),
    "another shape": status(200, b'{"Item": [1]}'),
    "too deep": status(200, b'{"Item":{"a":{"L":' + b"[" * 50_000),
    "bad text": status(200, b'{"Item":{"a":{"S":"\xff"}}}'),
    "compressed": status(200, gzip.compress(BODY), {"content-encoding": "gzip"}),
    "damaged": status(200, BODY, {"x-amz-crc32": str(zlib.crc32(BODY) ^ 1)}),
    "damaged refusal": complaint("ConditionalCheckFailedException", x_amz_crc32="1"),
    "another success": status(202, BODY),
}


@pytest.mark.parametrize("name", CUT)
async def test_what_was_sent_and_not_answered_may_have_been_done(name: str) -> None:
    """A debit that may have been taken would be called a failure, and be taken again; or the call would never end."""
    async with ScriptedUpstream(CUT[name], GOOD) as upstream, sending(upstream.base_url, SOON, FEW_BYTES) as send:
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(UnansweredError):
                await send()
        await upstream.requests[0].gone()
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("name", WHOLE)
async def test_what_was_answered_and_makes_no_sense_may_have_been_done(name: str) -> None:
    """A debit that was taken would be called a failure, or end the call as a fault of ours."""
    async with ScriptedUpstream(WHOLE[name]) as upstream, sending(upstream.base_url) as send:
        with pytest.raises(UnansweredError):
            await send()
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("length", [len(BODY) + 200_000, 10**12])
async def test_an_answer_is_not_read_for_ever(length: int) -> None:
    """Whoever answers in the place of DynamoDB could fill the memory."""
    script: list[Step] = [Send(head(200, {"content-length": str(length)}) + BODY), *repeat(Send(b" " * 10_000), 20), Stall()]
    async with ScriptedUpstream(script) as upstream, sending(upstream.base_url, limits=FEW_BYTES) as send:
        with pytest.raises(UnansweredError):
            await send()
        await upstream.requests[0].gone()


COMPLAINTS: dict[str, tuple[Script, int, str]] = {
    "throttled": (complaint("ThrottlingException"), 400, "ThrottlingException"),
    "out of order": (complaint("InternalServerError", 500), 500, "InternalServerError"),
    "500 without a body": (status(500), 500, ""),
    "503 of a balancer": (status(503, b"<html>"), 503, ""),
    "400 of something else": (status(400, b'{"message":5}'), 400, ""),
    "redirected": (status(301, b"", {"location": "http://127.0.0.1:1/"}), 301, ""),
    "not trusted": (complaint("UnrecognizedClientException"), 400, "UnrecognizedClientException"),
}


@pytest.mark.parametrize("name", COMPLAINTS)
async def test_a_refusal_is_told_as_it_came(name: str) -> None:
    """A busy table would fail calls that another try could serve; or a request be sent where nobody wanted it."""
    script, code, kind = COMPLAINTS[name]
    async with ScriptedUpstream(script) as upstream, sending(upstream.base_url) as send:
        with pytest.raises(ComplaintError) as told:
            await send()
        assert (told.value.status, told.value.complaint.code) == (code, kind)
        assert len(upstream.requests) == 1


async def test_a_refusal_carries_its_items() -> None:
    """Whoever repeats a write could not find his own id in what was in the way."""
    reasons = [{"Code": "None"}, {"Code": "ConditionalCheckFailed", "Item": {"pk": {"S": "P"}}, "Message": None}]
    body = msgspec.json.encode({"__type": "x#TransactionCanceledException", "CancellationReasons": reasons})
    async with ScriptedUpstream(status(400, body)) as upstream, sending(upstream.base_url) as send:
        with pytest.raises(ComplaintError) as told:
            await send()
    found = told.value.complaint.cancellation_reasons
    assert found is not None
    assert [(reason.code, reason.item) for reason in found] == [
        ("None", None),
        ("ConditionalCheckFailed", {"pk": AttributeValue(text="P")}),
    ]


async def test_what_never_left_is_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A write to a table that cannot be reached would be called unknown, and nobody would dare to send it again."""

    async def unknown(_host: str, _port: int) -> Sequence[str]:
        raise OSError("secret words")

    monkeypatch.setattr(dial, "_ask", unknown)
    context, _ = self_signed("127.0.0.1", tmp_path)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with server:
        with refused_base_url() as refused:
            for url in (refused, "http://dynamodb.example", f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"):
                async with sending(url) as send:
                    with pytest.raises(NeverSentError, match=UNREACHABLE) as told:
                        await send()
                    assert not told.value.lasting


async def test_a_certificate_of_the_authorities_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DynamoDB itself would be refused, or, over TLS, a kept connection always be thought to have ended."""
    context, authority = self_signed("dynamodb.example", tmp_path)
    context.minimum_version = ssl.TLSVersion.TLSv1_3

    async def here(_host: str, port: int) -> Sequence[object]:
        return await asyncio.get_running_loop().getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)

    connections: list[object] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while await reader.read(10_000):
            writer.write(GOOD_BYTES)
        writer.close()

    monkeypatch.setattr(dial, "_ask", here)
    monkeypatch.setattr(certifi, "where", lambda: str(authority))
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server, sending(f"https://dynamodb.example:{server.sockets[0].getsockname()[1]}") as send:
        assert [await send() for _ in range(3)] == [ANSWER] * 3
    assert len(connections) == 1


async def test_proxies_of_the_environment_are_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets a variable would see every key and balance pass by."""
    with refused_base_url() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        async with ScriptedUpstream(GOOD) as upstream, sending(upstream.base_url) as send:
            assert await send() == ANSWER


async def test_too_many_at_once_were_never_sent() -> None:
    """A call that waited in vain for a connection would be called unknown."""
    async with (
        ScriptedUpstream([Stall()]) as upstream,
        sending(upstream.base_url, Patience(connect_s=0.1, answer_s=PATIENCE_S), Limits(connections_max=1)) as send,
    ):
        stuck = send()
        await upstream.arrived()
        with pytest.raises(NeverSentError):
            await send()
        stuck.cancel()
        await asyncio.wait((stuck,))
    assert len(upstream.requests) == 1


async def test_a_cancelled_call_closes_its_connection() -> None:
    """The next caller would read the answer to another question; or each one who hangs up would cost a place."""
    async with (
        ScriptedUpstream([Stall()], [Stall()], GOOD) as upstream,
        sending(upstream.base_url, limits=Limits(connections_max=1)) as send,
    ):
        for number in range(2):
            stuck = send()
            while len(upstream.requests) == number:  # noqa: ASYNC110 - nothing else tells when it has come
                await asyncio.sleep(0.001)
            stuck.cancel()
            await upstream.requests[number].gone()
        assert await send() == ANSWER


class _Turnstile:
    """A server in a thread: answers one request on each connection, and closes it when told."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE_S)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._close = threading.Event()
        self._closed = threading.Event()
        self.answered = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close_connection(self) -> None:
        """Close the connection that was answered, and return when it is closed: the event loop cannot have looked."""
        self._close.set()
        assert self._closed.wait(PATIENCE_S)

    def end(self) -> None:
        """End the thread."""
        self._close.set()
        self._thread.join(PATIENCE_S)
        self._listener.close()

    def _serve(self) -> None:
        for _ in range(2):
            connection, _ = self._listener.accept()
            with connection:
                while b"\xff" not in (data := connection.recv(65_536)) and b"/w==" not in data:
                    assert data
                self.answered += 1
                connection.sendall(GOOD_BYTES)
                assert self._close.wait(PATIENCE_S)
            self._closed.set()


@contextmanager
def turnstile() -> Iterator[_Turnstile]:
    """Run the server."""
    server = _Turnstile()
    try:
        yield server
    finally:
        server.end()


async def test_a_connection_that_was_closed_while_idle_is_not_used() -> None:
    """Each write after a quiet moment would have an unknown outcome, though it never left."""
    with turnstile() as server:
        sender = SignedSender(endpoint_url=server.url, region="eu-central-1", clock=FixedClock(), patience=PATIENT)
        request = {"TableName": "t", "Key": {"raw": {"B": b"\xff"}}}
        assert await sender.send("GetItem", request) == ANSWER
        server.close_connection()
        assert await sender.send("GetItem", request) == ANSWER
        assert server.answered == 2
        await sender.close()


async def test_a_connection_that_was_idle_for_long_is_not_used() -> None:
    """DynamoDB closes such connections, and one in ten thousand writes would meet the moment."""
    async with (
        ScriptedUpstream(GOOD) as upstream,
        sending(upstream.base_url, limits=Limits(idle_s=0.05)) as send,
    ):
        await send()
        await upstream.requests[0].gone()
        await send()
        assert upstream.connections == 2


async def test_what_came_unasked_is_nobodys_answer() -> None:
    """A server that answers twice could have one caller's question answered with another's item."""
    poison = status(200, b'{"Item":{"pk":{"S":"poison"}}}')
    async with ScriptedUpstream([*GOOD, *poison], GOOD) as upstream, sending(upstream.base_url) as send:
        assert [await send(), await send()] == [ANSWER] * 2
        assert upstream.connections == 2


async def test_closing_waits_for_what_was_sent() -> None:
    """A server that stops in order would leave writes behind whose fate nobody knows."""
    async with ScriptedUpstream([Wait(0.1), *GOOD]) as upstream:
        sender = SignedSender(endpoint_url=upstream.base_url[:-3], region="r", clock=FixedClock(), patience=PATIENT)
        sent = asyncio.create_task(sender.send("GetItem", {}))
        await upstream.arrived()
        await sender.close()
        assert sent.done()
        assert await sent == ANSWER
        with pytest.raises(NeverSentError) as told:
            await sender.send("GetItem", {})
        assert told.value.lasting


async def test_a_clock_that_goes_wrong_is_mended_once() -> None:
    """A machine an hour behind could use no table; or a wrong key would be tried for ever."""
    date = formatdate(NOW_MS / 1000 + 3_600, usegmt=True)
    late = complaint("InvalidSignatureException", date=date)
    async with ScriptedUpstream(late, GOOD) as upstream, sending(upstream.base_url) as send:
        assert [await send(), await send()] == [ANSWER] * 2
        assert [request.headers["x-amz-date"][9:13] for request in upstream.requests] == ["1600", "1700", "1700"]
    dates = ("nonsense", "1 Jan 99999999999999999999 00:00:00 GMT")
    undated = [complaint("InvalidSignatureException"), *(complaint("InvalidSignatureException", date=date) for date in dates)]
    for script in (late, *undated):
        async with ScriptedUpstream(script) as upstream, sending(upstream.base_url) as send:
            for _ in range(2):
                with pytest.raises(ComplaintError):
                    await send()
            assert len(upstream.requests) == (3 if script is late else 2)


async def test_keys_that_have_ended_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that slept through the end of its keys would not come back to life."""

    def renewed(_: Request) -> list[Step]:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "renewed")
        return complaint("ExpiredTokenException")

    find = dynamodb_chain._find

    def look_anew(chain: dynamodb_chain.Chain) -> dynamodb_chain.Standing:
        chain._found = find(chain._endpoint_url, chain._region)
        return look(chain)

    look = dynamodb_chain.Chain.look
    monkeypatch.setattr(dynamodb_chain.Chain, "look", look_anew)
    async with ScriptedUpstream(renewed, GOOD) as upstream, sending(upstream.base_url) as send:
        assert await send() == ANSWER
    assert ["renewed" in request.headers["authorization"] for request in upstream.requests] == [False, True]


@pytest.mark.parametrize(
    ("name", "value", "text"), [("AWS_SECRET_ACCESS_KEY", None, NO_CREDENTIALS), ("AWS_SESSION_TOKEN", "a\r\nx: y", UNUSABLE)]
)
async def test_keys_that_cannot_be_used_are_told(
    name: str, value: str | None, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator would be told that the table cannot be reached; or a token could write headers of its own."""
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    async with ScriptedUpstream(GOOD) as upstream, sending(upstream.base_url) as send:
        with pytest.raises(NeverSentError) as told:
            await send()
        assert (str(told.value), told.value.lasting, upstream.connections) == (text, True, 0)


async def test_all_that_were_refused_for_a_wrong_clock_are_sent_again() -> None:
    """Of many calls at once only the first would be mended, and the others fail as if their keys were bad."""
    late = complaint("InvalidSignatureException", date=formatdate(NOW_MS / 1000 + 3_600, usegmt=True))

    def judged(request: Request) -> list[Step]:
        return GOOD if request.headers["x-amz-date"][9:13] == "1700" else [Wait(0.05), *late]

    async with ScriptedUpstream(judged) as upstream, sending(upstream.base_url) as send:
        assert await asyncio.gather(*(send() for _ in range(5))) == [ANSWER] * 5
        assert len(upstream.requests) == 10


async def test_a_fault_is_not_sent_again_for_its_words() -> None:
    """A write that may have been done would be sent again by whoever stands in between."""
    fault = complaint("ExpiredTokenException", 503, date=formatdate(NOW_MS / 1000 + 3_600, usegmt=True))
    async with ScriptedUpstream(fault) as upstream, sending(upstream.base_url) as send:
        with pytest.raises(ComplaintError):
            await send()
        assert len(upstream.requests) == 1


async def test_a_connection_that_brought_an_empty_answer_is_not_kept() -> None:
    """It would count as a new one, so that its end is not looked for, and the next write's outcome would be unknown."""
    async with ScriptedUpstream(status(503), GOOD) as upstream, sending(upstream.base_url) as send:
        with pytest.raises(ComplaintError):
            await send()
        assert await send() == ANSWER
        assert upstream.connections == 2
