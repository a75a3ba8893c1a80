"""A provider that does exactly what a test says: an HTTP/1.1 server on 127.0.0.1 that plays bytes, delays and faults.

Each request takes the next script; the last script answers all further requests. A script is any iterable of steps, or a
function from the request to one (which a script that is a generator needs, if it is to be played twice); steps are taken one by
one, so an endless generator is an endless answer. After its last step the connection waits for the next request, as kept-alive
connections do, unless a step has ended it.

    async with ScriptedUpstream(status(429, headers={"retry-after": "1"}), chat_stream(["Hel", "lo"])) as upstream:
        ...  # call upstream.base_url
        assert upstream.requests[0].json["model"] == "m"

It runs in the event loop of the test (asyncio's or uvloop) and leaves no task and no socket behind. The scripts that speak the
OpenAI chat API stand at the end.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeAlias, cast

PATIENCE_S = 10.0
"""Long enough for anything that happens at all, on any machine."""


@dataclass(frozen=True)
class Send:
    """Write these bytes."""

    data: bytes


@dataclass(frozen=True)
class Wait:
    """Do nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class WaitClosed:
    """Do nothing until the client has closed the connection."""


@dataclass(frozen=True)
class Until:
    """Do nothing until the test sets the event."""

    event: asyncio.Event


@dataclass(frozen=True)
class Stall:
    """Do nothing until the server stops."""


@dataclass(frozen=True)
class Close:
    """Close the connection in order (FIN)."""


@dataclass(frozen=True)
class Reset:
    """Break the connection (RST)."""


Step = Send | Wait | WaitClosed | Until | Stall | Close | Reset


@dataclass
class Request:
    """What a client sent. `connection` numbers the connections from 0; `closed` is set once the client has closed."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    closed: asyncio.Event = field(repr=False)

    @property
    def json(self) -> Any:
        """Return the parsed body."""
        return json.loads(self.body)

    async def gone(self) -> None:
        """Wait until the client has closed the connection. Raises TimeoutError if it never does."""
        await asyncio.wait_for(self.closed.wait(), PATIENCE_S)


Script: TypeAlias = "Iterable[Step] | Callable[[Request], Iterable[Step]]"


class ScriptedUpstream:
    """The server. Use it as an asynchronous context manager."""

    def __init__(self, *scripts: Script) -> None:
        """Keep the scripts in the order of the requests that they answer."""
        self._scripts = list(scripts)
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._arrived = asyncio.Event()
        self.requests: list[Request] = []
        self.connections = 0

    @property
    def base_url(self) -> str:
        """Return the address with the path prefix that OpenAI-like providers have."""
        if self._server is None:
            raise RuntimeError("the server is not running")
        port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/v1"

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Stop listening and end every connection, wherever its script stands."""
        if self._server is None:
            return
        self._server.close()
        await asyncio.gather(*(connection.stop() for connection in tuple(self._connections)))
        await self._server.wait_closed()

    async def arrived(self) -> Request:
        """Wait for the first request and return it."""
        await asyncio.wait_for(self._arrived.wait(), PATIENCE_S)
        return self.requests[0]

    def script(self, request: Request) -> Iterator[Step]:
        """Note a request and return what answers it."""
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        self.requests.append(request)
        self._arrived.set()
        return iter(script(request) if callable(script) else script)

    def enter(self, connection: "_Connection") -> int:
        """Take in a new connection and return its number."""
        self._connections.add(connection)
        self.connections += 1
        return self.connections - 1

    def leave(self, connection: "_Connection") -> None:
        """Forget a connection that has ended."""
        self._connections.discard(connection)


class _Connection(asyncio.Protocol):
    """One connection: reads a request, plays its script, and again."""

    _task: asyncio.Task[None]
    _transport: asyncio.Transport

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self._upstream = upstream
        self._received = bytearray()
        self._more = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed = asyncio.Event()
        self._lost = asyncio.Event()
        self._number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._number = self._upstream.enter(self)
        self._task = asyncio.get_running_loop().create_task(self._serve())
        self._task.add_done_callback(lambda _: self._leave())

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._more.set()

    def eof_received(self) -> bool:
        self._closed.set()
        self._more.set()
        # The other direction stays open: a script may go on writing to a client who has stopped listening.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()
        self._lost.set()
        self._more.set()
        self._writable.set()
        self._leave()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def stop(self) -> None:
        """End at once, and wait for it."""
        self._transport.abort()
        self._task.cancel()
        await asyncio.wait((self._task,))
        await self._lost.wait()

    def _leave(self) -> None:
        """Be forgotten once both the script and the socket have ended."""
        if self._task.done() and self._lost.is_set():
            self._upstream.leave(self)

    async def _serve(self) -> None:
        try:
            while (request := await self._request()) is not None:
                for step in self._upstream.script(request):
                    await self._play(step)
                    if self._transport.is_closing():
                        return
        finally:
            if not self._transport.is_closing():
                self._transport.abort()

    async def _request(self) -> Request | None:
        """Return the next request, None if the client closes instead."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if not await self._receive():
                return None
        first, *lines = bytes(self._received[:end]).decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        while len(self._received) < end + 4 + length:
            if not await self._receive():
                return None
        body = bytes(self._received[end + 4 : end + 4 + length])
        del self._received[: end + 4 + length]
        return Request(method, path, headers, body, self._number, self._closed)

    async def _receive(self) -> bool:
        """Wait for more bytes; tell whether any can still come."""
        if self._closed.is_set():
            return False
        self._more.clear()
        await self._more.wait()
        return True

    async def _play(self, step: Step) -> None:
        match step:
            case Send(data):
                self._transport.write(data)
                await self._writable.wait()
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case WaitClosed():
                await self._closed.wait()
            case Until(event):
                await event.wait()
            case Stall():
                await asyncio.Event().wait()
            case Close():
                self._transport.close()
            case Reset():
                self._transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                self._transport.abort()


@contextmanager
def refused_base_url() -> Iterator[str]:
    """Hold a port on which nobody listens, so that connecting is refused, and return its address."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/v1"


# Scripts: plain HTTP


def head(code: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a status line and headers."""
    lines = [f"HTTP/1.1 {code} {HTTPStatus(code).phrase}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def status(code: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> list[Step]:
    """Answer whole, with a length."""
    return [Send(head(code, {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}) + body)]


def chunk(data: bytes) -> bytes:
    """Wrap bytes as one chunk of a chunked body; empty bytes end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAM_HEAD = head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
"""The head of a streamed answer, whose body comes in chunks."""

DONE = b"data: [DONE]\n\n"
"""The last event of an OpenAI stream."""


def event(data: object) -> bytes:
    """Write one server-sent event that holds JSON."""
    return b"data: %b\n\n" % json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def sse(events: Iterable[bytes], per_chunk_delay: float = 0.0) -> Iterator[Step]:
    """Stream events as chunks, one network write each, with a wait before each."""
    yield Send(STREAM_HEAD)
    for data in events:
        if per_chunk_delay:
            yield Wait(per_chunk_delay)
        yield Send(chunk(data))
    yield Send(chunk(b""))


# Scripts: the OpenAI chat API


def usage_json(input_tokens: int, output_tokens: int) -> dict[str, int]:
    """Return a usage object."""
    return {"prompt_tokens": input_tokens, "completion_tokens": output_tokens, "total_tokens": input_tokens + output_tokens}


def chat_body(message: Mapping[str, object], usage: tuple[int, int] | None = (5, 2), finish: str = "stop") -> bytes:
    """Return the body of a whole answer."""
    answer: dict[str, object] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "scripted",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
    }
    if usage is not None:
        answer["usage"] = usage_json(*usage)
    return json.dumps(answer, ensure_ascii=False).encode()


def chat_answer(text: str, *, usage: tuple[int, int] | None = (5, 2), finish: str = "stop") -> list[Step]:
    """Answer whole with a text; `usage` is (input, output) tokens."""
    return status(200, chat_body({"content": text}, usage, finish))


def chat_chunk(delta: Mapping[str, object] | None = None, *, finish: str | None = None, **more: object) -> bytes:
    """Return one event of a streamed answer; no delta and no finish reason means no choice, as in a usage chunk."""
    choices = [] if delta is None and finish is None else [{"index": 0, "delta": dict(delta or {}), "finish_reason": finish}]
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "scripted"}
    return event({**base, "choices": choices, **more})


def chat_events(
    deltas: Sequence[Mapping[str, object]], usage: tuple[int, int] | None = (5, 2), finish: str = "stop"
) -> list[bytes]:
    """Return all events of a streamed answer, `[DONE]` last."""
    tail = [] if usage is None else [chat_chunk(usage=usage_json(*usage))]
    return [chat_chunk({"role": "assistant", "content": ""}), *map(chat_chunk, deltas), chat_chunk(finish=finish), *tail, DONE]


def chat_stream(
    texts: Sequence[str], *, usage: tuple[int, int] | None = (5, 2), finish: str = "stop", per_chunk_delay: float = 0.0
) -> Callable[[Request], Iterator[Step]]:
    """Answer with a stream, one event for each text; it can be played any number of times."""
    events = chat_events([{"content": text} for text in texts], usage, finish)
    return lambda _request: sse(events, per_chunk_delay)


def tool_stream(
    name: str,
    fragments: Sequence[str],
    *,
    call_id: str = "call_1",
    usage: tuple[int, int] | None = (5, 2),
    per_chunk_delay: float = 0.0,
) -> Callable[[Request], Iterator[Step]]:
    """Answer with one streamed tool call whose arguments come in fragments."""
    opening = {"index": 0, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
    pieces = [{"index": 0, "function": {"arguments": fragment}} for fragment in fragments]
    events = chat_events([{"tool_calls": [piece]} for piece in (opening, *pieces)], usage, "tool_calls")
    return lambda _request: sse(events, per_chunk_delay)
