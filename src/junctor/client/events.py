"""Is a stream whole? Takes responses apart into events and knows whether the end was reached; both clients share it."""

from collections import deque

from junctor.client.errors import truncated
from junctor.v1.router_service_pb2 import StreamEvent, StreamResponse


class EventBuffer:
    """The events that have come and were not handed on yet."""

    def __init__(self) -> None:
        """Begin before the first event."""
        self._waiting: deque[StreamEvent] = deque()
        self._generation_id = ""
        self._finished = False

    def feed(self, response: StreamResponse) -> None:
        """Take in a response."""
        for event in response.events:
            if event.HasField("opened"):
                self._generation_id = event.opened.generation_id
            elif event.HasField("finished"):
                self._finished = True
            self._waiting.append(event)

    def take(self) -> StreamEvent | None:
        """Return the next event, None if none is waiting."""
        return self._waiting.popleft() if self._waiting else None

    def end(self) -> None:
        """Take note that the server ended the stream without an error.

        Raises JunctorRpcError with STREAM_TRUNCATED if the answer was not finished.
        """
        if not self._finished:
            raise truncated(self._generation_id)
