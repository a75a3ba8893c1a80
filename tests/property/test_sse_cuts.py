"""The SSE parser gives the same events whatever the cuts."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from junctor.adapters.providers.sse import SseParser

ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
LINES = st.one_of(
    st.sampled_from([b"", b"", b": comment", b"event: x", b"data", b"data:", b"\xef\xbb\xbf", b"rubbish"]),
    st.text(alphabet="aä🎈 :", max_size=6).map(lambda text: b"data: " + text.encode()),
)
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=20).map(lambda lines: b"".join(line + end for line, end in lines))


def parse(reads: list[bytes], **limits: int) -> tuple[list[bytes], bytes | None, str | None]:
    """Feed the reads to a new parser and return all that comes of it."""
    parser = SseParser(**limits)
    events = [event for read in reads for event in parser.feed(read)]
    return events, parser.close(), parser.overrun


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """Cut a stream at these places."""
    bounds = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(bounds)]


def by_the_book(stream: bytes) -> list[bytes]:
    """Read a whole stream as the format's text says, line by line, with nothing clever."""
    events, data = [], None
    lines = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for line in lines[:-1]:
        name, _, value = line.partition(b":")
        if not line and data is not None:
            events.append(data)
            data = None
        elif name == b"data" and line:
            value = value.removeprefix(b" ")
            data = value if data is None else data + b"\n" + value
    return events


@given(STREAMS, st.lists(st.integers(0, 200), max_size=12))
def test_cuts_change_nothing(stream: bytes, places: list[int]) -> None:
    """An answer would depend on how the network cut it."""
    whole = parse([stream])
    assert parse(cut(stream, places)) == whole
    assert parse([stream[place : place + 1] for place in range(len(stream))]) == whole


@given(STREAMS)
def test_the_format_by_the_book(stream: bytes) -> None:
    """A shortcut of the parser would read something else than was sent."""
    assert parse([stream])[0] == by_the_book(stream)


@given(STREAMS, st.lists(st.integers(0, 200), max_size=12), st.integers(1, 12), st.integers(1, 12))
def test_limits_hold_whatever_the_cuts(stream: bytes, places: list[int], line_max: int, event_max: int) -> None:
    """A limit could be got round by sending slowly."""
    limits = {"line_bytes_max": line_max, "event_bytes_max": event_max}
    events, _, overrun = parse([stream], **limits)
    assert parse(cut(stream, places), **limits) == (events, _, overrun)
    assert all(len(event) <= event_max for event in events)
    if overrun is None:
        assert events == by_the_book(stream)
    else:
        assert events == by_the_book(stream)[: len(events)]
