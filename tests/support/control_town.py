"""The four services that are managed and read by, in this process: doors, codecs and use cases over an embedded store.

Without grpc, on virtual time and seeded dice, so that what happens follows from a seed; the names of hosts lead to an address
of its own, and no store's file is written. Every bug that a call or a look at the catalogue's records meets is kept.
"""

from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from junctor.adapters.catalog.packaged import PackagedCatalog
from junctor.adapters.net.addresses import HostRule, Vetting
from junctor.adapters.secrets.credentials import CredentialsAtHand
from junctor.adapters.secrets.environment import EnvironmentSecrets
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.bootstrap.core import Views
from junctor.domain.account import KeyScope
from junctor.doors.rpc import catalog, catalog_admin, usage
from junctor.doors.rpc.control import ControlRpc
from junctor.records.tables import CATALOG, CORE
from junctor.usecases.accounts import Accounts
from junctor.usecases.admit import Admission
from junctor.usecases.catalog import CatalogReader
from junctor.usecases.catalog_changes import CatalogChanges
from junctor.usecases.catalog_overlay import CatalogOverlay, Ground
from junctor.usecases.generations import Generations
from junctor.usecases.instance_health import InstanceHealth
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail
from tests.support.control_plane import all_methods
from tests.support.control_requests import House, furnish
from tests.support.doors import at_hand
from tests.support.harness import CREDENTIALS, PEPPERS
from tests.support.slots import put_settled
from tests.support.stage import Vault
from tests.support.virtual_loop import TimersLoop
from tests.support.world import LoopClock, NotedTelemetry, SeededDice

T = TypeVar("T")


async def own_network(_host: str, _port: int) -> Sequence[str]:
    """Resolve every name to an address of the operator's own network."""
    return ["10.200.0.1"]


def own_vetting() -> Vetting:
    """Allow the operator's own network, where all names lead."""
    return Vetting([HostRule("10.200.0.0/16", port) for port in (80, 443, 8000)], own_network)


class ControlTown:
    """The services, a house that is furnished on request, once and again, and the bugs that were met."""

    house: House
    _operator: str

    def __init__(self, seed: int) -> None:
        self.furnished = False
        self._loop = TimersLoop()
        self.run(self._open(seed))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, in no time."""
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        """Let go of the loop."""
        self._loop.close()

    async def call(self, method: str, body: bytes, api_key: str) -> Message:
        """Call as a door does. Raises JunctorError."""
        return await self._rpc.call(method, at_hand(body), api_key, None)

    async def refurnish(self) -> None:
        """Furnish another house beside those that are there."""
        self.house = await furnish(self._ask, self._operator, self._generate)
        self.furnished = True

    async def _open(self, seed: int) -> None:
        """Put everything together, on the loop whose time is all the time there is."""
        store = SimulatedStore(seed)
        await store.create([CORE, CATALOG])
        self.clock, self.dice, self.telemetry = LoopClock(), SeededDice(seed), NotedTelemetry()
        self.table, records = store.table(CORE), store.table(CATALOG)
        models = PackagedCatalog(CREDENTIALS)
        self.overlay = CatalogOverlay(records, self.dice, self.telemetry, Ground(models, own_vetting(), frozenset()))
        credentials = CredentialsAtHand(EnvironmentSecrets(CREDENTIALS, PEPPERS), {})
        views = Views(models, credentials, InstanceHealth(self.clock, self.dice, self.telemetry), self.dice)
        methods = {
            **all_methods(store, self.clock, self.dice),
            **catalog_admin.methods(CatalogChanges(records, self.clock, self.dice, self.overlay)),
            **catalog.methods(CatalogReader(views)),
            **usage.methods(Generations(self.table, self.dice)),
        }
        admission = Admission(self.table, Vault(), self.clock, self.dice)
        self._rpc = ControlRpc(admission, methods, partial(Trail, cast("Services", self)))
        self._operator = await Accounts(self.table, Vault(), self.clock, self.dice).create_api_key(
            "", "operator", KeyScope.OPERATOR
        )

    async def _ask(self, api_key: str, request: Message) -> Message:
        return await self.call(type(request).__name__.removesuffix("Request"), request.SerializeToString(), api_key)

    async def _generate(self, account: str, api_key: str) -> str:
        """Write the record of a generation, as the ledger leaves it."""
        return await put_settled(self.table, account, api_key[3:15], self.clock.now_ms(), self.dice)
