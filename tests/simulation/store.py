"""The simulated store as the simulation sees it: who called, what befell him, and whether each write was allowed.

Each write that lands, however late, is judged: by itself (`step` over the items that it touched), and in what it leaves of the
books, in every place that it touched. At the end all is judged once more from nothing. What is judged is a mirror of the items,
kept from the writes alone.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from random import Random
from typing import Any, TypeVar

from junctor.adapters.tables.faults import CALM, Fault, FaultDice, FaultPlan
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.ports.table import Item, Key, TableSpec
from tests.support.ledger_audit import Books, step, violations

OPERATION: ContextVar[str] = ContextVar("operation", default="none")
"""The operation of the ledger that the running task is in."""

_NO_FAULT = Fault.NONE  # an enum's attribute is dear to Python 3.11

FAULTS = tuple(fault for fault in Fault if fault is not Fault.NONE)

RARE = {"collect": 0.75, "sweep": 0.6, "tend": 0.5, "expire": 0.4, "renew": 0.3, "move": 0.2}
"""Operations that write seldom, and how often a call of theirs meets a fault, so that each meets all of them."""

_Answer = TypeVar("_Answer")


class WatchedDice(FaultDice):
    """Fault dice that count what befalls each operation."""

    def __init__(self, seed: int, plan: FaultPlan) -> None:
        super().__init__(seed, plan)
        self.faults = 0
        self.calls = 0
        self.matrix: Counter[tuple[str, str]] = Counter()
        self.writing = False
        self.called: Callable[[int], None] = lambda _: None
        self._own = Random(seed)

    def strike(self) -> Fault:
        """Return what befalls the next call, and count it; only faults of writes count in the matrix."""
        fault, operation = super().strike(), OPERATION.get()
        if fault is _NO_FAULT and operation in RARE and self.plan is not CALM and self._own.random() < RARE[operation]:
            fault = self._own.choice(FAULTS)
        self.calls += 1
        if fault is not _NO_FAULT:
            self.faults += 1
            if self.writing:
                self.matrix[operation, fault.name] += 1
        self.called(self.calls)
        return fault


class WatchedStore(SimulatedStore):
    """A simulated store whose writes are judged. `breaches` says what was wrong, with the instant and the operation."""

    def __init__(self, seed: int, plan: FaultPlan) -> None:
        super().__init__(seed, plan=plan)
        self.watched = WatchedDice(seed, plan)
        self.dice = self.watched
        self.mirror: dict[Key, Item] = {}
        self.opened: set[Key] = set()
        self.breaches: list[str] = []
        self._books = Books()
        self._touched: list[tuple[Item, Item]] = []

    def put(self, spec: TableSpec, key: Key, item: Item | None) -> None:
        """Replace an item, and note it for the judgement."""
        super().put(spec, key, item)
        assert item is not None, "the ledger deletes nothing"
        self._touched.append((self.mirror.get(key, {}), item))
        self.mirror[key] = item
        if item.get("state") == "OPEN" and key.sort.startswith("SLOT#"):
            self.opened.add(key)

    def read(
        self, spec: TableSpec, look: Callable[..., _Answer], *, consistent: bool
    ) -> Coroutine[Any, Any, _Answer]:  # and no coroutine around one: each costs at every turn of the loop
        """Carry a read."""
        self.watched.writing = False
        return super().read(spec, look, consistent=consistent)

    def write(self, apply: Callable[[], _Answer]) -> Coroutine[Any, Any, _Answer]:
        """Carry a write, and judge what it leaves when it lands."""
        operation = OPERATION.get()

        def judged() -> _Answer:
            self._touched = []
            answer = apply()
            if self._touched:
                self._judge(operation)
            return answer

        self.watched.writing = True
        return super().write(judged)

    def judge_all(self, operation: str) -> None:
        """Judge all books as they are, from nothing."""
        self._note(operation, violations(list(self.mirror.values())))

    def _judge(self, operation: str) -> None:
        for _, new in self._touched:
            self._books.put(new)
        self._note(operation, [*step(self._touched), *self._books.check()])

    def _note(self, operation: str, found: list[str]) -> None:
        if not found:
            return
        now = asyncio.get_running_loop().time()
        self.breaches += [f"{breach} [at {now:.3f} s, in {operation}]" for breach in found]
