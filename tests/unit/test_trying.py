"""Calls of the store repeated: how often, how long, and what is said when their fate stays unknown."""

import asyncio

import pytest

from junctor.adapters.tables.values import TOKEN_LIFE_S
from junctor.ledger import trying
from junctor.ports.table import ConflictError, StoreError, ThrottledError, UnavailableError, UnknownOutcomeError
from tests.support.virtual_loop import run_virtual
from tests.support.world import SeededDice


def tried(*errors: type[StoreError]) -> tuple[object, float]:
    """Return what comes of a call that fails in these ways before it succeeds, and how long it took."""
    left = list(errors)

    async def call() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    async def main() -> tuple[object, float]:
        try:
            answer: object = await trying.repeat(SeededDice(), call)
        except StoreError as error:
            answer = type(error)
        return answer, asyncio.get_running_loop().time()

    return run_virtual(main())


@pytest.mark.parametrize("error", [ThrottledError, ConflictError, UnavailableError, UnknownOutcomeError])
def test_eight_tries_are_made(error: type[StoreError]) -> None:
    """A short disturbance of the store would fail calls that only had to wait, or a dead store be asked for ever."""
    assert tried(*[error] * 7)[0] == "answer"
    answer, took_s = tried(*[error] * 8)
    assert answer is error
    if error is ConflictError:
        assert 0 < took_s <= 0.01 + 0.02 + 0.04 + 0.08 + 0.16 + 0.2 + 0.2
    else:
        longest_s = 0.025 + 0.05 + 0.1 + 0.2 + 0.4 + 0.8 + 0.8
        assert longest_s / 2 <= took_s <= longest_s


def test_a_fate_that_is_unknown_stays_so() -> None:
    """A caller would be told that nothing was written, where an early try may land yet."""
    assert tried(UnknownOutcomeError, *[ThrottledError] * 7)[0] is UnknownOutcomeError
    assert tried(*[ThrottledError] * 7, ConflictError)[0] is ConflictError


def test_a_doubt_outlives_the_call_in_which_it_arose() -> None:
    """A refusal would be taken for final although a try of the same write, made before it, may land yet."""
    doubt = trying.Doubt()
    errors: list[StoreError] = [ThrottledError(), UnknownOutcomeError("lost"), ConflictError()]

    async def call() -> str:
        if errors:
            raise errors.pop(0)
        return "answer"

    assert doubt.refused("sure") == "sure"
    assert run_virtual(trying.repeat(SeededDice(), call, doubt)) == "answer"
    errors[:] = [ThrottledError() for _ in range(trying.TRIES)]
    with pytest.raises(UnknownOutcomeError, match="lost"):
        run_virtual(trying.repeat(SeededDice(), call, doubt))
    with pytest.raises(UnknownOutcomeError, match="lost"):
        doubt.refused("short")


def test_other_errors_are_not_repeated() -> None:
    """A bug would be tried eight times, and its write be made eight times."""
    calls = []

    async def call() -> None:
        calls.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_virtual(trying.repeat(SeededDice(), call))
    assert len(calls) == 1


@pytest.mark.parametrize(("lasts_s", "calls", "ends_s"), [(1.0, 3, (3.0, 3.1)), (2.0, 2, (4.0, 4.1)), (10.0, 1, (10.0, 10.0))])
def test_no_try_begins_late(lasts_s: float, calls: int, ends_s: tuple[float, float]) -> None:
    """Who waits for a silent store would wait for eight tries, each as long as a request may take."""
    began: list[float] = []

    async def call() -> None:
        began.append(asyncio.get_running_loop().time())
        await asyncio.sleep(lasts_s)
        raise UnavailableError

    async def main() -> float:
        with pytest.raises(UnavailableError):
            await trying.repeat(SeededDice(), call)
        return asyncio.get_running_loop().time()

    ended_s = run_virtual(main())
    assert len(began) == calls
    assert all(at_s <= trying.PATIENCE_S for at_s in began)
    assert ends_s[0] <= ended_s <= ends_s[1]


@pytest.mark.parametrize("error", [ThrottledError, ConflictError, UnavailableError, UnknownOutcomeError])
def test_unhurried_work_goes_on_with_pauses_that_grow(error: type[StoreError]) -> None:
    """Money would stay leased after an outage until a reclaimer comes; or a table would be pressed while it is down."""
    began: list[float] = []

    async def call() -> None:
        began.append(asyncio.get_running_loop().time())
        raise error

    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        with trying.unhurried(), pytest.raises(error):
            await trying.repeat(SeededDice(), call)
        ended_s = loop.time()
        with pytest.raises(error):
            await trying.repeat(SeededDice(), call)
        return ended_s, loop.time() - ended_s

    assert trying.LEISURE_S < TOKEN_LIFE_S / 2
    ended_s, hurried_s = run_virtual(main())
    assert trying.LEISURE_S - trying.LEISURE_PAUSE_MAX_S <= ended_s <= trying.LEISURE_S
    assert hurried_s <= trying.PATIENCE_S
    unhurried = [at_s for at_s in began if at_s <= ended_s][:-1]
    assert 30 < len(unhurried) < 120
    assert sum(at_s < 10 for at_s in unhurried) > sum(100 <= at_s < 110 for at_s in unhurried)


def test_others_go_on_as_they_were_beside_unhurried_work() -> None:
    """A call that is begun while a lease is being closed would wait for minutes."""

    async def fail() -> None:
        raise UnavailableError

    async def unhurried() -> None:
        with trying.unhurried():
            await trying.repeat(SeededDice(), fail)

    async def main() -> float:
        background = asyncio.create_task(unhurried())
        await asyncio.sleep(1.0)
        with pytest.raises(UnavailableError):
            await trying.repeat(SeededDice(), fail)
        ended_s = asyncio.get_running_loop().time()
        background.cancel()
        await asyncio.gather(background, return_exceptions=True)
        return ended_s

    assert run_virtual(main()) <= 1.0 + trying.PATIENCE_S


@pytest.mark.parametrize(
    ("errors", "calls"), [((ThrottledError, ConflictError), 3), ((ThrottledError, UnknownOutcomeError), 2)]
)
def test_what_may_not_be_made_twice_is_not(errors: tuple[type[StoreError], ...], calls: int) -> None:
    """A share of a minute's requests would be taken twice under a lost reply."""
    left, made = list(errors), []

    async def call() -> str:
        made.append(1)
        if left:
            raise left.pop(0)
        return "answer"

    async def main() -> object:
        try:
            return await trying.repeat(SeededDice(), call, twice=False)
        except UnknownOutcomeError:
            return None

    assert run_virtual(main()) == (None if UnknownOutcomeError in errors else "answer")
    assert len(made) == calls


def test_what_asking_again_will_not_help_is_told_at_once() -> None:
    """Every caller would wait two seconds to hear that a table is not there."""

    class Missing(UnavailableError):
        lasting = True

    assert tried(Missing) == (Missing, 0.0)
    with trying.unhurried():
        assert tried(Missing)[0] == "answer"
