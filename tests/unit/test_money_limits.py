"""Limits and their windows: periods of time, windows that follow their limit, and none that is forgotten."""

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from junctor.adapters.tables.faults import FaultPlan
from junctor.domain.credits import Interval, Limit
from junctor.ledger import leasing, limits
from junctor.ledger.credits import Booking
from junctor.ledger.leasing import Leased, WindowShort
from junctor.records import keys, windows
from junctor.records.windows import Period, period
from tests.support.bank import ACCOUNT, DAY, NOW_MS, Bank, play

DAY_MS = 86_400_000


def ms(text: str) -> int:
    """Return an instant in Unix milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def changed(amount: int, change: str = "c1") -> Limit:
    """Return the day's limit as it is to be."""
    return msgspec.structs.replace(DAY, limit_nanousd=amount, change=change)


async def opened(bank: Bank, *days: int) -> None:
    """Open the windows of so many days from now."""
    for day in days:
        assert await limits.open_window(bank.table, bank.dice, ACCOUNT, windows.name(DAY, NOW_MS + day * DAY_MS))


@pytest.mark.parametrize(
    ("interval", "at", "name", "end"),
    [
        (Interval.DAY, "2026-11-21T00:00:00", "DAY-2026-11-21", "2026-11-22"),
        (Interval.DAY, "2026-12-31T23:59:59.999", "DAY-2026-12-31", "2027-01-01"),
        (Interval.DAY, "2028-02-29T12:00:00", "DAY-2028-02-29", "2028-03-01"),
        (Interval.WEEK, "2026-11-22T23:59:59.999", "WEEK-2026-11-16", "2026-11-23"),
        (Interval.WEEK, "2026-11-23T00:00:00", "WEEK-2026-11-23", "2026-11-30"),
        (Interval.WEEK, "2027-01-01T00:00:00", "WEEK-2026-12-28", "2027-01-04"),
        (Interval.MONTH, "2026-01-31T23:59:59.999", "MONTH-2026-01", "2026-02-01"),
        (Interval.MONTH, "2026-12-01T00:00:00", "MONTH-2026-12", "2027-01-01"),
        (Interval.MONTH, "1970-01-01T00:00:00", "MONTH-1970-01", "1970-02-01"),
    ],
)
def test_periods_begin_and_end_on_the_millisecond(interval: Interval, at: str, name: str, end: str) -> None:
    """A cost would count in the wrong day, or a lease be used past the end of its period."""
    assert period(interval, ms(at)) == Period(name, ms(end))
    assert period(interval, ms(end) - 1).name == name
    assert period(interval, ms(end)).name > name


def test_all_time_has_no_end() -> None:
    """A limit for good would begin anew some day."""
    assert period(Interval.ALL, 0) == period(Interval.ALL, ms("2999-01-01")) == Period("ALL", None)


def test_a_limit_is_made_once() -> None:
    """A limit would be lost, or replaced by making another of its name."""

    async def scenario(bank: Bank) -> None:
        assert await limits.make_limit(bank.table, bank.dice, DAY) is Booking.BOOKED
        assert await limits.make_limit(bank.table, bank.dice, DAY) is Booking.BOOKED
        assert await limits.make_limit(bank.table, bank.dice, changed(1, "")) is Booking.DIFFERS
        other = msgspec.structs.replace(DAY, interval=Interval.ALL)
        assert await limits.make_limit(bank.table, bank.dice, other) is Booking.DIFFERS
        assert await bank.limit(DAY) == DAY

    play(scenario)


def test_the_newest_windows_follow_their_limit() -> None:
    """A limit that was raised would bind until tomorrow, or one that was lowered not at all."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(1_000)
        await bank.limited(DAY)
        await opened(bank, -3, -2, -1, 1)
        await bank.leased(300, DAY)
        assert await limits.set_limit(bank.table, bank.dice, changed(800)) is Booking.BOOKED
        window = await bank.window(DAY)
        assert (window.limit_nanousd, window.headroom_nanousd, window.leased_nanousd) == (800, 500, 300)
        places = [keys.window(ACCOUNT, windows.name(DAY, NOW_MS + day * DAY_MS)) for day in (-3, -2, -1, 0, 1)]
        found = [windows.window_of(await bank.item(place)) for place in places]
        assert [window.limit_nanousd for window in found] == [500, 500, 800, 800, 800]
        assert await bank.limit(DAY) == msgspec.structs.replace(changed(800), ver=6)

    play(scenario)


def test_a_lowered_limit_stops_new_leases_at_once() -> None:
    """Spending would go on past a limit that somebody set to stop it."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(1_000)
        await bank.limited(DAY)
        await bank.leased(300, DAY)
        assert await limits.set_limit(bank.table, bank.dice, changed(100)) is Booking.BOOKED
        assert (await bank.window(DAY)).headroom_nanousd == -200
        answer = await leasing.acquire(bank.table, bank.dice, bank.lease(1, DAY, number=1))
        assert answer == WindowShort(bank.lease(1, DAY).windows[0], await bank.window(DAY))
        assert await limits.set_limit(bank.table, bank.dice, changed(301, "c2")) is Booking.BOOKED
        assert isinstance(await leasing.acquire(bank.table, bank.dice, bank.lease(1, DAY, number=1)), Leased)

    play(scenario)


def test_a_change_counts_once_and_means_one_thing() -> None:
    """A change sent twice would undo what was set between, or two changes pass for one."""

    async def scenario(bank: Bank) -> None:
        await bank.limited(DAY)
        assert await limits.set_limit(bank.table, bank.dice, changed(100)) is Booking.BOOKED
        assert await limits.set_limit(bank.table, bank.dice, changed(100)) is Booking.BOOKED
        assert await limits.set_limit(bank.table, bank.dice, changed(200)) is Booking.DIFFERS
        monthly = msgspec.structs.replace(changed(200, "c2"), interval=Interval.MONTH)
        assert await limits.set_limit(bank.table, bank.dice, monthly) is Booking.DIFFERS
        unknown = msgspec.structs.replace(changed(1), id="nobody")
        assert await limits.set_limit(bank.table, bank.dice, unknown) is Booking.LIMIT_UNKNOWN
        assert (await bank.limit(DAY)).ver == 1

    play(scenario)


@pytest.mark.parametrize("amount", [-1, True, 1.5])
def test_what_is_no_limit_is_refused(amount: int) -> None:
    """A window would begin below zero."""

    async def scenario(bank: Bank) -> None:
        for act in (limits.make_limit, limits.set_limit):
            with pytest.raises(ValueError, match="a limit is"):
                await act(bank.table, bank.dice, changed(amount))
        with pytest.raises(ValueError, match="has an id"):
            await limits.set_limit(bank.table, bank.dice, DAY)

    play(scenario)


def test_windows_opened_while_a_limit_is_set_follow_it() -> None:
    """A window would be opened with the limit of a moment ago, and keep it for its whole period."""

    async def scenario(bank: Bank) -> None:
        await bank.limited(DAY)
        await asyncio.gather(
            opened(bank, 0),
            opened(bank, 0),
            opened(bank, 1),
            limits.set_limit(bank.table, bank.dice, changed(800, "c1")),
            limits.set_limit(bank.table, bank.dice, changed(300, "c2")),
            opened(bank, -1),
        )
        wanted = (await bank.limit(DAY)).limit_nanousd
        assert wanted in {800, 300}
        assert (await bank.window(DAY)).headroom_nanousd == wanted

    for seed in range(40):
        play(scenario, plan=FaultPlan(latency_s=(0.0, 0.05)), seed=seed)


def test_no_window_without_a_limit() -> None:
    """A key that has no limit would be bound by one of nothing."""

    async def scenario(bank: Bank) -> None:
        assert not await limits.open_window(bank.table, bank.dice, ACCOUNT, windows.name(DAY, NOW_MS))

    play(scenario)
