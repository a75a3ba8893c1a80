"""A control plane on a loopback port, without the rest of a router: the whole of AccountService over a simulated store.

The server runs in this loop; the client is ours with threads, so its calls are made through `asyncio.to_thread`.
"""

import asyncio
import io
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar, cast

import pytest
from google.protobuf.message import Message

from junctor.adapters.system.ambient import SystemClock, SystemDice
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.adapters.telemetry.lines import LineTelemetry
from junctor.client import JunctorRpcError
from junctor.client.admin import AdminClient
from junctor.domain.account import KeyScope
from junctor.doors import grpc_control
from junctor.doors.grpc_server import GrpcServer, ServerTerms, Service
from junctor.doors.rpc import access
from junctor.doors.rpc import credits as money
from junctor.doors.rpc.control import ControlRpc
from junctor.doors.rpc.gate import Bounds, Gate
from junctor.doors.rpc.methods import Methods
from junctor.ports.ambient import Clock, Dice
from junctor.records.tables import CORE
from junctor.usecases.accounts import Accounts
from junctor.usecases.admit import Admission
from junctor.usecases.api_keys import ApiKeys
from junctor.usecases.credits import Credits
from junctor.usecases.entries import Entries
from junctor.usecases.limits import Limits
from junctor.usecases.members import Members
from junctor.usecases.organisations import Organisations
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail
from junctor.v1 import account_service_pb2 as pb
from tests.support.stage import Vault

SERVICE = pb.DESCRIPTOR.services_by_name["AccountService"].full_name
Answer = TypeVar("Answer", bound=Message)


class HandClock:
    """The system's clock, which a test may move ahead."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self.ahead_s = 0.0

    def now_ms(self) -> int:
        """Return the wall clock."""
        return self._clock.now_ms() + int(self.ahead_s * 1000)

    def monotonic_s(self) -> float:
        """Return the other clock."""
        return self._clock.monotonic_s() + self.ahead_s


class ControlPlane:
    """A control plane and its insides: `operator` is an operator's key, `log` what was told."""

    def __init__(self) -> None:
        self.store = SimulatedStore()
        self.clock = HandClock()
        self.log = io.StringIO()
        self.target = ""
        self.operator = ""
        table, vault, dice = self.store.table(CORE), Vault(), SystemDice()
        self.accounts = Accounts(table, vault, self.clock, dice)
        self.admission = Admission(table, vault, self.clock, dice)
        self.methods = all_methods(self.store, self.clock)
        telemetry = LineTelemetry(self.log, self.clock)
        services = cast("Services", _Ambient(self.clock, dice, telemetry))
        self.gate = Gate(Bounds(), dice.uniform, telemetry.event)
        self.rpc = ControlRpc(self.admission, self.methods, partial(Trail, services))

    async def ask(self, key: str, request: Message, *, timeout_s: float = 5.0) -> Any:
        """Ask the method whose request this is, with a key."""
        name = type(request).__name__.removesuffix("Request")

        def call() -> Message:
            with AdminClient(self.target, key) as client:
                answer: Message = client.call(getattr(client.account, name), request, timeout_s)
                return answer

        return await asyncio.to_thread(call)

    async def refused(self, key: str, request: Message) -> JunctorRpcError:
        """Ask what must be refused, and return how it was."""
        with pytest.raises(JunctorRpcError) as caught:
            await self.ask(key, request)
        return caught.value

    async def make_key(
        self, account: str, scope: pb.ApiKeyScope.ValueType, member: str = "", name: str = "k"
    ) -> tuple[str, str]:
        """Make an API key as an operator; return its id and itself."""
        request = pb.CreateApiKeyRequest(organisation=account, name=name, scope=scope, member=member)
        made = await self.ask(self.operator, request)
        return made.api_key.id, made.secret

    def lines(self) -> list[dict[str, Any]]:
        """Return the log lines of requests."""
        return [line for line in map(json.loads, self.log.getvalue().splitlines()) if line["kind"] == "request"]


class _Ambient:
    """What a trail needs of the services."""

    def __init__(self, clock: Clock, dice: SystemDice, telemetry: LineTelemetry) -> None:
        self.clock = clock
        self.dice = dice
        self.telemetry = telemetry


def all_methods(store: SimulatedStore, clock: Clock, dice: Dice | None = None) -> Methods:
    """Return every method of AccountService, as bootstrap merges them."""
    table, dice = store.table(CORE), dice or SystemDice()
    return {
        **access.methods(Organisations(table, clock, dice), Members(table, clock, dice), ApiKeys(table, Vault(), clock, dice)),
        **money.methods(Credits(table, clock, dice, fee_ppm=50_000), Entries(table, dice), Limits(table, clock, dice)),
    }


@asynccontextmanager
async def running_control_plane(settings: Mapping[str, Any] | None = None) -> AsyncGenerator[ControlPlane, None]:
    """Run a control plane that has one operator's key; `settings` are fields of ServerTerms."""
    plane = ControlPlane()
    await plane.store.create([CORE])
    service = Service(SERVICE, grpc_control.routes(SERVICE, plane.rpc.calls()))
    server = GrpcServer((service,), ServerTerms(port=0, **(settings or {})), plane.gate)
    plane.target = f"127.0.0.1:{await server.start()}"
    plane.operator = await plane.accounts.create_api_key("", "operator", KeyScope.OPERATOR)
    try:
        yield plane
    finally:
        await server.drain(5.0)
