"""A whole Junctor in this process: real server, real store, real ledger; only the providers are ours to script.

`running_router` gives each endpoint named an address (as a rule a ScriptedUpstream's) and a made-up credential for every
provider, makes an account and a key, listens on a free loopback port and drains at the end.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from junctor.adapters.system.ambient import SystemClock, SystemDice
from junctor.adapters.telemetry.lines import LineTelemetry
from junctor.bootstrap import native
from junctor.bootstrap.core import Core, open_core
from junctor.client import AsyncClient
from junctor.domain.credits import Payment
from junctor.domain.generation import Generation
from junctor.ledger.credits import Booking, pay
from junctor.ports.secrets import Peppers
from junctor.ports.table import Table
from junctor.records import generations, ids, keys
from junctor.records.tables import CORE
from junctor.settings import Settings
from tests.support import transports

CREDENTIALS = {
    name: f"made-up-{name.lower()}"
    for name in (
        "OPENAI_API_KEY",
        "GROQ_API_KEY",
        "MISTRAL_API_KEY",
        "DEEPSEEK_API_KEY",
        "OPENROUTER_API_KEY",
        "JUNCTOR_LOCAL_KEY",
    )
}
PEPPERS = Peppers(1, {1: b"0" * 32})
LOCAL = "local/junctor/local"
MODEL = "junctor/local"


DOLLAR = 10**9


async def credit(core: Core, account: str, amount_nanousd: int, outside_id: str = "test") -> None:
    """Pay into an account's main purse."""
    await pay_in(core.table, account, amount_nanousd, outside_id)


async def pay_in(table: Table, account: str, amount_nanousd: int, outside_id: str = "test") -> None:
    """Do as `credit`, with nothing but a table."""
    payment = Payment(
        account=account, id=outside_id, purse="main", amount_nanousd=amount_nanousd, refundable_nanousd=amount_nanousd, at_ms=0
    )
    assert await pay(table, SystemDice(), payment) is Booking.BOOKED


@dataclass(frozen=True)
class Router:
    """A running router: where it listens, a valid key, and its insides."""

    core: Core
    target: str
    api_key: str
    account: str
    log_file: Path

    @property
    def log(self) -> Path:
        """Return the log's file, with all that was told so far."""
        telemetry = self.core.services.telemetry
        assert isinstance(telemetry, LineTelemetry)
        telemetry.flush()
        return self.log_file

    def client(self, api_key: str | None = None) -> AsyncClient:
        """Return a client with the valid key, or with another one."""
        return AsyncClient(self.target, self.api_key if api_key is None else api_key)

    async def generation(self, generation_id: str) -> Generation | None:
        """Read the record of a generation, None if there is none."""
        place = ids.parse_generation_id(generation_id, self.account)
        if place is None:
            return None
        found = await self.core.store.table(CORE).get(keys.slot(place))
        return generations.generation_of(found.item, place) if found.item is not None else None


@asynccontextmanager
async def running_router(
    folder: Path,
    addresses: Mapping[str, str],
    *,
    settings: Mapping[str, str] | None = None,
    credentials: Mapping[str, str] | None = None,
    credit_nanousd: int = 1_000 * DOLLAR,
) -> AsyncGenerator[Router, None]:
    """Run a router whose endpoints `addresses` (by endpoint id) are at these base URLs.

    `settings` are JUNCTOR_* variables over those of a test; `credentials` replace the made-up ones. The account has so much
    credit.
    """
    chosen = {
        "JUNCTOR_LISTEN": "127.0.0.1:0",
        "JUNCTOR_DATA_DIR": str(folder),
        "JUNCTOR_LOCAL_MODEL": "off",
        "JUNCTOR_DRAIN_S": "5",
        "JUNCTOR_HTTP": transports.CHOSEN,
        **(settings or {}),
    }
    parsed = Settings.from_environment(chosen)
    log = folder / "log.jsonl"
    telemetry = LineTelemetry.to_file(log, SystemClock())
    core = await open_core(parsed, CREDENTIALS if credentials is None else credentials, PEPPERS, telemetry)
    try:
        for endpoint, base_url in addresses.items():
            core.catalog.locate(endpoint, base_url)
        account = await core.accounts.create_organisation("test")
        api_key = await core.accounts.create_api_key(account.id, "test")
        if credit_nanousd:
            await credit(core, account.id, credit_nanousd)
        server = native.server(core, parsed)
        port = await server.start()
        try:
            yield Router(core, f"127.0.0.1:{port}", api_key, account.id, log)
        finally:
            await server.drain(parsed.drain_s)
    finally:
        await core.close()
        telemetry.close()
