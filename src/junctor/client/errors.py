"""What does a caller learn of a failed call? One typed error with the reason, what to mend and when to try again.

It is read from the gRPC status and its google.rpc details, and needs no grpc to be imported. Invariant: no error of grpc's
own leaves the client.
"""

from collections.abc import Iterable, Mapping

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"
_DOMAIN = "junctor"
STREAM_TRUNCATED = "STREAM_TRUNCATED"


class JunctorRpcError(Exception):
    """A call that failed.

    `code` is the gRPC status code's name and `reason` Junctor's stable word for what happened; where the status did not
    come from Junctor, as when nothing listens, `reason` repeats the code. `field_violations` are (field, what is wrong).
    """

    def __init__(  # noqa: PLR0913 - six things are known of a failed call
        self,
        code: str,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        field_violations: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Keep what is known; `retry_after_s` is None where the server did not say."""
        super().__init__(f"{reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata: Mapping[str, str] = metadata or {}
        self.retry_after_s = retry_after_s
        self.field_violations = field_violations


def read_status(code: str, message: str, trailers: Iterable[tuple[str, str | bytes]]) -> JunctorRpcError:
    """Return the error that a status and its trailing metadata tell of; details that cannot be read count as absent."""
    reason, metadata = code, dict[str, str]()
    retry_after_s: float | None = None
    violations: list[tuple[str, str]] = []
    for detail in _details(trailers):
        info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info) and info.domain == _DOMAIN:
            reason, metadata = str(info.reason), dict(info.metadata)
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        elif detail.Unpack(bad):
            violations += [(str(violation.field), str(violation.description)) for violation in bad.field_violations]
    return JunctorRpcError(
        code,
        reason,
        message,
        metadata=metadata,
        retry_after_s=retry_after_s,
        field_violations=tuple(violations),
    )


def truncated(generation_id: str) -> JunctorRpcError:
    """Return the error of a stream that ended well without a finished event; the id is empty if none had come."""
    known = {"generation_id": generation_id} if generation_id else {}
    return JunctorRpcError("DATA_LOSS", STREAM_TRUNCATED, "The stream ended before the answer was complete.", metadata=known)


def _details(trailers: Iterable[tuple[str, str | bytes]]) -> list[AnyMessage]:
    status = status_pb2.Status()
    for key, value in trailers:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
            except DecodeError:
                return []
    return list(status.details)
