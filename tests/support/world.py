"""A ledger in a world of its own: a simulated store, the loop's time as every clock, seeded dice, notes of what was told.

Meant for `run_virtual`. The store judges the books after every write that lands, however late, and counts what is consumed.
"""

import asyncio
import random
from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from junctor.adapters.tables.faults import CALM, FaultPlan
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.domain.account import Account, Caller
from junctor.domain.call import Call, Outcome
from junctor.domain.catalog import Endpoint, PriceCard, PriceParts
from junctor.domain.completion import CompletionSpec, FinishReason, Usage
from junctor.domain.credits import Payment, Purse, Window
from junctor.domain.generation import Generation
from junctor.domain.lease import Lease, Slot, SlotState
from junctor.domain.routing import Candidate, Plan, RoutingPreferences
from junctor.ledger.credits import Booking, pay
from junctor.ledger.ledger import Ledger
from junctor.ledger.tools import Terms, Tools
from junctor.ports.table import Capacity, Item, Key, StoreError, Table, TableSpec
from junctor.ports.telemetry import Counter, RequestLine
from junctor.records import generations, ids, keys, leases, purses
from junctor.records.tables import CORE
from tests.support.ledger_audit import Books, steps, violations
from tests.support.virtual_loop import run_virtual

EPOCH_MS = 1_790_000_000_000
CALLER = Caller("ACCOUNT", "KEY")
PLAN = Plan(())
ENDPOINT = Endpoint(id="p/lab/model", model="lab/model", provider="p", upstream_model="m", dialect="d", base_url="https://a")
CANDIDATE = Candidate(ENDPOINT, None, PriceCard(version="7", parts=PriceParts(), source="s", as_of="d"))

_Answer = TypeVar("_Answer")


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
    """A store that notes in `breaches` what is wrong with the books after a write, however and whenever it came.

    `read_units`, `write_units` and `calls` are what all its calls came to, `lost` counts those that brought no answer.
    """

    def __init__(self, seed: int = 0, *, plan: FaultPlan = CALM) -> None:
        super().__init__(seed, plan=plan)
        self.breaches: list[str] = []
        self.read_units = 0.0
        self.write_units = 0.0
        self.calls = 0
        self.lost = 0
        self._books = Books()
        self._now: dict[Key, Item] = {}
        self._touched: list[tuple[Item | None, Item]] = []

    def put(self, spec: TableSpec, key: Key, item: Item | None) -> None:
        """Replace an item, and note it for the judgement."""
        super().put(spec, key, item)
        old = self._now.pop(key, None)
        if item is not None:
            self._now[key] = item
            self._touched.append((old, item))

    async def read(self, spec: TableSpec, look: Callable[..., _Answer], *, consistent: bool) -> _Answer:
        """Carry a read."""
        self.calls += 1
        with self._losses():
            answer = await super().read(spec, look, consistent=consistent)
        self._consumed(answer)
        return answer

    async def write(self, apply: Callable[[], _Answer]) -> _Answer:
        """Carry a write, and judge what it leaves."""
        self.calls += 1

        def judged() -> _Answer:
            self._touched = []
            answer = apply()
            self._consumed(answer)
            for _, new in self._touched:
                self._books.put(new)
            before, after = [old for old, _ in self._touched if old is not None], [new for _, new in self._touched]
            self.breaches += [*steps(before, after), *self._books.check()]
            return answer

        with self._losses():
            return await super().write(judged)

    def judge(self) -> list[str]:
        """Return what is wrong with all books as they are, from nothing, and was wrong before."""
        return [*self.breaches, *violations(list(self._now.values()))]

    @contextmanager
    def _losses(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            self.lost += 1
            raise

    def _consumed(self, answer: object) -> None:
        capacity = getattr(answer, "capacity", None)
        if isinstance(capacity, Capacity):
            self.read_units += capacity.read_units
            self.write_units += capacity.write_units


class World:
    """One ledger and its store. Make it inside a running loop and call `open` first.

    `watched` is what every instance's ledger told of where accounts stand.
    """

    def __init__(self, seed: int = 0, plan: FaultPlan = CALM, *, deadline_max_ms: int = 900_000) -> None:
        self.store = WatchedStore(seed, plan=plan)
        self.table = self.store.table(CORE)
        self.clock = LoopClock()
        self.dice = SeededDice(seed)
        self.telemetry = NotedTelemetry()
        self.watched: list[tuple[Account | None, Sequence[Purse], Sequence[Window]]] = []
        self.terms = Terms(deadline_max_ms=deadline_max_ms)
        self.ledger = self.instance()

    def instance(self, table: Table | None = None) -> Ledger:
        """Return the ledger of one more instance, over the world's table or what is put around it."""
        tools = Tools(table or self.table, self.clock, self.dice, self.telemetry)
        return Ledger(tools, self.terms, lambda *stand: self.watched.append(stand))

    async def open(self) -> "World":
        """Make the table."""
        await self.store.create([CORE])
        return self

    async def credit(self, amount: int, purse: str = "main", *, expires_at_ms: int | None = None, account: str = "") -> None:
        """Pay into a purse, the account's main one if no other is named."""
        payment = Payment(
            account=account or CALLER.account,
            id=f"{purse}-{self.clock.monotonic_s()}",
            purse=purse,
            amount_nanousd=amount,
            refundable_nanousd=amount,
            at_ms=self.clock.now_ms(),
        )
        assert await pay(self.table, self.dice, payment, expires_at_ms=expires_at_ms) is Booking.BOOKED

    def purse(self, name: str = "main", account: str = "") -> Purse:
        """Return a purse."""
        place = keys.purse(account or CALLER.account, name)
        (found,) = [item for item in self.store.items(CORE) if (item["pk"], item["sk"]) == (place.partition, place.sort)]
        return purses.purse_of(found)

    def generations(self) -> dict[str, Generation]:
        """Return every generation in the store, by its id."""
        found: dict[str, Generation] = {}
        for item in self.store.items(CORE):
            if str(item["sk"]).startswith(keys.SLOT_PREFIX) and generations.was_used(item):
                account, _, lease = str(item["pk"]).removeprefix("A#").partition("#L#")
                place = Slot(account, lease, int(str(item["sk"]).removeprefix("SLOT#")))
                found[ids.generation_id(place)] = generations.generation_of(item, place)
        return found

    def leases(self) -> list[Lease]:
        """Return every lease in the store."""
        return [leases.lease_of(item) for item in self.store.items(CORE) if str(item["sk"]).startswith(keys.LEASE_PREFIX)]


def plan(ceiling: int) -> Plan:
    """Return a plan whose calls may cost so much: each has a price, and its tokens none."""
    price = PriceCard(version="7", parts=PriceParts(input=0, output=0, request=ceiling * 1_000), source="s", as_of="d")
    return Plan((Candidate(ENDPOINT, None, price),))


def call(
    account: str = CALLER.account,
    *,
    remaining_s: float = 600.0,
    streamed: bool = False,
    key: str = CALLER.key,
    request_id: str | None = None,
) -> Call:
    """Return a call whose deadline is so many seconds away."""
    return Call(
        caller=Caller(account, key),
        spec=CompletionSpec(model="lab/model", messages=()),
        preferences=RoutingPreferences(),
        deadline_at=asyncio.get_running_loop().time() + remaining_s,
        streamed=streamed,
        request_id=request_id,
    )


def settled(number: int, cost: int = 0, *, within_hold: bool = False) -> Outcome:
    """Return an outcome to be paid for, with numbers that tell it from others."""
    return Outcome(
        state=SlotState.SETTLED,
        cost_nanousd=cost,
        within_hold=within_hold,
        candidate=CANDIDATE,
        usage=msgspec.structs.replace(Usage(*range(number, number + 10)), estimated=number % 2 == 0),
        finish_reason=FinishReason.STOP,
        upstream_id=f"up-{number}",
        time_to_first_token_ms=number,
    )


VOID = Outcome(state=SlotState.VOID)


def paid(cost: int) -> Outcome:
    """Return the outcome of a call that costs so much."""
    return Outcome(state=SlotState.SETTLED, cost_nanousd=cost)


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
        audio_input_tokens=outcome.usage.audio_input_tokens,
        audio_output_tokens=outcome.usage.audio_output_tokens,
        accepted_prediction_tokens=outcome.usage.accepted_prediction_tokens,
        rejected_prediction_tokens=outcome.usage.rejected_prediction_tokens,
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
        assert world.store.judge() == []

    run_virtual(main())
