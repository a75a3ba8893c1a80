"""Limits made and set, and their windows opened (ledger.md: set limit, window).

A limit's `ver` keeps both from passing each other: whoever opens a window or sets the limit raises it, if it is still as he
read it. So no window is opened with a limit that was set meanwhile, and no window is forgotten by a limit that is set.
"""

from functools import partial

from junctor.domain.credits import Limit, Window
from junctor.ledger import trying
from junctor.ledger.credits import Booking
from junctor.ports.ambient import Dice
from junctor.ports.table import Done, PutNew, Table
from junctor.records import keys, windows


async def make_limit(table: Table, dice: Dice, limit: Limit) -> Booking:
    """Write a limit that is not there yet. DIFFERS if one of its id is there with another amount or interval.

    Raises:
        StoreError: it could not be written, or its fate is not known.
        ValueError: the limit is negative.
    """
    _check(limit)
    answer = await trying.put_new(table, dice, windows.limit_item(limit))
    if isinstance(answer, Done) or answer.old is None:
        return Booking.BOOKED
    return _as_wanted(windows.limit_of(answer.old), limit)


async def set_limit(table: Table, dice: Dice, wanted: Limit) -> Booking:
    """Set a limit and let its newest windows follow, under the outside id `wanted.change`, which is not empty.

    Its interval stays; `wanted.ver` does not count. A limit lowered below what a window has leased and spent leaves that with
    a headroom below 0, and so stops new leases.

    Raises:
        StoreError: it could not be written, or its fate is not known; safe to repeat.
        ValueError: the limit is negative, or the change has no id.
    """
    _check(wanted)
    if not wanted.change:
        raise ValueError("a change of a limit has an id")
    while True:
        found = await trying.get(table, dice, keys.limit(wanted.account, wanted.id))
        if found is None:
            return Booking.LIMIT_UNKNOWN
        limit = windows.limit_of(found)
        if limit.change == wanted.change or limit.interval is not wanted.interval:
            return _as_wanted(limit, wanted)
        page = await trying.repeat(dice, partial(table.query, windows.newest(limit)))
        follow = (windows.follow(windows.window_of(item), wanted.limit_nanousd) for item in page.items)
        answer = await trying.transact(table, dice, (windows.new_limit(limit, wanted), *follow))
        if isinstance(answer, Done):
            return Booking.BOOKED


async def open_window(table: Table, dice: Dice, account: str, window: str) -> bool:
    """Open a window with the limit in force, if it is not open. False if there is no such limit.

    Raises:
        StoreError: it could not be written, or its fate is not known; safe to repeat.
    """
    while True:
        found = await trying.get(table, dice, keys.limit(account, keys.limit_of_window(window)))
        if found is None:
            return False
        limit = windows.limit_of(found)
        fresh = Window(account=account, key=window, limit_nanousd=limit.limit_nanousd, headroom_nanousd=limit.limit_nanousd)
        answer = await trying.transact(table, dice, (PutNew(windows.window_item(fresh)), windows.new_ver(limit)))
        if isinstance(answer, Done) or answer.index == 0:
            return True


def _as_wanted(found: Limit, wanted: Limit) -> Booking:
    same = (found.limit_nanousd, found.interval) == (wanted.limit_nanousd, wanted.interval)
    return Booking.BOOKED if same else Booking.DIFFERS


def _check(limit: Limit) -> None:
    if type(limit.limit_nanousd) is not int or limit.limit_nanousd < 0:
        raise ValueError("a limit is an integer of nano-USD and not negative")
