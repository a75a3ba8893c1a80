"""Generations read back: what is found, in which order, over how many pages, and for whom."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from junctor.domain.account import Actor, ApiKey, KeyScope, MemberRole
from junctor.domain.errors import GenerationNotFoundError, InvalidFieldError, LedgerUnavailableError, ScopeMissingError
from junctor.domain.lease import SlotState
from junctor.ledger import closing
from junctor.ports.table import UnavailableError
from junctor.records import accounts
from junctor.usecases.generations import READS_MAX, SLOTS_LEAST, Generations
from tests.support.bank import ACCOUNT, NOW_MS, WIDTH, Bank
from tests.support.bank import play as play_bank
from tests.support.faulty_table import FaultyTable
from tests.support.history import History, manager, user
from tests.support.virtual_loop import run_virtual
from tests.support.world import SeededDice

MEMBER_KEY = "0123456789ab"


def play(scenario: Callable[[History], Awaitable[None]]) -> None:
    """Play a scenario over an empty store, in virtual time."""

    async def main() -> None:
        async with asyncio.timeout(100_000):
            await scenario(await History().open())

    run_virtual(main())


def member(role: MemberRole = MemberRole.MEMBER, name: str | None = "MEMBER") -> Actor:
    """Return a management key of a member."""
    return Actor("ONE", "MANAGER", KeyScope.MANAGEMENT, role, name)


def api_key(lookup_id: str, account: str, owner: str | None) -> ApiKey:
    """Return an API key of a member."""
    return ApiKey(lookup_id=lookup_id, account=account, name="", secrets=(), created_at_ms=0, member=owner)


def test_a_generation_is_read_as_it_is_at_every_moment() -> None:
    """A caller who asks right after his answer would be told that there was none, or another cost than he was charged."""

    async def scenario(bank: Bank) -> None:
        read = Generations(bank.table, bank.dice)
        await bank.credit(1_000)
        lease = await bank.leased(100)
        opened = await bank.opened(lease, 0, 10)
        assert await read.get(user(ACCOUNT), opened.id) == opened
        await bank.end(opened, 12)
        assert await read.get(user(ACCOUNT), opened.id) == bank.settled(opened, 12)

    play_bank(scenario)


def test_a_lease_closed_by_another_shows_what_was_generated_in_it() -> None:
    """Generations would vanish from the books' only list when their instance dies, or seals appear among them."""

    async def scenario(bank: Bank) -> None:
        read = Generations(bank.table, bank.dice)
        await bank.credit(1_000)
        lease = await bank.leased(100)
        settled = await bank.spent(lease, 0, 5)
        opened = await bank.opened(lease, 2, 10)
        await closing.close(bank.table, bank.dice, lease, NOW_MS)
        seal = SlotState.SEALED
        assert await bank.states(lease) == [SlotState.SETTLED, seal, SlotState.EXPIRED, *[seal] * WIDTH]
        expired = msgspec.structs.replace(opened, state=SlotState.EXPIRED, cost_nanousd=0, ended_at_ms=NOW_MS)
        assert await read.list(manager(ACCOUNT), 100, "", "") == ((expired, settled), "")
        assert await read.get(manager(ACCOUNT), opened.id) == expired

    play_bank(scenario)


def test_the_newest_lease_comes_first_and_in_it_the_newest_slot() -> None:
    """Who looks for his last call would find an old one at the top."""

    async def scenario(history: History) -> None:
        expected: list[str] = []
        for at_ms, number in ((5, 0), (7, 0), (7, 1), (2_000, 0)):
            lease = await history.lease("ONE", at_ms, number)
            made = [await history.slot(lease, place) for place in range(3)]
            expected = [*(generation.id for generation in reversed(made)), *expected]
        for size in (1, 2, 3, 5, 12, 1_000):
            assert await history.everything(manager(), size) == expected

    play(scenario)


@pytest.mark.parametrize("cut", [1, 2, None])
def test_nothing_is_listed_twice_or_left_out_over_many_pages(cut: int | None) -> None:
    """A sum over the list would be wrong, wherever the store cuts its own pages."""

    async def scenario(history: History) -> None:
        expected: set[str] = set()
        for number in range(9):
            lease = await history.lease("ONE", 0, number)
            for place in range(number):
                if place % 3 == 1:
                    await history.unused(lease, place, SlotState.VOID if place % 2 else SlotState.SEALED)
                else:
                    expected.add((await history.slot(lease, place)).id)
        history.table.page_items = cut
        for size in (1, 3, 100):
            listed = await history.everything(manager(), size)
            assert (set(listed), len(listed)) == (expected, len(expected))

    play(scenario)


def test_new_generations_do_not_disturb_a_list_under_way() -> None:
    """A reader of a busy account would meet the same generation on two pages."""

    async def scenario(history: History) -> None:
        lease = await history.lease("ONE", 0)
        made = [(await history.slot(lease, place)).id for place in range(4)]
        first, token = await history.generations.list(manager(), 2, "", "")
        await history.slot(lease, 4)
        await history.slot(await history.lease("ONE", 9), 0)
        second, _ = await history.generations.list(manager(), 2, token, "")
        assert [found.id for found in (*first, *second)] == made[::-1]

    play(scenario)


def test_a_page_costs_a_bounded_number_of_reads() -> None:
    """One request could read a whole organisation's history, as slots of others are passed over without being returned."""

    async def scenario(history: History) -> None:
        for number in range(READS_MAX + 10):
            await history.slot(await history.lease("ONE", number), 0, "OTHER")
        oldest = await history.slot(await history.lease("ONE", -1), 0, "KEY")
        history.table.partitions.clear()
        assert [len(page) for page in await history.pages(user())] == [0, 1]
        found, token = await history.generations.list(user(), 1_000, "", "")
        assert (found, bool(token)) == ((), True)
        history.table.partitions.clear()
        await history.generations.list(user(), 1_000, "", "")
        assert len(history.table.partitions) <= READS_MAX + 1
        assert await history.everything(user()) == [oldest.id]

    play(scenario)


def test_unused_leases_do_not_end_a_list() -> None:
    """What was generated before a quiet time, in which leases were taken and not used, could not be found any more."""

    async def scenario(history: History) -> None:
        oldest = await history.slot(await history.lease("ONE", -1), 0)
        for number in range(2 * READS_MAX + 3):
            await history.lease("ONE", number)
        assert await history.everything(manager()) == [oldest.id]

    play(scenario)


def test_a_short_page_passes_over_many_slots_of_others_in_one_read() -> None:
    """A quiet key in a busy organisation would need a call for each generation of the others."""

    async def scenario(history: History) -> None:
        lease = await history.lease("ONE", 0)
        own = await history.slot(lease, 0, "KEY")
        for place in range(1, SLOTS_LEAST):
            await history.slot(lease, place, "OTHER")
        history.table.partitions.clear()
        found, _ = await history.generations.list(user(), 1, "", "")
        assert (found, len(history.table.partitions)) == ((own,), 2)

    play(scenario)


def test_a_long_lease_is_continued_where_its_reads_ended() -> None:
    """A lease with more slots than one read takes would never be listed to its end."""

    async def scenario(history: History) -> None:
        lease = await history.lease("ONE", 0)
        made = [(await history.slot(lease, place, "KEY" if place == 0 else "OTHER")).id for place in range(3 * SLOTS_LEAST)]
        assert await history.everything(manager(), 1_000) == made[::-1]
        assert await history.everything(user()) == made[:1]
        history.table.page_items = 2
        assert len(await history.pages(user())) > 2
        assert await history.everything(user()) == made[:1]

    play(scenario)


@pytest.mark.parametrize("state", [SlotState.SEALED, SlotState.VOID])
def test_a_slot_that_was_never_used_is_no_generation(state: SlotState) -> None:
    """Callers would learn which numbers closers sealed, or crash the answer, as there is nothing in such a slot."""

    async def scenario(history: History) -> None:
        lease = await history.lease("ONE", 0)
        unused = await history.unused(lease, 0, state)
        history.table.partitions.clear()
        assert await history.refusal(user(), unused) == await history.refusal(user(), unused[:-1] + "9")
        assert len(history.table.partitions) == 2

    play(scenario)


@pytest.mark.parametrize(
    "text", ["", "gen-", "gen-1", "GEN-" + "0" * 26 + "-000000", "gen-" + "8" * 26 + "-000000", "x" * 5_000]
)
def test_what_is_no_id_is_not_found_and_not_looked_for(text: str) -> None:
    """Foreign text would reach the store as a key, and its answer tell it from an id that is free."""

    async def scenario(history: History) -> None:
        free = "gen-" + "0" * 26 + "-000000"
        assert await history.refusal(user(), text) == await history.refusal(user(), free)
        assert len(history.table.partitions) == 1

    play(scenario)


def test_a_completion_key_lists_its_own_and_reads_its_organisation_s() -> None:
    """One user of an organisation could list what all others do."""

    async def scenario(history: History) -> None:
        lease = await history.lease("ONE", 0)
        own, other = await history.slot(lease, 0, "KEY"), await history.slot(lease, 1, "OTHER")
        assert await history.everything(user()) == [own.id]
        assert await history.everything(user(), api_key="KEY") == [own.id]
        with pytest.raises(ScopeMissingError):
            await history.generations.list(user(), 100, "", "OTHER")
        assert await history.generations.get(user(), other.id) == other

    play(scenario)


@pytest.mark.parametrize("actor", [manager(), member(MemberRole.ADMIN), member(MemberRole.BILLING)])
def test_a_management_key_lists_all_or_one_key_s(actor: Actor) -> None:
    """An administrator could not see what his organisation pays for."""

    async def scenario(history: History) -> None:
        lease = await history.lease("ONE", 0)
        own, other = await history.slot(lease, 0, "KEY"), await history.slot(lease, 1, "OTHER")
        assert await history.everything(actor) == [other.id, own.id]
        assert await history.everything(actor, api_key="KEY") == [own.id]
        assert await history.everything(actor, api_key="NOBODY") == []

    play(scenario)


def test_a_plain_member_lists_his_own_keys_one_by_one() -> None:
    """A member could read what his colleagues do, or try which keys there are, by the different answers."""

    async def scenario(history: History) -> None:
        lease = await history.lease("ONE", 0)
        own = await history.slot(lease, 0, MEMBER_KEY)
        await history.slot(lease, 1, "b" * 12)
        for made in (
            api_key(MEMBER_KEY, "ONE", "MEMBER"),
            api_key("b" * 12, "ONE", "COLLEAGUE"),
            api_key("c" * 12, "TWO", "MEMBER"),
            api_key("d" * 12, "ONE", None),
        ):
            await history.put(accounts.api_key_item(made))
        assert await history.everything(member(), api_key=MEMBER_KEY) == [own.id]
        refusals: set[tuple[str, str]] = set()
        for name in ("", "b" * 12, "c" * 12, "d" * 12, "e" * 12, "x" * 5_000):
            with pytest.raises(ScopeMissingError) as refused:
                await history.generations.list(member(), 100, "", name)
            refusals.add((refused.value.message, str(refused.value.metadata)))
        with pytest.raises(ScopeMissingError):
            await history.generations.list(member(name=None), 100, "", "d" * 12)
        assert len(refusals) == 1

    play(scenario)


@pytest.mark.parametrize("token", ["x", "gen-", "gen-" + "0" * 26 + "-0", "A#TWO#L#" + "0" * 26, "\x00"])
def test_a_page_token_that_is_none_is_refused(token: str) -> None:
    """A client with a broken token would read from the beginning for ever."""

    async def scenario(history: History) -> None:
        with pytest.raises(InvalidFieldError) as refused:
            await history.generations.list(manager(), 100, token, "")
        assert [field for field, _ in refused.value.violations] == ["page_token"]
        assert history.table.partitions == []

    play(scenario)


def test_an_empty_account_has_one_empty_page() -> None:
    """A new user's first look would fail."""

    async def scenario(history: History) -> None:
        await history.lease("ONE", 0)
        assert await history.pages(manager()) == [[]]
        assert await history.pages(manager("TWO")) == [[]]

    play(scenario)


def test_a_store_that_does_not_answer_is_told_as_unavailable() -> None:
    """A caller would take an outage for a generation that does not exist, and ask for his money back."""

    async def scenario(history: History) -> None:
        made = await history.slot(await history.lease("ONE", 0), 0)
        faulty = FaultyTable(history.table)
        read = Generations(faulty, SeededDice())
        faulty.next("get", UnavailableError("lost"))
        faulty.next("query", UnavailableError("lost"))
        assert await read.get(user(), made.id) == made
        assert await read.list(user(), 100, "", "") == ((made,), "")
        faulty.always("get", UnavailableError("down"))
        faulty.always("query", UnavailableError("down"))
        with pytest.raises(LedgerUnavailableError):
            await read.get(user(), made.id)
        with pytest.raises(LedgerUnavailableError):
            await read.list(user(), 100, "", "")
        with pytest.raises(LedgerUnavailableError):
            await read.list(member(), 100, "", MEMBER_KEY)
        with pytest.raises(GenerationNotFoundError):
            await read.get(user(), "gen-1")

    play(scenario)
