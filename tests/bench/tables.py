"""Measures what an operation on DynamoDB costs by each sender, beside each other in one run: `python -m tests.bench.tables`.

One loop asks a stub in a process of its own, so that all CPU here is the adapter's, the sender's, the event loop's and the
kernel's; threads are counted. Rounds take turns, and the fastest of each is told, as whatever else the machine does only adds.
Plain HTTP: TLS comes on top of both alike.

    python -m tests.bench.tables [--rounds N] [--profile OPERATION]
"""

import argparse
import asyncio
import cProfile
import gc
import os
import pstats
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import count

from msgspec import Struct

from junctor.adapters.system.ambient import SystemClock
from junctor.adapters.tables.dynamodb import DynamoStore
from junctor.adapters.tables.dynamodb_boto3 import Boto3Sender
from junctor.adapters.tables.dynamodb_signed import SignedSender
from junctor.bootstrap import native
from junctor.ports.table import Add, AtLeast, Equals, Item, Key, PutNew, Set, Table, TableSpec, Update
from tests.bench.dynamodb_stub import stub_process

ROUNDS = 12
IN_FLIGHT = (1, 16, 64)
CALLS = {"signed": 640, "boto3": 64}
"""Calls in a round, as many at least as are in flight: a few hundredths of a second each."""

SPEC = TableSpec(name="bench", ttl=None)
PURSE = Key("ACCOUNT#bench", "PURSE#main")
_SLOT: Item = {
    "pk": "SLOTS#bench#0",
    "state": "OPEN",
    "streamed": True,
    **{f"number_{place}": 10**place for place in range(10)},
    **{f"text_{place}": "some-text-of-a-slot-" * (1 + place % 2) for place in range(10)},
}
"""All of a slot but its number: made once, as the ledger's own work is none of what is measured."""

_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": "made-up", "AWS_EC2_METADATA_DISABLED": "true"}


class Cost(Struct, frozen=True):
    """What an operation takes, in microseconds of CPU, with so many at once."""

    operation: str
    in_flight: int
    signed_us: float
    boto3_us: float

    @property
    def ratio(self) -> float:
        """Return how many times as much boto3 takes."""
        return self.boto3_us / self.signed_us


def slot(number: int) -> Item:
    """Return an item as large as a generation's slot is in the end."""
    return {"sk": f"SLOT#{number:012}", **_SLOT}


class Bench:
    """The operations, on one table."""

    def __init__(self, table: Table, name: str) -> None:
        self._table = table
        self._name = name
        self._numbers = count()

    async def open(self) -> None:
        """Write what is read and changed."""
        await self._table.put_new({"pk": PURSE.partition, "sk": PURSE.sort, "state": "OPEN", "avail_nanousd": 10**18})

    def operations(self) -> Mapping[str, Callable[[], Awaitable[object]]]:
        """Return what is measured."""
        return {"get": self.get, "put_new": self.put_new, "update": self.update, "transact": self.transact}

    async def get(self) -> object:
        """Read the purse."""
        return await self._table.get(PURSE)

    async def put_new(self) -> object:
        """Write a slot."""
        return await self._table.put_new(slot(self._fresh()))

    async def update(self) -> object:
        """Spend from the purse."""
        changes = (Add("avail_nanousd", -5), Add("leased_nanousd", 5), Set("changed_ms", 1_764_000_000_000))
        return await self._table.update(PURSE, (Equals("state", "OPEN"), AtLeast("avail_nanousd", 5)), changes)

    async def transact(self) -> object:
        """Spend from the purse and write a lease."""
        number = self._fresh()
        spend = Update(PURSE, (Equals("state", "OPEN"), AtLeast("avail_nanousd", 5)), (Add("avail_nanousd", -5),))
        lease: Item = {"pk": PURSE.partition, "sk": f"LEASE#{self._name}{number:012}", "state": "OPEN", "granted_nanousd": 5}
        return await self._table.transact((spend, PutNew(lease)), f"{self._name}-{number}")

    def _fresh(self) -> int:
        """Return a number that this run has not used, and no other table's."""
        return next(self._numbers) * len(CALLS) + list(CALLS).index(self._name)


async def measure(rounds: int = ROUNDS) -> list[Cost]:
    """Measure every operation by both senders, in turns."""
    os.environ.update({name: os.environ.get(name, value) for name, value in _CREDENTIALS.items()})
    async with stub_process() as url:
        stores = _stores(url)
        try:
            await stores["signed"].create([SPEC])
            benches = {name: Bench(store.table(SPEC), name) for name, store in stores.items()}
            for bench in benches.values():
                await bench.open()
            return [await _cost(benches, name, in_flight, rounds) for in_flight in IN_FLIGHT for name in _names(benches)]
        finally:
            for store in stores.values():
                await store.close()


def _stores(url: str) -> dict[str, DynamoStore]:
    signed = SignedSender(endpoint_url=url, region="us-east-1", clock=SystemClock())
    boto3 = Boto3Sender(endpoint_url=url, region="us-east-1")
    return {"signed": DynamoStore(signed, "bench-"), "boto3": DynamoStore(boto3, "bench-")}


def _names(benches: Mapping[str, Bench]) -> list[str]:
    return list(benches["signed"].operations())


async def _cost(benches: Mapping[str, Bench], operation: str, in_flight: int, rounds: int) -> Cost:
    found: dict[str, list[float]] = {name: [] for name in benches}
    for _ in range(rounds):
        for name, bench in benches.items():
            found[name].append(await _round_us(bench.operations()[operation], in_flight, CALLS[name]))
    return Cost(operation, in_flight, min(found["signed"]), min(found["boto3"]))


async def _round_us(work: Callable[[], Awaitable[object]], in_flight: int, calls: int) -> float:
    """Return the CPU of one call, in microseconds."""

    async def caller() -> None:
        for _ in range(calls // in_flight):
            await work()

    gc.collect()
    began = time.process_time()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return (time.process_time() - began) / calls * 1e6


async def _profile(operation: str) -> None:
    os.environ.update(_CREDENTIALS)
    async with stub_process() as url:
        store = _stores(url)["signed"]
        await store.create([SPEC])
        bench = Bench(store.table(SPEC), "signed")
        await bench.open()
        work = bench.operations()[operation]
        await _round_us(work, 16, 320)
        with cProfile.Profile() as profiler:
            await _round_us(work, 16, 3_200)
        await store.close()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(45)


def main() -> None:
    """Measure and print, or profile."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tables", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of each sender (default: %(default)s)")
    parser.add_argument("--profile", choices=("get", "put_new", "update", "transact"), help="profile one by the signed sender")
    options = parser.parse_args()
    if options.profile:
        native.run(_profile(options.profile))
        return
    print(f"{'operation':<10} {'in flight':>9} {'signed us':>10} {'boto3 us':>10} {'boto3/signed':>13}")
    for cost in native.run(measure(options.rounds)):
        print(f"{cost.operation:<10} {cost.in_flight:>9} {cost.signed_us:>10.1f} {cost.boto3_us:>10.1f} {cost.ratio:>12.1f}x")


if __name__ == "__main__":
    main()
