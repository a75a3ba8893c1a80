"""One seed's world: its store, its accounts, and what its actors know that no item says.

Actors note every answer that they were given, so that the books can be held to it: a cost once stated, a request once charged,
a payment once acknowledged. Chance is one seeded source for all, drawn in the order in which the loop runs them, so a seed is
one run, always.
"""

import asyncio
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeAlias, TypeVar

from junctor.adapters.tables.faults import FaultPlan
from junctor.domain.credits import Entry, Interval, Limit
from junctor.domain.generation import Generation
from junctor.domain.lease import Lease, Slot
from junctor.ledger.credits import Booking
from junctor.ledger.leasing import LeaseClosed, Leased, PurseShort, WindowShort
from junctor.ports.table import Item, Key, StoreError, UnknownOutcomeError
from junctor.records import keys, payments
from junctor.records.ids import generation_id
from junctor.records.tables import CORE
from tests.simulation.store import FAULTS, OPERATION, WatchedStore
from tests.support.world import EPOCH_MS, SeededDice

DAY_MS = 86_400_000
_ENTRIES = (keys.PAYMENT_PREFIX, keys.REFUND_PREFIX, keys.CLAWBACK_PREFIX, keys.MOVE_PREFIX)

GIVEN_UP = {"acquire": 0.25, "renew": 0.15, "grow": 0.15}
"""How many of these operations nobody waits for to the end; of all others 0.05."""

TRACED = 30
"""How many operations a failure shows."""

_Answer = TypeVar("_Answer")
Taken: TypeAlias = Leased | LeaseClosed | PurseShort | WindowShort


class Account:
    """An account's purses and limits by name."""

    def __init__(self, name: str, random: Random) -> None:
        self.name = name
        self.purses = ["main", *(f"shard-{number}" for number in range(random.choice((0, 0, 1, 3))))]
        self.grant = random.random() < 0.5
        self.same_s = random.choice((0.5, 2.0, 10.0))
        intervals = random.sample(list(Interval), random.choice((0, 1, 1, 2)))
        self.limits = [
            Limit(account=name, id=f"limit-{number}", limit_nanousd=random.randint(300, 4_000), interval=interval)
            for number, interval in enumerate(intervals)
        ]

    @property
    def all_purses(self) -> list[str]:
        """Return all purses, the grant's too."""
        return [*self.purses, *(["grant"] if self.grant else [])]


class World:
    """What one seed plays in. `over` tells the actors to come to an end."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.dice = SeededDice(seed)
        chance = self.random.choice((0.01, 0.02, 0.04))
        self.plan = FaultPlan(
            chances=tuple((fault, chance) for fault in FAULTS),
            latency_s=(0.0, self.random.choice((0.005, 0.05, 0.5))),
            delay_s=(0.01, self.random.choice((1.0, 60.0, 1_500.0))),
            stale_s=self.random.choice((0.0, 3.0)),
        )
        self.storm = FaultPlan(
            chances=tuple((fault, 0.9 / len(FAULTS)) for fault in FAULTS),
            latency_s=self.plan.latency_s,
            delay_s=self.plan.delay_s,
            stale_s=self.plan.stale_s,
        )
        self.store = WatchedStore(seed, self.plan)
        self.table = self.store.table(CORE)
        self.accounts = [Account(f"ACC{number}", self.random) for number in range(self.random.randint(1, 3))]
        self.over = False
        self.hunt: Callable[[Lease], None] = lambda _: None
        self.operations = 0
        self.kills = 0
        self.counts: Counter[str] = Counter()
        self.trace: deque[str] = deque(maxlen=TRACED)
        self.digest = 0
        self.wrongs: list[str] = []
        self._costs: dict[Key, int] = {}
        self._requests: dict[str, list[Key]] = defaultdict(list)
        self._booked: dict[Key, Entry] = {}
        self._asked: dict[Key, list[Entry]] = defaultdict(list)
        self._open_questions: Counter[Key] = Counter()
        self._open_asks: Counter[tuple[Key, int]] = Counter()
        self._refused: set[tuple[Key, int]] = set()

    def now_s(self) -> float:
        """Return the loop's time, which is the world's true one."""
        return asyncio.get_running_loop().time()

    def skew_ms(self) -> int:
        """Draw how far an actor's clock is off."""
        return self.random.choice((0, 0, 0, 0, -2_000, 5_000, -DAY_MS, DAY_MS))

    def pause(self, shortest_s: float, longest_s: float) -> Awaitable[None]:
        """Let some time pass."""
        return asyncio.sleep(self.random.uniform(shortest_s, longest_s))

    async def do(self, actor: str, operation: str, detail: str, work: Awaitable[_Answer]) -> _Answer:
        """Carry out one operation of the ledger, counted and traced. Raises StoreError as it does."""
        self.operations += 1
        began = self.now_s()
        mark = OPERATION.set(operation)
        outcome = "killed"
        try:
            answer = await (work if self._is_patient() else self._impatiently(work))
            outcome = _brief(answer)
        except StoreError as error:
            outcome = type(error).__name__
            raise
        finally:
            OPERATION.reset(mark)
            line = f"{began:10.3f} - {self.now_s():10.3f} {actor:<10} {operation:<12} {detail} -> {outcome}"
            self.digest = zlib.crc32(line.encode(), self.digest)
            self.trace.append(line)
        return answer

    def _is_patient(self) -> bool:
        """Draw whether an answer is waited for to the end; at times it is not, as by one whose own caller has left."""
        return self.over or self.random.random() > GIVEN_UP.get(OPERATION.get(), 0.05)

    async def _impatiently(self, work: Awaitable[_Answer]) -> _Answer:
        try:
            async with asyncio.timeout(self.random.uniform(0.0, self.plan.latency_s[1] * 6)):
                return await work
        except TimeoutError:
            raise UnknownOutcomeError("nobody waits for it any more") from None

    def wrong(self, what: str) -> None:
        """Note that the books do not say what somebody was told."""
        self.wrongs.append(f"{what} [at {self.now_s():.3f} s]")

    def item(self, key: Key) -> Item:
        """Return an item as it is in the store at this instant, empty if there is none."""
        return self.store.mirror.get(key, {})

    def answers(self, slot: Slot) -> None:
        """Note that output goes to a caller."""
        if keys.slot(slot) not in self.store.opened:
            self.wrong(f"I14 {generation_id(slot)} answers, and its slot was never OPEN")

    def told(self, generation: Generation, cost: int) -> None:
        """Note that a caller was told what a generation cost."""
        key = keys.slot(generation.slot)
        self._costs[key] = cost
        self._check_cost(key, cost)

    def sends(self, request: str, slot: Slot) -> None:
        """Note that a slot may answer a request which its caller named."""
        self._requests[request].append(keys.slot(slot))

    def asked(self, entry: Entry) -> None:
        """Note that a movement of money was asked for."""
        self._asked[payments.key(entry)].append(entry)
        self._open_questions[payments.key(entry)] += 1

    def booked(self, entry: Entry, booking: Booking) -> None:
        """Note how a movement of money was answered."""
        self.counts[f"{type(entry).__name__} {booking.value}"] += 1
        self._open_questions[payments.key(entry)] -= 1
        if booking is Booking.BOOKED:
            self._booked[payments.key(entry)] = entry
            if not _same(self.item(payments.key(entry)), entry):
                self.wrong(f"I15 {entry} was acknowledged and is not written")

    async def ask(self, actor: str, operation: str, detail: str, lease: Lease, work: Awaitable[Taken]) -> Taken:
        """Take, enlarge or renew a lease, to be as large as `lease` says, and note if that is refused. Raises StoreError."""
        asked = keys.lease(lease.account, lease.id), lease.amount_nanousd
        self._open_asks[asked] += 1
        answer = await self.do(actor, operation, detail, work)
        if isinstance(answer, PurseShort | WindowShort):
            self._open_asks[asked] -= 1
            self._refused.add(asked)
        return answer

    def check(self) -> None:
        """Hold the books to all that was told: I7, I8, I15."""
        for key, cost in self._costs.items():
            self._check_cost(key, cost)
        for request, slots in self._requests.items():
            settled = [key for key in dict.fromkeys(slots) if self.item(key).get("state") == "SETTLED"]
            if len(settled) > 1:
                self.wrong(f"I8 {request} is answered and charged {len(settled)} times: {settled}")
        for key, entry in self._booked.items():
            if not _same(self.item(key), entry):
                self.wrong(f"I15 {entry} was acknowledged and is not written")
        self._check_refused()
        for key, item in self.store.mirror.items():
            if key.sort.startswith(_ENTRIES) and not any(_same(item, entry) for entry in self._asked[key]):
                self.wrong(f"I15 nobody asked for {dict(item)!r}")

    def _check_refused(self) -> None:
        """No money moved that was refused to all who asked for it."""
        for key in self._asked:
            if not self._open_questions[key] and key not in self._booked and key in self.store.mirror:
                self.wrong(f"I15 {key} was refused to all who asked, and is booked")
        for key, amount in self._refused:
            if not self._open_asks[key, amount] and self.item(key).get("amount_nanousd") == amount:
                self.wrong(f"I15 {amount} for {key} were refused to all who asked, and are taken")

    def _check_cost(self, key: Key, cost: int) -> None:
        found = self.item(key)
        if (found.get("state"), found.get("cost_nanousd", 0)) != ("SETTLED", cost):
            self.wrong(f"I7 {key} was told to cost {cost} and is {found.get('state')!r} at {found.get('cost_nanousd')!r}")


def clock_ms(world: World, skew_ms: int) -> int:
    """Return what an actor's clock shows."""
    return EPOCH_MS + int(world.now_s() * 1000) + skew_ms


def _same(item: Item, entry: Entry) -> bool:
    """Tell whether an item is this entry; a payment may have been refunded since."""
    return all(item.get(name) == getattr(entry, name) for name in entry.__struct_fields__ if name != "refundable_nanousd")


def _brief(answer: object) -> str:
    name = getattr(answer, "name", None)
    if isinstance(name, str):
        return name
    purse, window = getattr(answer, "purse", ""), getattr(answer, "window", "")
    return f"{type(answer).__name__} {purse}{window}".strip()
