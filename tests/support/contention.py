"""One account at many requests a second over several instances, and how often its transactions meet each other.

The ledgers are the wired ones; a transaction keeps its items for 10 ms, and whoever comes to one of them meanwhile is refused,
as DynamoDB does. All instances start cold, at the same instant: the first seconds, in which each takes a lease and lets it grow
to the calls under way, are counted apart.

    python -m tests.support.contention [requests a second] [instances] [purses] [seconds]
"""

import asyncio
import random
import sys

from msgspec import Struct

from junctor.adapters.tables.faults import FaultPlan
from junctor.domain.errors import JunctorError
from tests.simulation.load import BusyTable
from tests.support.virtual_loop import TimersLoop, run_virtual
from tests.support.world import World, call, plan, settled

NETWORK = FaultPlan(latency_s=(0.001, 0.004))
CEILING, COST = 1_000, 200
UPSTREAM_S = (0.5, 1.5)
COLD_S = 6.0


class Contended(Struct, frozen=True, kw_only=True):
    """What came of it. `transactions` are those on the account's purses; `at_first` succeeded at their first try.

    `cold` counts those of the first seconds, which are in neither.
    """

    calls: int
    failed: int
    cold: int
    transactions: int
    at_first: int
    wrong: tuple[str, ...]

    @property
    def share(self) -> float:
        """Return which part of the account's transactions succeeded at the first try."""
        return self.at_first / self.transactions


def contend(*, rate: float, instances: int, purses: int, seconds: float, seed: int = 0) -> Contended:
    """Let so many instances together answer `rate` calls a second for so many virtual seconds."""

    async def main() -> Contended:
        world = await World(seed, NETWORK).open()
        for number in range(purses):
            await world.credit(10**12, f"s{number}")
        busy = BusyTable(world.store)  # type: ignore[arg-type] # of a store it wants no more than its table
        ledgers = [world.instance(busy) for _ in range(instances)]
        rng = random.Random(seed)
        failed = 0

        async def one(number: int) -> None:
            nonlocal failed
            await asyncio.sleep(rng.uniform(0, seconds))
            ledger = rng.choice(ledgers)
            try:
                holding = await ledger.begin(call(), plan(CEILING))
                await asyncio.sleep(rng.uniform(*UPSTREAM_S))
                await ledger.settle(await holding.ready(), settled(number, COST))
            except JunctorError:
                failed += 1

        calls = int(rate * seconds)
        coming = asyncio.gather(*map(one, range(calls)))
        await asyncio.sleep(COLD_S)
        cold = len(busy.first_tries)
        await coming
        for ledger in ledgers:
            await asyncio.sleep(rng.uniform(0, 1))
            await ledger.close()
        return Contended(
            calls=calls,
            failed=failed,
            cold=cold,
            transactions=len(busy.first_tries) - cold,
            at_first=sum(list(busy.first_tries.values())[cold:]),
            wrong=tuple(world.store.judge()),
        )

    return run_virtual(main(), TimersLoop)


if __name__ == "__main__":
    given = [float(number) for number in sys.argv[1:]]
    rate, instances, purses, seconds = given + [1_000, 10, 1, 30][len(given) :]
    came = contend(rate=rate, instances=int(instances), purses=int(purses), seconds=seconds)
    print(came, f"{came.share:.1%} at the first try")
    sys.exit(bool(came.wrong))
