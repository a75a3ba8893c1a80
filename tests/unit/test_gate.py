"""The gate before every method: how many are let in, how much they bring, how long they are waited for, and how it closes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from junctor.domain.errors import DeadlineError, DrainingError, OverloadedError
from junctor.doors.rpc.gate import (
    ANSWER_BYTES,
    ANSWER_FACTOR,
    ARRIVING_S,
    MEMORY_FACTOR,
    RETRY_LEAST_S,
    RETRY_MOST_S,
    TELL_EVERY_S,
    WEIGH_EVERY_S,
    Bounds,
    Gate,
)
from tests.support.doors import Events, new_gate
from tests.support.virtual_loop import run_virtual

QUIET_S = 0.2


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Play a scenario in virtual time; nothing may be left running."""

    async def main() -> None:
        await scenario()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


async def call(
    gate: Gate, size: int = 0, *, takes_s: float = 10.0, sends_s: float = 0.0, admit_s: float = 0.0, account: str = "one"
) -> None:
    """Pass a gate as a call does: it takes so long to know the caller, the request to come, and the answer to be made."""
    with gate.visit() as visit:
        await asyncio.sleep(admit_s)
        visit.expect(account)
        await asyncio.sleep(sends_s)
        visit.received(size)
        await asyncio.sleep(takes_s)


async def outcomes(*calls: Awaitable[None]) -> list[str]:
    """Name how calls ended: OK, or the error's reason."""
    ended = await asyncio.gather(*calls, return_exceptions=True)
    return [getattr(error, "reason", type(error).__name__) if error else "OK" for error in ended]


def test_as_many_as_may_are_let_in() -> None:
    """A crowd would take a server down with itself, or room once taken would never come back."""

    async def scenario() -> None:
        gate = new_gate(Bounds(calls_max=3))
        for _ in range(2):
            assert await outcomes(*(call(gate) for _ in range(5))) == ["OK"] * 3 + ["OVERLOADED"] * 2
        assert gate.under_way == 0

    run(scenario)


def test_who_does_not_send_makes_room() -> None:
    """A few connections that begin requests and never send them would keep everybody out, unknown as they are."""

    async def scenario() -> None:
        gate = new_gate(Bounds(calls_max=2))
        idlers = asyncio.gather(outcomes(call(gate, sends_s=50)), outcomes(call(gate, sends_s=50)))
        await asyncio.sleep(ARRIVING_S / 2)
        assert await outcomes(call(gate)) == ["OVERLOADED"]
        await asyncio.sleep(ARRIVING_S)
        assert await outcomes(*(call(gate, takes_s=1) for _ in range(3))) == ["OK", "OK", "OVERLOADED"]
        assert list(await idlers) == [["OVERLOADED"], ["OVERLOADED"]]

    run(scenario)


def test_who_comes_takes_the_room_of_who_has_most_of_it() -> None:
    """One account whose requests are never whole would have the slow ones of all others ended for everybody who comes."""

    async def scenario() -> None:
        gate = new_gate(Bounds(calls_max=5))
        two = [asyncio.create_task(outcomes(call(gate, sends_s=10, account="two"))) for _ in range(4)]
        await asyncio.sleep(0.5 * ARRIVING_S)
        one = asyncio.create_task(outcomes(call(gate, sends_s=10, account="one")))
        await asyncio.sleep(2 * ARRIVING_S)
        assert await outcomes(call(gate), call(gate), call(gate)) == ["OK"] * 3
        assert [await each for each in (one, *two)] == [["OK"]] * 2 + [["OVERLOADED"]] * 3

    run(scenario)


def test_who_has_sent_keeps_his_room() -> None:
    """A long answer would be thrown away for whoever comes after it."""

    async def scenario() -> None:
        gate = new_gate(Bounds(calls_max=1))
        running = asyncio.create_task(outcomes(call(gate, takes_s=100)))
        await asyncio.sleep(50)
        assert await outcomes(call(gate)) == ["OVERLOADED"]
        assert await running == ["OK"]

    run(scenario)


def test_requests_take_no_more_memory_than_they_may() -> None:
    """A few callers with long requests would take all memory, and the system would end the process."""

    async def scenario() -> None:
        gate = new_gate(Bounds(memory_max=100 * MEMORY_FACTOR))
        for _ in range(2):
            assert await outcomes(call(gate, 60), call(gate, 60), call(gate, 30)) == ["OK", "OVERLOADED", "OK"]

    run(scenario)


def test_an_answer_takes_memory_until_it_is_taken() -> None:
    """Callers who take no answer would fill the memory with them, at no cost and counted by nobody."""

    async def scenario() -> None:
        gate = new_gate(Bounds(memory_max=100 * MEMORY_FACTOR))
        taken = [gate.delivers(0), gate.delivers(50)]
        assert await outcomes(call(gate)) == ["OVERLOADED"]
        taken.pop()()
        assert await outcomes(call(gate)) == ["OVERLOADED"]
        taken.pop()()
        assert gate._memory == 0
        assert await outcomes(call(gate)) == ["OK"]
        roomy = new_gate(Bounds(memory_max=50 * ANSWER_FACTOR + ANSWER_BYTES + MEMORY_FACTOR))
        roomy.delivers(50)
        assert await outcomes(call(roomy)) == ["OK"]

    run(scenario)


def test_a_request_that_is_alone_is_taken() -> None:
    """A request that is larger than the bound would be told to come again, for ever."""

    async def scenario() -> None:
        gate = new_gate(Bounds(memory_max=MEMORY_FACTOR))
        assert await outcomes(call(gate, 1000), call(gate, 1000)) == ["OK", "OVERLOADED"]

    run(scenario)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("raised", [asyncio.CancelledError, LookupError])
def test_room_comes_back_however_a_call_ends(raised: type[BaseException], late: bool) -> None:
    """Each caller who leaves would make the server smaller."""

    async def scenario() -> None:
        gate = new_gate(Bounds(calls_max=1, memory_max=100 * MEMORY_FACTOR, request_max=100 * MEMORY_FACTOR))

        async def broken() -> None:
            with gate.visit() as visit:
                visit.expect("one")
                if late:
                    await asyncio.sleep(2 * ARRIVING_S)
                else:
                    visit.received(90)
                raise raised

        for _ in range(3):
            with pytest.raises(raised):
                await broken()
        assert await outcomes(call(gate, 90)) == ["OK"]

    run(scenario)


def test_a_crowd_is_spread_and_told_of_once_a_second() -> None:
    """All who are refused would come back at one instant, or fill the log."""

    async def scenario() -> None:
        events: Events = []
        draws = iter([0.0, 0.5, 0.75] + [0.5] * 997)
        gate = Gate(Bounds(calls_max=1), lambda: next(draws), lambda name, fields: events.append((name, fields)))
        waits = []
        with gate.visit():
            for _ in range(1000):
                with pytest.raises(OverloadedError) as caught:
                    gate.visit()
                waits.append(caught.value.retry_after_s)
            await asyncio.sleep(TELL_EVERY_S)
        span_s = RETRY_MOST_S - RETRY_LEAST_S
        assert waits[:3] == [RETRY_LEAST_S, RETRY_LEAST_S + span_s / 2, RETRY_LEAST_S + span_s * 3 / 4]
        assert [fields for _, fields in events] == [{"turned_away": 1000, "under_way": 1, "request_memory_bytes": 0}]

    run(scenario)


def test_who_does_not_send_is_given_up() -> None:
    """A few connections that begin requests and never send them would hold all room."""

    async def scenario() -> None:
        gate = new_gate(Bounds(calls_max=1, patience_s=60))
        with pytest.raises(DeadlineError) as caught:
            await call(gate, sends_s=1000)
        assert caught.value.metadata == {"stage": "receipt"}
        assert 60 <= asyncio.get_running_loop().time() <= 75
        assert await outcomes(call(gate, sends_s=59, takes_s=1000)) == ["OK"]

    run(scenario)


def test_who_does_not_read_is_given_up() -> None:
    """A caller who stops reading would hold his call, and the provider's answer, for ever."""

    async def scenario() -> None:
        gate = new_gate(Bounds(patience_s=60))

        async def stream() -> None:
            with gate.visit() as visit:
                visit.expect("one")
                visit.received(1)
                for takes_s in (*[50] * 100, 1000):
                    visit.waits_since = asyncio.get_running_loop().time()
                    await asyncio.sleep(takes_s)

        with pytest.raises(DeadlineError) as caught:
            await stream()
        assert caught.value.metadata == {"stage": "delivery"}
        assert 5060 <= asyncio.get_running_loop().time() <= 5075

    run(scenario)


def test_who_is_still_looked_up_is_not_waited_for() -> None:
    """A caller would be told that he is slow where the store is, or make room for others in his stead."""

    async def scenario() -> None:
        gate = new_gate(Bounds(calls_max=1, patience_s=60, memory_max=10, request_max=100))
        running = asyncio.create_task(outcomes(call(gate, admit_s=100, sends_s=59)))
        await asyncio.sleep(50)
        assert await outcomes(call(gate)) == ["OVERLOADED"]
        assert await running == ["OK"]

    run(scenario)


SLOW = Bounds(memory_max=100 * MEMORY_FACTOR, request_max=40 * MEMORY_FACTOR)
"""Room for two requests that are late and for a short one."""


async def slow(gate: Gate, number: int, account: str = "one", sends_s: float = 20.0) -> list[str]:
    """Send so many requests slowly, and name how they ended."""
    return await outcomes(*(call(gate, 9, sends_s=sends_s, account=account) for _ in range(number)))


def test_requests_that_are_late_take_memory() -> None:
    """Whoever sends long requests slowly would fill the memory beside the bound, as grpc keeps what has come."""

    async def scenario() -> None:
        gate = new_gate(SLOW)
        assert await slow(gate, 5) == ["OK"] * 2 + ["OVERLOADED"] * 3
        assert asyncio.get_running_loop().time() == 30
        assert await slow(gate, 5, sends_s=ARRIVING_S / 2) == ["OK"] * 5, "they are in time"

    run(scenario)


def test_a_request_that_is_there_costs_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call would pay for those that are slow."""

    async def scenario() -> None:
        gate, loop, timers = new_gate(), asyncio.get_running_loop(), 0
        call_later = loop.call_later

        def counted(*args: Any, **named: Any) -> asyncio.TimerHandle:
            nonlocal timers
            timers += 1
            return call_later(*args, **named)

        monkeypatch.setattr(loop, "call_later", counted)
        for _ in range(100):
            await call(gate, 9, takes_s=0)
        assert timers == 2, "one looks at all that are waited for, one at all that are late"
        await asyncio.sleep(2 * WEIGH_EVERY_S)
        timers = 0
        await asyncio.sleep(2 * WEIGH_EVERY_S)
        assert timers == 1, "where nothing is on its way nothing is looked at"

    run(scenario)


def test_late_requests_make_room_for_those_that_are_there() -> None:
    """A few slow senders would keep everybody out: who has sent all would be turned away for who has not."""

    async def scenario() -> None:
        gate = new_gate(SLOW)
        late = asyncio.gather(slow(gate, 1), slow(gate, 1))
        await asyncio.sleep(2 * ARRIVING_S)
        assert await outcomes(call(gate, 18, takes_s=1)) == ["OK"]
        assert await outcomes(call(gate, 50, takes_s=1)) == ["OK"]
        assert list(await late) == [["OK"], ["OVERLOADED"]], "the one that came last, and no more than had to"

    run(scenario)


def test_late_requests_stay_where_their_end_would_not_help() -> None:
    """Requests that are nearly there would be ended for one that cannot be taken anyway."""

    async def scenario() -> None:
        gate = new_gate(SLOW)
        running = asyncio.create_task(outcomes(call(gate, 50, takes_s=15)))
        late = asyncio.create_task(slow(gate, 1))
        await asyncio.sleep(2 * ARRIVING_S)
        assert await outcomes(call(gate, 60)) == ["OVERLOADED"]
        assert await running == ["OK"]
        assert await late == ["OK"]

    run(scenario)


def test_who_has_most_on_their_way_make_room_first() -> None:
    """One account that sends slowly would have the requests of all others ended."""

    async def scenario() -> None:
        gate = new_gate(SLOW)
        one = asyncio.create_task(slow(gate, 1, "one"))
        await asyncio.sleep(ARRIVING_S / 2)
        two = asyncio.create_task(slow(gate, 4, "two"))
        assert await one == ["OK"]
        assert await two == ["OK"] + ["OVERLOADED"] * 3

    run(scenario)


@pytest.mark.parametrize(("bounds", "room"), [(SLOW, 2), (Bounds(calls_max=6), 6)], ids=["memory", "calls"])
def test_some_slow_requests_arrive_however_many_come(bounds: Bounds, room: int) -> None:
    """Where more come slowly than there is room for, each would be ended for those behind it, and none would ever be whole."""

    async def scenario() -> None:
        gate, coming = new_gate(bounds), []
        for _ in range(40):
            coming.append(asyncio.create_task(outcomes(call(gate, 9, sends_s=10 * ARRIVING_S, takes_s=0))))
            await asyncio.sleep(ARRIVING_S)
        assert [await each for each in coming].count(["OK"]) >= 2 * room, "not only those behind whom nobody comes"

    run(scenario)


def test_a_late_request_that_is_alone_may_come() -> None:
    """Where the bound is less than the longest request, nobody could send slowly what he may send."""

    async def scenario() -> None:
        gate = new_gate(Bounds(memory_max=10, request_max=1000))
        assert await slow(gate, 2) == ["OK", "OVERLOADED"]
        late = asyncio.create_task(slow(gate, 1))
        await asyncio.sleep(2 * ARRIVING_S)
        assert await outcomes(call(gate)) == ["OK"]
        assert await late == ["OVERLOADED"]

    run(scenario)


def test_a_closed_gate_lets_nobody_in() -> None:
    """A server that ends would take calls that it must cut."""

    async def scenario() -> None:
        gate = new_gate()
        running = asyncio.create_task(call(gate))
        await asyncio.sleep(1)
        gate.close()
        with pytest.raises(DrainingError):
            gate.visit()
        assert not await gate.empty(1)
        await running
        assert await gate.empty(0)

    run(scenario)


def test_what_is_left_is_ended_and_told() -> None:
    """A call that outlasts the grace would be told CANCELLED, which no client repeats."""

    async def scenario() -> None:
        gate = new_gate()
        calls = asyncio.gather(outcomes(call(gate)), outcomes(call(gate, sends_s=10)))
        await asyncio.sleep(1)
        gate.close()
        gate.end()
        assert await gate.empty(1)
        assert list(await calls) == [["DRAINING"], ["DRAINING"]]
        assert asyncio.get_running_loop().time() == 1

    run(scenario)


def test_a_hushed_gate_waits_until_nobody_comes() -> None:
    """The server would stop while calls are on their way, and grpc would tell them CANCELLED."""

    async def scenario() -> None:
        gate, loop = new_gate(), asyncio.get_running_loop()
        gate.close()
        await gate.hush(QUIET_S, 10)
        gate.release()
        assert loop.time() == 0

        async def come(after_s: float) -> float:
            await asyncio.sleep(after_s)
            with pytest.raises(DrainingError):
                gate.visit()
            await gate.released()
            return loop.time()

        with pytest.raises(DrainingError):
            gate.visit()
        coming = asyncio.gather(*(come(QUIET_S * place * 0.9) for place in range(1, 6)))
        await gate.hush(QUIET_S, 10)
        quiet_at = loop.time()
        assert quiet_at == pytest.approx(QUIET_S * (5 * 0.9 + 1))
        gate.release()
        assert await coming == [quiet_at] * 5

    run(scenario)


def test_a_hush_ends() -> None:
    """A crowd that never stops calling would keep a server from ending."""

    async def scenario() -> None:
        gate, loop = new_gate(), asyncio.get_running_loop()
        gate.close()

        async def crowd() -> None:
            while True:
                with pytest.raises(DrainingError):
                    gate.visit()
                await asyncio.sleep(QUIET_S / 2)

        coming = asyncio.create_task(crowd())
        await asyncio.sleep(0.001)
        await gate.hush(QUIET_S, 0.5)
        assert loop.time() == pytest.approx(0.501)
        coming.cancel()
        await asyncio.wait({coming})

    run(scenario)
