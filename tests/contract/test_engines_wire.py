"""What comes of a wire that fails: what may be sent again, and what is said of writes without an answer."""

from collections.abc import AsyncIterator

import pytest

from junctor.adapters.tables.faults import Fault, FaultPlan
from junctor.ledger import trying
from junctor.ports.table import Add, Item, PutNew, Table, UnknownOutcomeError, Update
from tests.support.engines.process import Engines
from tests.support.engines.wire import Wire
from tests.support.tables import ENGINES, KEY, SAMPLE, done, dynamo_store, fake_credentials, item, refused, stored
from tests.support.world import SeededDice

SOON = FaultPlan(delay_s=(0.0, 0.05))

COUNT = Update(KEY, (), (Add("count", 1),))


@pytest.fixture(params=ENGINES)
async def wired(
    request: pytest.FixtureRequest, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Wire, Table]]:
    """Return a wire to each engine in turn, and the sample table at its end."""
    fake_credentials(monkeypatch)
    port = engines.shared(request.param).port
    async with Wire.opened(port, seed=1) as wire, dynamo_store(wire.url, SAMPLE) as store:
        wire.dice.plan = SOON
        yield wire, store.table(SAMPLE)


UNKNOWN: list[tuple[Fault, Item | None]] = [
    (Fault.REPLY_LOST, item(count=1)),
    (Fault.DROPPED, None),
    (Fault.DELAYED, item(count=1)),
    (Fault.UNAVAILABLE, None),
]


@pytest.mark.parametrize(("fault", "left"), UNKNOWN, ids=lambda value: value.name if isinstance(value, Fault) else "")
async def test_a_write_without_an_answer_is_unknown_and_not_sent_again(
    fault: Fault, left: Item | None, wired: tuple[Wire, Table]
) -> None:
    """A debit would be taken twice by a silent retry, or be called a failure though it was taken."""
    wire, table = wired
    wire.dice.inject(fault)
    with pytest.raises(UnknownOutcomeError):
        await table.update(COUNT.key, COUNT.conditions, COUNT.changes)
    await wire.settled()
    assert await stored(table) == left


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.CONFLICT])
async def test_a_write_that_was_refused_unjudged_is_sent_again(fault: Fault, wired: tuple[Wire, Table]) -> None:
    """A busy table would fail every call that a second try could have served."""
    wire, table = wired
    wire.dice.inject(fault, fault)
    assert done(await trying.update(table, SeededDice(), COUNT, twice=False)).item == item(count=1)
    assert wire.faults == 2


async def test_a_put_that_arrives_twice_shows_its_own_item(wired: tuple[Wire, Table]) -> None:
    """A caller could not tell that the item in his way is his own."""
    wire, table = wired
    wire.dice.inject(Fault.DUPLICATED)
    assert refused(await table.put_new(item(owner="me"))).old == item(owner="me")


async def test_a_transaction_that_arrives_twice_is_applied_once(wired: tuple[Wire, Table]) -> None:
    """The token would not reach the engine, and a repeated debit would be taken twice."""
    wire, table = wired
    wire.dice.inject(Fault.DUPLICATED)
    done(await table.transact([COUNT, PutNew(item(sort="entry"))], "token"))
    assert await stored(table) == item(count=1)
    wire.dice.inject(Fault.REPLY_LOST)
    with pytest.raises(UnknownOutcomeError):
        await table.transact([COUNT], "another token")
    done(await table.transact([COUNT], "another token"))
    assert await stored(table) == item(count=2)


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.NONE], ids=lambda fault: fault.name)
async def test_a_read_is_sent_until_it_is_answered(fault: Fault, wired: tuple[Wire, Table]) -> None:
    """One lost packet would refuse a caller, though to read again is harmless."""
    wire, table = wired
    done(await table.put_new(item(count=1)))
    wire.dice.inject(fault)
    assert await trying.get(table, SeededDice(), KEY) == item(count=1)
    assert wire.faults == 1
