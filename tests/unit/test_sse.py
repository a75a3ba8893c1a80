"""The SSE parser: every form of the format, every limit."""

import pytest

from junctor.adapters.providers.sse import SseParser


def events(*reads: bytes) -> list[bytes]:
    """Feed the reads to a new parser and return all events."""
    parser = SseParser()
    return [event for read in reads for event in parser.feed(read)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends(end: bytes) -> None:
    """Hosts that write another line end than LF would be unreadable."""
    assert events(end.join([b"data: a", b"", b"data: b", b"", b""])) == [b"a", b"b"]


def test_cut_between_cr_and_lf() -> None:
    """A read that ends between CR and LF would end an event twice, or glue two together."""
    assert events(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [b"a\nb"]


def test_lone_cr_at_the_end_of_a_read() -> None:
    """An event ended by CR CR would wait for the next read."""
    assert events(b"data: a\r\r") == [b"a"]
    assert events(b"data: a\r\r", b"data: b\r\r") == [b"a", b"b"]


def test_several_data_lines_are_one_event() -> None:
    """JSON written over several lines would arrive in pieces."""
    assert events(b"data: {\ndata:  1\ndata\ndata:}\n\n") == [b"{\n 1\n\n}"]


def test_only_one_space_is_taken_off() -> None:
    """Text that begins with a space would lose it."""
    assert events(b"data:  a\n\ndata:b\n\n") == [b" a", b"b"]


def test_everything_but_data_is_skipped() -> None:
    """Keep-alive comments and event names would be taken for content."""
    stream = b": PROCESSING\n\nevent: error\nid: 7\nretry: 10\nunknown\ndatax: no\n: c\ndata: a\n\n\n\n:\n\n"
    assert events(stream) == [b"a"]


def test_byte_order_mark() -> None:
    """A mark before the first field would hide the first event, also when it is cut."""
    assert events(b"\xef\xbb\xbfdata: a\n\n") == [b"a"]
    assert events(b"\xef", b"\xbb", b"", b"\xbf", b"data: a\n\n") == [b"a"]
    assert events(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n") == []


def test_cut_inside_a_character() -> None:
    """Two halves of one character in two reads would break the text."""
    whole = "data: grüße 🎈\n\n".encode()
    assert [events(whole[:cut], whole[cut:]) for cut in range(len(whole))] == [["grüße 🎈".encode()]] * len(whole)


def test_an_event_without_its_blank_line_waits_for_close() -> None:
    """The end marker of hosts that do not end their last line would be lost."""
    parser = SseParser()
    assert parser.feed(b"data: a\n\ndata: [DO") == [b"a"]
    assert parser.feed(b"NE]") == []
    assert parser.close() == b"[DONE]"
    parser = SseParser()
    assert parser.feed(b"data: a\n") == []
    assert parser.close() == b"a"
    assert SseParser().close() is None


def test_line_limit() -> None:
    """A host that never ends its line would fill the memory."""
    parser = SseParser(line_bytes_max=10)
    assert parser.feed(b"data: 4567\n\ndata: 45678\n\ndata: c\n\n") == [b"4567"]
    assert parser.overrun == "line"
    assert parser.feed(b"data: d\n\n") == []
    assert parser.close() is None


def test_line_limit_of_a_line_without_end() -> None:
    """The limit would hold only once the line has ended, which may be never."""
    parser = SseParser(line_bytes_max=10)
    assert parser.feed(b"data: a\n\n: 34567") == [b"a"]
    assert parser.overrun is None
    assert parser.feed(b"89ab") == []
    assert parser.overrun == "line"


def test_event_limit() -> None:
    """A host that never ends its event would fill the memory line by line."""
    parser = SseParser(event_bytes_max=5)
    assert parser.feed(b"data: ab\ndata: cd\n\n") == [b"ab\ncd"]
    assert parser.overrun is None
    assert parser.feed(b"data: ab\ndata: cde\n\n") == []
    assert parser.overrun == "event"


def test_the_event_limit_is_for_each_event() -> None:
    """Every stream longer than one event may be would be broken off."""
    assert SseParser(event_bytes_max=5).feed(b"data: abcde\n\n" * 3) == [b"abcde"] * 3


def test_empty_data_lines_count_for_the_event_limit() -> None:
    """Endless empty data lines would fill the memory past the limit."""
    parser = SseParser(event_bytes_max=5)
    parser.feed(b"data:\n" * 7)
    assert parser.overrun == "event"
