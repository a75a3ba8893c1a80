"""What calls cost and where the money is, for the tests of the pipeline: reckoned anew from the catalogue's numbers alone."""

from collections import Counter
from functools import cache
from typing import Unpack

from msgspec import Struct

from junctor.adapters.catalog.packaged import PackagedCatalog
from junctor.client.requests import RequestFields
from junctor.domain.catalog import PriceParts
from junctor.domain.credits import Interval, LimitSubject
from junctor.domain.lease import Slot
from junctor.ports.table import Item, Query, Table
from junctor.records import keys
from junctor.usecases.accounts import HOUSE
from junctor.usecases.api_keys import ApiKeys, NewApiKey
from junctor.usecases.limits import LimitName, Limits
from junctor.v1.completion_pb2 import Usage
from junctor.v1.router_service_pb2 import CompleteResponse, Finished
from junctor.v1.routing_pb2 import Adjustment
from tests.support.harness import Router
from tests.support.ledger_audit import violations
from tests.support.pipeline import FIRST, MODEL, PATIENCE_S, events_of

SLACK_TOKENS = 1_024
"""What is added to the bytes of a request for what a provider adds to its input."""


class Told(Struct, frozen=True, kw_only=True):
    """What a caller learned of a call that was answered. `cost_nanousd` is None where no cost was stated."""

    generation_id: str
    cost_nanousd: int | None
    pending: bool
    usage: Usage
    finish_reason: int
    native_finish_reason: str
    adjustments: tuple[Adjustment, ...]


async def ask(
    router: Router,
    *,
    streamed: bool,
    prompt: str = "Hi",
    model: str = MODEL,
    api_key: str | None = None,
    **fields: Unpack[RequestFields],
) -> Told:
    """Make one call, and return what was told of it. Raises JunctorRpcError."""
    async with router.client(api_key) as client:
        if streamed:
            events = await events_of(client.stream(prompt, model=model, timeout_s=PATIENCE_S, **fields))
            return _told(events[0].opened.generation_id, events[-1].finished)
        answer = await client.complete(prompt, model=model, timeout_s=PATIENCE_S, **fields)
        return _told(answer.generation_id, answer)


def _told(generation_id: str, answer: CompleteResponse | Finished) -> Told:
    return Told(
        generation_id=generation_id,
        cost_nanousd=answer.cost.cost_nanousd if answer.HasField("cost") else None,
        pending=answer.billing_pending,
        usage=answer.usage,
        finish_reason=answer.choices[0].finish_reason,
        native_finish_reason=answer.choices[0].native_finish_reason,
        adjustments=tuple(answer.route.adjustments),
    )


def cost(input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> int:
    """Return what so many tokens of MODEL cost at FIRST, in nano-USD: the exact sum in 1e-12 USD, rounded up once."""
    prices = _prices()
    assert None not in (prices.input, prices.output, prices.cache_read)
    whole = (input_tokens - cached_tokens) * (prices.input or 0)
    sum_picousd = whole + cached_tokens * (prices.cache_read or 0) + output_tokens * (prices.output or 0)
    return -(-sum_picousd // 1000)


@cache
def _prices() -> PriceParts:
    (card,) = PackagedCatalog().current().prices[FIRST]
    assert card.tiers == ()
    return card.parts


async def items_of(table: Table, account: str) -> list[Item]:
    """Read all items of an account that its books are made of, and the slots of its leases."""
    found = await _partition(table, keys.account(account).partition)
    for item in tuple(found):
        if str(item["sk"]).startswith(keys.LEASE_PREFIX):
            lease = str(item["sk"]).removeprefix(keys.LEASE_PREFIX)
            found += await _partition(table, keys.slot(Slot(account, lease, 0)).partition)
    return found


async def _partition(table: Table, partition: str) -> list[Item]:
    found: list[Item] = []
    after: str | None = None
    while True:
        page = await table.query(Query(partition=partition, consistent=True, after=after))
        found += page.items
        after = page.next
        if after is None:
            return found


def sums(items: list[Item]) -> Counter[str]:
    """Add up the purses: avail, leased, spent, credited."""
    total: Counter[str] = Counter()
    for item in items:
        if str(item["sk"]).startswith(keys.PURSE_PREFIX):
            for name in ("avail", "leased", "spent", "credited"):
                total[name] += int(str(item.get(f"{name}_nanousd", 0)))
    return total


async def at_rest(router: Router) -> Counter[str]:
    """Let the ledger end its work and close its leases; return the sums of the account's purses, whose books must be right."""
    ledger = router.core.services.ledger
    assert await ledger.drain(PATIENCE_S) == 0
    await ledger.close()
    items = await items_of(router.core.table, router.account)
    assert violations(items) == []
    total = sums(items)
    assert total["leased"] == 0
    return total


async def spent(router: Router) -> int:
    """Return what the account has spent, once no money is leased any more; the rest of what was credited is there."""
    total = await at_rest(router)
    assert total["avail"] == total["credited"] - total["spent"]
    return total["spent"]


async def new_key(router: Router, **wanted: object) -> str:
    """Make another API key of the router's account, with fields of NewApiKey."""
    core = router.core
    made = ApiKeys(core.table, core.secrets, core.services.clock, core.services.dice)
    _, text = await made.create(HOUSE, router.account, NewApiKey(name="another", **wanted))  # type: ignore[arg-type] # a test's
    return text


async def limit(router: Router, limit_nanousd: int, subject: LimitSubject = LimitSubject.ORGANISATION, of: str = "") -> str:
    """Limit what may be spent in a day, and return the limit's id."""
    core = router.core
    made = Limits(core.table, core.services.clock, core.services.dice)
    name = LimitName(subject, of, Interval.DAY)
    return (await made.set(HOUSE, router.account, name, limit_nanousd)).limit.id
