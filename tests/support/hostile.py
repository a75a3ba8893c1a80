"""Providers that mean harm, or are broken in ways that look like it: what they send, and how a call that meets them may end.

A behaviour is a script for a whole answer, one for a stream, or both, and the endings that errors.md has for it: before any
content the endpoint has failed, after content the answer is broken, and whoever says nothing of use until the caller's time is
up makes him late. Wherever a behaviour has a text of its own, it is TEXT: no caller may see it, and no log.
"""

import gzip
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Final

from msgspec import Struct

from tests.support.scripted_upstream import (
    DONE,
    STREAM_HEAD,
    Close,
    Request,
    Reset,
    Send,
    Stall,
    Step,
    Wait,
    chat_body,
    chat_chunk,
    chunk,
    event,
    head,
    status,
)

TEXT: Final = "provider-canary-5d1c"

FINE: Final = frozenset({"OK"})
FAILED: Final = frozenset({"UNAVAILABLE UPSTREAM_UNAVAILABLE"})
BROKEN: Final = frozenset({"ABORTED STREAM_INTERRUPTED", *FAILED})
LATE: Final = frozenset({"DEADLINE_EXCEEDED DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"})
"""Where the machine is slow, the caller's own library may say it before us."""


Play = Callable[[Request], Iterator[Step]]

JSON: Final = {"content-type": "application/json"}
CHUNKED: Final = {**JSON, "transfer-encoding": "chunked"}
GOOD: Final = chat_body({"content": "good"})
BEGUN: Final = chat_chunk({"role": "assistant", "content": "x" * 40})
APART_S: Final = 0.02
"""What lies between two writes. They may be read together all the same, and then nothing before an error was content yet."""
SLICE: Final = 64 * 1024
GIGABYTE: Final = 1 << 30
HUGE: Final = 1 << 20


class Behaviour(Struct, frozen=True):
    """What a provider does. `heavy`: it sends so much that it should be alone while memory is watched."""

    name: str
    whole: Play | None = None
    whole_ends: frozenset[str] = FAILED
    streamed: Play | None = None
    stream_ends: frozenset[str] = FAILED
    heavy: bool = False


def steps(*played: Step) -> Play:
    """Return a script that can be played any number of times."""
    return lambda _: iter(played)


def raw(data: bytes) -> Play:
    """Write bytes and close."""
    return steps(Send(data), Close())


def body(data: bytes) -> Play:
    """Answer whole with these bytes."""
    return steps(*status(200, data))


def events(*written: bytes) -> Play:
    """Answer with a stream of these bytes, each a write of its own."""
    apart = [step for data in written for step in (Send(chunk(data)), Wait(APART_S))]
    return steps(Send(STREAM_HEAD), *apart, Send(chunk(b"")))


def endless(opening: bytes, data: bytes, *, chunked: bool = True, wait_s: float = 0.0) -> Play:
    """Write an opening, and then the same again and again."""

    def play(_: Request) -> Iterator[Step]:
        yield Send(opening)
        for piece in repeat(chunk(data) if chunked else data):
            yield Send(piece)
            # Without a pause in between nobody else would have a turn in this process.
            yield Wait(wait_s)

    return play


def both(name: str, whole: Play, streamed: Play | None = None, ends: frozenset[str] = FAILED) -> Behaviour:
    """Make a behaviour that ends both kinds of call in the same way."""
    return Behaviour(name, whole, ends, streamed or whole, ends)


def stream(name: str, streamed: Play, ends: frozenset[str] = FAILED, *, heavy: bool = False) -> Behaviour:
    """Make a behaviour that only a stream can have."""
    return Behaviour(name, streamed=streamed, stream_ends=ends, heavy=heavy)


def usage(reported: str) -> tuple[Play, Play]:
    """Answer well, whole and as a stream, and report this JSON for usage."""
    told = f',"usage":{reported}}}'.encode()
    whole = chat_body({"content": "good"}, None)[:-1] + told
    return body(whole), events(BEGUN, chat_chunk(finish="stop"), b'data: {"choices":[]' + told + b"\n\n", DONE)


def calls(*pieces: object) -> bytes:
    """Write an event with pieces of tool calls."""
    return chat_chunk({"tool_calls": list(pieces)})


def _traffic() -> Iterator[Behaviour]:
    """Too much, too little, too slowly, and not at all."""
    yield stream("endless comments", endless(STREAM_HEAD, b": " + TEXT.encode() * 400 + b"\n"), FAILED | LATE, heavy=True)
    yield stream("a comment now and then, for ever", endless(STREAM_HEAD, b": still here\n\n", wait_s=0.05), LATE)
    yield stream(
        "endless content", endless(STREAM_HEAD, chat_chunk({"content": "word " * 200}) * 60), BROKEN | LATE, heavy=True
    )
    letters = chat_chunk({"content": "w"}) * 300
    yield stream("endless content, letter by letter", endless(STREAM_HEAD, letters), BROKEN | LATE, heavy=True)
    yield stream("content, then endless comments", endless(STREAM_HEAD + chunk(BEGUN), b": x\n\n", wait_s=0.05), LATE)
    line = endless(head(200, {**JSON, "content-length": str(GIGABYTE)}), b"x" * SLICE, chunked=False)
    yield Behaviour("a line of 1 GB", line, FAILED, endless(STREAM_HEAD + chunk(b"data: "), b"x" * SLICE), FAILED, heavy=True)
    yield Behaviour("a body of white space without end", endless(head(200, CHUNKED), b" " * SLICE), FAILED | LATE, heavy=True)
    yield stream("an event of lines without end", endless(STREAM_HEAD, b"data: x\n" * 8000), FAILED, heavy=True)
    slow, slow_events = endless(head(200, CHUNKED), b" ", wait_s=0.2), endless(STREAM_HEAD, b"d", wait_s=0.2)
    yield both("a byte now and then", slow, slow_events, LATE)
    yield both("a flood of 1xx", endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50, chunked=False), ends=FAILED | LATE)


def _phases() -> Iterator[Behaviour]:
    """Break the connection, or let nothing more come, at each point of an answer."""
    for word, end, failed, broken in (("reset", Reset(), FAILED, BROKEN), ("stall", Stall(), LATE, LATE)):
        yield both(f"{word} before the head", steps(end), ends=failed)
        yield both(f"{word} within the head", steps(Send(b"HTTP/1.1 200 OK\r\ncontent-ty"), end), ends=failed)
        heads = head(200, {**JSON, "content-length": "99"}), STREAM_HEAD
        yield both(f"{word} after the head", steps(Send(heads[0]), end), steps(Send(heads[1]), end), failed)
        parts = steps(Send(heads[0] + GOOD[:20]), end), steps(Send(heads[1] + chunk(b'data: {"choices')), end)
        yield both(f"{word} within the answer", *parts, failed)
        yield stream(f"{word} after content", steps(Send(STREAM_HEAD + chunk(BEGUN)), end), broken)
        cut = Send(STREAM_HEAD + chunk(BEGUN) + b"ff\r\ndata: {")
        yield stream(f"{word} within a chunk after content", steps(cut, end), broken)


def _http() -> Iterator[Behaviour]:
    """Answers that are no good HTTP, or not what was asked for."""
    squeezed = gzip.compress(bytes(10 * HUGE))
    for coding in ("gzip", "br", "deflate", "x-" + TEXT):
        yield both(f"encoded with {coding[:7]}", steps(*status(200, squeezed, {"content-encoding": coding})))
    yield both("gzip that does not say so", body(squeezed), events(squeezed))
    yield both("a length that is too long", raw(head(200, {**JSON, "content-length": str(len(GOOD) + 9)}) + GOOD))
    yield both("a length that is too short", steps(*status(200, GOOD, {"content-length": "9"})))
    yield both("a length that is no number", raw(head(200, {**JSON, "content-length": "-1"}) + GOOD))
    yield both("two lengths", raw(head(200, {"content-length": "3", "Content-Length": str(len(GOOD))}) + GOOD))
    yield both("a chunk of no size", raw(head(200, CHUNKED) + b"zz\r\n" + GOOD), raw(STREAM_HEAD + b"zz\r\n" + BEGUN))
    vast = b"fffffffffffffffff\r\n"
    yield both("a chunk without measure", raw(head(200, CHUNKED) + vast + GOOD[:9]), raw(STREAM_HEAD + vast + BEGUN[:9]))
    yield both("a header of 1 MB", steps(*status(200, GOOD, {"x-long": TEXT * 50_000})))
    yield both("10,000 headers", steps(*status(200, GOOD, {f"x-{number}": TEXT for number in range(10_000)})))
    yield both(
        "a head without end", endless(b"HTTP/1.1 200 OK\r\n", b"x-more: and more\r\n" * 50, chunked=False), ends=FAILED | LATE
    )
    yield both("no status line", raw(GOOD))
    yield both("another protocol", raw(b"220 " + TEXT.encode() + b"\r\n\r\n"))
    yield both("a switch of protocols", raw(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n" + GOOD))
    for code in ("000", "204", "304", "999"):
        yield both(f"status {code}", raw(f"HTTP/1.1 {code} {TEXT}\r\ncontent-length: 0\r\n\r\n".encode()))
    yield both("zeros", raw(bytes(9000)))
    tail = b"0\r\nx-trailer: " + TEXT.encode() + b"\r\n\r\n"
    told = chunk(BEGUN) + chunk(chat_chunk(finish="stop")) + chunk(DONE) + tail
    yield both("trailers", steps(Send(head(200, CHUNKED) + chunk(GOOD) + tail)), steps(Send(STREAM_HEAD + told)), FINE)


def _json() -> Iterator[Behaviour]:
    """Answers that are no good JSON, or too much of it."""
    bad = GOOD.replace(b"good", b"\xff\xfe\xc0\x80")
    yield both("bad UTF-8", body(bad), events(b"data: " + bad + b"\n\n"))
    yield stream("bad UTF-8 after content", events(BEGUN, b"data: \xff\xfe\n\n"), BROKEN)
    for name, deep in (
        ("lists", b"[" * 100_000 + b"]" * 100_000),
        ("objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        ("an error", b'{"error":{"message":' + b"[" * 996 + b"]" * 996 + b"}}"),
    ):
        answer = deep if name == "an error" else b'{"choices":[],"x":' + deep + b"}"
        yield both(f"depth: {name}", body(answer), events(b"data: " + answer + b"\n\n"))
    digits = b'{"created":' + b"9" * 10_000 + b"," + GOOD[1:]
    yield Behaviour("a number of 10,000 digits", body(digits), FINE | FAILED)
    twice = GOOD[:-1] + b"," + GOOD[1:]
    yield Behaviour("every key twice", body(twice), FINE)
    many = b'{"choices":[' + b"{}," * 300_000 + b"{}]}"
    yield Behaviour("choices in numbers", body(many), FAILED, events(b"data: " + many + b"\n\n"), FAILED)
    text = b": hm\nevent: ping\nid: 7\nretry: 1\nnonsense\n\n\n\n" + b"\r\n\r\r"
    yield stream("garbage between the events", events(text, BEGUN, text, chat_chunk(finish="stop"), text, DONE), FINE)
    yield stream("garbage for an event", events(BEGUN, f"data: {TEXT}\n\n".encode(), DONE), BROKEN)
    error = event({"error": {"message": TEXT, "code": TEXT, "type": TEXT}})
    yield both("an error inside", body(error[6:-2]), events(error))
    yield stream("an error after content", events(BEGUN, error), BROKEN)
    yield stream("two ends, and more after", events(BEGUN, chat_chunk(finish="stop"), DONE, DONE, BEGUN), FINE)


def _calls() -> Iterator[Behaviour]:
    """Tool calls that no model makes."""
    opening = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}
    yield stream(
        "a tool call without end", events(calls(opening), calls({"index": 0, "function": {"arguments": "["}}) * 99), BROKEN
    )
    end = chat_chunk(finish="tool_calls")
    for index in (10**9, -1, 10**30):
        yield stream(f"a tool call of index {index:.0e}", events(calls({**opening, "index": index}), end, DONE), FINE)
    ids = [{"id": f"x{number}"} for number in range(50_000)]
    yield stream("tool calls in numbers", events(calls(*ids), end, DONE), FAILED)
    pieces = b"".join(calls({**opening, "index": number, "id": str(number)}) for number in range(3_000))
    yield stream("tool calls one by one", events(BEGUN, pieces, end, DONE), BROKEN)
    yield stream("answers in numbers", events(*(chat_chunk({"content": "x"}) for _ in "ab"), _choice(10**6), DONE), BROKEN)


def _choice(index: int) -> bytes:
    return event({"choices": [{"index": index, "delta": {"content": "x"}}]})


def _usages() -> Iterator[Behaviour]:
    """Usage that lies."""
    tokens = '{{"prompt_tokens":{0},"completion_tokens":{1}{2}}}'.format
    for name, lie in {
        "negative": tokens(-5, -2, ""),
        "10^18": tokens(10**18, 10**18, ""),
        "fractions": tokens(5.5, 2.5, ""),
        "a part above its whole": tokens(5, 2, ',"prompt_tokens_details":{"cached_tokens":1000000000}'),
        "a negative part": tokens(5, 2, ',"completion_tokens_details":{"reasoning_tokens":-1000000000}'),
        "null": "null",
    }.items():
        yield both(f"usage: {name}", *usage(lie), FINE)
    for name, lie in {
        "text": tokens('"5"', '"2"', ""),
        "NaN": tokens(5, "NaN", ""),
        "infinite": tokens(5, "1e999", ""),
        "10,000 digits": tokens("1" * 10_000, 2, ""),
    }.items():
        whole, streamed = usage(lie)
        yield Behaviour(f"usage: {name}", whole, FAILED | FINE, streamed, BROKEN | FINE)


LIES: Final = (
    both("usage: 10^9", *usage('{"prompt_tokens":1000000000,"completion_tokens":1000000000}'), FINE),
    both(
        "usage: a sum that adds",
        *usage(
            '{"prompt_tokens":5,"completion_tokens":2,"total_tokens":999999999,'
            '"completion_tokens_details":{"reasoning_tokens":999999992}}'
        ),
        FINE,
    ),
)
"""As many tokens as are believed to be tokens at all."""
BEHAVIOURS: Final = (*_traffic(), *_phases(), *_http(), *_json(), *_calls(), *_usages())


def redirects(trap: str) -> list[Behaviour]:
    """Lead elsewhere: to an address in our own network, by every status that does."""
    return [
        both(f"a redirect by {code}", steps(*status(code, headers={"location": f"{trap}/chat/completions"})))
        for code in (301, 302, 303, 307, 308)
    ]


def elsewhere(plain_port: int, tls_port: int) -> list[tuple[Behaviour, str]]:
    """Return what needs no script: addresses at which no exchange can begin."""
    addresses = {
        "TLS with a plain server": f"https://127.0.0.1:{plain_port}/v1",
        "plain HTTP with a TLS server": f"http://127.0.0.1:{tls_port}/v1",
        "a certificate that nobody vouches for": f"https://localhost:{tls_port}/v1",
        "a name that nobody has": "https://nowhere.invalid/v1",
    }
    return [(both(name, steps()), address) for name, address in addresses.items()]
