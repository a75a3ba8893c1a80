"""`junctor up`: all of Junctor on this machine, with a small real model, for whoever wants to see it work."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, asynccontextmanager, closing
from typing import Protocol

from junctor.adapters.local import process, weights
from junctor.adapters.local.process import LocalModel, LocalModelError
from junctor.adapters.local.weights import WeightsError
from junctor.adapters.system.ambient import SystemClock
from junctor.bootstrap import native, quick
from junctor.bootstrap.core import Core, open_core
from junctor.bootstrap.discovered import Discovery
from junctor.bootstrap.local_secrets import first_key, operator_key, peppers
from junctor.bootstrap.problems import Problem, as_problem
from junctor.bootstrap.stop import Stop
from junctor.bootstrap.telling import EXPOSED, exposed, open_log
from junctor.domain.money import NanoUsd
from junctor.settings import DEFAULT_TARGET, FIRST_KEY_FILE, PREFIX, Address, Settings, data_dir
from junctor.settings import Store as StoreKind
from junctor.usecases.accounts import HOUSE
from junctor.usecases.catalog_sight import Access, Sight
from junctor.usecases.credits import Credits, Deposit

LOCAL_ENDPOINT = "local/junctor/local"
LOCAL_CREDENTIAL = "JUNCTOR_LOCAL_KEY"
DEVELOPMENT_PAYMENT = "development"
DEVELOPMENT_NANOUSD = 10_000_000_000
CLOSED_SHOWN = 8
"""How many providers are named that are not open."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Voice(Protocol):
    """How `up` speaks to whoever started it: cli/console."""

    def line(self, text: str = "") -> None:
        """Write a line."""

    def quiet(self, text: str) -> None:
        """Write a line that may be overlooked."""

    def problem(self, text: str) -> None:
        """Write what went wrong."""

    def progress(self, label: str) -> AbstractContextManager[Callable[[int, int], None]]:
        """Show a download; yields what to call with the bytes that came and their total."""

    def table(self, title: str, rows: Sequence[Sequence[str]]) -> None:
        """Write rows in columns."""

    def credit(self, granted_nanousd: int, available_nanousd: int) -> None:
        """Write what this machine's organisation was granted to try with, and what of it there is."""

    def next_steps(self, steps: Sequence[str]) -> None:
        """Write what may be done now."""


def run_up(settings: Settings, voice: Voice) -> int:
    """Run until a signal ends it; return the exit status. Raises Problem if it cannot start."""
    return native.run(_up(settings, voice))


async def _up(settings: Settings, voice: Voice) -> int:
    if settings.processes > 1:
        raise Problem(f"{PREFIX}PROCESSES: junctor up runs one process; junctor serve runs several")
    stop = Stop()
    stop.listen()
    with as_problem(), ExitStack() as undo:
        telemetry = undo.enter_context(closing(open_log(settings, SystemClock())))
        core = await open_core(settings, os.environ, peppers(settings), telemetry)
        undo.pop_all()
    quick.started()
    try:
        with as_problem():
            key = await first_key(core, settings.data_dir)
            await operator_key(core, settings.data_dir)
            available_nanousd = await _grant(core, key.account)
        async with AsyncExitStack() as stack:
            model = await stack.enter_async_context(_local_model(core, settings, voice))
            await stack.enter_async_context(_discovery(core, settings))
            with as_problem():
                listening = await stack.enter_async_context(native.listening(core, settings))
            _tell_what_runs(settings, voice, listening, model=model is not None)
            if exposed(settings):
                voice.problem(f"{EXPOSED[0].upper()}{EXPOSED[1:]}.")
            voice.table("Reachable", _reachable(core))
            voice.credit(DEVELOPMENT_NANOUSD, available_nanousd)
            _tell_what_next(settings, voice, listening.port, key.made)
            await _until_stopped(stop, model, voice)
            voice.line()
            voice.line("Finishing the calls under way; once more ends them.")
            await listening.drain(stop, settings.drain_s)
    finally:
        await core.close()
        telemetry.close()
    voice.line("Stopped.")
    return 0


async def _grant(core: Core, account: str) -> NanoUsd:
    """Grant the credit for development, once for each organisation, and return what there is."""
    services = core.services
    deposit = Deposit(id=DEVELOPMENT_PAYMENT, amount_nanousd=DEVELOPMENT_NANOUSD, fee_ppm=0)
    _, available = await Credits(core.table, services.clock, services.dice, fee_ppm=0).add(HOUSE, account, deposit)
    return available


@asynccontextmanager
async def _local_model(core: Core, settings: Settings, voice: Voice) -> AsyncGenerator[LocalModel | None, None]:
    """Run the local model, if it is wanted and can be had; say in one line why not."""
    model = LocalModel() if settings.local_model else None
    if model is not None and not process.available():
        voice.problem(process.unavailable_line())
        model = None
    try:
        if model is not None:
            models = settings.cache_dir / "models"
            path = weights.cached(models)
            if path is None:
                with voice.progress("Fetching the local model, once (98 MB)") as report:
                    path = await asyncio.to_thread(weights.fetch, models, report)
            running = await model.start(path, settings.data_dir / "local-model.log")
            core.secrets.add(LOCAL_CREDENTIAL, running.api_key)
            core.catalog.locate(LOCAL_ENDPOINT, running.base_url)
    except (WeightsError, LocalModelError) as error:
        voice.problem(f"{error} Going on without it: {process.OTHER_MODELS}.")
        model = None
    try:
        yield model
    finally:
        if model is not None:
            await model.stop()


@asynccontextmanager
async def _discovery(core: Core, settings: Settings) -> AsyncGenerator[None, None]:
    """Find the model servers of this machine, and go on looking for them, unless the settings say not to."""
    if not settings.discover:
        yield
        return
    discovery = Discovery(core.catalog, core.services.clock, core.services.telemetry)
    await discovery.look()
    looking = asyncio.create_task(discovery.forever())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _until_stopped(stop: Stop, model: LocalModel | None, voice: Voice) -> None:
    stopping = asyncio.create_task(stop.asked.wait())
    ended = asyncio.create_task(model.ended()) if model is not None else None
    await asyncio.wait({stopping, *([ended] if ended else [])}, return_when=asyncio.FIRST_COMPLETED)
    if ended is not None and ended.done() and not ended.cancelled() and ended.exception() is not None:
        voice.problem(str(ended.exception()))
    elif ended is not None:
        ended.cancel()
    await stopping


def _tell_what_runs(settings: Settings, voice: Voice, listening: native.Listening, *, model: bool) -> None:
    address = Address(settings.listen.host, listening.port)
    spoken = "TLS" if settings.tls_cert is not None else "plain text"
    here = f"  ({spoken}{', this machine only' if settings.listen.host in LOOPBACK else ''})"
    store = settings.dynamodb_endpoint or (
        str(settings.data_dir / "store.sqlite3") if settings.store is StoreKind.SQLITE else f"DynamoDB in {settings.region}"
    )
    voice.table(
        "Junctor is up",
        [
            ("gRPC", f"{address}{here}"),
            ("for managers", str(Address(settings.admin_listen.host, listening.admin_port))),
            ("store", store),
            ("log", str(settings.log or "standard error")),
            ("local model", "junctor/local, SmolLM2 135M on one core" if model else "not running"),
        ],
    )


def _tell_what_next(settings: Settings, voice: Voice, port: int, key: str | None) -> None:
    if key is not None:
        voice.table("First API key, shown once", [("key", key), ("kept in", str(settings.data_dir / FIRST_KEY_FILE))])
    target = Address(settings.listen.host, port)
    where = "" if str(target) == DEFAULT_TARGET else f" --target {target}"
    trusted = "" if settings.tls_cert is None else " --ca FILE"
    kept = "" if settings.data_dir == data_dir(os.environ) else f" --key-file {settings.data_dir / FIRST_KEY_FILE}"
    voice.next_steps([f'{_command()} chat{where}{trusted}{kept} "Name three fruits."', "Ctrl-C to stop"])


def _command() -> str:
    """Return what to type for `junctor` in this shell."""
    if shutil.which("junctor"):
        return "junctor"
    return "python -m junctor" if sys.argv[0].endswith("__main__.py") else sys.argv[0]


def _reachable(core: Core) -> list[tuple[str, str]]:
    """Return a row for each provider that is open, with its models, and for some what opens them (usecases/catalog_sight)."""
    sight = Sight(core.services.snapshots(), Access())
    seen = sight.providers([model for slug in sight.models() if (model := sight.model(slug)) is not None])
    open_ = sorted((row for row in seen if row.reached), key=lambda row: -row.reached)
    closed = sorted((row for row in seen if row.openable and not row.reached), key=lambda row: -row.openable)
    rows = [(row.provider.name, _models(row.reached)) for row in open_]
    rows += [
        (row.provider.name, f"set {' or '.join(row.variables)} to reach {_models(row.openable)}")
        for row in closed[:CLOSED_SHOWN]
    ]
    more = len(closed) - CLOSED_SHOWN
    return [*rows, (f"{more} more", f"{_command()} providers")] if more > 0 else rows


def _models(count: int) -> str:
    return "1 model" if count == 1 else f"{count:,} models"
