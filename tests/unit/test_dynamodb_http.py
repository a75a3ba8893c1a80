"""What counts as a whole answer of HTTP/1.1, however it is cut, and what is refused instead of being guessed at."""

import zlib
from random import Random

import pytest

from junctor.adapters.tables.dynamodb_http import CHUNK_LINE_BYTES_MAX, HEAD_BYTES_MAX, Reading, Reply
from junctor.adapters.tables.dynamodb_sender import UnansweredError

BYTES_MAX = 1_000
BODY = b'{"Item":{"pk":{"S":"P"}}}'
LENGTH = b"content-length: %d" % len(BODY)
RANDOM_ANSWERS = 2_000


def answer(*headers: bytes, line: bytes = b"HTTP/1.1 200 OK", body: bytes = BODY) -> bytes:
    """Return an answer."""
    return b"\r\n".join([line, *headers, b"", body])


def chunked(*lines: bytes) -> bytes:
    """Return an answer whose body is of these lines."""
    return answer(b"transfer-encoding: chunked", body=b"".join(line + b"\r\n" for line in lines))


def read(*pieces: bytes) -> Reply | None:
    """Read an answer that comes in these pieces, until it is whole."""
    reading = Reading(BYTES_MAX)
    for piece in pieces:
        reply = reading.feed(piece)
        if reply is not None:
            return reply
    return None


DYNAMODBS = answer(
    b"Server: Server",
    b"Date: Mon, 24 Nov 2025 16:00:00 GMT",
    b"Content-Type: application/x-amz-json-1.0",
    b"Content-Length: %d" % len(BODY),
    b"Connection: keep-alive",
    b"x-amzn-RequestId: ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b"x-amz-crc32: %d" % zlib.crc32(BODY),
)

WHOLE: dict[str, bytes] = {
    "dynamodb's": DYNAMODBS,
    "without a reason": answer(LENGTH, line=b"HTTP/1.1 200"),
    "in another spelling": answer(b"CONTENT-length:\t %d \t" % len(BODY)),
    "after a word": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + DYNAMODBS,
    "after a long word": b"HTTP/1.1 100 Continue\r\nx: %b\r\n\r\nHTTP/1.1 103\r\n\r\n" % (b"x" * 200) + DYNAMODBS,
    "in chunks": chunked(b"9", BODY[:9], b"10;name=value", BODY[9:], b"0", b""),
    "in chunks, with trailers": chunked(b"0019 ", BODY, b"000", b"x-a: b", b"x-c: d", b""),
}

LAST: dict[str, bytes] = {
    "closed": answer(LENGTH, b"Connection: Close"),
    "of another kind": answer(LENGTH, b"connection: keep-alive, upgrade"),
    "of the old version": answer(LENGTH, b"connection: keep-alive", line=b"HTTP/1.0 200 OK"),
    "with more behind it": DYNAMODBS + b"H",
    "with another one behind it": DYNAMODBS + DYNAMODBS,
    "in chunks, with more behind it": WHOLE["in chunks"] + b"\n",
}


@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_is_whole_wherever_it_is_cut(name: str) -> None:
    """An answer that comes in two packets would be taken for half of one, or be waited for until it is late."""
    whole = WHOLE[name]
    for cut in range(len(whole)):
        reply = read(whole[:cut], whole[cut:])
        assert reply is not None
        assert (reply.status, reply.body, reply.last) == (200, BODY, False)
    assert read(*(whole[at : at + 1] for at in range(len(whole)))) == read(whole)
    assert read(whole[:-1]) is None


@pytest.mark.parametrize("name", LAST)
def test_a_connection_is_asked_no_more_after_such_an_answer(name: str) -> None:
    """The next request would be lost on a connection that ends, or be answered with what lies behind this answer."""
    reply = read(LAST[name])
    assert reply is not None
    assert (reply.body, reply.last) == (BODY, True)


def test_only_the_end_ends_what_has_no_length() -> None:
    """The beginning of an answer would be read as all of it; or what a proxy sends in this way not be read at all."""
    reading = Reading(BYTES_MAX)
    assert reading.ended() is None
    assert reading.feed(answer(body=BODY[:5])) is None
    assert reading.feed(BODY[5:]) is None
    reply = reading.ended()
    assert reply is not None
    assert (reply.body, reply.last) == (BODY, True)
    for whole in (DYNAMODBS, WHOLE["in chunks"], b"HTTP/1.1 200 OK\r\n"):
        reading = Reading(BYTES_MAX)
        assert reading.feed(whole[:-1]) is None
        assert reading.ended() is None


@pytest.mark.parametrize("code", [204, 304])
def test_what_never_has_a_body_is_whole_at_once(code: int) -> None:
    """Each such answer would be waited for until it is late."""
    for headers in ((), (LENGTH,), (b"transfer-encoding: chunked",)):
        reply = read(answer(*headers, line=b"HTTP/1.1 %d X" % code, body=b""))
        assert reply is not None
        assert (reply.status, reply.body, reply.last) == (code, b"", True)


def test_the_date_is_told() -> None:
    """A clock that goes wrong could not be mended."""
    reply, undated = read(DYNAMODBS), read(answer(LENGTH))
    assert reply is not None
    assert undated is not None
    assert (reply.date, undated.date) == ("mon, 24 nov 2025 16:00:00 gmt", "")


REFUSED: dict[str, bytes] = {
    "a banner": b"220 mail.example ESMTP\r\n\r\n",
    "another version": answer(LENGTH, line=b"HTTP/2.0 200 OK"),
    "small letters": answer(LENGTH, line=b"http/1.1 200 OK"),
    "a long status": answer(LENGTH, line=b"HTTP/1.1 2000 OK"),
    "a status of letters": answer(LENGTH, line=b"HTTP/1.1 2x0 OK"),
    "no status": answer(LENGTH, line=b"HTTP/1.1"),
    "a status that is none": answer(LENGTH, line=b"HTTP/1.1 099 OK"),
    "another protocol": answer(b"upgrade: x", line=b"HTTP/1.1 101 Switching"),
    "two lengths": answer(LENGTH, LENGTH),
    "two lengths that differ": answer(LENGTH, b"Content-Length: 5"),
    "a list of lengths": answer(b"content-length: 25, 25"),
    "a negative length": answer(b"content-length: -1"),
    "a length with a sign": answer(b"content-length: +25"),
    "a length of hexadecimals": answer(b"content-length: 0x19"),
    "a length without digits": answer(b"content-length:"),
    "a length on two lines": answer(b"content-length: 2\r\n 5"),
    "an endless length": answer(b"content-length: " + b"9" * 5_000),
    "a length above the limit": answer(b"content-length: 1001"),
    "length and chunks": answer(LENGTH, b"transfer-encoding: chunked"),
    "chunks and more": answer(b"transfer-encoding: gzip, chunked"),
    "chunks twice": answer(b"transfer-encoding: chunked", b"transfer-encoding: chunked"),
    "an endless head": b"HTTP/1.1 200 OK\r\nx: " + b"x" * HEAD_BYTES_MAX,
    "a head above the limit": answer(b"x: " + b"x" * HEAD_BYTES_MAX, LENGTH),
    "no end of a line": b"x" * (HEAD_BYTES_MAX + 1),
    "no chunk": chunked(b"nonsense"),
    "a negative chunk": chunked(b"-5"),
    "a chunk without a length": chunked(b"", BODY),
    "a chunk that is longer": chunked(b"5", BODY, b"0", b""),
    "a chunk above the limit": chunked(b"3e9"),
    "chunks above the limit": chunked(*[b"64", b"x" * 100] * 11),
    "an endless chunk": chunked(b"f" * 15),
    "an endless line": chunked(b"5;" + b"x" * CHUNK_LINE_BYTES_MAX),
    "endless trailers": chunked(b"0", *[b"x-a: " + b"b" * 1_000] * 40),
    "above the limit": answer(body=b"x" * (BYTES_MAX + 1)),
    "damaged": answer(LENGTH, b"x-amz-crc32: %d" % (zlib.crc32(BODY) ^ 1)),
    "damaged, in chunks": chunked(b"0", b"").replace(b"\r\n\r\n", b"\r\nX-AMZ-CRC32: 1\r\n\r\n", 1),
    "with a sum that is none": answer(LENGTH, b"x-amz-crc32: none"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_is_guessed(name: str) -> None:
    """One answer could be read as another, or whoever answers in the place of DynamoDB could fill the memory."""
    with pytest.raises(UnansweredError):
        read(REFUSED[name])
    with pytest.raises(UnansweredError):
        read(*(REFUSED[name][at : at + 1] for at in range(len(REFUSED[name]))))


def test_what_was_changed_at_random_is_refused_or_bounded() -> None:
    """A line with errors, or somebody on it, could stop the reading with an error of ours, which no caller would understand."""
    random = Random(1)
    told: set[bool] = set()
    for _ in range(RANDOM_ANSWERS):
        changed = bytearray(random.choice([*WHOLE.values(), *LAST.values()]))
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(changed))
            changed[at : at + random.randint(0, 2)] = random.choice(
                (b"", b"\r\n", b"\x00", b"9", b"0", b":", random.randbytes(2))
            )
        cut = random.randrange(len(changed) + 1)
        try:
            reply = read(bytes(changed[:cut]), bytes(changed[cut:]))
        except UnansweredError:
            told.add(False)
            continue
        if reply is not None:
            told.add(True)
            assert len(reply.body) <= len(changed)
    assert told == {True, False}
