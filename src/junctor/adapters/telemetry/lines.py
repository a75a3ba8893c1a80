"""What can a plain process tell? JSON lines on a stream, and counters in memory.

A line has what `RequestLine` allows and nothing else. A log that is slow or gone costs lines, never calls: a line is
dropped, and counted in `dropped`, when the stream is closed or full. Invariant: what is written at once is at most
`LINE_MAX_BYTES` long, which is what a pipe that reports room takes without blocking, and whole lines.

The lines of requests may wait for `HELD_S`, so that those of a busy server are made and leave together: each write costs more
than a line, and lets another thread run in between. A process that is killed loses so much of its log and nothing of what it
charged; what tells of a bug or of the server itself is written at once, after all that waited.
"""

import asyncio
import os
import select
import stat
import threading
import traceback
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self, TextIO

import msgspec
from msgspec import Struct, structs

from junctor.ports.ambient import Clock
from junctor.ports.telemetry import Counter, RequestLine

LINE_MAX_BYTES = 4096
HELD_S = 0.02
_ATTEMPTS_KEPT = 8
_NAME_KEPT = 128
_FRAMES_KEPT = 16
_CAUSES_KEPT = 4
# What a line has before its body: the instant and the kind.
_BODY_MAX_BYTES = LINE_MAX_BYTES - 64

Labels = tuple[tuple[str, str], ...]


class _Trace(Struct, frozen=True):
    """One error of a chain: its type and where it passed, outermost first."""

    error: str
    frames: tuple[str, ...]


class _IncidentLine(Struct, frozen=True):
    incident: str
    chain: tuple[_Trace, ...]


class _EventLine(Struct, frozen=True):
    event: str
    fields: Mapping[str, str | int]


class LineTelemetry:
    """Telemetry that writes lines to a text stream; safe to use from several threads."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        """Write to a stream that the caller opened."""
        self._stream = stream
        self._clock = clock
        self._owned = False
        self._encoder = msgspec.json.Encoder()
        self._counts: Tally[tuple[Counter, Labels]] = Tally()
        self._dropped = 0
        self._lock = threading.Lock()
        self._held: list[tuple[int, RequestLine]] = []
        self._due_in: asyncio.AbstractEventLoop | None = None
        descriptor = _descriptor(stream)
        self._holds = descriptor is not None
        self._has_room = _room_check(descriptor)

    @classmethod
    def to_file(cls, path: Path, clock: Clock) -> Self:
        """Append to a file, making it and its folder if they are missing.

        Raises OSError if that cannot be done: a server should not start deaf.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        telemetry = cls(path.open("a", encoding="utf-8", newline="\n"), clock)
        telemetry._owned = True
        return telemetry

    @property
    def counts(self) -> Mapping[tuple[Counter, Labels], int]:
        """Return a copy of the counters, by counter and its labels in the order of their names."""
        with self._lock:
            return dict(self._counts)

    @property
    def dropped(self) -> int:
        """Return how many lines could not be written."""
        return self._dropped

    def request(self, line: RequestLine) -> None:
        """Write the line of one request, soon; one that is too long loses old attempts and the end of long names."""
        at_ms = self._clock.now_ms()
        with self._lock:
            self._held.append((at_ms, line))
            if not (self._holds and self._is_due()):
                self._write_held()

    def count(self, counter: Counter, amount: int = 1, **labels: str) -> None:
        """Add to a counter. Labels come from small closed sets."""
        key = (counter, tuple(sorted(labels.items())))
        with self._lock:
            self._counts[key] += amount

    def incident(self, incident: str, error: BaseException) -> None:
        """Write where a bug struck, and what it sprang from: types and places in the code, not texts."""
        chain: list[_Trace] = []
        link: BaseException | None = error
        while link is not None and len(chain) < _CAUSES_KEPT:
            chain.append(_Trace(f"{type(link).__module__}.{type(link).__qualname__}", _frames(link)))
            link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
        body = self._encode(_IncidentLine(incident, tuple(chain)))
        while len(body) > _BODY_MAX_BYTES and len(chain) > 1:
            chain.pop()
            body = self._encode(_IncidentLine(incident, tuple(chain)))
        self._write(b"incident", body)

    def event(self, name: str, fields: Mapping[str, str | int]) -> None:
        """Write something that happened to the server itself, such as its start."""
        self._write(b"event", self._encode(_EventLine(name, fields)))

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            self._write_held()

    def close(self) -> None:
        """Write what waits, and close the file if this opened it; later lines are dropped."""
        with self._lock:
            self._write_held()
            if self._owned:
                self._stream.close()

    def _encode(self, line: Struct) -> bytes:
        try:
            return self._encoder.encode(line)
        except (ValueError, TypeError, OverflowError):
            # Half of a surrogate pair, say: what cannot be written is dropped like what finds no room.
            return b""

    def _encode_request(self, line: RequestLine) -> bytes:
        body = self._encode(line)
        if len(body) <= _BODY_MAX_BYTES:
            return body
        name, attempts = line.requested_model[:_NAME_KEPT], line.attempts[-_ATTEMPTS_KEPT:]
        return self._encode(structs.replace(line, requested_model=name, attempts=attempts))

    def _write(self, kind: bytes, body: bytes) -> None:
        """Write a line at once, after all that waits."""
        at_ms = self._clock.now_ms()
        with self._lock:
            self._write_held()
            self._put([text] if (text := self._text(kind, at_ms, body)) else [])

    def _is_due(self) -> bool:
        """See to it that what waits is written soon; False where no event loop runs that could."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if self._due_in is not loop:
            self._due_in = loop
            loop.call_later(HELD_S, self.flush)
        return True

    def _write_held(self) -> None:
        """Write what waits, as many lines at once as a pipe takes whole; the lock is held."""
        held, self._held, self._due_in = self._held, [], None
        together: list[bytes] = []
        size = 0
        for at_ms, line in held:
            text = self._text(b"request", at_ms, self._encode_request(line))
            if not text:
                continue
            if size + len(text) > LINE_MAX_BYTES:
                self._put(together)
                together, size = [], 0
            together.append(text)
            size += len(text)
        self._put(together)

    def _text(self, kind: bytes, at_ms: int, body: bytes) -> bytes:
        """Return a line, empty if it cannot be written."""
        if not body or len(body) > _BODY_MAX_BYTES:
            self._dropped += 1
            return b""
        return b'{"at_ms":%d,"kind":"%s",%s\n' % (at_ms, kind, body[1:])

    def _put(self, lines: list[bytes]) -> None:
        """Write lines or drop them."""
        if not lines:
            return
        try:
            if self._has_room():
                self._stream.write(b"".join(lines).decode())
                self._stream.flush()
                return
        except (OSError, ValueError):
            pass
        self._dropped += len(lines)


def _frames(error: BaseException) -> tuple[str, ...]:
    innermost = deque(traceback.walk_tb(error.__traceback__), maxlen=_FRAMES_KEPT)
    return tuple(f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}" for frame, line in innermost)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _room_check(descriptor: int | None) -> Callable[[], bool]:
    """Return what tells whether a stream can take a line without blocking.

    A pipe reports room while a page (4096 bytes) is free, pipe(7). A file always has room, and where there is no descriptor or
    no poll, say so too.
    """
    if descriptor is None or not hasattr(select, "poll") or stat.S_ISREG(os.fstat(descriptor).st_mode):
        return lambda: True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return lambda: bool(poll.poll(0))
