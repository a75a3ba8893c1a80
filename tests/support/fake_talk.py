"""A scripted router that also explains: each model has a plan, or a failure."""

from collections.abc import Mapping

import grpc

from junctor.v1.router_service_pb2 import ExcludedEndpoint, ExplainRequest, ExplainResponse, PlannedCandidate
from tests.support.fake_router import SERVICE, Failure, FakeRouter, Reply

UNKNOWN = Failure(grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", "There is no model 'acme/bog'. Near names: acme/big.")
OPEN = ExplainResponse(
    candidates=[PlannedCandidate(model="acme/big", provider="acme", endpoint="acme/big", ceiling_nanousd=12_000, weight=1.0)],
    excluded=[ExcludedEndpoint(model="acme/big", provider="far", endpoint="far/big", reason="CREDENTIALS_MISSING")],
)
SHUT = ExplainResponse(
    excluded=[ExcludedEndpoint(model="acme/shut", provider="far", endpoint="far/shut", reason="CREDENTIALS_MISSING")]
)


class FakeTalk(FakeRouter):
    """The server; what it was asked to explain is kept in `explained`."""

    def __init__(self, *replies: Reply, plans: Mapping[str, ExplainResponse] | None = None) -> None:
        super().__init__(*replies)
        self.explained: list[ExplainRequest] = []
        self._plans = {"acme/small": OPEN, "acme/big": OPEN, "acme/shut": SHUT} if plans is None else plans
        explain = grpc.unary_unary_rpc_method_handler(
            self._explain, ExplainRequest.FromString, ExplainResponse.SerializeToString
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Explain": explain}),))

    def _explain(self, request: ExplainRequest, context: grpc.ServicerContext) -> ExplainResponse:
        self.explained.append(request)
        plan = self._plans.get(request.spec.model)
        if plan is None:
            context.set_trailing_metadata((("grpc-status-details-bin", UNKNOWN.packed()),))
            context.abort(UNKNOWN.code, UNKNOWN.message)
        return plan
