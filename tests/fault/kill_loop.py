"""Does money survive whatever kills the server? `poe kill`: kill -9 at random moments under 16 concurrent calls.

A router in a process of its own answers Complete and Stream from a provider in this one. After each death the store is read
with no server on it: the records are held to what callers were told (audit), and the books to the ledger's invariants
(tests/support/ledger_audit). The kills come in seasons, each with a store of its own. At the end of one, a reclaimer runs with
a clock that is set forward: with the clock of this moment it may close no lease, with that of the last lease's end and 120 s it
must close all, so that every nano-USD is in a purse or in the cost of a record; then what was cut is asked for again.

The store is sqlite, or dynoxide, whose process may be killed too, under a living server or with it. It says nothing of power
loss: what SIGKILL spares, the page cache, is spared here too. The seed fixes when the kills come and how slow the provider is;
how the calls interleave is the machine's.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

from msgspec import Struct

from junctor.adapters.system.ambient import SystemDice
from junctor.bootstrap.core import Core, open_store
from junctor.domain.credits import Interval, LimitSubject
from junctor.domain.generation import Generation
from junctor.domain.lease import LeaseState, Slot
from junctor.ledger.reclaim import reclaim
from junctor.policy import api_keys
from junctor.ports.table import Item, Table
from junctor.records import generations, keys, leases
from junctor.records.tables import CORE
from junctor.usecases.accounts import HOUSE
from junctor.usecases.limits import LimitName, Limits
from tests.fault.audit import Notes, violations
from tests.fault.kill_callers import Callers, Keys, echoing_provider
from tests.support.engines.places import dynoxide
from tests.support.engines.process import Engine
from tests.support.harness import DOLLAR, pay_in
from tests.support.ledger_audit import violations as broken_books
from tests.support.money import items_of, sums
from tests.support.router_process import RouterProcess, Site, loaded_router, opened_core
from tests.support.slots import SLOT_DIGITS

KILL_AFTER_S = (0.0, 0.6)
KILLED_COLD = 0.2
"""How often the server is killed without a look whether it has answered anything yet."""
ENGINE_KILLED_ALONE, ENGINE_KILLED_WITH = 0.3, 0.3
"""How often the store is killed under a living server, and just before it."""
BUSY_TIMEOUT_S = 30.0
SEASON_KILLS = 25
RICH_NANOUSD, LIMIT_NANOUSD = 1_000_000 * DOLLAR, 100_000 * DOLLAR
POOR_NANOUSD = DOLLAR // 100
"""About two calls at a time, for each life."""
MARGIN_MS = 120_000
"""How long after a lease's end its money must be back."""
STORES = ("sqlite", "dynoxide")


class Report(Struct, kw_only=True):
    """What came of it. `interrupted` counts the calls that a kill cut, `states` the records."""

    seed: int
    store: str
    kills: int = 0
    engine_kills: int = 0
    answered: int = 0
    opened: int = 0
    repeated: int = 0
    interrupted: int = 0
    refused: int = 0
    reclaimed: int = 0
    spent_nanousd: int = 0
    took_s: float = 0.0
    states: Counter[str] = Counter()
    violations: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Write it for people."""
        yield f"seed, store           {self.seed}, {self.store}"
        yield f"kills -9              {self.kills} of the server, {self.engine_kills} of the store"
        yield f"calls answered        {self.answered}"
        yield f"streams opened        {self.opened}"
        yield f"named, sent again     {self.repeated} had been answered"
        yield f"calls cut by a kill   {self.interrupted}"
        yield f"refused for now       {self.refused}"
        yield f"records checked       {self.states.total()}"
        yield from (f"  {state:<19} {number}" for state, number in sorted(self.states.items()))
        yield f"leases reclaimed      {self.reclaimed}"
        yield f"debits                ${self.spent_nanousd / DOLLAR:,.6f}"
        yield f"seconds per kill      {self.took_s / max(self.kills, 1):.2f}"
        yield f"violations            {len(self.violations)}"
        yield from (f"  {violation}" for violation in self.violations[:50])


async def kill_loop(folder: Path, *, kills: int, seed: int, store: str = "sqlite", with_engine: bool = False) -> Report:
    """Kill a loaded router `kills` times, and check its store after each. Stops at the first season with a violation."""
    report = Report(seed=seed, store=store, states=Counter())
    started_s = time.monotonic()
    while report.kills < kills and not report.violations:
        number = report.kills // SEASON_KILLS
        place = folder / f"season-{number}"
        place.mkdir()
        async with _site(place, store) as (site, engine):
            season = _Season(site, engine if with_engine else None, f"{seed}/{number}", report)
            await season.play(min(SEASON_KILLS, kills - report.kills))
    report.took_s = time.monotonic() - started_s
    return report


@asynccontextmanager
async def _site(folder: Path, store: str) -> AsyncGenerator[tuple[Site, Engine | None], None]:
    if store == "sqlite":
        yield Site(str(folder)), None
        return
    engine = Engine(dynoxide(), folder)
    engine.start()
    try:
        yield Site(str(folder), {"JUNCTOR_STORE": "dynamodb", "JUNCTOR_DYNAMODB_ENDPOINT": engine.url}), engine
    finally:
        engine.kill()


class _Season:
    """The kills on one store. `engine` is killed too, if there is one."""

    def __init__(self, site: Site, engine: Engine | None, seed: str, report: Report) -> None:
        self._site = site
        self._engine = engine
        self._moments = Random(f"{seed}/kills")
        self._provider = echoing_provider(Random(f"{seed}/provider"))
        self._names = Random(f"{seed}/names")
        self._report = report
        self._accounts: tuple[str, ...] = ()

    async def play(self, kills: int) -> None:
        """Live and die so many times, then give all money back and ask again for what was cut."""
        report, notes = self._report, Notes()
        async with AsyncExitStack() as stack:
            upstream = await stack.enter_async_context(self._provider)
            async with opened_core(self._site) as core:
                callers = Callers(notes, await self._found(core), self._names, shaken=self._engine is not None)
            waiting = await loaded_router()
            try:
                for life in range(kills):
                    await self._top_up(life)
                    router, waiting = waiting, await loaded_router()
                    await self._live(router, upstream.base_url, callers)
                    report.kills += 1
                    await self._judge(notes)
                    if report.violations:
                        return
                await self._give_back(notes)
                router, waiting = waiting, await loaded_router()
                await self._ask_again(router, upstream.base_url, callers)
                await self._give_back(notes)
            finally:
                await waiting.kill()
                await self._sum_up(callers)

    async def _found(self, core: Core) -> Keys:
        """Make the organisations, their keys and a limit."""
        rich = (await core.accounts.create_organisation("rich")).id
        poor = (await core.accounts.create_organisation("poor")).id
        self._accounts = rich, poor
        await pay_in(core.table, rich, RICH_NANOUSD)
        found = Keys(*[await core.accounts.create_api_key(account, "key") for account in (rich, rich, poor)])
        parsed = api_keys.parse(found.limited)
        assert parsed is not None
        name = LimitName(LimitSubject.API_KEY, parsed.lookup_id, Interval.DAY)
        await Limits(core.table, core.services.clock, core.services.dice).set(HOUSE, rich, name, LIMIT_NANOUSD)
        return found

    async def _top_up(self, life: int) -> None:
        async with self._table() as table:
            await pay_in(table, self._accounts[1], POOR_NANOUSD, f"life-{life}")

    async def _live(self, router: RouterProcess, base_url: str, callers: Callers) -> None:
        """Let a router work for a while, and kill it."""
        try:
            await router.start(self._site, base_url)
            calling = asyncio.create_task(callers.call(router.target))
            if self._moments.random() >= KILLED_COLD:
                await asyncio.wait_for(callers.busy.wait(), BUSY_TIMEOUT_S)
            await asyncio.sleep(self._moments.uniform(*KILL_AFTER_S))
            if self._engine is not None and self._moments.random() < ENGINE_KILLED_ALONE:
                await self._restart(self._engine)
                await asyncio.sleep(self._moments.uniform(*KILL_AFTER_S))
            callers.killed = True
            if self._engine is not None and self._moments.random() < ENGINE_KILLED_WITH:
                await self._restart(self._engine)
            await router.kill()
            await calling
        finally:
            await router.kill()

    async def _restart(self, engine: Engine) -> None:
        engine.kill()
        self._report.engine_kills += 1
        await asyncio.to_thread(engine.start)

    async def _ask_again(self, router: RouterProcess, base_url: str, callers: Callers) -> None:
        try:
            await router.start(self._site, base_url)
            callers.killed = False
            await callers.ask_again(router.target)
        finally:
            await router.kill()

    async def _give_back(self, notes: Notes) -> None:
        """Reclaim what dead servers left, and judge that every lease is closed and all money back."""
        async with self._table() as table:
            dice, now_ms = SystemDice(), time.time_ns() // 1_000_000
            early = await reclaim(table, dice, now_ms)
            if early.closed:
                notes.wrong.append(f"{len(early.closed)} leases were closed before their end")
            exps = [lease.exp_ms for lease in map(leases.lease_of, _leases(await self._items(table)))]
            done = await reclaim(table, dice, max(exps, default=now_ms) + MARGIN_MS)
            self._report.reclaimed += len(done.closed)
            items = await self._items(table)
            records = _records(items)
            open_leases = [lease.id for lease in map(leases.lease_of, _leases(items)) if lease.state is LeaseState.OPEN]
            total, costs = sums(items), sum(record.cost_nanousd or 0 for record in records.values())
            if done.failed or done.broken or open_leases:
                notes.wrong.append(f"not all leases could be reclaimed: {done.failed}, {done.broken}, {open_leases}")
            if total["leased"] or total["spent"] != costs or total["avail"] != total["credited"] - costs:
                notes.wrong.append(f"the records cost {costs}, and the purses have {dict(total)}")
        await self._judge(notes)

    async def _judge(self, notes: Notes) -> None:
        async with self._table() as table:
            items = await self._items(table)
        self._report.violations = (*violations(notes, _records(items)), *broken_books(items))

    async def _items(self, table: Table) -> list[Item]:
        return [item for account in self._accounts for item in await items_of(table, account)]

    @asynccontextmanager
    async def _table(self) -> AsyncGenerator[Table, None]:
        store = open_store(self._site.parsed())
        try:
            yield store.table(CORE)
        finally:
            await store.close()

    async def _sum_up(self, callers: Callers) -> None:
        report, notes = self._report, callers.notes
        report.answered += len(notes.answered)
        report.opened += len(notes.opened)
        report.repeated += len(notes.repeated)
        report.interrupted += callers.interrupted
        report.refused += callers.refused
        async with self._table() as table:
            items = await self._items(table)
        report.states.update(record.state.value for record in _records(items).values())
        report.spent_nanousd += sums(items)["spent"]


def _leases(items: list[Item]) -> list[Item]:
    return [item for item in items if str(item["sk"]).startswith(keys.LEASE_PREFIX)]


def _records(items: list[Item]) -> dict[str, Generation]:
    """Return the generations by id; numbers that stayed unused are none."""
    found: dict[str, Generation] = {}
    for item in items:
        if str(item["sk"]).startswith(keys.SLOT_PREFIX) and "api_key" in item:
            _, account, _, lease = str(item["pk"]).split("#")
            record = generations.generation_of(item, Slot(account, lease, int(str(item["sk"])[-SLOT_DIGITS:])))
            found[record.id] = record
    return found


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="poe kill", description="Kill a loaded server at random moments and audit its records and its books."
    )
    parser.add_argument("--kills", type=int, default=20, help="how often to kill it (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="fixes the moments and the delays (default: %(default)s)")
    parser.add_argument("--store", choices=STORES, default="sqlite", help="where the tables are (default: %(default)s)")
    parser.add_argument("--with-engine", action="store_true", help="kill the store's process, too (dynoxide)")
    options = parser.parse_args()
    if options.store == "dynoxide":
        if not dynoxide().installed:
            print("dynoxide is not installed here: `poe engines` installs it", file=sys.stderr)
            return 2
        os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
    with tempfile.TemporaryDirectory(prefix="junctor-kill-") as folder:
        report = asyncio.run(
            kill_loop(
                Path(folder), kills=options.kills, seed=options.seed, store=options.store, with_engine=options.with_engine
            )
        )
    print(*report.lines(), sep="\n")
    return 1 if report.violations or not report.answered else 0


if __name__ == "__main__":
    raise SystemExit(main())
