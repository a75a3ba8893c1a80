"""Several instances that share one simulated store and apply the rates of API keys. Meant for `run_virtual`."""

import asyncio
from collections import Counter as Tally
from collections.abc import Awaitable, Callable

from junctor.adapters.tables.faults import CALM, FaultPlan
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.domain.errors import RateLimitedError
from junctor.domain.rates import Rates
from junctor.ledger.allowance.allowance import Allowance, Permit
from junctor.ports.table import Item
from junctor.records import rates
from junctor.records.tables import CORE
from tests.support.faulty_table import FaultyTable
from tests.support.virtual_loop import run_virtual
from tests.support.world import LoopClock, NotedTelemetry, SeededDice

ACCOUNT, KEY = "ACCOUNT", "KEY"


class Instance:
    """One instance with its own way to the store and its own clock. `granted` counts what it let in, by minute."""

    def __init__(self, store: SimulatedStore, number: int) -> None:
        self.table = FaultyTable(store.table(CORE))
        self.clock = LoopClock()
        self.telemetry = NotedTelemetry()
        self.allowance = Allowance(self.table, self.clock, SeededDice(number), self.telemetry, instance=f"instance-{number}")
        self.granted: Tally[int] = Tally()

    @property
    def calls(self) -> int:
        """How often the store was asked."""
        return sum(self.table.calls.values())

    async def take(self, limits: Rates, tokens: int = 0, key: str = KEY) -> Permit:
        """Let in one call. Raises RateLimitedError."""
        permit = await self.allowance.take(ACCOUNT, key, limits, tokens)
        self.granted[self.clock.now_ms() // 60_000] += 1
        return permit

    async def refusal(self, limits: Rates, tokens: int = 0) -> RateLimitedError | None:
        """Return how a call is refused; None if it is let in."""
        try:
            await self.take(limits, tokens)
        except RateLimitedError as error:
            return error
        return None

    async def taken(self, limits: Rates, most: int, tokens: int = 0) -> list[Permit]:
        """Let in so many calls, or as many as there may be."""
        permits = []
        for _ in range(most):
            try:
                permits.append(await self.take(limits, tokens))
            except RateLimitedError:
                break
        return permits

    def give_back(self, *permits: Permit, used: int = 0) -> None:
        """End calls."""
        for permit in permits:
            self.allowance.give_back(permit, used)


class Fleet:
    """Instances over one store."""

    def __init__(self, size: int = 1, *, seed: int = 0, plan: FaultPlan = CALM) -> None:
        self.store = SimulatedStore(seed, plan=plan)
        self.instances = [Instance(self.store, number) for number in range(size)]

    def items(self, prefix: str) -> list[Item]:
        """Return the items whose sort key begins so."""
        return [item for item in self.store.items(CORE) if str(item["sk"]).startswith(prefix)]

    def claimed(self) -> dict[str, int]:
        """Return what each instance claims in the store."""
        return {name: claim.count for item in self.items("CLAIMS") for name, claim in rates.claims_of(item).items()}


def play(scenario: Callable[[Fleet], Awaitable[None]], size: int = 1, *, seed: int = 0, plan: FaultPlan = CALM) -> None:
    """Play a scenario from the beginning of a minute; at its end nothing may be left running and no bug noted."""

    async def main() -> None:
        fleet = Fleet(size, seed=seed, plan=plan)
        await fleet.store.create([CORE])
        await next_minute(fleet.instances[0])
        async with asyncio.timeout(100_000):
            await scenario(fleet)
            for instance in fleet.instances:
                await instance.allowance.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert [instance.telemetry.incidents for instance in fleet.instances] == [[]] * size

    run_virtual(main())


async def next_minute(instance: Instance) -> None:
    """Wait until the next minute begins."""
    await asyncio.sleep(60 - instance.clock.now_ms() % 60_000 / 1000 + 0.001)
