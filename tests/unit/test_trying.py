"""Calls of the store repeated: how often, how long, and what is said when their fate stays unknown."""

import asyncio

import pytest

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
    assert 0 < took_s <= 0.01 + 0.02 + 0.04 + 0.08 + 0.16 + 0.2 + 0.2


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
