"""Limits and their windows as items, and the periods of time that windows are named after.

There is no reset: a new period is a new item, so no reset can lose or double headroom. A window is made in one transaction with
its limit, whose `ver` tells a limit being set at that moment that there is one more window to change.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import assert_never, cast

import msgspec
from msgspec import Struct

from junctor.domain.credits import Interval, Limit, LimitSubject, Window
from junctor.domain.money import NanoUsd
from junctor.ports.table import (
    Absent,
    Add,
    AtLeast,
    Condition,
    Delete,
    Equals,
    Exists,
    Item,
    Query,
    Set,
    Update,
    Value,
)
from junctor.records import keys

LIMIT, HEADROOM, LEASED, SPENT = "limit_nanousd", "headroom_nanousd", "leased_nanousd", "spent_nanousd"

NEWEST = 3
"""How many windows follow their limit: yesterday's, today's and tomorrow's, as clocks may differ by a day."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY, _WEEK, _MORE_THAN_A_MONTH = timedelta(days=1), timedelta(days=7), timedelta(days=32)


class Period(Struct, frozen=True):
    """One period of an interval. `end_ms` is the first Unix millisecond after it, None if it has no end."""

    name: str
    end_ms: int | None


def period(interval: Interval, at_ms: int) -> Period:
    """Return the period that an instant in Unix milliseconds lies in: a UTC day, a week from Monday, a month, or all time."""
    day = (_EPOCH + timedelta(milliseconds=at_ms)).date()
    match interval:
        case Interval.DAY:
            return Period(f"DAY-{day.isoformat()}", _start_ms(day + _DAY))
        case Interval.WEEK:
            monday = day - timedelta(days=day.weekday())
            return Period(f"WEEK-{monday.isoformat()}", _start_ms(monday + _WEEK))
        case Interval.MONTH:
            first = day.replace(day=1)
            return Period(f"MONTH-{first.isoformat()[:7]}", _start_ms((first + _MORE_THAN_A_MONTH).replace(day=1)))
        case Interval.ALL:
            return Period("ALL", None)
        case _:
            assert_never(interval)


def name(limit: Limit, at_ms: int) -> str:
    """Name the window of a limit that an instant lies in, as leases carry it."""
    return keys.window_name(limit.id, period(limit.interval, at_ms).name)


def limit_id(subject: LimitSubject, subject_id: str, interval: Interval) -> str:
    """Name a limit: `org.month`, `workspace.<id>.day`, `member.<id>.week`, `key.<lookup id>.all`."""
    return f"{_of_subject(subject, subject_id)}{interval.value.lower()}"


def limit_item(limit: Limit) -> Item:
    """Return a limit as an item."""
    return {**keys.attributes(keys.limit(limit.account, limit.id)), **_fields(limit)}


def limit_of(found: Item) -> Limit:
    """Return the limit in an item."""
    return msgspec.convert(found, Limit)


def window_item(window: Window) -> Item:
    """Return a window as an item."""
    return {**keys.attributes(keys.window(window.account, window.key)), **_fields(window)}


def window_of(found: Item) -> Window:
    """Return the window in an item."""
    return msgspec.convert(found, Window)


def newest(limit: Limit) -> Query:
    """Return the query for those windows of a limit that may be of now or later, whatever a clock says."""
    first = keys.window(limit.account, keys.window_name(limit.id, ""))
    return Query(partition=first.partition, prefix=first.sort, limit=NEWEST, consistent=True, descending=True)


def exchange(account: str, window: str, *, taken: NanoUsd | None = None, released: NanoUsd = 0, spent: NanoUsd = 0) -> Update:
    """Return the update that gives headroom back, of which a part was spent, and takes other; see purses.exchange."""
    returned = released - spent
    conditions: tuple[Condition, ...] = () if taken is None else (AtLeast(HEADROOM, taken - returned),)
    changes = (Add(HEADROOM, returned - (taken or 0)), Add(LEASED, (taken or 0) - released), Add(SPENT, spent))
    return Update(keys.window(account, window), conditions, changes)


def new_ver(limit: Limit) -> Update:
    """Return the update that notes a new window at the limit, if the limit is still as it was read."""
    return Update(keys.limit(limit.account, limit.id), (Equals("ver", limit.ver),), (Add("ver", 1),))


def new_limit(limit: Limit, wanted: Limit) -> Update:
    """Return the update that sets a limit, if it is still as it was read."""
    changes = (Set(LIMIT, wanted.limit_nanousd), Set("change", wanted.change), Add("ver", 1))
    return Update(keys.limit(limit.account, limit.id), (Equals("ver", limit.ver),), changes)


def removing(limit: Limit) -> Delete:
    """Return the deletion of a limit, if it is still as it was read."""
    return Delete(keys.limit(limit.account, limit.id), (Equals("ver", limit.ver),))


def count_of(found: Item | None) -> int:
    """Return how high an account's count of limits made and removed is; 0 if there was none yet."""
    return msgspec.convert(found["ver"], int) if found else 0


def counting(account: str, count: int, higher: int) -> Update:
    """Return the update that raises an account's count of limits made and removed, if it is still as it was read."""
    unchanged: Condition = Equals("ver", count) if count else Absent("ver")
    return Update(keys.limits_ver(account), (unchanged,), (Set("ver", higher),))


def follow(window: Window, limit_nanousd: NanoUsd) -> Update:
    """Return the update that lets a window follow its limit."""
    changes = (Set(LIMIT, limit_nanousd), Add(HEADROOM, limit_nanousd - window.limit_nanousd))
    return Update(keys.window(window.account, window.key), (Exists(HEADROOM),), changes)


def limits_of(account: str, after: str | None) -> Query:
    """Return the query for all limits of an account."""
    first = keys.limit(account, "")
    return Query(partition=first.partition, prefix=first.sort, consistent=True, after=after)


def limits_of_subject(account: str, subject: LimitSubject, subject_id: str) -> Query:
    """Return the query for the limits of one subject, which are few."""
    first = keys.limit(account, _of_subject(subject, subject_id))
    return Query(partition=first.partition, prefix=first.sort, consistent=True)


def windows_of(account: str, after: str | None) -> Query:
    """Return the query for all windows of an account: those of one limit follow each other, by time."""
    return Query(
        partition=keys.window(account, keys.WINDOW_PREFIX).partition, prefix=keys.WINDOW_PREFIX, consistent=True, after=after
    )


def _of_subject(subject: LimitSubject, subject_id: str) -> str:
    """Return what the ids of a subject's limits begin with; those of an organisation have no name in them."""
    return f"{subject.value}.{subject_id}." if subject_id else f"{subject.value}."


def _start_ms(day: date) -> int:
    return (datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


def _fields(noun: Limit | Window) -> Mapping[str, Value]:
    return cast("Mapping[str, Value]", msgspec.to_builtins(noun))
