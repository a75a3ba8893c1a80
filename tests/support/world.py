"""A ledger in a world of its own: a simulated store, the loop's time as every clock, seeded dice, notes of what was told.

Meant for `run_virtual`. The store watches its own slots, of which one that has ended must never change.
"""

import asyncio
import random
from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from junctor.adapters.tables.faults import CALM, FaultPlan
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.domain.account import Caller
from junctor.domain.call import Call, Outcome
from junctor.domain.catalog import Endpoint, PriceCard, PriceParts
from junctor.domain.completion import CompletionSpec, FinishReason, Usage
from junctor.domain.generation import Generation
from junctor.domain.lease import Lease, Slot, SlotState
from junctor.domain.routing import Candidate, Plan, RoutingPreferences
from junctor.ledger.ledger import Ledger
from junctor.ledger.tools import Terms, Tools
from junctor.ports.table import Item, Key, TableSpec
from junctor.ports.telemetry import Counter, RequestLine
from junctor.records import generations, ids, keys, leases
from junctor.records.tables import CORE
from tests.support.virtual_loop import run_virtual

EPOCH_MS = 1_790_000_000_000
CALLER = Caller("ACCOUNT", "KEY")
PLAN = Plan(())
ENDPOINT = Endpoint(id="p/lab/model", model="lab/model", provider="p", upstream_model="m", dialect="d", base_url="https://a")
CANDIDATE = Candidate(ENDPOINT, None, PriceCard(version="7", parts=PriceParts(), source="s", as_of="d"))


class LoopClock:
    """Every clock is the loop's, so that virtual time is all the time there is. `ahead_ms` moves the wall clock."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        """Return the wall clock."""
        return EPOCH_MS + self.ahead_ms + int(self.monotonic_s() * 1000)

    def monotonic_s(self) -> float:
        """Return the loop's time."""
        return asyncio.get_running_loop().time()


class SeededDice:
    """Chance that can be repeated."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def draw(self, count: int) -> bytes:
        """Return so many bytes."""
        return self._random.randbytes(count)

    def uniform(self) -> float:
        """Return a number in [0, 1)."""
        return self._random.random()


class NotedTelemetry:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.counts: Tally[Counter] = Tally()
        self.incidents: list[tuple[str, BaseException]] = []
        self.lines: list[RequestLine] = []

    def request(self, line: RequestLine) -> None:
        """Keep the line."""
        self.lines.append(line)

    def count(self, counter: Counter, amount: int = 1, **labels: str) -> None:
        """Add up."""
        self.counts[counter] += amount

    def incident(self, incident: str, error: BaseException) -> None:
        """Keep the error."""
        self.incidents.append((incident, error))

    def event(self, name: str, fields: Mapping[str, str | int]) -> None:
        """Nothing here makes events."""


class WatchedStore(SimulatedStore):
    """A store that notes in `breaches` when a slot's end is changed, however and whenever the write came."""

    def __init__(self, seed: int = 0, *, plan: FaultPlan = CALM) -> None:
        super().__init__(seed, plan=plan)
        self.breaches: list[str] = []

    def put(self, spec: TableSpec, key: Key, item: Item | None) -> None:
        """Replace an item, and note it if it is a slot that had ended."""
        old = self.shelf(spec).read(key, asyncio.get_running_loop().time())
        if old is not None and key.sort.startswith("SLOT#"):
            state = generations.state_of(old)
            if state is not SlotState.OPEN and old != item:
                self.breaches.append(f"{key} had ended as {state} and was written again")
        super().put(spec, key, item)


class World:
    """One ledger and its store. Make it inside a running loop and call `open` first."""

    def __init__(self, seed: int = 0, plan: FaultPlan = CALM, *, deadline_max_ms: int = 900_000) -> None:
        self.store = WatchedStore(seed, plan=plan)
        self.table = self.store.table(CORE)
        self.clock = LoopClock()
        self.dice = SeededDice(seed)
        self.telemetry = NotedTelemetry()
        self.terms = Terms(deadline_max_ms=deadline_max_ms)
        self.ledger = self.instance()

    def instance(self) -> Ledger:
        """Return the ledger of one more instance."""
        return Ledger(Tools(self.table, self.clock, self.dice, self.telemetry), self.terms, lambda *_: None)

    async def open(self) -> "World":
        """Make the table."""
        await self.store.create([CORE])
        return self

    def generations(self) -> dict[str, Generation]:
        """Return every slot in the store, by generation id."""
        found: dict[str, Generation] = {}
        for item in self.store.items(CORE):
            if str(item["sk"]).startswith("SLOT#"):
                account, _, lease = str(item["pk"]).removeprefix("A#").partition("#L#")
                place = Slot(account, lease, int(str(item["sk"]).removeprefix("SLOT#")))
                found[ids.generation_id(place)] = generations.generation_of(item, place)
        return found

    def leases(self) -> list[Lease]:
        """Return every lease in the store."""
        return [leases.lease_of(item) for item in self.store.items(CORE) if str(item["sk"]).startswith(keys.LEASE_PREFIX)]


def call(account: str = CALLER.account, *, remaining_s: float = 600.0, streamed: bool = False) -> Call:
    """Return a call whose deadline is so many seconds away."""
    return Call(
        caller=Caller(account, CALLER.key),
        spec=CompletionSpec(model="lab/model", messages=()),
        preferences=RoutingPreferences(),
        deadline_at=asyncio.get_running_loop().time() + remaining_s,
        streamed=streamed,
    )


def settled(number: int) -> Outcome:
    """Return an outcome to be paid for, with numbers that tell it from others."""
    return Outcome(
        state=SlotState.SETTLED,
        candidate=CANDIDATE,
        usage=Usage(number, number + 1, number + 2, number + 3, number + 4, estimated=number % 2 == 0),
        finish_reason=FinishReason.STOP,
        upstream_id=f"up-{number}",
        time_to_first_token_ms=number,
    )


VOID = Outcome(state=SlotState.VOID)


def expected(opened: Generation, outcome: Outcome, ended_at_ms: int | None) -> Generation:
    """Return what the store must hold of a generation after this outcome."""
    served = outcome.candidate.endpoint if outcome.candidate else None
    return msgspec.structs.replace(
        opened,
        state=outcome.state,
        model=served.model if served else "",
        provider=served.provider if served else "",
        endpoint=served.id if served else "",
        price_version=outcome.candidate.price.version if outcome.candidate else "",
        upstream_id=outcome.upstream_id or "",
        input_tokens=outcome.usage.input_tokens,
        output_tokens=outcome.usage.output_tokens,
        cache_read_tokens=outcome.usage.cache_read_tokens,
        cache_write_tokens=outcome.usage.cache_write_tokens,
        reasoning_tokens=outcome.usage.reasoning_tokens,
        estimated=outcome.usage.estimated,
        finish_reason=outcome.finish_reason.value if outcome.finish_reason else "",
        time_to_first_token_ms=outcome.time_to_first_token_ms,
        ended_at_ms=ended_at_ms,
        cost_nanousd=outcome.cost_nanousd,
        hold_nanousd=max(opened.hold_nanousd, outcome.cost_nanousd),
    )


def play(scenario: Callable[[World], Awaitable[None]], *, deadline_max_ms: int = 900_000) -> None:
    """Play a scenario in a fresh world; nothing may be left running at its end."""

    async def main() -> None:
        world = await World(deadline_max_ms=deadline_max_ms).open()
        async with asyncio.timeout(100_000):
            await scenario(world)
        assert await world.ledger.drain(10_000) == 0
        await world.ledger.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert world.telemetry.incidents == []
        assert world.store.breaches == []

    run_virtual(main())
