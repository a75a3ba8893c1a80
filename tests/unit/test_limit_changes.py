"""Limits set, removed and made again: no window that is still there loses headroom or has it twice, however writes arrive."""

import asyncio
import random

import msgspec
import pytest

from junctor.adapters.tables.faults import Fault, FaultPlan
from junctor.domain.credits import Interval, Limit, LimitSubject
from junctor.ledger import closing, leasing, limits, trying
from junctor.ledger.credits import Booking
from junctor.ledger.leasing import Leased, WindowShort
from junctor.ledger.limit_changes import put_limit, remove_limit
from junctor.ports.table import StoreError, UnknownOutcomeError
from junctor.records import windows
from tests.support.bank import ACCOUNT, NOW_MS, Bank, play

DAY_MS = 86_400_000
LATE = FaultPlan(delay_s=(50.0, 60.0))


def limit(amount: int, change: str = "c", interval: Interval = Interval.DAY, subject_id: str = "abc") -> Limit:
    """Return a key's limit as it is to be."""
    return Limit(
        account=ACCOUNT,
        id=windows.limit_id(LimitSubject.API_KEY, subject_id, interval),
        limit_nanousd=amount,
        interval=interval,
        subject=LimitSubject.API_KEY,
        subject_id=subject_id,
        change=change,
    )


async def put(bank: Bank, wanted: Limit) -> Booking | None:
    """Set a limit."""
    return await put_limit(bank.table, bank.dice, wanted)


async def remove(bank: Bank, gone: Limit) -> bool:
    """Remove a limit."""
    return await remove_limit(bank.table, bank.dice, ACCOUNT, gone.id)


@pytest.mark.parametrize(
    ("subject", "subject_id", "interval", "name"),
    [
        (LimitSubject.ORGANISATION, "", Interval.MONTH, "org.month"),
        (LimitSubject.WORKSPACE, "w-1", Interval.DAY, "workspace.w-1.day"),
        (LimitSubject.MEMBER, "ada", Interval.WEEK, "member.ada.week"),
        (LimitSubject.API_KEY, "0123456789ab", Interval.ALL, "key.0123456789ab.all"),
    ],
)
def test_a_limit_is_named_after_what_it_is_of(subject: LimitSubject, subject_id: str, interval: Interval, name: str) -> None:
    """Two limits would share one name, or instances look for one under another name than it was set."""
    assert windows.limit_id(subject, subject_id, interval) == name


def test_a_limit_is_made_by_setting_it() -> None:
    """A first limit could not be set, or a second setting be taken for the first."""

    async def scenario(bank: Bank) -> None:
        assert await put(bank, limit(500, "c1")) is Booking.BOOKED
        assert await put(bank, limit(500, "c1")) is Booking.BOOKED
        assert (await bank.limit(limit(0))).ver == 1
        assert await put(bank, limit(800, "c2")) is Booking.BOOKED
        assert (await bank.limit(limit(0))).limit_nanousd == 800

    play(scenario)


def test_what_is_removed_binds_no_more_and_what_is_leased_comes_back() -> None:
    """A limit that was removed would still bind, or money leased under it be lost."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(10_000)
        await put(bank, limit(500))
        lease = await bank.leased(300, limit(0))
        assert await remove(bank, limit(0))
        assert not await remove(bank, limit(0))
        await bank.spent(lease, 0, 40, hold=50)
        await closing.close(bank.table, bank.dice, lease, NOW_MS)
        window = await bank.window(limit(0))
        assert (window.headroom_nanousd, window.leased_nanousd, window.spent_nanousd) == (460, 0, 40)
        assert isinstance(await leasing.acquire(bank.table, bank.dice, bank.lease(600, number=1)), Leased)

    play(scenario)


@pytest.mark.parametrize("again", [100, 500, 900])
def test_a_limit_made_again_takes_up_its_window(again: int) -> None:
    """Removing a limit and making it again would give its headroom a second time, or take some away."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(10_000)
        await put(bank, limit(500, "c1"))
        await bank.leased(300, limit(0))
        await remove(bank, limit(0))
        assert await put(bank, limit(again, "c2")) is Booking.BOOKED
        window = await bank.window(limit(0))
        assert (window.limit_nanousd, window.headroom_nanousd, window.leased_nanousd) == (again, again - 300, 300)
        answer = await leasing.acquire(bank.table, bank.dice, bank.lease(again - 299 if again > 300 else 1, limit(0), number=1))
        assert isinstance(answer, WindowShort)

    play(scenario)


def test_a_subject_has_at_most_two_limits() -> None:
    """A call could have more windows than a lease takes, and none of the subject's calls would be answered."""

    async def scenario(bank: Bank) -> None:
        day, week, month = (limit(500, interval=interval) for interval in (Interval.DAY, Interval.WEEK, Interval.MONTH))
        results = await asyncio.gather(*(put(bank, wanted) for wanted in (day, week, month)))
        assert sorted(results, key=str) == [Booking.BOOKED, Booking.BOOKED, None]
        assert await put(bank, limit(500, subject_id="abcd")) is Booking.BOOKED
        kept = [wanted for wanted, result in zip((day, week, month), results, strict=True) if result]
        assert await put(bank, msgspec.structs.replace(kept[0], limit_nanousd=9, change="c2")) is Booking.BOOKED
        await remove(bank, kept[0])
        for wanted in (day, week, month):
            assert await put(bank, msgspec.structs.replace(wanted, change="c3")) in {Booking.BOOKED, None}
        assert sum(str(item["sk"]).startswith("LIMIT#key.abc.") for item in bank.items()) == 2

    for seed in range(10):
        play(scenario, plan=FaultPlan(latency_s=(0.0, 0.05)), seed=seed)


def test_writes_that_knew_an_earlier_limit_are_refused() -> None:
    """A window would be opened, or a limit set, removed or made, by a late write that knew a limit of the same name before."""

    async def scenario(bank: Bank) -> None:
        await put(bank, limit(500, "c1"))
        opening = limits.open_window(bank.table, bank.dice, ACCOUNT, windows.name(limit(0), NOW_MS))
        setting = limits.set_limit(bank.table, bank.dice, limit(900, "late"))
        for work, reads in ((opening, 1), (setting, 2), (remove(bank, limit(0)), 2)):
            bank.strike(*[Fault.NONE] * reads, Fault.DELAYED, *[Fault.UNAVAILABLE] * (trying.TRIES - 1))
            with pytest.raises(UnknownOutcomeError):
                await work
        await remove(bank, limit(0))
        bank.strike(*[Fault.NONE] * 4, Fault.DELAYED, *[Fault.UNAVAILABLE] * (trying.TRIES - 1))
        with pytest.raises(UnknownOutcomeError):
            await put(bank, limit(700, "late again"))
        for number in range(3):
            await remove(bank, limit(0))
            await put(bank, limit(100 + number, f"again-{number}"))
        await limits.open_window(bank.table, bank.dice, ACCOUNT, windows.name(limit(0), NOW_MS))
        await asyncio.sleep(100)
        assert (await bank.limit(limit(0))).limit_nanousd == 102
        assert (await bank.window(limit(0))).limit_nanousd == 102

    play(scenario, plan=LATE)


async def turn(bank: Bank, dice: random.Random, number: int) -> None:
    """Do one thing to the account's limits, windows and leases, and take what the store says."""
    await asyncio.sleep(dice.uniform(0, 20))
    interval = dice.choice((Interval.DAY, Interval.WEEK))
    at_ms = NOW_MS + dice.choice((-1, 0, 0, 0, 1)) * DAY_MS
    name = windows.name(limit(0, interval=interval), at_ms)
    try:
        match dice.choice(("put", "put", "remove", "open", "lease", "lease")):
            case "put":
                await put(bank, limit(dice.randint(0, 500), f"c{number}", interval))
            case "remove":
                await remove(bank, limit(0, interval=interval))
            case "open":
                await limits.open_window(bank.table, bank.dice, ACCOUNT, name)
            case _:
                asked = msgspec.structs.replace(bank.lease(dice.randint(1, 200), number=number), windows=(name,))
                answer = await leasing.acquire(bank.table, bank.dice, asked)
                if isinstance(answer, Leased):
                    await asyncio.sleep(dice.uniform(0, 5))
                    await closing.close(bank.table, bank.dice, answer.lease, NOW_MS)
    except StoreError:
        return


def test_the_books_hold_while_limits_come_and_go_under_faults() -> None:
    """A limit set, removed and made again by several at once, over a store that fails, would leave a stale window."""
    faults = (Fault.REPLY_LOST, Fault.DROPPED, Fault.DELAYED, Fault.DUPLICATED, Fault.THROTTLED, Fault.CONFLICT)
    plan = FaultPlan(chances=tuple((fault, 0.06) for fault in faults), latency_s=(0.0, 0.3), delay_s=(0.01, 60.0))
    for seed in range(40):
        dice = random.Random(seed)

        async def scenario(bank: Bank, dice: random.Random = dice) -> None:
            await bank.credit(100_000)
            await asyncio.gather(*(turn(bank, dice, number) for number in range(40)))

        play(scenario, plan=plan, seed=seed)
