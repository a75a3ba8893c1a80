"""Server-sent events out of bytes that may be cut anywhere.

What is returned is the data of each event: no dialect needs the fields event, id and retry, so these are skipped, as comments
are. Work and memory are linear in the bytes fed, whatever the cuts. Bytes are not decoded: a line break cannot hide inside a
UTF-8 sequence, so a cut through one is harmless. Format: WHATWG HTML, section "Server-sent events".
"""

from typing import Final

LINE_BYTES_MAX: Final = 1 << 20
EVENT_BYTES_MAX: Final = 4 << 20

_BOM: Final = b"\xef\xbb\xbf"


class SseParser:
    """Reads one stream. Past a limit `overrun` says which ("line" or "event"), and nothing more is returned.

    `line_bytes_max` bounds a line with its field name, `event_bytes_max` the data of an event with the line breaks between.
    """

    def __init__(self, *, line_bytes_max: int = LINE_BYTES_MAX, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self.overrun: str | None = None
        self._line_bytes_max = line_bytes_max
        self._event_bytes_max = event_bytes_max
        self._head = b""  # the first bytes, while they may still be a byte order mark
        self._begun = False
        self._after_cr = False  # the last feed ended with CR: a LF that comes next belongs to it
        self._line = bytearray()  # the line that has no end yet
        self._data: list[bytes] = []  # the data lines of the event that has no end yet
        self._data_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes and return the data of each event that they completed."""
        if self.overrun is not None:
            return []
        if not self._begun:
            data = self._without_bom(data)
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._line:
            lines[0] = bytes(self._line) + lines[0]
            self._line.clear()
        events = self._take(lines)
        self._line += rest
        if len(self._line) > self._line_bytes_max:
            self.overrun = self.overrun or "line"
        return events

    def close(self) -> bytes | None:
        """Take the end of the stream and return the data of an event whose closing blank line never came, if any."""
        if self.overrun is not None:
            return None
        last = self._take([self._head + bytes(self._line), b""])
        return last[0] if last else None

    def _take(self, lines: list[bytes]) -> list[bytes]:
        """Read whole lines, without their ends, and return the events that they completed."""
        events: list[bytes] = []
        held, held_bytes, line_bytes_max = self._data, self._data_bytes, self._line_bytes_max
        for line in lines:
            if not line:
                if held:
                    events.append(held[0] if len(held) == 1 else b"\n".join(held))
                    held.clear()
                    held_bytes = 0
                continue
            if len(line) > line_bytes_max:
                self.overrun = "line"
                break
            if line.startswith(b"data:"):
                value = line[6:] if line[5:6] == b" " else line[5:]
            elif line == b"data":
                value = b""
            else:
                continue
            held_bytes += len(value) + (1 if held else 0)
            if held_bytes > self._event_bytes_max:
                self.overrun = "event"
                break
            held.append(value)
        self._data_bytes = held_bytes
        return events

    def _without_bom(self, data: bytes) -> bytes:
        """Hold the first bytes back until it is plain whether they are a byte order mark, and drop it."""
        self._head += data
        if len(self._head) < len(_BOM) and _BOM.startswith(self._head):
            return b""
        self._begun = True
        data, self._head = self._head.removeprefix(_BOM), b""
        return data
