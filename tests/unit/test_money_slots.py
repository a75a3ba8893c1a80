"""Slots opened, with and without a request id, and ended: what is found of an earlier try, and who may take over."""

import asyncio

import msgspec
import pytest

from junctor.adapters.tables.faults import Fault, FaultPlan
from junctor.domain.generation import Generation
from junctor.domain.lease import Lease, SlotState
from junctor.ledger import closing, slots
from junctor.ledger.slots import Answered, Ending, InProgress, Opening
from junctor.ports.table import UnknownOutcomeError
from junctor.records import generations, keys
from tests.support.bank import ACCOUNT, NOW_MS, Bank, play


async def named(bank: Bank, generation: Generation, **content: bytes) -> Opening | InProgress | Answered:
    """Open a slot for the one request that these tests name."""
    return await slots.open_named(bank.table, bank.dice, generation, bank.record(generation, **content), NOW_MS)


async def two(bank: Bank) -> tuple[Lease, Generation, Generation]:
    """Return a lease and two generations to be opened in it."""
    await bank.credit(200)
    lease = await bank.leased(100)
    return lease, bank.generation(lease, 0, 10), bank.generation(lease, 1, 20)


async def attempt(bank: Bank) -> tuple[object, object]:
    """Return which generation answers the request, and which attempt it is."""
    item = await bank.item(keys.request(ACCOUNT, b"one"))
    return item["generation"], item["attempt"]


@pytest.mark.parametrize("by_name", [False, True])
def test_a_slot_in_a_closed_lease_is_fenced(by_name: bool) -> None:
    """A generation would run without money, as the lease's went back."""

    async def scenario(bank: Bank) -> None:
        lease, first, second = await two(bank)
        await slots.open_slot(bank.table, bank.dice, first)
        await closing.close(bank.table, bank.dice, lease, NOW_MS)
        for generation in (first, second):
            opening = await named(bank, generation) if by_name else await slots.open_slot(bank.table, bank.dice, generation)
            assert opening is Opening.FENCED
        assert await bank.find(*msgspec.structs.astuple(keys.request(ACCOUNT, b"one"))) is None

    play(scenario)


@pytest.mark.parametrize("cost", [None, 4])
def test_a_slot_that_ended_is_not_opened_again(cost: int | None) -> None:
    """A number that was handed out twice would carry two generations."""

    async def scenario(bank: Bank) -> None:
        _, first, _ = await two(bank)
        await slots.open_slot(bank.table, bank.dice, first)
        await bank.end(first, cost)
        assert await slots.open_slot(bank.table, bank.dice, first) is Opening.FENCED

    play(scenario)


def test_a_request_sent_again_finds_what_answers_it() -> None:
    """A caller who lost his connection would be billed twice for one request."""

    async def scenario(bank: Bank) -> None:
        _, first, second = await two(bank)
        assert await named(bank, first) is Opening.OPEN
        assert await named(bank, first) is Opening.OPEN
        assert await named(bank, second) == InProgress(first.id)
        await bank.end(first, 4)
        assert await named(bank, second) == Answered(bank.settled(first, 4))
        assert await slots.put_void(bank.table, bank.dice, second.slot) is Ending.ENDED
        assert await slots.put_void(bank.table, bank.dice, second.slot) is Ending.ENDED
        assert await attempt(bank) == (first.id, 1)

    play(scenario)


def test_a_request_id_given_to_another_request_is_refused() -> None:
    """A caller would get the answer to another question of his."""

    async def scenario(bank: Bank) -> None:
        _, first, second = await two(bank)
        assert await named(bank, first) is Opening.OPEN
        assert await named(bank, second, content=b"other body") is Opening.REUSED
        assert await named(bank, second, request=b"two", content=b"other body") is Opening.OPEN

    play(scenario)


@pytest.mark.parametrize("by_closer", [False, True])
def test_a_generation_that_cost_nothing_is_taken_over(by_closer: bool) -> None:
    """A request would be lost for a day after its first try failed."""

    async def scenario(bank: Bank) -> None:
        lease, first, _ = await two(bank)
        assert await named(bank, first) is Opening.OPEN
        if by_closer:
            await closing.close(bank.table, bank.dice, lease, NOW_MS)
            later = await slots.open_named(bank.table, bank.dice, first, bank.record(first), NOW_MS + 1_000)
            assert later is Opening.FENCED  # a second earlier, its token would only say what the first try did
        else:
            await bank.end(first, None)
        other = bank.generation(await bank.leased(50, number=1), 0, 5)
        assert await named(bank, other) is Opening.OPEN
        assert await attempt(bank) == (other.id, 2)
        third = bank.generation(await bank.leased(10, number=2), 0, 5)
        assert await named(bank, third) == InProgress(other.id)

    play(scenario)


def test_taking_over_in_a_closed_lease_is_fenced() -> None:
    """A request would be answered by a generation that does not exist."""

    async def scenario(bank: Bank) -> None:
        lease, first, second = await two(bank)
        assert await named(bank, first) is Opening.OPEN
        await closing.close(bank.table, bank.dice, lease, NOW_MS)
        assert await named(bank, second) is Opening.FENCED
        assert await attempt(bank) == (first.id, 1)

    play(scenario)


def test_a_hundred_at_once_open_one_slot() -> None:
    """One request would be sent to a provider, and be paid for, many times."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(1_000)
        lease = await bank.leased(1_000)
        first = bank.generation(lease, 0, 5)
        await named(bank, first)
        await bank.end(first, None)
        candidates = [bank.generation(lease, number, 5) for number in range(1, 101)]
        answers = await asyncio.gather(*(named(bank, generation) for generation in candidates))
        assert answers.count(Opening.OPEN) == 1
        winner = candidates[answers.index(Opening.OPEN)]
        assert answers.count(InProgress(winner.id)) == 99
        assert await attempt(bank) == (winner.id, 2)

    for seed in range(3):
        play(scenario, plan=FaultPlan(latency_s=(0.0, 0.05)), seed=seed)


def test_a_late_try_of_a_request_that_another_answers_lands_nowhere() -> None:
    """A slot would be opened behind its caller's back, and its money be bound until the lease ends."""

    async def scenario(bank: Bank) -> None:
        _, first, second = await two(bank)
        bank.strike(*[Fault.DELAYED] * 8)
        with pytest.raises(UnknownOutcomeError):
            await named(bank, first)
        assert await named(bank, second) is Opening.OPEN
        await slots.put_void(bank.table, bank.dice, first.slot)
        await asyncio.sleep(500)
        assert await attempt(bank) == (second.id, 1)
        assert generations.state_of(await bank.item(keys.slot(first.slot))) is SlotState.VOID

    play(scenario)


def test_a_request_whose_record_was_swept_is_a_new_one() -> None:
    """A try that meets the broom would end in an error."""

    async def scenario(bank: Bank) -> None:
        _, first, second = await two(bank)
        await named(bank, first)
        await bank.end(first, None)
        real = bank.table.transact
        tries = 0

        async def sweeping_first(operations: object, token: str) -> object:
            nonlocal tries
            tries += 1
            if tries == 2:
                await bank.table.delete(keys.request(ACCOUNT, b"one"))
            return await real(operations, token)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bank.table, "transact", sweeping_first)
            assert await named(bank, second) is Opening.OPEN
        assert await attempt(bank) == (second.id, 1)

    play(scenario)


def test_settling_writes_the_cost_and_raises_a_hold_that_was_too_low() -> None:
    """A cost above its hold would be spent twice, as it is not counted against the lease."""

    async def scenario(bank: Bank) -> None:
        _, first, second = await two(bank)
        for generation, cost, hold in ((first, 15, 15), (second, 15, 20)):
            await slots.open_slot(bank.table, bank.dice, generation)
            assert await bank.end(generation, cost) is Ending.ENDED
            found = generations.generation_of(await bank.item(keys.slot(generation.slot)), generation.slot)
            assert (found.cost_nanousd, found.hold_nanousd, found.state) == (cost, hold, SlotState.SETTLED)

    play(scenario)


def test_a_slot_ends_once() -> None:
    """A generation could be billed again at another price, or what was answered be called free."""

    async def scenario(bank: Bank) -> None:
        _, first, second = await two(bank)
        await slots.open_slot(bank.table, bank.dice, first)
        assert await bank.end(first, 4) is Ending.ENDED
        assert await bank.end(first, 4) is Ending.ENDED
        assert await bank.end(first, 5) is Ending.OURS_NOT
        assert await bank.end(first, None) is Ending.OURS_NOT
        assert await slots.put_void(bank.table, bank.dice, first.slot) is Ending.OURS_NOT
        assert await bank.end(second, 5) is Ending.OURS_NOT

    play(scenario)
