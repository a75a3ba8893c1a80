"""Who may open which slot: the window rule that lets a closer find every slot, and waiters that are never forgotten."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from junctor.domain.lease import Lease, Slot
from junctor.ledger.holder import HeldLease
from tests.support.virtual_loop import run_virtual
from tests.support.world import EPOCH_MS, LoopClock

WIDTH = 16
UNTIL_S = 300


def held(width: int = WIDTH) -> HeldLease:
    """Return a fresh lease of five minutes."""
    until_ms = EPOCH_MS + UNTIL_S * 1000
    return HeldLease(Lease(id="L", account="A", scope="A", owner="O", until_ms=until_ms, exp_ms=until_ms, width=width))


def run(scenario: Callable[[HeldLease, LoopClock], Awaitable[None]], width: int = WIDTH) -> None:
    """Play a scenario; at its end nobody may be waiting."""

    async def main() -> None:
        await scenario(held(width), LoopClock())
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


async def settle_down() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_numbers_come_in_order_up_to_the_width() -> None:
    """A closer who stops after so many gaps in a row would miss a slot that costs money."""

    async def scenario(lease: HeldLease, clock: LoopClock) -> None:
        slots = [await lease.take(clock) for _ in range(WIDTH)]
        assert slots == [Slot("A", "L", number) for number in range(WIDTH)]
        waiter = asyncio.create_task(lease.take(clock))
        await settle_down()
        for number in range(1, WIDTH):
            lease.acknowledge(Slot("A", "L", number))
        await settle_down()
        assert not waiter.done()
        lease.acknowledge(Slot("A", "L", 0))
        assert await waiter == Slot("A", "L", WIDTH)

    run(scenario)


def test_a_lease_of_width_one_takes_one_at_a_time() -> None:
    """A frozen function would leave more slots in the air than a closer looks for."""

    async def scenario(lease: HeldLease, clock: LoopClock) -> None:
        for number in range(5):
            assert await lease.take(clock) == Slot("A", "L", number)
            waiter = asyncio.create_task(lease.take(clock))
            await settle_down()
            assert not waiter.done()
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
            lease.acknowledge(Slot("A", "L", number))

    run(scenario, width=1)


@pytest.mark.parametrize("waiters", [1, 15, 100])
def test_fencing_sends_everybody_away(waiters: int) -> None:
    """Calls would wait for ever in a lease that is closed."""

    async def scenario(lease: HeldLease, clock: LoopClock) -> None:
        taken = [await lease.take(clock) for _ in range(WIDTH)]
        tasks = [asyncio.create_task(lease.take(clock)) for _ in range(waiters)]
        await settle_down()
        lease.fence()
        assert await asyncio.gather(*tasks) == [None] * waiters
        assert await lease.take(clock) is None
        assert not lease.usable(clock.now_ms())
        assert len(taken) == WIDTH

    run(scenario)


def test_no_number_is_handed_out_after_the_lease_s_time() -> None:
    """A call that had to wait would open a slot in a lease that anyone may close."""

    async def scenario(lease: HeldLease, clock: LoopClock) -> None:
        taken = [await lease.take(clock) for _ in range(WIDTH)]
        tasks = [asyncio.create_task(lease.take(clock)) for _ in range(40)]
        await asyncio.sleep(UNTIL_S)
        assert lease.usable(clock.now_ms())
        await asyncio.sleep(1)
        assert not lease.usable(clock.now_ms())
        assert taken[0] is not None
        lease.acknowledge(taken[0])
        assert await asyncio.gather(*tasks) == [None] * 40

    run(scenario)


def test_waiters_leave_when_the_numbers_are_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """More calls than the last window has room for would wait for ever."""
    monkeypatch.setattr("junctor.ledger.holder.SLOT_NUMBER_MAX", WIDTH - 1)

    async def scenario(lease: HeldLease, clock: LoopClock) -> None:
        taken = [await lease.take(clock) for _ in range(WIDTH)]
        tasks = [asyncio.create_task(lease.take(clock)) for _ in range(1_000)]
        await settle_down()
        for slot in taken:
            assert slot is not None
            lease.acknowledge(slot)
            await settle_down()
        async with asyncio.timeout(10):
            assert await asyncio.gather(*tasks) == [None] * 1_000

    run(scenario)


def test_a_waiter_who_leaves_passes_his_turn_on() -> None:
    """One caller who hangs up at the wrong moment would stop all others."""

    async def scenario(lease: HeldLease, clock: LoopClock) -> None:
        for _ in range(WIDTH):
            await lease.take(clock)
        first, second = (asyncio.create_task(lease.take(clock)) for _ in range(2))
        await settle_down()
        lease.acknowledge(Slot("A", "L", 0))
        first.cancel()  # already woken, but it has not run yet
        async with asyncio.timeout(10):
            assert await second == Slot("A", "L", WIDTH)
        await asyncio.gather(first, return_exceptions=True)
        assert first.cancelled()

    run(scenario)


class Play:
    """Callers who come, acknowledge in any order and leave, and a reckoning of their own of what must hold."""

    def __init__(self, rng: random.Random, width: int) -> None:
        self._rng = rng
        self._width = width
        self._lease = held(width)
        self._clock = LoopClock()
        self._waiting: set[asyncio.Task[Slot | None]] = set()
        self._unacknowledged: set[int] = set()
        self._handed_out = 0
        self._fenced = False

    async def run(self, steps: int) -> None:
        """Do so many random things, let all run after some of them, and check."""
        for _ in range(steps):
            self._rng.choice((self._come, self._come, self._acknowledge, self._acknowledge, self._leave))()
            if self._rng.random() < 0.02:
                self._lease.fence()
                self._fenced = True
            if self._rng.random() < 0.6:
                await settle_down()
                self._check()
        while self._waiting:
            await settle_down()
            self._check()
            self._acknowledge()

    def _come(self) -> None:
        task = asyncio.create_task(self._lease.take(self._clock))
        self._waiting.add(task)
        task.add_done_callback(self._served)

    def _served(self, task: "asyncio.Task[Slot | None]") -> None:
        self._waiting.discard(task)
        if task.cancelled():
            return
        slot = task.result()
        if slot is None:
            assert self._fenced
            return
        assert slot.number == self._handed_out
        self._handed_out += 1
        self._unacknowledged.add(slot.number)
        assert min(self._unacknowledged) > slot.number - self._width

    def _acknowledge(self) -> None:
        if self._unacknowledged:
            number = self._rng.choice(sorted(self._unacknowledged))
            self._unacknowledged.discard(number)
            self._lease.acknowledge(Slot("A", "L", number))

    def _leave(self) -> None:
        if self._waiting:
            self._rng.choice(sorted(self._waiting, key=id)).cancel()

    def _check(self) -> None:
        room = self._width - (self._handed_out - min(self._unacknowledged, default=self._handed_out))
        assert not self._waiting or (room == 0 and not self._fenced)


def test_a_task_whose_turn_has_come_is_not_overtaken() -> None:
    """A named call, whose slot a task writes, would wait for ever where writes end many at a time, as others stand there."""

    async def scenario(lease: HeldLease, clock: LoopClock) -> None:
        slots = [await lease.take(clock) for _ in range(WIDTH)]
        waiter, leaver = asyncio.create_task(lease.take(clock)), asyncio.create_task(lease.take(clock))
        await settle_down()
        told: list[Slot | None] = []
        for _ in range(2 * WIDTH):
            lease.wait(lambda: told.append(lease.slot_at_hand(clock.now_ms())))
        for slot in slots:
            assert slot is not None
            lease.acknowledge(slot)
        assert told == [Slot("A", "L", WIDTH + number) for number in range(WIDTH - 2)]
        assert lease.slot_at_hand(clock.now_ms()) is None  # nor may one who comes only now
        leaver.cancel()
        await settle_down()
        assert await waiter == Slot("A", "L", 2 * WIDTH - 2)
        assert told[-1] == Slot("A", "L", 2 * WIDTH - 1)  # what the other left went to the next
        assert len(told) == WIDTH - 1
        lease.fence()
        assert told[WIDTH - 1 :] == [None] * (WIDTH + 1)

    run(scenario)


@pytest.mark.parametrize("width", [1, 2, 16])
def test_the_window_holds_and_nobody_is_forgotten(width: int) -> None:
    """Some order of acknowledging and leaving would break the window, or leave a caller waiting although there is room."""
    failures: list[dict[str, object]] = []
    for seed in range(150):

        async def main(seed: int = seed) -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
            await Play(random.Random(seed), width).run(120)

        try:
            run_virtual(main())
        except BaseException as error:
            error.add_note(f"seed {seed}, width {width}")
            raise
        assert failures == [], f"seed {seed}, width {width}"


def with_money(amount: int) -> HeldLease:
    """Return a fresh lease with an amount."""
    return HeldLease(Lease(id="L", account="A", scope="A", owner="O", until_ms=1, exp_ms=1, width=WIDTH, amount_nanousd=amount))


def test_no_more_is_set_aside_than_there_is() -> None:
    """The slots of a lease would come to cost more than it has."""
    lease = with_money(100)
    assert lease.reserve(60)
    assert not lease.reserve(41)
    assert lease.reserve(40)
    assert lease.reserve(0)
    assert not lease.reserve_more(1)
    assert (lease.free_nanousd, lease.reserved_nanousd, lease.calls) == (0, 100, 3)
    lease.release(60, 10)
    assert (lease.free_nanousd, lease.spent_nanousd, lease.calls) == (50, 10, 2)
    assert lease.reserve_more(50)
    lease.release_part(50)
    assert (lease.free_nanousd, lease.reserved_nanousd, lease.calls) == (50, 40, 2)


def test_the_total_is_known_when_every_call_has_ended() -> None:
    """A lease would be closed at less than its slots cost, or its money go back while a call may still spend it."""

    async def scenario(_: HeldLease, clock: LoopClock) -> None:
        lease = with_money(100)
        lease.lease = msgspec.structs.replace(lease.lease, until_ms=EPOCH_MS + 1_000)
        assert lease.total_nanousd == 0
        assert lease.reserve(60)
        assert lease.total_nanousd is None
        slot = await lease.take(clock)
        assert slot is not None
        lease.release(60, 10)
        assert lease.total_nanousd is None  # its slot is on its way
        lease.acknowledge(slot)
        assert lease.total_nanousd == 10

    run(scenario)


def test_the_total_of_a_lease_in_doubt_is_not_known() -> None:
    """A slot that was written after all would be paid out of nothing."""
    lease = with_money(100)
    assert lease.reserve(60)
    assert lease.reserve(20)
    lease.release(20, 5)
    lease.lose()
    assert (lease.calls, lease.fenced, lease.certain) == (0, True, False)
    assert lease.total_nanousd is None
    assert lease.reserved_nanousd == 60  # it stays set aside
