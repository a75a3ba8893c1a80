"""What a call asks of the money before it begins: how long its answer may get, and what its caller is told if it cannot."""

import asyncio

import msgspec
import pytest

from junctor.adapters.tables.faults import CALM, FaultPlan
from junctor.domain.call import Call
from junctor.domain.catalog import PriceCard, PriceParts
from junctor.domain.errors import InsufficientCreditsError
from junctor.domain.routing import Candidate, Plan
from junctor.policy.bounds import DEFAULT_OUTPUT_HOLD_TOKENS
from tests.support.world import ENDPOINT, PLAN, VOID, World, call, play

MICRO = 1_000_000  # pico-USD
TOKEN = 1_000  # nano-USD
LONGEST = 20_000
ROOMY = DEFAULT_OUTPUT_HOLD_TOKENS + 2 * (LONGEST - DEFAULT_OUTPUT_HOLD_TOKENS)
"""Credit of which one longest answer leaves half, beside its hold."""
SLOW = FaultPlan(latency_s=(5.0, 5.0))


def planned() -> Plan:
    """Return a plan whose output costs a micro-dollar a token, and is at most 20,000 tokens."""
    card = PriceCard(version="1", parts=PriceParts(input=0, output=MICRO), source="s", as_of="d")
    return Plan((Candidate(msgspec.structs.replace(ENDPOINT, output_tokens_max=LONGEST), None, card),))


def asked(max_tokens: int | None = None) -> Call:
    """Return a call with a bound of its answer."""
    plain = call()
    return msgspec.structs.replace(plain, spec=msgspec.structs.replace(plain.spec, max_tokens=max_tokens))


@pytest.mark.parametrize(
    ("streamed", "credit", "max_tokens", "cap"),
    [
        (True, LONGEST, None, None),
        (True, LONGEST - 1, None, DEFAULT_OUTPUT_HOLD_TOKENS),
        (False, ROOMY, None, None),
        (False, ROOMY - 1, None, DEFAULT_OUTPUT_HOLD_TOKENS),
        *((streamed, DEFAULT_OUTPUT_HOLD_TOKENS, None, DEFAULT_OUTPUT_HOLD_TOKENS) for streamed in (False, True)),
        *((streamed, 500, 500, None) for streamed in (False, True)),
        *((streamed, LONGEST, LONGEST, None) for streamed in (False, True)),
    ],
)
def test_an_answer_is_bounded_where_the_money_is(streamed: bool, credit: int, max_tokens: int | None, cap: int | None) -> None:
    """An answer would be cut in the middle, or one be shortened that could be paid."""

    async def scenario(world: World) -> None:
        await world.credit(credit * TOKEN)
        holding = await world.ledger.begin(msgspec.structs.replace(asked(max_tokens), streamed=streamed), planned())
        open_ended = max_tokens is None and cap is None
        assert holding.output_cap == cap
        assert holding.output_tokens == (max_tokens or DEFAULT_OUTPUT_HOLD_TOKENS)
        assert holding.may_outgrow is (streamed and open_ended)
        assert holding.error is None
        hold = await holding.ready()
        assert holding.generation_id == hold.generation.id
        held_tokens = LONGEST if open_ended and not streamed else holding.output_tokens
        assert hold.generation.hold_nanousd == held_tokens * TOKEN
        await world.ledger.settle(hold, VOID)

    play(scenario)


def test_a_refusal_tells_what_would_do() -> None:
    """A caller could not help himself: he would not know what is missing, nor what he can afford."""

    async def scenario(world: World) -> None:
        await world.credit(700 * TOKEN)
        with pytest.raises(InsufficientCreditsError) as caught:
            await world.ledger.begin(asked(), planned())
        assert caught.value.metadata == {
            "needed_nanousd": str(DEFAULT_OUTPUT_HOLD_TOKENS * TOKEN),
            "available_nanousd": str(700 * TOKEN),
            "leased_nanousd": "0",
            "affordable_max_tokens": "700",
        }
        assert caught.value.retry_after_s is None
        with pytest.raises(InsufficientCreditsError):
            await world.ledger.begin(asked(701), planned())
        hold = await world.ledger.hold(asked(700), planned())
        with pytest.raises(InsufficientCreditsError) as again:
            await world.ledger.begin(asked(1), planned())
        assert again.value.retry_after_s == 3.0
        assert again.value.metadata["leased_nanousd"] == str(700 * TOKEN)
        await world.ledger.settle(hold, VOID)

    play(scenario)


def test_an_account_that_nobody_made_has_nothing() -> None:
    """A key of an account that is gone would be served, or the server fail."""

    async def scenario(world: World) -> None:
        with pytest.raises(InsufficientCreditsError) as caught:
            await world.ledger.begin(asked(1), planned())
        assert caught.value.metadata["available_nanousd"] == "0"
        assert world.leases() == []

    play(scenario)


def test_money_that_comes_too_late_for_a_call_stays_where_it_is() -> None:
    """A call would wait for money beyond its deadline, or leave money set aside that no answer will use."""

    async def scenario(world: World) -> None:
        await world.credit(LONGEST * TOKEN)
        world.store.dice.plan = SLOW
        began_s = world.clock.monotonic_s()
        with pytest.raises(TimeoutError):
            await world.ledger.begin(call(remaining_s=1), planned())
        assert world.clock.monotonic_s() - began_s == pytest.approx(1)
        world.store.dice.plan = CALM
        await world.ledger.settle(await world.ledger.hold(asked(), planned()), VOID)
        await world.ledger.close()
        purse = world.purse()
        assert (purse.avail_nanousd, purse.leased_nanousd) == (LONGEST * TOKEN, 0)

    play(scenario)


def test_a_hold_that_is_late_is_still_made() -> None:
    """A caller whose time is up would wait on, or the slot that is being written would be forgotten with him."""

    async def scenario(world: World) -> None:
        await world.ledger.hold(call(), PLAN)
        world.store.dice.plan = SLOW
        holding = await world.ledger.begin(call(), PLAN)
        began_s = world.clock.monotonic_s()
        with pytest.raises(TimeoutError):
            await holding.ready(asyncio.get_running_loop().time() + 1)
        assert world.clock.monotonic_s() - began_s == pytest.approx(1)
        hold = await holding.ready()
        assert holding.generation_id == hold.generation.id
        await world.ledger.settle(hold, VOID)

    play(scenario)
