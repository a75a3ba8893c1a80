"""What a request costs in the store, in each way in which an instance may hold money: the table of infra/README.md.

Calls go through the ledger as the pipeline makes them, over the simulated store, in virtual time; what is counted is the
consumed capacity that the store answers with, and what that leaves out: the writes to the index of OPEN leases, one unit for
each write to a lease's entry, which is below 1 KB there too. Leases are taken, grown and closed within the measurement. It does
not count the look at an API key, which an instance takes once a minute, and the reclaimer's empty looks at the index.

`python -m tests.support.bill` prints the table; `--write` puts it into infra/README.md, between its two marks.
"""

import asyncio
import sys
import tomllib
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from junctor.adapters.tables.faults import FaultPlan
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.domain.account import Account, Caller
from junctor.domain.call import Call, Outcome
from junctor.domain.catalog import Endpoint, PriceCard, PriceParts
from junctor.domain.completion import CompletionSpec, FinishReason, Usage
from junctor.domain.credits import Interval, Limit, LimitSubject, Payment
from junctor.domain.lease import SlotState
from junctor.domain.routing import Candidate, Plan, RoutingPreferences
from junctor.ledger.credits import pay
from junctor.ledger.ledger import Ledger
from junctor.ledger.limit_changes import put_limit
from junctor.ledger.tools import Terms, Tools
from junctor.policy import ceilings
from junctor.ports.table import Capacity, Done, Key, Operation, PutNew, Refused
from junctor.records import accounts, ids, keys, windows
from junctor.records.tables import CORE
from tests.support.faulty_table import FaultyTable
from tests.support.virtual_loop import TimersLoop, run_virtual
from tests.support.world import EPOCH_MS, LoopClock, NotedTelemetry, SeededDice

INFRA = Path(__file__).parents[2] / "infra"
README, PRICES = INFRA / "README.md", INFRA / "prices-dynamodb.toml"
BEGIN, END = "<!-- units -->\n", "<!-- /units -->"

ITEM_UNITS_S = 1_000
"""The write units that one item takes in a second."""
CALL_S = 1.0
BUSY_CALLS, BUSY_EVERY_S = 3_000, 0.01
QUIET_CALLS, QUIET_EVERY_S = 30, 20.0
NETWORK = FaultPlan(latency_s=(0.001, 0.003))

ACCOUNT = ids.ulid(EPOCH_MS, bytes(range(ids.ULID_RANDOM_BYTES)))
CALLER = Caller(ACCOUNT, "0123456789ab")
LIMITS = (
    (LimitSubject.ORGANISATION, "", Interval.MONTH),
    (LimitSubject.ORGANISATION, "", Interval.DAY),
    (LimitSubject.API_KEY, CALLER.key, Interval.MONTH),
    (LimitSubject.API_KEY, CALLER.key, Interval.DAY),
)
ENDPOINT = Endpoint(
    id="provider/laboratory/model-name-4.5",
    model="laboratory/model-name-4.5",
    provider="provider",
    upstream_model="model-name-4.5",
    dialect="openai-chat",
    base_url="https://provider.example",
)
SPEC = CompletionSpec(model=ENDPOINT.model, messages=(), max_tokens=1_000)
USAGE = Usage(input_tokens=1_200, output_tokens=250, cache_read_tokens=800, reasoning_tokens=100)
CREDIT_NANOUSD = 10**13

T = TypeVar("T")


class Mode(Struct, frozen=True):
    """A way in which a scope may be used."""

    name: str
    calls: int = BUSY_CALLS
    every_s: float = BUSY_EVERY_S
    limits: int = 0
    named: bool = False
    free_of_charge: bool = False


MODES = (
    Mode("busy: 100 requests/s"),
    Mode("busy, under one limit", limits=1),
    Mode("busy, under four limits", limits=4),
    Mode("busy, each with a request_id", named=True),
    Mode("quiet: one call per lease", QUIET_CALLS, QUIET_EVERY_S),
    Mode("quiet, under one limit", QUIET_CALLS, QUIET_EVERY_S, limits=1),
    Mode("quiet, under four limits", QUIET_CALLS, QUIET_EVERY_S, limits=4),
    Mode("quiet, each with a request_id", QUIET_CALLS, QUIET_EVERY_S, named=True),
    Mode("free model, 100 requests/s", free_of_charge=True),
)


class Measured(Struct, frozen=True, kw_only=True):
    """What one request of a mode consumed, on average. `purse_units` are those written to the purse, which all leases share."""

    write_units: float
    index_units: float
    read_units: float
    purse_units: float


class MeteredTable(FaultyTable):
    """A table that adds up what its calls consume."""

    def __init__(self, store: SimulatedStore) -> None:
        super().__init__(store.table(CORE))
        self.read_units = 0.0
        self.write_units = 0.0
        self.index_units = 0
        self.purse_units = 0

    async def transact(self, operations: Sequence[Operation], token: str) -> Done | Refused:
        """Apply all operations, or none, and look at what they met."""
        answer = await super().transact(operations, token)
        met = [_place(operation).sort for operation in operations]
        self.purse_units += 2 * sum(sort.startswith(keys.PURSE_PREFIX) for sort in met)
        if isinstance(answer, Done):
            self.index_units += sum(sort.startswith(keys.LEASE_PREFIX) for sort in met)
        return answer

    async def _do(self, method: str, work: Callable[[], Awaitable[T]]) -> T:
        answer = await super()._do(method, work)
        capacity = answer if isinstance(answer, Capacity) else getattr(answer, "capacity", None)
        assert isinstance(capacity, Capacity)
        self.read_units += capacity.read_units
        self.write_units += capacity.write_units
        return answer


def measure(mode: Mode) -> Measured:
    """Let calls of this mode come and go, and return what each consumed."""

    async def main() -> MeteredTable:
        store, dice = SimulatedStore(plan=NETWORK), SeededDice()
        table = MeteredTable(store)
        await _prepare(store, dice, mode)
        ledger = Ledger(Tools(table, LoopClock(), dice, NotedTelemetry()), Terms(deadline_max_ms=900_000), lambda *_: None)
        calls = []
        for number in range(mode.calls):
            calls.append(asyncio.create_task(_call(ledger, mode, number)))
            await asyncio.sleep(mode.every_s)
        await asyncio.gather(*calls)
        await ledger.close()
        assert await ledger.drain(60.0) == 0
        return table

    table = run_virtual(main(), TimersLoop)
    index_units = table.index_units / mode.calls
    return Measured(
        write_units=table.write_units / mode.calls + index_units,
        index_units=index_units,
        read_units=table.read_units / mode.calls,
        purse_units=table.purse_units / mode.calls,
    )


def text() -> str:
    """Return the table as Markdown, measured anew, at the prices of the price file."""
    prices = tomllib.loads(PRICES.read_text("utf-8"))
    dollars = {name: Decimal(price) for name, price in prices["dollars"].items()}
    write, read = dollars["million_write_request_units"], dollars["million_read_request_units"]
    lines = [
        f"At {write} and {read} dollars per million write and read request units ({prices['region']}, {prices['as_of']}):",
        "",
        "| mode | write units | of these in the index | read units | $ per million requests | most requests/s on one account |",
        "|---|---|---|---|---|---|",
    ]
    for mode in MODES:
        found = measure(mode)
        cost = Decimal(found.write_units) * write + Decimal(found.read_units) * read
        most = f"{_rounded(ITEM_UNITS_S / found.purse_units):,}" if found.purse_units else "not bound"
        cells = (
            mode.name,
            f"{found.write_units:.2f}",
            f"{found.index_units:.2f}",
            f"{found.read_units:.2f}",
            f"{cost:.2f}",
            most,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def committed() -> str:
    """Return the table that infra/README.md has."""
    return README.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    """Print the table, or write it into infra/README.md."""
    found = text()
    if "--write" not in sys.argv:
        print(found, end="")
        return
    before, begin, rest = README.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{README.name} lacks the marks of the table")
    README.write_text(before + begin + found + end + after, "utf-8")


async def _prepare(store: SimulatedStore, dice: SeededDice, mode: Mode) -> None:
    """Write an organisation with money and as many limits as the mode has."""
    await store.create([CORE])
    table = store.table(CORE)
    await table.put_new(accounts.account_item(Account(id=ACCOUNT, name="An organisation", created_at_ms=EPOCH_MS)))
    payment = Payment(
        account=ACCOUNT, id="p", purse="main", amount_nanousd=CREDIT_NANOUSD, refundable_nanousd=CREDIT_NANOUSD, at_ms=EPOCH_MS
    )
    await pay(table, dice, payment)
    for subject, subject_id, interval in LIMITS[: mode.limits]:
        limit = Limit(
            account=ACCOUNT,
            id=windows.limit_id(subject, subject_id, interval),
            limit_nanousd=CREDIT_NANOUSD,
            interval=interval,
            subject=subject,
            subject_id=subject_id,
            change="made",
        )
        await put_limit(table, dice, limit)


async def _call(ledger: Ledger, mode: Mode, number: int) -> None:
    parts = PriceParts(input=0, output=0) if mode.free_of_charge else PriceParts(input=3_000_000, output=15_000_000)
    candidate = Candidate(ENDPOINT, None, PriceCard(version="2026-11-21", parts=parts, source="s", as_of="2026-11-21"))
    call = Call(
        caller=CALLER,
        spec=SPEC,
        preferences=RoutingPreferences(),
        deadline_at=asyncio.get_running_loop().time() + 600.0,
        request_id=f"00000000-0000-4000-8000-{number:012x}" if mode.named else None,
    )
    hold = await (await ledger.begin(call, Plan((candidate,)))).ready()
    await asyncio.sleep(CALL_S)
    outcome = Outcome(
        state=SlotState.SETTLED,
        cost_nanousd=ceilings.charge(SPEC, candidate, USAGE, hold.generation.started_at_ms),
        candidate=candidate,
        usage=USAGE,
        finish_reason=FinishReason.STOP,
        upstream_id="chatcmpl-0123456789abcdefghijklmnopqrs",
        time_to_first_token_ms=345,
    )
    receipt = await ledger.settle(hold, outcome)
    assert receipt.cost_nanousd == outcome.cost_nanousd


def _place(operation: Operation) -> Key:
    return Key(str(operation.item["pk"]), str(operation.item["sk"])) if isinstance(operation, PutNew) else operation.key


def _rounded(number: float) -> int:
    """Round a number down to two digits that count."""
    unit: int = 10 ** max(len(str(int(number))) - 2, 0)
    return int(number) // unit * unit


if __name__ == "__main__":
    main()
