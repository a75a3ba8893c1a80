"""A real gRPC server of UsageService that knows the generations a test gives it, in pages, or fails as it is told."""

from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from junctor.v1.completion_pb2 import FinishReason, Usage
from junctor.v1.usage_service_pb2 import (
    Generation,
    GenerationState,
    GetGenerationRequest,
    GetGenerationResponse,
    ListGenerationsRequest,
    ListGenerationsResponse,
)
from tests.support.fake_router import Failure
from tests.support.fake_server import FakeServer

SERVICE = "junctor.v1.UsageService"
NOT_FOUND = Failure(grpc.StatusCode.NOT_FOUND, "GENERATION_NOT_FOUND", "There is no generation 'gen-9'.")


class FakeUsage(FakeServer):
    """The server, as a context manager; `target` is its address. Each request is kept in `requests` with its key and time."""

    def __init__(self, *pages: Sequence[Generation], failure: Failure | None = None) -> None:
        self.requests: list[tuple[GetGenerationRequest | ListGenerationsRequest, Mapping[str, str | bytes], float]] = []
        self._pages = pages
        self._failure = failure
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "GetGeneration": grpc.unary_unary_rpc_method_handler(
                self._get, GetGenerationRequest.FromString, GetGenerationResponse.SerializeToString
            ),
            "ListGenerations": grpc.unary_unary_rpc_method_handler(
                self._list, ListGenerationsRequest.FromString, ListGenerationsResponse.SerializeToString
            ),
        }
        super().__init__(SERVICE, methods)

    def _get(self, request: GetGenerationRequest, context: grpc.ServicerContext) -> GetGenerationResponse:
        self._begin(request, context)
        for page in self._pages:
            for generation in page:
                if generation.id == request.generation_id:
                    return GetGenerationResponse(generation=generation)
        self._fail(NOT_FOUND, context)
        raise AssertionError

    def _list(self, request: ListGenerationsRequest, context: grpc.ServicerContext) -> ListGenerationsResponse:
        self._begin(request, context)
        place = int(request.page_token or "0")
        following = str(place + 1) if place + 1 < len(self._pages) else ""
        return ListGenerationsResponse(generations=self._pages[place], next_page_token=following)

    def _begin(self, request: GetGenerationRequest | ListGenerationsRequest, context: grpc.ServicerContext) -> None:
        self.requests.append((request, dict(context.invocation_metadata()), context.time_remaining()))
        if self._failure is not None:
            self._fail(self._failure, context)

    def _fail(self, failure: Failure, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", failure.packed()),))
        context.abort(failure.code, failure.message)


def a_generation(number: int) -> Generation:
    """Return a settled generation with every field set."""
    return Generation(
        id=f"gen-{number}",
        state=GenerationState.GENERATION_STATE_SETTLED,
        api_key="0123456789ab",
        requested_model="acme/asked",
        model="acme/small",
        provider="acme",
        endpoint="acme/small",
        started_at_ms=1_790_000_000_000,
        ended_at_ms=1_790_000_001_500,
        streamed=True,
        usage=Usage(
            input_tokens=7, output_tokens=3, cache_read_tokens=2, cache_write_tokens=1, reasoning_tokens=1, estimated=True
        ),
        cost_nanousd=1_000_012_300,
        hold_nanousd=2_000_000_000,
        price_version="v1",
        upstream_id="up-1",
        finish_reason=FinishReason.FINISH_REASON_TOOL_CALLS,
        time_to_first_token_ms=120,
    )


def an_open_generation(number: int) -> Generation:
    """Return a generation that is under way."""
    return Generation(
        id=f"gen-{number}",
        state=GenerationState.GENERATION_STATE_OPEN,
        api_key="0123456789ab",
        requested_model="acme/asked",
        started_at_ms=1_790_000_000_000,
        usage=Usage(),
        hold_nanousd=50_000_000,
    )
