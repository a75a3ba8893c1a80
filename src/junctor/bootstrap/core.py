"""Everything behind the doors, put together: store, secrets, catalogue, providers, ledger, services.

Without grpc, so that a function of a few megabytes can use it.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from junctor.adapters.catalog.packaged import PackagedCatalog
from junctor.adapters.net.addresses import HostRule, Vetting
from junctor.adapters.net.face import Transport
from junctor.adapters.providers import registry
from junctor.adapters.providers.dialects.openai_chat import OpenAIChat
from junctor.adapters.providers.gateway import Gateway
from junctor.adapters.secrets.credentials import CredentialsAtHand
from junctor.adapters.secrets.environment import EnvironmentSecrets
from junctor.adapters.secrets.shared import SharedSecret, secrets_manager
from junctor.adapters.system.ambient import SystemClock, SystemDice
from junctor.adapters.tables.sqlite import SqliteStore
from junctor.bootstrap import quick
from junctor.bootstrap.catalog_file import IMPORTED_FILE, CatalogFile
from junctor.domain.call import Snapshots
from junctor.doors.codec.checks import Limits
from junctor.doors.rpc.router import Terms
from junctor.ledger.allowance.allowance import Allowance
from junctor.ledger.ledger import Ledger
from junctor.ledger.tools import Terms as LedgerTerms
from junctor.ledger.tools import Tools
from junctor.ports.ambient import Dice
from junctor.ports.secrets import Peppers
from junctor.ports.table import Store, StoreError, Table
from junctor.ports.telemetry import Telemetry
from junctor.records import ids
from junctor.records.tables import ALL_TABLES, CATALOG, CORE, HEALTH
from junctor.settings import DynamodbSender, Http, Settings
from junctor.settings import Store as StoreKind
from junctor.usecases.accounts import Accounts
from junctor.usecases.admit import Admission
from junctor.usecases.alerts import Alerts
from junctor.usecases.bookkeeping import Bookkeeper
from junctor.usecases.catalog_overlay import CatalogOverlay, Ground
from junctor.usecases.instance_health import InstanceHealth
from junctor.usecases.reclaim import Reclaimer
from junctor.usecases.services import Services

STORE_FILE = "store.sqlite3"
SETTLE_DRAIN_S = 5.0
LEASES_CLOSE_S = 5.0
DIALECTS = {"openai_chat": OpenAIChat()}
SEEDS = 2**32
_SPOKEN = frozenset(DIALECTS)


@dataclass(frozen=True, slots=True)
class Core:
    """What a composition root needs of everything behind the doors."""

    services: Services
    accounts: Accounts
    reclaimer: Reclaimer
    bookkeeper: Bookkeeper
    catalog: PackagedCatalog
    catalog_file: CatalogFile
    overlay: CatalogOverlay
    secrets: EnvironmentSecrets
    shared_secret: SharedSecret | None
    store: Store
    transport: Transport
    table: Table

    async def close(self) -> int:
        """Let settlements end, then let go of all; return how many settlements had to be left to a reclaimer."""
        unfinished = await self.services.ledger.drain(SETTLE_DRAIN_S)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.services.allowance.close(), LEASES_CLOSE_S)
        if not unfinished:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.services.ledger.close(), LEASES_CLOSE_S)
        await self.transport.close()
        await self.store.close()
        return unfinished


class Views:
    """Takes the snapshots that one call uses from beginning to end."""

    def __init__(self, catalog: PackagedCatalog, credentials: CredentialsAtHand, health: InstanceHealth, dice: Dice) -> None:
        self._source = catalog
        self._credentials = credentials
        self._health = health
        self._dice = dice

    def __call__(self) -> Snapshots:
        """Return the views of this instant."""
        catalog, health = self._source.current(), self._health.snapshot()
        credentials = self._credentials.of(catalog.providers)
        return Snapshots(catalog, health, credentials, health.at_ms, int(self._dice.uniform() * SEEDS), _SPOKEN)


async def open_core(settings: Settings, environ: Mapping[str, str], peppers: Peppers, telemetry: Telemetry) -> Core:
    """Open everything; tables that are missing are made where the store is embedded.

    Raises StoreError, CatalogFormatError, RegistryError, SharedSecretError.
    """
    clock, dice = SystemClock(), SystemDice()
    catalog = PackagedCatalog(environ)
    rows = registry.load()
    file = CatalogFile(catalog, rows, settings.data_dir / IMPORTED_FILE)
    file.refresh()
    secrets = EnvironmentSecrets(environ, peppers)
    vetting = Vetting([HostRule(row.host, row.port) for row in settings.private_hosts])
    # Before a store that uses the same library, for which it is imported in a quicker way.
    transport = open_transport(settings, vetting)
    shared = await _shared(settings, secrets, dice)
    store = open_store(settings)
    if settings.store is StoreKind.SQLITE or settings.dynamodb_endpoint is not None:
        await store.create(ALL_TABLES)
    else:
        await _check_tables(store)
    table: Table = store.table(CORE)
    overlay = CatalogOverlay(store.table(CATALOG), dice, telemetry, Ground(catalog, vetting, rows.dialects()))
    await overlay.look()
    health = InstanceHealth(clock, dice, telemetry)
    services = Services(
        admission=Admission(table, secrets, clock, dice, settings.key_cache_s),
        snapshots=Views(catalog, CredentialsAtHand(secrets, settings.credential_weights), health, dice),
        upstream=Gateway(rows, DIALECTS, transport, secrets),
        health=health,
        ledger=Ledger(
            Tools(table, clock, dice, telemetry),
            LedgerTerms(deadline_max_ms=int(settings.deadline_max_s * 1000), output_hold_tokens=settings.output_hold_tokens),
            Alerts(telemetry).seen,
        ),
        allowance=Allowance(table, clock, dice, telemetry, instance=ids.fresh(clock, dice)),
        clock=clock,
        dice=dice,
        telemetry=telemetry,
    )
    accounts = Accounts(table, secrets, clock, dice)
    return Core(
        services=services,
        accounts=accounts,
        reclaimer=Reclaimer(table, clock, dice, telemetry),
        bookkeeper=Bookkeeper(table, clock, dice, telemetry),
        catalog=catalog,
        catalog_file=file,
        overlay=overlay,
        secrets=secrets,
        shared_secret=shared,
        store=store,
        transport=transport,
        table=table,
    )


async def _shared(settings: Settings, secrets: EnvironmentSecrets, dice: Dice) -> SharedSecret | None:
    """Read the shared secret, if the settings name one. Raises SharedSecretError."""
    if settings.credentials_secret is None:
        return None
    shared = SharedSecret(settings.credentials_secret, secrets, dice, partial(secrets_manager, settings.region))
    await shared.read()
    return shared


def open_store(settings: Settings, *, read_only: bool = False) -> Store:
    """Open the store that the settings name. Raises StoreError."""
    if settings.store is StoreKind.SQLITE:
        if not read_only:
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return SqliteStore(settings.data_dir / STORE_FILE, read_only=read_only)
    return _dynamodb(settings)


async def _check_tables(store: Store) -> None:
    """Refuse to start without tables that every call needs. Raises StoreError."""
    from junctor.adapters.tables.dynamodb import DynamoStore  # noqa: PLC0415 - see _dynamodb

    assert isinstance(store, DynamoStore)  # noqa: S101 - there are two kinds of store
    try:
        await store.check((CORE, HEALTH, CATALOG))
    except StoreError:
        await store.close()
        raise


def _dynamodb(settings: Settings) -> Store:
    """Make the store on DynamoDB. Its parts are imported only where it is used: boto3 alone takes a quarter of a second."""
    from junctor.adapters.tables.dynamodb import DynamoStore  # noqa: PLC0415 - see above

    if settings.dynamodb_sender is DynamodbSender.BOTO3:
        from junctor.adapters.tables.dynamodb_boto3 import Boto3Sender  # noqa: PLC0415 - see above

        boto3 = Boto3Sender(endpoint_url=settings.dynamodb_endpoint, region=settings.region)
        return DynamoStore(boto3, settings.table_prefix)
    from junctor.adapters.tables.dynamodb_signed import SignedSender  # noqa: PLC0415 - see above

    signed = SignedSender(endpoint_url=settings.dynamodb_endpoint, region=settings.region, clock=SystemClock())
    return DynamoStore(signed, settings.table_prefix)


def open_transport(settings: Settings, vetting: Vetting) -> Transport:
    """Make the transport that the settings name. The other library is not even imported: each takes a tenth of a second."""
    if settings.http is Http.AIOHTTP:
        with quick.without_authorities():
            from junctor.adapters.net import aiohttp_transport  # noqa: PLC0415 - see above

        return aiohttp_transport.Transport(vetting=vetting)
    from junctor.adapters.net import transport  # noqa: PLC0415 - see above

    return transport.Transport(vetting=vetting)


def terms(settings: Settings) -> Terms:
    """Return what bounds every call."""
    return Terms(
        limits=Limits(
            messages_max=settings.messages_max,
            parts_max=settings.parts_max,
            tools_max=settings.tools_max,
            json_depth_max=settings.json_depth_max,
            string_bytes_max=settings.string_max_bytes,
        ),
        deadline_default_s=settings.deadline_default_s,
        deadline_max_s=settings.deadline_max_s,
        heartbeat_s=settings.heartbeat_s,
    )
