"""Limits set, listed and removed: the most that an organisation, a workspace, a member or a key may spend in each interval.

A limit is of something that is there: one set for a name that was mistyped would bind nobody. A plain member sees the limits of
himself and of his own keys.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from junctor.domain.account import Actor, MemberRole
from junctor.domain.credits import Interval, Limit, LimitSubject, Window
from junctor.domain.errors import BookingRefusedError, ResourceNotFoundError
from junctor.domain.money import NanoUsd
from junctor.ledger import trying
from junctor.ledger.credits import Booking
from junctor.ledger.limit_changes import INTERVALS_MAX, put_limit, remove_limit
from junctor.policy import access
from junctor.ports.ambient import Clock, Dice
from junctor.ports.table import Item, Key, Table
from junctor.records import accounts, ids, keys, windows
from junctor.usecases.acting import account_of
from junctor.usecases.editing import page_of

LIMIT_MAX_NANOUSD = 10**18
"""The highest limit: a billion dollars."""


class LimitName(Struct, frozen=True):
    """Which limit is meant. `subject_id` is empty for the organisation, and for nothing else."""

    subject: LimitSubject
    subject_id: str
    interval: Interval


class LimitState(Struct, frozen=True, kw_only=True):
    """A limit and how much of it is used in the present interval, which ends at `resets_at_ms`, None if it does not."""

    limit: Limit
    spent_nanousd: NanoUsd
    leased_nanousd: NanoUsd
    resets_at_ms: int | None


class Limits:
    """What is done with limits. Every method raises ResourceNotFoundError, ScopeMissingError and StoreError as it must."""

    def __init__(self, table: Table, clock: Clock, dice: Dice) -> None:
        self._table = table
        self._clock = clock
        self._dice = dice

    async def set(self, actor: Actor, organisation: str, name: LimitName, limit_nanousd: NanoUsd) -> LimitState:
        """Set a limit, which is made where it is missing. What was spent before it was made does not count.

        Raises:
            BookingRefusedError: the subject has as many others as are allowed.
        """
        account = await account_of(self._table, self._dice, actor, organisation, access.READERS)
        await self._check_subject(account, name)
        limit = Limit(
            account=account,
            id=_id(name),
            limit_nanousd=limit_nanousd,
            interval=name.interval,
            subject=name.subject,
            subject_id=name.subject_id,
            change=ids.fresh(self._clock, self._dice),
        )
        answer = await put_limit(self._table, self._dice, limit)
        if answer is not Booking.BOOKED:
            text = f"A subject has at most {INTERVALS_MAX} limits; remove one of the others first."
            raise BookingRefusedError(text, booking="LIMITS_MAX")
        return (await self._states([limit]))[0]

    async def list(
        self, actor: Actor, organisation: str, page_size: int, page_token: str
    ) -> tuple[tuple[LimitState, ...], str]:
        """Read a page of the limits, by subject, and the token of the next page, empty at the end.

        Raises:
            InvalidFieldError: the page token is none of this list's.
        """
        account = await account_of(self._table, self._dice, actor, organisation, access.EVERYONE)
        query = msgspec.structs.replace(windows.limits_of(account, None), limit=page_size)
        page = await page_of(self._table, self._dice, query, page_token)
        limits: Sequence[Limit] = [windows.limit_of(found) for found in page.items]
        if actor.role is MemberRole.MEMBER:
            limits = await self._own(actor, limits)
        return tuple(await self._states(limits)), page.next or ""

    async def delete(self, actor: Actor, organisation: str, name: LimitName) -> None:
        """Remove a limit. What is under way under it goes on, and new calls are bound no more within seconds."""
        account = await account_of(self._table, self._dice, actor, organisation, access.READERS)
        if not await remove_limit(self._table, self._dice, account, _id(name)):
            raise ResourceNotFoundError("limit", _id(name))

    async def _check_subject(self, account: str, name: LimitName) -> None:
        """Raise ResourceNotFoundError if what a limit shall be of is not there, or is another organisation's."""
        match name.subject:
            case LimitSubject.ORGANISATION:
                return
            case LimitSubject.WORKSPACE:
                found = await self._get(keys.workspace(account, name.subject_id))
                there = found is not None and accounts.workspace_of(found) is not None
            case LimitSubject.MEMBER:
                found = await self._get(keys.member(account, name.subject_id))
                there = found is not None and accounts.member_of(found) is not None
            case LimitSubject.API_KEY:
                there = await self._get(keys.api_key_entry(account, name.subject_id)) is not None
        if not there:
            raise ResourceNotFoundError(
                "api_key" if name.subject is LimitSubject.API_KEY else name.subject.value, name.subject_id
            )

    async def _get(self, place: Key) -> Item | None:
        return await trying.get(self._table, self._dice, place)

    async def _own(self, actor: Actor, limits: Sequence[Limit]) -> Sequence[Limit]:
        """Return the limits of a member and of the API keys that belong to him."""
        of_keys = [limit.subject_id for limit in limits if limit.subject is LimitSubject.API_KEY]
        found = (accounts.api_key_of(item) for item in await self._read([keys.api_key(lookup_id) for lookup_id in of_keys]))
        own = {(LimitSubject.API_KEY, key.lookup_id) for key in found if access.sees(actor, key)}
        own.add((LimitSubject.MEMBER, actor.member or ""))
        return [limit for limit in limits if (limit.subject, limit.subject_id) in own]

    async def _states(self, limits: Sequence[Limit]) -> Sequence[LimitState]:
        now_ms = self._clock.now_ms()
        names = [windows.name(limit, now_ms) for limit in limits]
        read = await self._read([keys.window(limit.account, name) for limit, name in zip(limits, names, strict=True)])
        found = {window.key: window for window in map(windows.window_of, read)}
        return [_state(limit, found.get(name), now_ms) for limit, name in zip(limits, names, strict=True)]

    async def _read(self, places: Sequence[Key]) -> Sequence[Item]:
        """Read items, those that are there."""
        if not places:
            return ()
        return (await trying.repeat(self._dice, lambda: self._table.batch_get(places))).items


def _state(limit: Limit, window: Window | None, now_ms: int) -> LimitState:
    return LimitState(
        limit=limit,
        spent_nanousd=window.spent_nanousd if window else 0,
        leased_nanousd=window.leased_nanousd if window else 0,
        resets_at_ms=windows.period(limit.interval, now_ms).end_ms,
    )


def _id(name: LimitName) -> str:
    return windows.limit_id(name.subject, name.subject_id, name.interval)
