"""The ledger's two seams, case by case: fenced leases, a store that is down, slow settlements, leases that end, draining."""

import asyncio

import msgspec
import pytest

from junctor.adapters.tables.faults import CALM, Fault, FaultPlan
from junctor.domain.call import Outcome
from junctor.domain.errors import LedgerUnavailableError
from junctor.domain.generation import Generation
from junctor.domain.lease import Slot, SlotState
from junctor.ledger.ledger import SETTLE_BACKOFF_MAX_S, SETTLE_INLINE_S, SETTLE_LEAST_S
from junctor.ledger.scope import LEASE_LIFE_MS
from junctor.ports.table import Equals, Set
from junctor.ports.telemetry import Counter
from junctor.records import generations, ids, keys
from tests.support.world import PLAN, VOID, World, call, expected, plan, play, settled

DOWN = FaultPlan(chances=((Fault.UNAVAILABLE, 1.0),))
SLOW = FaultPlan(latency_s=(5.0, 5.0))


async def close_by_hand(world: World, place: Slot, state: SlotState) -> None:
    """Write a slot as a closer leaves it where nothing was yet."""
    sealed = Generation(
        id=ids.generation_id(place), slot=place, state=state, api_key="", requested_model="", started_at_ms=0, deadline_at_ms=0
    )
    await world.table.put_new({**generations.item(sealed), "state": state.value})


async def expire(world: World, place: Slot) -> None:
    """End an OPEN slot as a closer does."""
    await world.table.update(
        keys.slot(place), (Equals("state", SlotState.OPEN.value),), (Set("state", SlotState.EXPIRED.value),)
    )


def test_a_hold_is_an_open_slot_with_all_that_is_known() -> None:
    """Output could reach a caller of whose generation there is no record."""

    async def scenario(world: World) -> None:
        await asyncio.sleep(7)
        hold = await world.ledger.hold(call(remaining_s=60, streamed=True), PLAN)
        (lease,) = world.leases()
        now_ms = world.clock.now_ms()
        place = Slot("ACCOUNT", lease.id, 0)
        opened = Generation(
            id=ids.generation_id(place),
            slot=place,
            state=SlotState.OPEN,
            api_key="KEY",
            requested_model="lab/model",
            started_at_ms=now_ms,
            deadline_at_ms=now_ms + 60_000,
            streamed=True,
        )
        assert hold.generation == opened
        assert world.generations() == {opened.id: opened}
        assert (lease.account, lease.until_ms, lease.width) == ("ACCOUNT", now_ms + LEASE_LIFE_MS, 16)
        assert lease.exp_ms == lease.until_ms + 900_000 + 120_000

    play(scenario)


@pytest.mark.parametrize("outcome", [settled(5), VOID], ids=["settled", "void"])
def test_a_settlement_writes_the_outcome(outcome: Outcome) -> None:
    """A generation's record would lack what it consumed and where."""

    async def scenario(world: World) -> None:
        hold = await world.ledger.hold(call(), PLAN)
        await asyncio.sleep(3)
        receipt = await world.ledger.settle(hold, outcome)
        assert not receipt.pending
        assert receipt.generation_id == hold.generation.id
        stored = world.generations()[hold.generation.id]
        assert stored == expected(hold.generation, outcome, world.clock.now_ms())

    play(scenario)


def test_an_upstream_id_is_cut_to_its_room() -> None:
    """A provider with long ids would push every record over the size of one write unit."""

    async def scenario(world: World) -> None:
        hold = await world.ledger.hold(call(), PLAN)
        await world.ledger.settle(hold, msgspec.structs.replace(settled(1), upstream_id="é" * 5_000))
        stored = world.generations()[hold.generation.id].upstream_id
        assert stored
        assert set(stored) == {"é"}
        assert len(stored.encode()) <= generations.UPSTREAM_ID_MAX

    play(scenario)


@pytest.mark.parametrize("state", [SlotState.SEALED, SlotState.EXPIRED])
def test_a_lease_that_somebody_closed_is_left(state: SlotState) -> None:
    """A call would be refused, or its slot be taken for opened, though a closer has already counted it as unused."""

    async def scenario(world: World) -> None:
        first = await world.ledger.hold(call(), PLAN)
        lease = first.generation.slot.lease
        await close_by_hand(world, Slot("ACCOUNT", lease, 1), state)
        second = await world.ledger.hold(call(), PLAN)
        assert second.generation.slot.lease != lease
        assert second.generation.slot.number == 0
        assert world.telemetry.counts[Counter.LEASE_FENCED] == 1
        third = await world.ledger.hold(call(), PLAN)
        assert third.generation.slot.lease == second.generation.slot.lease
        assert not (await world.ledger.settle(first, settled(1))).pending

    play(scenario)


def test_leases_that_are_closed_again_and_again_end_in_an_error() -> None:
    """A call would try for ever while a closer runs wild."""

    async def scenario(world: World) -> None:
        class Closer:
            """Closes the first slot of each lease as soon as it is there."""

            def __init__(self) -> None:
                self.put_new = world.table.put_new

            async def __call__(self, item: dict[str, object]) -> object:
                done = await self.put_new(item)  # type: ignore[arg-type]
                if str(item["sk"]).startswith("LEASE#"):
                    await close_by_hand(world, Slot("ACCOUNT", str(item["id"]), 0), SlotState.SEALED)
                return done

        world.table.put_new = Closer()  # type: ignore[method-assign, assignment]
        with pytest.raises(LedgerUnavailableError):
            await world.ledger.hold(call(), PLAN)
        assert world.telemetry.counts[Counter.LEASE_FENCED] == 3

    play(scenario)


def test_a_slot_that_a_closer_expired_stays_so() -> None:
    """The caller would be charged out of a lease whose money has gone back."""

    async def scenario(world: World) -> None:
        hold = await world.ledger.hold(call(), PLAN)
        await expire(world, hold.generation.slot)
        receipt = await world.ledger.settle(hold, settled(1))
        assert not receipt.pending
        assert receipt.cost_nanousd is None
        assert world.generations()[hold.generation.id].state is SlotState.EXPIRED
        assert world.telemetry.counts[Counter.SETTLE_LOST] == 1

    play(scenario)


def test_a_slot_ends_once() -> None:
    """A generation that was given up could be billed afterwards, or a billed one be given up."""

    async def scenario(world: World) -> None:
        for first, second in ((settled(1), VOID), (VOID, settled(1))):
            hold = await world.ledger.hold(call(), PLAN)
            await world.ledger.settle(hold, first)
            await world.ledger.settle(hold, second)
            assert world.generations()[hold.generation.id].state is first.state
        assert world.telemetry.counts[Counter.SETTLE_LOST] == 2

    play(scenario)


def test_a_store_that_is_down_refuses_and_recovers() -> None:
    """Calls would be served without a record, or be refused after the store has come back."""

    async def scenario(world: World) -> None:
        world.store.dice.plan = DOWN
        for _ in range(3):
            with pytest.raises(LedgerUnavailableError) as caught:
                await world.ledger.hold(call(), PLAN)
            assert caught.value.retry_after_s == 1.0
        assert world.generations() == {}
        world.store.dice.plan = CALM
        assert (await world.ledger.hold(call(), PLAN)).generation.slot.number == 0
        world.store.dice.plan = DOWN
        with pytest.raises(LedgerUnavailableError):
            await world.ledger.hold(call(), PLAN)
        world.store.dice.plan = CALM
        assert (await world.ledger.hold(call(), PLAN)).generation.slot.number == 0
        assert len(world.leases()) == 2

    play(scenario)


@pytest.mark.parametrize("outage_s", [30.0, 500.0])
def test_a_settlement_waits_for_the_store(outage_s: float) -> None:
    """A generation that was answered would never be billed, as the store was down for a moment."""

    async def scenario(world: World) -> None:
        hold = await world.ledger.hold(call(remaining_s=600), PLAN)
        world.store.dice.plan = DOWN
        began = world.clock.monotonic_s()
        receipt = await world.ledger.settle(hold, settled(2))
        assert receipt.pending
        assert receipt.cost_nanousd is None
        assert world.clock.monotonic_s() - began == pytest.approx(SETTLE_INLINE_S)
        assert world.telemetry.counts[Counter.SETTLE_PENDING] == 1
        await asyncio.sleep(outage_s)
        world.store.dice.plan = CALM
        assert await world.ledger.drain(60) == 0
        stored = world.generations()[hold.generation.id]
        assert stored == expected(hold.generation, settled(2), stored.ended_at_ms)
        assert world.telemetry.counts[Counter.SETTLE_LOST] == 0

    play(scenario)


def test_a_named_request_is_free_again_when_the_store_is_back() -> None:
    """A caller who was told to come again would hear that he is being answered, until the longest call beside his ends."""

    async def scenario(world: World) -> None:
        await world.credit(10_000)
        long, short = [await world.ledger.hold(call(remaining_s=900), plan(1_000)) for _ in range(2)]
        await world.ledger.settle(short, VOID)  # so there is room in the lease
        world.store.dice.inject(Fault.REPLY_LOST)
        world.store.dice.plan = DOWN
        named = call(request_id="one")
        with pytest.raises(LedgerUnavailableError):
            await world.ledger.begin(named, plan(1_000))
        assert len(world.generations()) == 3
        world.store.dice.plan = CALM
        await asyncio.sleep(SETTLE_BACKOFF_MAX_S)
        again = await world.ledger.hold(named, plan(1_000))
        await world.ledger.settle(again, settled(1, 7))
        await world.ledger.settle(long, settled(2, 5))

    play(scenario)


@pytest.mark.parametrize(("left_s", "waited_s"), [(0.5, 0.5), (-1.0, SETTLE_LEAST_S), (SETTLE_INLINE_S + 1, SETTLE_INLINE_S)])
def test_no_answer_is_kept_back_until_its_caller_has_left(left_s: float, waited_s: float) -> None:
    """A caller would pay for an answer that was there in time, and that a slow store kept from him."""

    async def scenario(world: World) -> None:
        hold = await world.ledger.hold(call(), PLAN)
        world.store.dice.plan = FaultPlan(latency_s=(5.0, 5.0))
        began = world.clock.monotonic_s()
        receipt = await world.ledger.settle(hold, settled(1), began + left_s)
        assert receipt.pending
        assert world.clock.monotonic_s() - began == pytest.approx(waited_s)
        await world.ledger.drain(100)
        assert world.generations()[hold.generation.id].state is SlotState.SETTLED
        assert world.telemetry.counts[Counter.SETTLE_LOST] == 0

    play(scenario)


def test_a_slow_store_makes_the_billing_pending() -> None:
    """The answer would be held back for as long as the store takes."""

    async def scenario(world: World) -> None:
        hold = await world.ledger.hold(call(), PLAN)
        world.store.dice.plan = SLOW
        assert (await world.ledger.settle(hold, settled(2))).pending
        assert await world.ledger.drain(60) == 0
        assert world.generations()[hold.generation.id].state is SlotState.SETTLED

    play(scenario)


def test_a_settlement_is_given_up_when_any_closer_has_expired_it() -> None:
    """A task would try for ever against a store that is gone."""

    async def scenario(world: World) -> None:
        hold = await world.ledger.hold(call(remaining_s=60), PLAN)
        world.store.dice.plan = DOWN
        assert (await world.ledger.settle(hold, settled(2))).pending
        await asyncio.sleep(60 + 100)
        assert world.telemetry.counts[Counter.SETTLE_LOST] == 0
        await asyncio.sleep(40)
        assert world.telemetry.counts[Counter.SETTLE_LOST] == 1

    play(scenario)


def test_a_wall_clock_that_jumps_loses_no_settlement() -> None:
    """A clock set right by an hour would have every settlement given up at its first hiccup, and told as done."""

    async def scenario(world: World) -> None:
        hold = await world.ledger.hold(call(), PLAN)
        world.clock.ahead_ms = 3_600_000
        world.store.dice.inject(Fault.UNAVAILABLE)
        assert not (await world.ledger.settle(hold, settled(2))).pending
        assert world.generations()[hold.generation.id].state is SlotState.SETTLED

    play(scenario)


def test_a_caller_who_leaves_does_not_stop_the_settlement() -> None:
    """A caller who hangs up at the last moment would not pay."""

    async def scenario(world: World) -> None:
        hold = await world.ledger.hold(call(), PLAN)
        world.store.dice.plan = SLOW
        task = asyncio.create_task(world.ledger.settle(hold, settled(3)))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await world.ledger.drain(60) == 0
        assert world.generations()[hold.generation.id].state is SlotState.SETTLED

    play(scenario)
