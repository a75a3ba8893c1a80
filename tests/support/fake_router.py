"""A real gRPC server of RouterService whose answers a test writes down beforehand; it routes nothing.

Each call takes the next `Reply` and is kept in `calls` with what it carried. Replies are sent from threads, so that both
clients can be tried from the test's own thread or loop.
"""

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from junctor.v1.completion_pb2 import Choice, Delta, FinishReason, Part, Role, TextPart, Usage
from junctor.v1.completion_pb2 import Message as Turn
from junctor.v1.router_service_pb2 import (
    CompleteRequest,
    CompleteResponse,
    Finished,
    FinishedChoice,
    Opened,
    StreamEvent,
    StreamRequest,
    StreamResponse,
)
from junctor.v1.routing_pb2 import Attempt, AttemptOutcome, RouteReport
from tests.support.fake_server import HANG_MAX_S, FakeServer

SERVICE = "junctor.v1.RouterService"


@dataclass
class Failure:
    """A status with its details."""

    code: grpc.StatusCode
    reason: str = ""
    message: str = "It failed."
    metadata: dict[str, str] = field(default_factory=dict)
    domain: str = "junctor"
    retry_after_s: float | None = None
    violations: tuple[tuple[str, str], ...] = ()

    def packed(self) -> bytes:
        """Return the google.rpc.Status that goes into the trailers."""
        details: list[AnyMessage] = []
        if self.reason:
            details.append(_any(error_details_pb2.ErrorInfo(reason=self.reason, domain=self.domain, metadata=self.metadata)))
        if self.retry_after_s is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromNanoseconds(round(self.retry_after_s * 1e9))
            details.append(_any(retry))
        if self.violations:
            bad = error_details_pb2.BadRequest()
            for name, wrong in self.violations:
                bad.field_violations.add(field=name, description=wrong)
            details.append(_any(bad))
        status: bytes = status_pb2.Status(code=self.code.value[0], message=self.message, details=details).SerializeToString()
        return status


@dataclass
class Reply:
    """What a call gets: an answer or events, then silence while `hang` is set, then the failure if there is one."""

    answer: CompleteResponse | None = None
    batches: tuple[StreamResponse, ...] = ()
    hang: bool = False
    failure: Failure | None = None


@dataclass
class SeenCall:
    """What a call carried; `left` is set when the call is over for the server, by its end or by its caller's leaving."""

    request: CompleteRequest | StreamRequest
    metadata: dict[str, str | bytes]
    remaining_s: float
    left: threading.Event = field(default_factory=threading.Event)


class FakeRouter(FakeServer):
    """The server, as a context manager; `target` is its address and `begun` is set by the first call."""

    def __init__(self, *replies: Reply) -> None:
        self.calls: list[SeenCall] = []
        self.begun = threading.Event()
        self._replies = deque(replies)
        complete = grpc.unary_unary_rpc_method_handler(
            self._complete, CompleteRequest.FromString, CompleteResponse.SerializeToString
        )
        stream = grpc.unary_stream_rpc_method_handler(self._stream, StreamRequest.FromString, StreamResponse.SerializeToString)
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {"Complete": complete, "Stream": stream}
        super().__init__(SERVICE, methods, threads=4)

    def _complete(self, request: CompleteRequest, context: grpc.ServicerContext) -> CompleteResponse:
        reply = self._begin(request, context)
        self._finish(reply, context)
        return reply.answer or CompleteResponse()

    def _stream(self, request: StreamRequest, context: grpc.ServicerContext) -> Iterator[StreamResponse]:
        reply = self._begin(request, context)
        yield from reply.batches
        self._finish(reply, context)

    def _begin(self, request: CompleteRequest | StreamRequest, context: grpc.ServicerContext) -> Reply:
        seen = SeenCall(request, dict(context.invocation_metadata()), context.time_remaining())
        if not context.add_callback(seen.left.set):
            seen.left.set()
        self.calls.append(seen)
        self.begun.set()
        return self._replies.popleft()

    def _finish(self, reply: Reply, context: grpc.ServicerContext) -> None:
        if reply.hang:
            self.calls[-1].left.wait(HANG_MAX_S)
        if reply.failure is not None:
            trailers: tuple[tuple[str, str | bytes], ...] = ()
            if reply.failure.reason:
                trailers = (("grpc-status-details-bin", reply.failure.packed()),)
            context.set_trailing_metadata(trailers)
            context.abort(reply.failure.code, reply.failure.message)


def an_answer(text: str = "Hello there.") -> CompleteResponse:
    """Return a whole answer with every field that the command line shows."""
    turn = Turn(role=Role.ROLE_ASSISTANT, parts=[Part(text=TextPart(text=text))], reasoning="A greeting.")
    return CompleteResponse(
        generation_id="gen-1",
        choices=[Choice(message=turn, finish_reason=FinishReason.FINISH_REASON_STOP, native_finish_reason="stop")],
        usage=Usage(input_tokens=7, output_tokens=3),
        route=_ROUTE,
        time_to_first_token_ms=120,
        latency_ms=1500,
    )


def a_stream(*texts: str, reasoning: str = "", finished: bool = True) -> tuple[StreamResponse, ...]:
    """Return a stream's batches: opened, the texts, and finished together with the last of them."""
    events = [StreamEvent(opened=Opened(generation_id="gen-1", model="acme/small", provider="acme", endpoint="acme/small"))]
    if reasoning:
        events.append(StreamEvent(delta=Delta(reasoning=reasoning)))
    batches = [StreamResponse(events=events)]
    batches += [StreamResponse(events=[StreamEvent(delta=Delta(content=text))]) for text in texts]
    if finished:
        ending = Finished(
            choices=[FinishedChoice(finish_reason=FinishReason.FINISH_REASON_STOP, native_finish_reason="stop")],
            usage=Usage(input_tokens=7, output_tokens=3),
            route=_ROUTE,
            time_to_first_token_ms=120,
            latency_ms=1500,
        )
        batches[-1].events.append(StreamEvent(finished=ending))
    return tuple(batches)


_ROUTE = RouteReport(
    requested_model="acme/small",
    served_model="acme/small",
    provider="acme",
    endpoint="acme/small",
    attempts=[
        Attempt(provider="slow", endpoint="slow/small", outcome=AttemptOutcome.ATTEMPT_OUTCOME_TIMED_OUT, latency_ms=900),
        Attempt(
            provider="acme",
            endpoint="acme/small",
            outcome=AttemptOutcome.ATTEMPT_OUTCOME_SERVED,
            latency_ms=120,
            http_status=200,
        ),
    ],
)


def _any(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
