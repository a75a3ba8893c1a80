"""A call as bytes, and all that came of it as bytes: what a caller could see, whatever library he uses."""

import time

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2
from msgspec import Struct

SERVICE = "/junctor.v1.RouterService/"
DETAILS = "grpc-status-details-bin"
KEPT_BYTES = 1 << 20

Metadata = tuple[tuple[str, str | bytes], ...]


class Heard(Struct, frozen=True):
    """How a call ended: "OK", or the status and the reason in its ErrorInfo; what came with it, and what had come before.

    `told` is the message and all trailing metadata of an error, `answers` the bytes of the responses, up to KEPT_BYTES.
    """

    how: str
    took_s: float
    told: bytes = b""
    answers: bytes = b""


async def hear(channel: grpc.aio.Channel, method: str, body: bytes, metadata: Metadata, timeout_s: float) -> Heard:
    """Call a method of RouterService, of which Stream is a stream, or any other that is whole by its path."""
    path = method if method.startswith("/") else SERVICE + method
    started_s = time.monotonic()
    answers = bytearray()
    try:
        if method == "Stream":
            stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
            async for response in stream(body, timeout=timeout_s, metadata=metadata):
                answers += response[: KEPT_BYTES - len(answers)]
        else:
            unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
            answers += (await unary(body, timeout=timeout_s, metadata=metadata))[:KEPT_BYTES]
    except grpc.aio.AioRpcError as error:
        pairs = [(key, value if isinstance(value, bytes) else value.encode()) for key, value in error.trailing_metadata()]
        told = b"\n".join(((error.details() or "").encode(), *(key.encode() + b" " + value for key, value in pairs)))
        how = f"{error.code().name} {reason_of(dict(pairs))}".strip()
        return Heard(how, time.monotonic() - started_s, told, bytes(answers))
    return Heard("OK", time.monotonic() - started_s, answers=bytes(answers))


def reason_of(trailers: dict[str, bytes]) -> str:
    """Return the reason that our ErrorInfo names, empty if there is none."""
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(trailers.get(DETAILS, b"")).details:
        if detail.Unpack(info) and info.domain == "junctor":
            return str(info.reason)
    return ""
