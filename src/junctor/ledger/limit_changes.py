"""Limits that come and go: set whether or not they are there, and removed (ledger.md: set limit).

A limit that is removed leaves its windows, which count on for the leases that have them; one that is made again takes up those
of now and later in the same transaction, so that what they leased and spent still counts and no headroom is there twice. What
was spent while there was no limit does not count.

An account's count rises with each limit made or removed, and a limit's `ver` begins above every `ver` that a removed one had.
So whoever opens a window, sets or removes a limit on the strength of what he read of an earlier one is refused, however late
his write arrives. The count also lets one limit be made at a time, and so keeps the bound of intervals for each subject.
"""

from functools import partial

import msgspec

from junctor.domain.credits import Limit
from junctor.ledger import limits, trying
from junctor.ledger.credits import Booking
from junctor.ports.ambient import Dice
from junctor.ports.table import Done, PutNew, Table
from junctor.records import keys, windows

INTERVALS_MAX = 2
"""The most limits of one subject: a call has four subjects, and a lease at most eight windows."""


async def put_limit(table: Table, dice: Dice, wanted: Limit) -> Booking | None:
    """Set a limit, or make it where it is missing, under the outside id `wanted.change`; `wanted.ver` does not count.

    None: it is not there, and its subject has INTERVALS_MAX others.

    Raises:
        StoreError: it could not be written, or its fate is not known; safe to repeat.
        ValueError: the limit is negative, or the change has no id.
    """
    while True:
        booking = await limits.set_limit(table, dice, wanted)
        if booking is not Booking.LIMIT_UNKNOWN:
            return booking
        count = windows.count_of(await trying.get(table, dice, keys.limits_ver(wanted.account)))
        query = windows.limits_of_subject(wanted.account, wanted.subject, wanted.subject_id)
        others = (await trying.repeat(dice, partial(table.query, query))).items
        if any(windows.limit_of(found).id == wanted.id for found in others):
            continue
        if len(others) >= INTERVALS_MAX:
            return None
        made = msgspec.structs.replace(wanted, ver=count + 1)
        page = await trying.repeat(dice, partial(table.query, windows.newest(made)))
        follow = (windows.follow(windows.window_of(found), made.limit_nanousd) for found in page.items)
        entry, counted = PutNew(windows.limit_item(made)), windows.counting(made.account, count, count + 1)
        if isinstance(await trying.transact(table, dice, (entry, counted, *follow)), Done):
            return Booking.BOOKED


async def remove_limit(table: Table, dice: Dice, account: str, limit_id: str) -> bool:
    """Remove a limit; False if there is none. Its windows stay.

    Raises:
        StoreError: it could not be written, or its fate is not known; safe to repeat.
    """
    seen = False
    while True:
        count = windows.count_of(await trying.get(table, dice, keys.limits_ver(account)))
        found = await trying.get(table, dice, keys.limit(account, limit_id))
        if found is None:
            return seen
        seen = True
        limit = windows.limit_of(found)
        counted = windows.counting(account, count, max(count, limit.ver) + 1)
        if isinstance(await trying.transact(table, dice, (windows.removing(limit), counted)), Done):
            return True
