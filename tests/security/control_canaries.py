"""Secrets planted in what managers ask, on every path that ends in an error: `python -m tests.security.control_canaries`.

Every method of AccountService and CatalogAdminService, and every text in their requests: names, notes, addresses, ids, tokens,
ids of payments, and whole API keys where an id belongs. An error may quote the id that it is about, where there is nothing of
it or one already, and nothing else; no log holds any of it but the name of a catalogue's record that is passed over.
"""

import argparse
import asyncio
import dataclasses
import logging
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, cast
from unittest import mock

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from msgspec import Struct, field

from junctor.adapters.net.addresses import Vetting
from junctor.doors.rpc import control
from junctor.ports.table import Store, StoreError, TableSpec, UnavailableError, UnknownOutcomeError
from junctor.records.tables import CATALOG
from junctor.usecases import catalog_changes, editing
from junctor.v1.account_service_pb2 import AddCreditsRequest, AllowList, CreateApiKeyResponse, RefundCreditsRequest
from tests.security.canaries import CANARY, KEYS, SIGN, Kept
from tests.support.control_requests import METHODS, path_of, sound
from tests.support.control_town import own_network
from tests.support.control_wire import ControlWire, running_control
from tests.support.faulty_table import FaultyTable, Hang
from tests.support.fuzz_messages import fields_of, messages_in
from tests.support.harness import LOCAL, MODEL, Router, running_router
from tests.support.hearing import Heard, hear
from tests.support.pipeline import bearer
from tests.support.scripted_upstream import ScriptedUpstream, chat_answer

SECRETS = 5_000
TIMEOUT_S, SHORT_S = 10.0, 0.1
ASKED = tuple(
    name for name, method in METHODS.items() if method.containing_service.name in {"AccountService", "CatalogAdminService"}
)
ACCOUNT_IDS = frozenset({"organisation", "member", "workspace", "api_key", "subject_id"})
RECORD_IDS = frozenset({"endpoint", "subject", "id", "provider", "model"})
FREE = frozenset({"name", "note", "upstream_model", "refund_id", "chargeback_id"})
"""What a request may say as it likes."""
QUOTING = frozenset({"NOT_FOUND RESOURCE_NOT_FOUND", "ALREADY_EXISTS RESOURCE_EXISTS"})
"""The endings that quote an id: there is nothing of it, or one already."""
SPOILT = ("{}\n", "0{}" * 60, "\u202e{}", "{} {}", "jk-{}")
READS, WRITES = ("get", "query", "batch_get"), ("put_new", "update", "delete", "transact")


class Findings(Struct):
    """How many canaries were planted, how often each method ended how, and where canaries came out."""

    planted: int = 0
    endings: Counter[tuple[str, str]] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)


class FaultyStore:
    """The store of a core whose catalogue's table a test may break."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.catalog = FaultyTable(store.table(CATALOG))

    def table(self, spec: TableSpec) -> object:
        """Return the table made from this spec."""
        return self.catalog if spec == CATALOG else self._store.table(spec)


class _Run:
    """The calls in their order, to a listener whose tables may be broken."""

    wire: ControlWire

    def __init__(self, seed: int, router: Router) -> None:
        self._rng = Random(seed)
        self._overlay = router.core.overlay
        self.store = FaultyStore(router.core.store)
        self._tables = FaultyTable(router.core.table), self.store.catalog
        self.core = dataclasses.replace(router.core, table=self._tables[0], store=cast("Store", self.store))
        self._ids: set[bytes] = set()
        self._records: set[bytes] = set()
        self._secrets: set[bytes] = set()
        self.found = Findings()

    async def begin(self) -> None:
        """Have records in the catalogue, so that there is something to change and to remove."""
        for method in ("SetPriceOverride", "SetDiscount", "SetPrivateEndpoint"):
            await self.wire.ask(self.wire.house.keys["operator"], self._filled(method))

    # The paths, each with what it plants

    async def refused_fields(self) -> None:
        """Spoil each text of each request."""
        for method in ASKED:
            for number in range(len(_texts(self._filled(method)))):
                for spoilt in SPOILT:
                    await self._ask(method, self._changed(method, number, spoilt))

    async def unknown(self) -> None:
        """Ask about what is not there, and twice to make it; take back more than was paid."""
        for method in ASKED:
            for number, (_, described) in enumerate(_texts(self._filled(method))):
                of_three = described.name in RECORD_IDS and described.name != "provider"
                request = self._changed(method, number, "{}/{}/{}" if of_three else "{}")
                for _ in range(2):
                    await self._ask(method, request)
        about: dict[str, Any] = {"organisation": self.wire.house.organisation, "payment_id": self._canary()}
        for amount in (10**9, 10**8):
            await self._ask("AddCredits", AddCreditsRequest(amount_nanousd=amount, **about))
        refund = RefundCreditsRequest(refund_id=self._canary(), amount_nanousd=10**12, **about)
        await self._ask("RefundCredits", refund)

    async def whole_keys(self) -> None:
        """Put a whole API key wherever an id belongs."""
        made = await self.wire.ask(self.wire.house.keys["operator"], sound(self.wire.house)["CreateApiKey"])
        secret = cast("CreateApiKeyResponse", made).secret
        self._secrets.add(secret.encode())
        for method in ASKED:
            for number, (_, described) in enumerate(_texts(self._filled(method))):
                if described.name in ACCOUNT_IDS | RECORD_IDS:
                    await self._ask(method, self._changed(method, number, secret))

    async def not_allowed(self) -> None:
        """Ask with keys that do not do, and with what is no key at all."""
        for method in ASKED:
            for who in ("manager", "member", "caller"):
                await self._ask(method, self._filled(method), self.wire.house.keys[who])
            await self._ask(method, self._filled(method), self._rng.choice(KEYS)(self._canary()))

    async def changed_meanwhile(self) -> None:
        """Change what others change at every try."""
        with mock.patch.object(editing, "TRIES", 0), mock.patch.object(catalog_changes, "TRIES", 0):
            for method in ASKED:
                await self._ask(method, self._filled(method))

    async def late(self) -> None:
        """Ask a store that is stuck, while the server gives little time. Only before the tables were healed once."""
        self._break(Hang(), (*READS, *WRITES))
        with mock.patch.object(control, "DEADLINE_MAX_S", SHORT_S):
            await self._ask_all()

    async def store_down(self, kind: type[StoreError], methods: Sequence[str]) -> None:
        """Ask while the store does not answer, or does not tell, with errors that tell all."""
        self._break(kind(self._canary()), methods)
        await self._ask_all()

    async def bug(self) -> None:
        """Ask while our own code fails, with an error that tells all."""
        with mock.patch.object(FaultyTable, "_do", side_effect=RuntimeError(self._canary())):
            await self._ask_all()

    async def passed_over(self) -> None:
        """Look at records of which some may not be in force here: their addresses are not allowed any more."""
        await self.wire.ask(self.wire.house.keys["operator"], self._filled("SetPrivateEndpoint"))
        self._overlay._addresses = Vetting(resolve=own_network)
        await self._overlay.look()

    # What they are made of

    def _break(self, fault: StoreError | Hang, methods: Sequence[str]) -> None:
        for table in self._tables:
            for method in methods:
                table.always(method, fault)

    async def _ask_all(self) -> None:
        """Ask every method at one time, then let the store be whole again."""
        await asyncio.gather(*(self._ask(method, self._filled(method)) for method in ASKED))
        for table in self._tables:
            table.heal()

    async def _ask(self, method: str, request: Message, key: str | None = None) -> None:
        metadata = bearer(self.wire.house.keys["operator"] if key is None else key)
        self._judge(method, await hear(self.wire.channel, path_of(method), request.SerializeToString(), metadata, TIMEOUT_S))

    def _judge(self, method: str, heard: Heard) -> None:
        """Count an ending, and note what should not have been told with it."""
        self.found.endings[method, heard.how] += 1
        if heard.how == "OK":
            return
        told = {*CANARY.findall(heard.told.lower())} - (self._ids if heard.how in QUOTING else set())
        if told or self.secrets_in(heard.told):
            self.found.leaks.append(f"{method}, {heard.how}: {heard.told[:300]!r}")

    def secrets_in(self, text: bytes) -> bool:
        """Tell whether a text holds the secret part of any API key."""
        keys = {*self._secrets, *(key.encode() for key in self.wire.house.keys.values())}
        return any(key[16:68] in text for key in keys)

    def written(self, name: str, text: bytes) -> None:
        """Note what a log should not have."""
        leaked = sorted({*CANARY.findall(text.lower())} - self._records)
        self.found.leaks += [f"{name}: {canary!r}" for canary in leaked[:5]]
        if self.secrets_in(text):
            self.found.leaks.append(f"{name}: an API key")

    def _filled(self, method: str) -> Message:
        """Return a sound request, with canaries in what may be said as one likes."""
        request = sound(self.wire.house)[method]
        for described in fields_of(request):
            if described.message_type is AllowList.DESCRIPTOR:
                getattr(request, described.name).SetInParent()
        for held, described in _texts(request):
            if described.name in FREE:
                setattr(held, described.name, self._canary())
        return request

    def _changed(self, method: str, number: int, form: str) -> Message:
        """Return such a request, one of whose texts is a canary of a form."""
        request = self._filled(method)
        held, described = _texts(request)[number]
        text = form.replace("{}", self._canary(described)) if "{}" in form else form
        if described.is_repeated:
            getattr(held, described.name).append(text)
        else:
            setattr(held, described.name, text)
        return request

    def _canary(self, described: FieldDescriptor | None = None) -> str:
        """Make another one, as long as an API key's id may be for a field that takes one."""
        self.found.planted += 1
        name = described.name if described is not None else ""
        made = f"{SIGN}{self._rng.getrandbits(32):08x}" if name == "api_key" else f"{SIGN}{self._rng.getrandbits(48):012x}"
        if name in ACCOUNT_IDS | RECORD_IDS:
            self._ids.add(made.encode())
        if name in RECORD_IDS:
            self._records.add(made.encode())
        return made


async def hunt(folder: Path, secrets: int, seed: int = 1) -> Findings:
    """Plant at least so many canaries, along all paths, and look for them."""
    heard_by_logs = Kept()
    logging.getLogger().addHandler(heard_by_logs)
    try:
        async with _running(folder, seed) as (run, router):
            await run.begin()
            await run.late()
            await run.store_down(UnavailableError, (*READS, *WRITES))
            await run.store_down(UnknownOutcomeError, WRITES)
            await run.bug()
            await run.changed_meanwhile()
            while run.found.planted < secrets:
                await run.wire.refurnish()
                await run.not_allowed()
                await run.whole_keys()
                await run.unknown()
                await run.refused_fields()
            await run.passed_over()
            run.written("log", router.log.read_bytes())
            run.written("logging", "\n".join(heard_by_logs.lines).encode())
            assert b"ADDRESS_REFUSED" in router.log.read_bytes()
            return run.found
    finally:
        logging.getLogger().removeHandler(heard_by_logs)


@asynccontextmanager
async def _running(folder: Path, seed: int) -> AsyncGenerator[tuple[_Run, Router], None]:
    """Run a router, and beside it a listener for what manages it, over tables that may be broken."""
    async with (
        ScriptedUpstream(chat_answer("fine.")) as upstream,
        running_router(folder, {LOCAL: upstream.base_url}) as router,
    ):
        run = _Run(seed, router)
        async with running_control(router, MODEL, core=run.core) as run.wire:
            yield run, router


def _texts(request: Message) -> list[tuple[Message, FieldDescriptor]]:
    """Return every text of a request, set or not, and the message that holds it."""
    return [
        (held, described)
        for held in messages_in(request)
        for described in fields_of(held)
        if described.type == FieldDescriptor.TYPE_STRING
    ]


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.security.control_canaries", description="Look for managers' secrets in errors and logs."
    )
    parser.add_argument("--secrets", type=int, default=SECRETS, help="how many to plant (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="junctor-canaries-") as folder:
        found = asyncio.run(hunt(Path(folder), options.secrets, options.seed))
    hows: Counter[str] = Counter()
    for (_, how), number in found.endings.items():
        hows[how] += number
    for how, number in sorted(hows.items()):
        print(f"{how:<50} {number:>7}")
    print(f"{found.planted} canaries, {sum(hows.values())} calls, {len(found.leaks)} leaks", *found.leaks[:20], sep="\n")
    return 1 if found.leaks else 0


if __name__ == "__main__":
    raise SystemExit(main())
