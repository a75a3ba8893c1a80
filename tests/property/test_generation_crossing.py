"""No key reads another account's generations, whatever ids and page tokens it comes with (security.md, account crossing)."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from junctor.domain.errors import InvalidFieldError
from junctor.domain.generation import Generation
from junctor.records import ids
from tests.support.history import History, manager, user
from tests.support.virtual_loop import run_virtual

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ATTEMPTS = 10_000


async def two_accounts() -> tuple[History, list[Generation], list[Generation]]:
    """Write generations of two accounts, whose leases lie between each other's."""
    history = await History().open()
    made: dict[str, list[Generation]] = {"ONE": [], "TWO": []}
    for at_ms in range(6):
        account = ("ONE", "TWO")[at_ms % 2]
        lease = await history.lease(account, at_ms, number=at_ms + 1)
        made[account] += [await history.slot(lease, number, "KEY") for number in range(3)]
    history.table.partitions.clear()
    return history, made["ONE"], made["TWO"]


def forged(chance: random.Random, real: list[Generation]) -> str:
    """Return an id: a real one, one beside it, or a well-formed one of nothing."""
    generation = chance.choice(real)
    match chance.randrange(3):
        case 0:
            return generation.id
        case 1:
            place = chance.randrange(5, 30)
            return generation.id[:place] + chance.choice(ALPHABET) + generation.id[place + 1 :]
        case _:
            return f"gen-{chance.choice('01234567')}{''.join(chance.choices(ALPHABET, k=25))}-{chance.randrange(10**6):06d}"


def test_ids_of_another_account_are_never_found_and_never_told_apart() -> None:
    """A leaked id would open another organisation's record, or a difference in the answers tell which ids are real."""

    async def main() -> None:
        history, _, theirs = await two_accounts()
        chance = random.Random(7)
        answers: set[str] = set()
        for attempt in range(ATTEMPTS):
            history.table.partitions.clear()
            asked = forged(chance, theirs)
            answers.add(str(await history.refusal((user(), manager())[attempt % 2], asked)))
            (read,) = history.table.partitions
            assert read.startswith("A#ONE#L#")
        assert len(answers) == 1

    run_virtual(main())


def test_page_tokens_of_another_account_show_one_s_own_generations_only() -> None:
    """A token that was made up or overheard would list another organisation's generations."""

    async def main() -> None:
        history, own, theirs = await two_accounts()
        mine = {generation.id for generation in own}
        chance = random.Random(11)
        for _ in range(500):
            token = forged(chance, theirs)
            found, _ = await history.generations.list(manager(), 100, token, "")
            assert {generation.id for generation in found} <= mine
            assert all(generation.id < token for generation in found)
        assert all(read == "A#ONE" or read.startswith("A#ONE#L#") for read in history.table.partitions)

    run_virtual(main())


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60) | st.from_regex(r"gen-[0-9A-Za-z#]{20,30}-[0-9#\n]{0,8}", fullmatch=True))
def test_any_text_is_refused_as_an_id_and_as_a_token_or_names_nothing(text: str) -> None:
    """Some text would crash the answer, or reach the store as a key of its writer's choice."""

    async def main() -> None:
        history = await History().open()
        await history.slot(await history.lease("TWO", 0), 0)
        await history.refusal(user(), text)
        if text and ids.parse_generation_id(text, "ONE") is None:
            with pytest.raises(InvalidFieldError):
                await history.generations.list(user(), 1, text, "")
        else:
            assert await history.generations.list(user(), 1, text, "") == ((), "")
        assert all(read == "A#ONE" or read.startswith("A#ONE#L#") for read in history.table.partitions)

    run_virtual(asyncio.wait_for(main(), 1_000))
