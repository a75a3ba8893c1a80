"""What manages a deployment, over the wire: a listener around a running router's core, and a house that it is asked about."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import grpc.aio
from google.protobuf.message import Message

from junctor.bootstrap import native
from junctor.bootstrap.core import Core
from junctor.client import complete_request
from junctor.domain.account import KeyScope
from junctor.settings import Settings
from junctor.v1.router_service_pb2 import CompleteResponse
from tests.support.control_requests import House, furnish, path_of, response_of
from tests.support.control_town import own_vetting
from tests.support.harness import Router
from tests.support.hearing import SERVICE
from tests.support.pipeline import PATIENCE_S, bearer


class ControlWire:
    """A channel to the listener, one to the router, and the house."""

    house: House

    def __init__(self, admin: grpc.aio.Channel, data: grpc.aio.Channel, operator: str, model: str) -> None:
        self.channel = admin
        self.data = data
        self._operator = operator
        self._model = model

    async def refurnish(self) -> None:
        """Furnish another house, about which the next requests will be."""
        self.house = await furnish(self.ask, self._operator, self._generate)

    async def ask(self, api_key: str, request: Message) -> Message:
        """Ask the method whose request this is. Raises AioRpcError."""
        method = type(request).__name__.removesuffix("Request")
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(path_of(method))
        answer = await call(request.SerializeToString(), metadata=bearer(api_key), timeout=PATIENCE_S)
        return response_of(method).FromString(answer)

    async def _generate(self, _organisation: str, api_key: str) -> str:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.data.unary_unary(SERVICE + "Complete")
        request = complete_request("Begin.", model=self._model).SerializeToString()
        answer = await call(request, metadata=bearer(api_key), timeout=PATIENCE_S)
        return CompleteResponse.FromString(answer).generation_id


@asynccontextmanager
async def running_control(
    router: Router, model: str, settings: Mapping[str, str] | None = None, *, core: Core | None = None
) -> AsyncGenerator[ControlWire, None]:
    """Manage a running router, or a core that is one in its place, with a house whose generation is of this model.

    All names of hosts lead to an address of its own; `settings` are JUNCTOR_* variables.
    """
    chosen = {"JUNCTOR_ADMIN_LISTEN": "127.0.0.1:0", "JUNCTOR_DRAIN_S": "5", **(settings or {})}
    router.core.overlay._addresses = own_vetting()
    server = native.admin_server(core or router.core, Settings.from_environment(chosen))
    target = f"127.0.0.1:{await server.start()}"
    try:
        operator = await router.core.accounts.create_api_key("", "operator", KeyScope.OPERATOR)
        async with grpc.aio.insecure_channel(target) as admin, grpc.aio.insecure_channel(router.target) as data:
            wire = ControlWire(admin, data, operator, model)
            await wire.refurnish()
            yield wire
    finally:
        await server.drain(5.0)
