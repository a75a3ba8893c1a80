"""The native gRPC servers around a core, data plane and control plane: start, wait for a signal, drain."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from junctor.bootstrap.core import Core, terms
from junctor.bootstrap.machine import bounds
from junctor.bootstrap.stop import Stop
from junctor.bootstrap.tls import credentials
from junctor.doors import grpc_router
from junctor.doors.addresses import AddressError
from junctor.doors.grpc_control import routes
from junctor.doors.grpc_server import GrpcServer, ServerTerms, Service
from junctor.doors.rpc import access, catalog, catalog_admin, usage
from junctor.doors.rpc.control import ControlRpc
from junctor.doors.rpc.credits import methods as credits_methods
from junctor.doors.rpc.gate import Gate
from junctor.doors.rpc.methods import Methods
from junctor.doors.rpc.router import RouterRpc
from junctor.ledger.tools import Tools
from junctor.records import ids
from junctor.records.tables import CATALOG as CATALOG_TABLE
from junctor.records.tables import HEALTH
from junctor.settings import Address, Settings
from junctor.usecases.api_keys import ApiKeys
from junctor.usecases.catalog import CatalogReader
from junctor.usecases.catalog_changes import CatalogChanges
from junctor.usecases.credits import Credits
from junctor.usecases.entries import Entries
from junctor.usecases.fleet_health import FleetHealth
from junctor.usecases.generations import Generations
from junctor.usecases.limits import Limits
from junctor.usecases.members import Members
from junctor.usecases.organisations import Organisations
from junctor.usecases.trail import Trail

ACCOUNT, USAGE, CATALOG = "junctor.v1.AccountService", "junctor.v1.UsageService", "junctor.v1.CatalogService"
CATALOG_ADMIN = "junctor.v1.CatalogAdminService"

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a program on uvloop, where there is one."""
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop  # noqa: PLC0415 - absent on Windows

    return uvloop.run(main)


Report = Callable[[bool], Coroutine[Any, Any, None]]
"""Tells balancers whether calls are welcome here."""


@asynccontextmanager
async def background(core: Core, report: Report) -> AsyncGenerator[None, None]:
    """Do what every instance does beside its calls, while it serves."""
    services, reports = core.services, set[asyncio.Task[None]]()

    def tell(text: str) -> None:
        services.telemetry.event(text, {})

    def on_sick(sick: bool) -> None:  # noqa: FBT001 - the callback's one argument is its meaning
        tell("this instance fails, not its providers" if sick else "this instance is well again")
        reports.add(task := asyncio.create_task(report(not sick)))
        task.add_done_callback(reports.discard)

    tools = Tools(core.store.table(HEALTH), services.clock, services.dice, services.telemetry)
    fleet = FleetHealth(tools, services.health, ids.fresh(services.clock, services.dice), on_sick)
    works = [core.reclaimer.forever(), core.bookkeeper.forever(), core.overlay.forever(), fleet.forever()]
    works.append(core.catalog_file.keep(tell))
    if core.shared_secret is not None:
        works.append(core.shared_secret.keep(tell))
    running = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, *reports, return_exceptions=True)


def server(core: Core, settings: Settings) -> GrpcServer:
    """Make the server of the data plane, not listening yet. Raises Problem."""
    router = RouterRpc(core.services, terms(settings))
    routed = Service(grpc_router.SERVICE, grpc_router.routes(router))
    return GrpcServer((routed, *_readable(core)), _terms(core, settings, settings.listen), _gate(core, settings))


def admin_server(core: Core, settings: Settings) -> GrpcServer:
    """Make the server of the control plane, not listening yet. Raises Problem."""
    account = _controlled(core, ACCOUNT, account_methods(core, fee_ppm=settings.credit_fee_ppm))
    changes = CatalogChanges(core.store.table(CATALOG_TABLE), core.services.clock, core.services.dice, core.overlay)
    changed = _controlled(core, CATALOG_ADMIN, catalog_admin.methods(changes))
    return GrpcServer(
        (account, changed, *_readable(core)),
        _terms(core, settings, settings.admin_listen, admin=True),
        _gate(core, settings, admin=True),
    )


@asynccontextmanager
async def listening(core: Core, settings: Settings) -> AsyncGenerator["Listening", None]:
    """Listen on both, and do what every instance does meanwhile; whoever leaves has drained.

    Raises AddressError, Problem.
    """
    data, admin = server(core, settings), admin_server(core, settings)
    port = await data.start()
    try:
        admin_port = await admin.start()
    except AddressError:
        await data.drain(0)
        raise
    async with background(core, lambda welcome: data.report(serving=welcome)):
        yield Listening(data, admin, port, admin_port)


class Listening:
    """The two servers of a process, and the ports on which they listen."""

    def __init__(self, data: GrpcServer, admin: GrpcServer, port: int, admin_port: int) -> None:
        self._servers = data, admin
        self.port = port
        self.admin_port = admin_port

    async def drain(self, stop: Stop, grace_s: float) -> None:
        """Drain both within the grace, or at once when it is insisted upon."""
        await asyncio.gather(*(drain(server, stop, grace_s) for server in self._servers))


def account_methods(core: Core, *, fee_ppm: int) -> Methods:
    """Return what answers AccountService."""
    table, clock, dice = core.table, core.services.clock, core.services.dice
    return {
        **access.methods(
            Organisations(table, clock, dice), Members(table, clock, dice), ApiKeys(table, core.secrets, clock, dice)
        ),
        **credits_methods(Credits(table, clock, dice, fee_ppm=fee_ppm), Entries(table, dice), Limits(table, clock, dice)),
    }


def _readable(core: Core) -> tuple[Service, Service]:
    """Return what is read on both listeners: by those who call models, and by those who manage."""
    services = core.services
    generations = usage.methods(Generations(core.table, services.dice))
    models = catalog.methods(CatalogReader(services.snapshots))
    return _controlled(core, USAGE, generations), _controlled(core, CATALOG, models)


def _controlled(core: Core, name: str, methods: Methods) -> Service:
    rpc = ControlRpc(core.services.admission, methods, partial(Trail, core.services))
    return Service(name, routes(name, rpc.calls()))


def _gate(core: Core, settings: Settings, *, admin: bool = False) -> Gate:
    return Gate(bounds(settings, admin=admin), core.services.dice.uniform, core.services.telemetry.event)


def _terms(core: Core, settings: Settings, address: Address, *, admin: bool = False) -> ServerTerms:
    def tell(text: str) -> None:
        core.services.telemetry.event(text, {"listener": str(address)})

    return ServerTerms(
        host=address.host,
        port=address.port,
        credentials=credentials(settings, tell, admin=admin),
        reuse_port=settings.processes > 1,
        message_in_max=settings.message_in_max_bytes,
        message_out_max=settings.message_out_max_bytes,
        reflection=settings.reflection,
        concurrent_streams_max=settings.streams_max,
    )


async def drain(running: GrpcServer, stop: Stop, grace_s: float) -> None:
    """Drain a server within the grace, or at once when it is insisted upon."""
    draining = asyncio.create_task(running.drain(grace_s))
    insisting = asyncio.create_task(stop.insisted.wait())
    await asyncio.wait({draining, insisting}, return_when=asyncio.FIRST_COMPLETED)
    insisting.cancel()
    if not draining.done():
        await running.drain(0)
    await draining
