"""What can a plain process tell? JSON lines on a stream, and counters in memory.

A line has what `RequestLine` allows and nothing else. A log that is slow or gone costs lines, never calls: a line is
dropped, and counted in `dropped`, when the stream is closed or full. Invariant: a line is at most `LINE_MAX_BYTES` long,
which is what a pipe that reports room takes without blocking, and whole.
"""

import select
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
        self._has_room = _room_check(stream)

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
        """Write the line of one request; one that is too long loses old attempts and the end of long names."""
        body = self._encode(line)
        if len(body) > _BODY_MAX_BYTES:
            kept = structs.replace(
                line,
                requested_model=line.requested_model[:_NAME_KEPT],
                attempts=line.attempts[-_ATTEMPTS_KEPT:],
            )
            body = self._encode(kept)
        self._write(b"request", body)

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

    def close(self) -> None:
        """Close the file if this opened it; later lines are dropped."""
        if self._owned:
            with self._lock:
                self._stream.close()

    def _encode(self, line: Struct) -> bytes:
        try:
            return self._encoder.encode(line)
        except (ValueError, TypeError, OverflowError):
            # Half of a surrogate pair, say: what cannot be written is dropped like what finds no room.
            return b""

    def _write(self, kind: bytes, body: bytes) -> None:
        if not body or len(body) > _BODY_MAX_BYTES:
            with self._lock:
                self._dropped += 1
            return
        line = b'{"at_ms":%d,"kind":"%s",%s\n' % (self._clock.now_ms(), kind, body[1:])
        with self._lock:
            try:
                if self._has_room():
                    self._stream.write(line.decode())
                    self._stream.flush()
                    return
            except (OSError, ValueError):
                pass
            self._dropped += 1


def _frames(error: BaseException) -> tuple[str, ...]:
    innermost = deque(traceback.walk_tb(error.__traceback__), maxlen=_FRAMES_KEPT)
    return tuple(f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}" for frame, line in innermost)


def _room_check(stream: TextIO) -> Callable[[], bool]:
    """Return what tells whether the stream can take a line without blocking.

    A pipe reports room while a page (4096 bytes) is free, pipe(7). Where there is no descriptor or no poll, say always.
    """
    try:
        descriptor = stream.fileno()
        poll = select.poll()
    except (OSError, ValueError, AttributeError):
        return lambda: True
    poll.register(descriptor, select.POLLOUT)
    return lambda: bool(poll.poll(0))
