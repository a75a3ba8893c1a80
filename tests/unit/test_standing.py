"""What an instance believes of an account: how old it may be, under which limits a caller is, and how much memory it takes."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.domain.account import Account, Caller, GrantKind, RecurringGrant
from junctor.domain.credits import Interval, Limit, LimitSubject, Purse, PurseState
from junctor.ledger import grants, limit_changes
from junctor.ledger.standing import FRESH_S, REFUSAL_FRESH_S, STALE_S, Standings, standing_of
from junctor.ledger.tools import Tools
from junctor.ports.table import StoreError, UnavailableError
from junctor.records import accounts, windows
from tests.support.virtual_loop import run_virtual
from tests.support.world import CALLER, World

CALLER_OF_ALL = Caller(CALLER.account, "KEY", workspace="W", member="M")


def play(scenario: Callable[[World, Standings], Awaitable[None]]) -> None:
    """Play a scenario; nothing may be left running at its end."""

    async def main() -> None:
        world = await World().open()
        tools = Tools(world.table, world.clock, world.dice, world.telemetry)

        async def due(account: Account, purses: tuple[Purse, ...]) -> bool:
            return await grants.ensure(world.table, world.dice, account, world.clock.now_ms(), purses)

        await asyncio.sleep(100)
        await scenario(world, Standings(tools, due, asyncio.create_task))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


async def limited(world: World, subject: LimitSubject, subject_id: str, interval: Interval) -> str:
    """Make a limit, and return its id."""
    name = windows.limit_id(subject, subject_id, interval)
    limit = Limit(
        account=CALLER.account,
        id=name,
        limit_nanousd=100,
        interval=interval,
        subject=subject,
        subject_id=subject_id,
        change=name,
    )
    await limit_changes.put_limit(world.table, world.dice, limit)
    return name


def test_a_belief_ages() -> None:
    """A limit that was lowered long ago would bind nobody, or every call wait for a reading."""

    async def scenario(world: World, standings: Standings) -> None:
        await world.credit(100)
        assert standings.known(CALLER.account) is None
        read = await standings.read(CALLER.account)
        assert read.available(world.clock.now_ms()) == 100
        assert standings.known(CALLER.account) is read
        await asyncio.sleep(FRESH_S)
        assert standings.known(CALLER.account, FRESH_S) is None
        assert standings.known(CALLER.account) is read
        await asyncio.sleep(STALE_S - FRESH_S)
        assert standings.known(CALLER.account) is None

    play(scenario)


def test_an_account_is_read_once_for_all_who_ask() -> None:
    """A crowd would read the account once each."""

    async def scenario(world: World, standings: Standings) -> None:
        before = world.store.calls
        asked = [asyncio.create_task(standings.read(CALLER.account)) for _ in range(100)]
        await asyncio.sleep(0)
        for leaving in asked[:50]:
            leaving.cancel()
        read = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, asyncio.CancelledError) for answer in read) == 50
        assert len({id(answer) for answer in read[50:]}) == 1
        assert world.store.calls - before == 3

    play(scenario)


def test_a_reading_that_fails_leaves_nothing_running() -> None:
    """A store that is down would be asked on and on by readings that nobody waits for."""

    async def scenario(world: World, standings: Standings) -> None:
        async def down(*_: object, **__: object) -> None:
            raise UnavailableError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.table, "get", down)
            with pytest.raises(StoreError):
                await standings.read(CALLER.account)
        await standings.read(CALLER.account)

    play(scenario)


def test_the_broadest_limits_come_first() -> None:
    """The narrow limit would be named where the organisation's was short."""

    async def scenario(world: World, standings: Standings) -> None:
        expected = [
            await limited(world, subject, subject_id, interval)
            for subject, subject_id in (
                (LimitSubject.ORGANISATION, ""),
                (LimitSubject.WORKSPACE, "W"),
                (LimitSubject.MEMBER, "M"),
                (LimitSubject.API_KEY, "KEY"),
            )
            for interval in (Interval.ALL, Interval.DAY)
        ]
        for subject in (LimitSubject.WORKSPACE, LimitSubject.MEMBER, LimitSubject.API_KEY):
            await limited(world, subject, "OTHER", Interval.WEEK)
        standing = await standings.read(CALLER.account)
        assert [limit.id for limit in standing.limits_of(CALLER_OF_ALL)] == expected
        assert [limit.id for limit in standing.limits_of(Caller(CALLER.account, "NONE"))] == expected[:2]

    play(scenario)


def test_limits_that_are_gone_are_not_in_force() -> None:
    """A lease would be asked of a window that can never be opened."""

    async def scenario(world: World, standings: Standings) -> None:
        gone = await limited(world, LimitSubject.ORGANISATION, "", Interval.DAY)
        kept = await limited(world, LimitSubject.API_KEY, "KEY", Interval.DAY)
        limits = (await standings.read(CALLER.account)).limits_of(CALLER_OF_ALL)
        await limit_changes.remove_limit(world.table, world.dice, CALLER.account, gone)
        standing = await standings.read(CALLER.account)
        assert [limit.id for limit in standing.in_force(limits)] == [kept]

    play(scenario)


def test_no_call_is_refused_by_what_was_read_before_money_came_back() -> None:
    """A caller whose call has just ended would be refused the next one, though its money is there again."""

    async def scenario(world: World, standings: Standings) -> None:
        at_s = world.clock.monotonic_s()
        assert standings.refuses("A", at_s)
        standings.returned("A")
        assert not standings.refuses("A", at_s)
        assert standings.refuses("B", at_s)
        await asyncio.sleep(0.1)
        assert standings.refuses("A", world.clock.monotonic_s())
        assert standings.refuses("B", at_s)
        await asyncio.sleep(REFUSAL_FRESH_S)
        assert not standings.refuses("B", at_s)

    play(scenario)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server would grow with every account that ever called."""
    monkeypatch.setattr("junctor.ledger.standing.ENTRIES_MAX", 10)

    async def scenario(world: World, standings: Standings) -> None:
        for number in range(100):
            await standings.read(f"A{number}")
            standings.returned(f"A{number}")
            await asyncio.sleep(0.1)
        assert len(standings._read) == 10
        assert len(standings._returned) <= 4
        assert standings._reading == {}
        assert standings.known("A99") is not None

    play(scenario)


def test_a_grant_that_is_due_is_there_with_the_first_reading() -> None:
    """The first call of a month would be refused."""

    async def scenario(world: World, standings: Standings) -> None:
        grant = RecurringGrant(kind=GrantKind.ALLOWANCE, amount_nanousd=70, interval=Interval.MONTH)
        account = Account(id=CALLER.account, name="a", created_at_ms=0, recurring_grant=grant)
        await world.table.put_new(accounts.account_item(account))
        standing = await standings.read(CALLER.account)
        assert standing.available(world.clock.now_ms()) == 70
        assert standing.account == account
        await standings.read(CALLER.account)
        world.clock.ahead_ms = 40 * 86_400_000
        assert standing.usable(world.clock.now_ms()) == ()
        assert (await standings.read(CALLER.account)).available(world.clock.now_ms()) == 70

    play(scenario)


@given(
    st.lists(
        st.builds(
            Purse,
            account=st.just("A"),
            id=st.text("abc", max_size=3),
            state=st.sampled_from(PurseState),
            avail_nanousd=st.integers(0, 9),
            owed_nanousd=st.integers(0, 1),
            expires_at_ms=st.sampled_from([None, 4, 5, 6]),
        )
    )
)
def test_what_is_available_is_what_is_in_the_purses_that_may_be_used(purses: list[Purse]) -> None:
    """An answer would be cut short whose money is there, or be promised the money of a grant that has lapsed."""
    standing = standing_of(None, tuple(purses), {}, 0.0)
    for now_ms in (3, 4, 5, 6):
        may = [purse for purse in purses if purse.state is PurseState.OPEN and not purse.owed_nanousd]
        there = [purse for purse in may if purse.expires_at_ms is None or purse.expires_at_ms > now_ms]
        assert standing.available(now_ms) == sum(purse.avail_nanousd for purse in there)
        assert standing.usable(now_ms) == tuple(purse for purse in there if purse.avail_nanousd)
